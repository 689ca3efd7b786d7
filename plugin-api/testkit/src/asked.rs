//! A round ready to be asked about, and the answers of policies and filters to it.

use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use policy_plugin_api::prelude::*;
use policy_wire::assemble::Round;
use policy_wire::block::{Block, BlockRef};
use policy_wire::contract::{Checker, Violation};

/// How often the future of an answer is polled before it counts as never ready. A policy has nothing to wait for.
pub const MAX_POLLS: usize = 1_000;

/// A round with the limits it is asked under.
#[derive(Clone)]
pub struct TestRound {
    /// What the round was made of, to be printed.
    made_of: Option<Arc<dyn fmt::Debug + Send + Sync>>,
    round: Arc<Round>,
    limits: Option<Limits>,
    block: Option<Block>,
}

/// One row of an answer, by names: (job, stage number, task index, executor).
pub type NamedRow = (String, u32, u32, String);

impl TestRound {
    pub(crate) fn new(made_of: impl fmt::Debug + Send + Sync + 'static, round: Arc<Round>) -> Self {
        Self { made_of: Some(Arc::new(made_of)), round, limits: None, block: None }
    }

    /// A round that was built elsewhere.
    #[must_use]
    pub fn of(round: Arc<Round>, limits: Option<Limits>) -> Self {
        let this = Self { made_of: None, round, limits: None, block: None };
        match limits {
            None => this,
            Some(limits) => this.under(limits),
        }
    }

    /// The round itself.
    #[must_use]
    pub fn round(&self) -> &Arc<Round> {
        &self.round
    }

    /// The limits it is asked under.
    #[must_use]
    pub fn limits(&self) -> Option<&Limits> {
        self.limits.as_ref()
    }

    /// The same round under limits that `restrict` writes.
    #[must_use]
    pub fn limited(self, restrict: impl FnOnce(&RunningJobs<'_>, &mut Limits)) -> Self {
        let limits = self.with(|_, jobs| {
            let mut limits = Limits::unrestricted(jobs.stage_count(), jobs.executors().len());
            restrict(jobs, &mut limits);
            limits
        });
        self.under(limits)
    }

    /// The same round behind a filter.
    ///
    /// # Errors
    /// What the filter returned.
    pub fn filtered(self, filter: &impl TaskFilter) -> Result<Self> {
        let limits = self.ask_filter(filter)?;
        Ok(self.under(limits))
    }

    fn under(mut self, limits: Limits) -> Self {
        self.block = (!limits.is_unrestricted()).then(|| limits.encode());
        self.limits = Some(limits);
        self
    }

    /// Calls `f` with fresh slots and the round, as a policy sees it.
    ///
    /// # Panics
    /// If the limits were made for another round.
    pub fn with<R>(&self, f: impl FnOnce(&mut [AvailableTaskSlots], &RunningJobs<'_>) -> R) -> R {
        let stages = self.round.stage_refs();
        let (body, roster) = (BlockRef::new(self.round.body()), BlockRef::new(self.round.roster().block()));
        let jobs = RunningJobs::from_blocks(body, roster, &stages, self.block.as_ref().map(BlockRef::new));
        let jobs = jobs.expect("limits of this round");
        let mut slots = Vec::new();
        jobs.available_slots(&mut slots);
        f(&mut slots, &jobs)
    }

    /// A policy's answer.
    ///
    /// # Errors
    /// What the policy returned; `Failed`, when its future is not ready after [`MAX_POLLS`] polls.
    pub fn ask(&self, policy: &impl DistributionPolicy) -> Result<Vec<BoundTask>> {
        self.with(|slots, jobs| {
            let answer = ready(policy.bind_tasks(slots, jobs));
            answer.unwrap_or_else(|| Err(PolicyError::failed("the answer is never ready")))
        })
    }

    /// A policy's answer by names, in its order.
    ///
    /// # Panics
    /// If the policy returns an error, or its answer breaks the contract.
    pub fn answer(&self, policy: &impl DistributionPolicy) -> Vec<NamedRow> {
        let rows = self.ask(policy).expect("an answer");
        self.check(&rows).expect("a legal answer");
        self.names(&rows)
    }

    /// How many tasks a policy binds to each executor of the round, by name, zeros included.
    ///
    /// # Panics
    /// As [`TestRound::answer`].
    pub fn counts(&self, policy: &impl DistributionPolicy) -> Vec<(String, usize)> {
        let rows = self.answer(policy);
        let executors: Vec<String> = self.with(|_, jobs| jobs.executors().iter().map(|e| e.name().into()).collect());
        let count = |name: &String| rows.iter().filter(|row| row.3 == *name).count();
        executors.into_iter().map(|name| (name.clone(), count(&name))).collect()
    }

    /// A filter's limits.
    ///
    /// # Errors
    /// What the filter returned.
    pub fn ask_filter(&self, filter: &impl TaskFilter) -> Result<Limits> {
        self.with(|slots, jobs| {
            let mut limits = Limits::unrestricted(jobs.stage_count(), jobs.executors().len());
            filter.filter(slots, jobs, &mut limits).map(|()| limits)
        })
    }

    /// What a score says of the first pending task on each executor with something free, by name.
    ///
    /// # Panics
    /// If nothing is pending, or the score returns an error.
    pub fn scores(&self, score: &impl TaskScore) -> Vec<(String, f32)> {
        self.with(|slots, jobs| {
            let task = jobs.stages().find_map(|stage| stage.pending().next()).expect("a pending task");
            let (stage, index) = jobs.locate(task.id()).expect("a task of this round");
            let (tasks, row_offsets) = ([index], [0, slots.len() as u32]);
            let candidates = Candidates::new(stage, &tasks, &row_offsets, slots).expect("columns that fit");
            let mut scores = vec![0.0; slots.len()];
            score.score(jobs, &candidates, &mut scores).expect("scores");
            let name = |slot: &AvailableTaskSlots| jobs.executors().get(slot.executor).name().to_owned();
            slots.iter().map(name).zip(scores).collect()
        })
    }

    /// Checks an answer as the host does.
    ///
    /// # Errors
    /// The first violation of the contract.
    pub fn check(&self, answer: &[BoundTask]) -> Result<(), Violation> {
        self.with(|_, jobs| Checker::new().check(jobs, answer))
    }

    /// An answer by names. Rows that name nothing of the round give empty names.
    #[must_use]
    pub fn names(&self, answer: &[BoundTask]) -> Vec<NamedRow> {
        let name = |jobs: &RunningJobs<'_>, row: &BoundTask| {
            let (stage, index) = jobs.locate(row.task).unwrap_or((StageId(u32::MAX), u32::MAX));
            let stage = jobs.stage(stage);
            let executor = jobs.executors().get(row.executor).name().to_owned();
            (stage.job().name().to_owned(), stage.number(), index, executor)
        };
        self.with(|_, jobs| answer.iter().map(|row| name(jobs, row)).collect())
    }
}

impl fmt::Debug for TestRound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("TestRound");
        match &self.made_of {
            Some(spec) => f.field("spec", spec),
            None => f.field("clock", &self.round.clock()),
        };
        f.field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// Polls a future that has nothing to wait for; `None` when it waits all the same.
pub(crate) fn ready<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut cx = Context::from_waker(Waker::noop());
    (0..MAX_POLLS).find_map(|_| match future.as_mut().poll(&mut cx) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    })
}
