//! Filters, then a policy: one round through plugin code.

use std::cell::Cell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Poll;

use policy_kit::Composite;
use policy_kit::composite::ScoreFault;
use policy_plugin_api::abi::RawRound;
use policy_plugin_api::{Candidates, DistributionPolicy, PolicyError, PolicyState};
use policy_wire::assemble::Round;
use policy_wire::block::{Block, BlockRef};
use policy_wire::observe::Observations;
use policy_wire::{AvailableTaskSlots, RunningJobs};

use super::call::LimitsCell;
use crate::core::decided::Decided;
use crate::core::foreign::{ForeignFilter, ForeignPolicy, ForeignScore, PolicyFault, Proposal};
use crate::core::guard::Fault;
use crate::core::text::chain;
use crate::core::threads::Retired;

/// A policy: linked in, or in a plugin.
pub(crate) enum PolicyInstance {
    /// Linked in: a built-in, or the embedder's own.
    Linked(Arc<dyn DistributionPolicy>),
    /// In a plugin.
    Loaded(ForeignPolicy),
    /// Linked in, asking scores in plugins.
    Composite(Scored),
}

/// `composite` with the scores that it asks.
pub(crate) struct Scored {
    pub(crate) policy: Composite,
    pub(crate) scores: Vec<ScoreInstance>,
}

/// A score in a plugin.
pub(crate) struct ScoreInstance {
    pub(crate) name: String,
    pub(crate) weight: u32,
    pub(crate) score: ForeignScore,
}

impl Scored {
    fn bind(
        &self,
        raw: RawRound<'_>,
        slots: &mut [AvailableTaskSlots],
        view: &RunningJobs<'_>,
    ) -> Result<Proposal, Fault> {
        let weights: Vec<u32> = self.scores.iter().map(|s| s.weight).collect();
        let ask = |place: usize, candidates: &Candidates<'_>, scores: &mut [f32]| {
            self.scores[place].score.score(raw, candidates, scores)
        };
        let bound = catch(|| self.policy.bind(slots, view, &weights, ask)).map_err(|e| Fault::of_policy(&e))?;
        bound.map(Proposal::from).map_err(|fault| match fault {
            ScoreFault::Failed { score, error } => Fault::of_score(&self.scores[score].name, &error),
            ScoreFault::OutOfRange { score, value } => Fault::score_out_of_range(&self.scores[score].name, value),
        })
    }
}

/// A filter in a plugin.
pub(crate) struct FilterInstance {
    pub(crate) name: String,
    pub(crate) filter: ForeignFilter,
}

/// Where messages of destructors go.
pub(crate) type OnClose = Box<dyn Fn(String) + Send + Sync>;

thread_local! {
    /// The slots of a round, taken out for its length. Each thread keeps its own, so that the first round of a new
    /// generation finds them as warm as any other.
    static SCRATCH: Cell<Vec<AvailableTaskSlots>> = const { Cell::new(Vec::new()) };
}

/// The instances of a pipeline. Ending them runs plugin code.
struct Instances {
    policy: PolicyInstance,
    filters: Vec<FilterInstance>,
    on_close: OnClose,
}

impl Instances {
    fn close(self) {
        let report = |name: &str, closed: Result<(), PolicyFault>| {
            if let Err(fault) = closed {
                (self.on_close)(format!("the destructor of {name} {}", chain(&fault)));
            }
        };
        match self.policy {
            PolicyInstance::Loaded(policy) => report("the policy", policy.close()),
            PolicyInstance::Composite(Scored { scores, .. }) => {
                scores.into_iter().for_each(|s| report(&s.name, s.score.close()));
            }
            PolicyInstance::Linked(policy) => report("the policy", catch(move || drop(policy))),
        }
        for f in self.filters {
            report(&f.name, f.filter.close());
        }
    }
}

/// Filters and a policy. However it is dropped, its instances end as [`Retired`] says.
pub(crate) struct Pipeline {
    /// `None` only while it is dropped.
    instances: Option<Instances>,
    /// Whether one of them learns from observations.
    observes: bool,
}

impl Pipeline {
    pub(crate) fn new(policy: PolicyInstance, filters: Vec<FilterInstance>, observes: bool, on_close: OnClose) -> Self {
        Self { instances: Some(Instances { policy, filters, on_close }), observes }
    }

    /// Whether one of its parts learns from observations.
    pub(crate) fn observes(&self) -> bool {
        self.observes
    }

    fn instances(&self) -> &Instances {
        self.instances.as_ref().expect("present until dropped")
    }

    fn policy(&self) -> &PolicyInstance {
        &self.instances().policy
    }

    /// Runs one round. `limits` is set as soon as the filters have decided.
    pub(crate) async fn run(
        &self,
        round: &Round,
        observations: Option<&Block>,
        limits: &LimitsCell,
    ) -> Result<Proposal, Fault> {
        if let Some(block) = observations {
            self.observe(BlockRef::new(block))?;
        }
        self.decide_and_bind(round, &Decided::Unrestricted, limits).await
    }

    /// Runs one round under the limits that come with it and those of the filters.
    pub(crate) async fn rehearse(
        &self,
        round: &Round,
        given: &Decided,
        limits: &LimitsCell,
    ) -> Result<Proposal, Fault> {
        self.decide_and_bind(round, given, limits).await
    }

    async fn decide_and_bind(&self, round: &Round, given: &Decided, limits: &LimitsCell) -> Result<Proposal, Fault> {
        let stages = round.stage_refs();
        let view = round.view(&stages);
        let mut slots = SCRATCH.take();
        view.available_slots(&mut slots);
        let decided = self.filter(round, &stages, &view, &slots, given)?;
        let decided = limits.get_or_init(|| decided);
        let raw_limits = decided.block().map(BlockRef::new);
        let raw =
            RawRound::new(BlockRef::new(round.body()), BlockRef::new(round.roster().block()), &stages, raw_limits);
        let answer = match self.policy() {
            PolicyInstance::Loaded(policy) => {
                policy.bind(raw, &mut slots).await.map_err(|fault| Fault::of_policy(&fault))
            }
            PolicyInstance::Linked(policy) => {
                let view = decided.view(round, &stages)?;
                guarded(policy.bind_tasks(&mut slots, &view)).await.map_err(|fault| Fault::of_policy(&fault))
            }
            PolicyInstance::Composite(scored) => scored.bind(raw, &mut slots, &decided.view(round, &stages)?),
        };
        SCRATCH.set(slots);
        answer
    }

    /// Delivers observations, where somebody learns from them.
    pub(crate) fn observe(&self, batch: BlockRef<'_>) -> Result<(), Fault> {
        if !self.observes {
            return Ok(());
        }
        for f in &self.instances().filters {
            f.filter.observe(batch).map_err(|e| Fault::of_filter(&f.name, &e))?;
        }
        match self.policy() {
            PolicyInstance::Composite(Scored { scores, .. }) => {
                (scores.iter()).try_for_each(|s| s.score.observe(batch).map_err(|e| Fault::of_score(&s.name, &e)))
            }
            PolicyInstance::Loaded(policy) => policy.observe(batch).map_err(|e| Fault::of_policy(&e)),
            PolicyInstance::Linked(policy) => match Observations::from_block(batch) {
                Ok(batch) => catch(|| policy.observe(&batch)).map_err(|e| Fault::of_policy(&e)),
                Err(e) => Err(Fault::of_policy(&PolicyFault::Protocol(chain(&e)))),
            },
        }
    }

    /// All filters see the same round; what they forbid is added up.
    fn filter(
        &self,
        round: &Round,
        stages: &[BlockRef<'_>],
        view: &RunningJobs<'_>,
        slots: &[AvailableTaskSlots],
        given: &Decided,
    ) -> Result<Decided, Fault> {
        let shape = (view.stage_count(), view.executors().len());
        let raw = RawRound::new(BlockRef::new(round.body()), BlockRef::new(round.roster().block()), stages, None);
        let mut limits = Vec::new();
        for f in &self.instances().filters {
            limits.extend(f.filter.filter(raw, slots, shape).map_err(|e| Fault::of_filter(&f.name, &e))?);
        }
        Ok(given.restricted_by(limits))
    }

    /// What the policy hands over to its successor.
    pub(crate) fn export_state(&self) -> Result<Option<PolicyState>, PolicyFault> {
        match self.policy() {
            PolicyInstance::Composite(_) => Ok(None),
            PolicyInstance::Loaded(policy) => policy.export_state(),
            PolicyInstance::Linked(policy) => catch(|| policy.export_state()),
        }
    }

    /// Offers what the predecessor handed over.
    pub(crate) fn import_state(&self, state: &PolicyState) -> Result<(), PolicyFault> {
        match self.policy() {
            PolicyInstance::Composite(_) => Err(PolicyFault::Declined("composite keeps no state".to_owned())),
            PolicyInstance::Loaded(policy) => policy.import_state(state),
            PolicyInstance::Linked(policy) => catch(|| policy.import_state(state))?.map_err(fault_of),
        }
    }
}

fn fault_of(error: PolicyError) -> PolicyFault {
    match error {
        PolicyError::Declined(reason) => PolicyFault::Declined(reason),
        other => PolicyFault::Failed(chain(&other)),
    }
}

fn catch<T>(call: impl FnOnce() -> T) -> Result<T, PolicyFault> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|payload| {
        let message = match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
            (Some(text), _) => (*text).to_owned(),
            (_, Some(text)) => text.clone(),
            _ => "a panic whose payload is not text".to_owned(),
        };
        PolicyFault::panicked(message)
    })
}

/// Polls a linked policy with its panics caught, as the export macro does for a loaded one.
async fn guarded(
    call: impl Future<Output = policy_plugin_api::Result<Vec<policy_wire::BoundTask>>>,
) -> Result<Proposal, PolicyFault> {
    let mut call = std::pin::pin!(call);
    poll_fn(|cx| match catch(|| call.as_mut().poll(cx)) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(answer)) => Poll::Ready(answer.map(Proposal::from).map_err(fault_of)),
        Err(fault) => Poll::Ready(Err(fault)),
    })
    .await
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        if let Some(instances) = self.instances.take() {
            drop(Retired::new(move || instances.close()));
        }
    }
}

impl fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let filters: Vec<&str> = self.instances().filters.iter().map(|f| f.name.as_str()).collect();
        f.debug_struct("Pipeline").field("filters", &filters).finish_non_exhaustive()
    }
}
