//! The traits that an author implements: [`DistributionPolicy`], [`TaskFilter`], and [`FromConfig`] for either. The third
//! kind, [`TaskScore`](crate::TaskScore), stands in [`score`](crate::score).

use std::fmt::Debug;

use async_trait::async_trait;

use crate::config::PolicyConfig;
use crate::error::Result;
use policy_wire::BoundTask;
use policy_wire::Limits;
use policy_wire::observe::Observations;
use policy_wire::round::{AvailableTaskSlots, RunningJobs};

/// Decides which pending task goes to which executor.
///
/// The host calls [`bind_tasks`](Self::bind_tasks) once a round, never once a task, and one call at a time for one
/// policy object. In the `thread` lane (the default) calls come from a thread of the policy's own, in the `inline`
/// lane from the embedder's task: never block, never sleep, start no threads, read no clock, do no I/O. Time, seed and
/// round number are in the round; the same rounds must give the same answers.
///
/// A panic is caught inside the plugin and costs one round, which the fallback binds.
#[async_trait]
pub trait DistributionPolicy: Debug + Send + Sync {
    /// Answers one round.
    ///
    /// `slots` holds the executors with something free, ordered by name: it is scratch, count it down as you like.
    /// `running_jobs` is the rest of the round. Binding fewer tasks than possible, or none, is a legal answer.
    /// What is illegal stands in [`contract`](policy_wire::contract): an illegal answer is not applied, not even in part.
    ///
    /// # Errors
    /// [`Declined`](crate::PolicyError::Declined): the fallback binds this round, and the policy is asked again.
    /// Any other error: the fallback binds this round, and the host takes the policy out of service.
    ///
    /// # Cost
    /// Aim for O(executors + bindings): do not walk pending tasks that cannot be bound. Reserve the answer with
    /// [`RunningJobs::bindable`]; nothing else needs the heap.
    async fn bind_tasks(
        &self,
        slots: &mut [AvailableTaskSlots],
        running_jobs: &RunningJobs<'_>,
    ) -> Result<Vec<BoundTask>>;

    /// Learns what happened since the last round: called before a round, with at least one observation, on the same
    /// thread as the round. Does nothing unless implemented; [`FromConfig::OBSERVES`] says whether it does.
    fn observe(&self, observations: &Observations<'_>) {
        let _ = observations;
    }

    /// What a successor of the same policy name should know. Called when this object is about to be replaced, after the
    /// last round that it answers, and never beside another call; once more, if the successor is refused after all and
    /// this object goes on. `None` (the default): there is nothing to hand over.
    ///
    /// # Cost
    /// Rounds wait meanwhile. After a second the successor starts without it.
    fn export_state(&self) -> Option<PolicyState> {
        None
    }

    /// Takes over what the predecessor of the same policy name exported. Called at most once, before the first round.
    ///
    /// # Errors
    /// A refusal means a cold start, never a failed swap; say why, the host logs it. Refuse versions you do not know.
    fn import_state(&self, state: &PolicyState) -> Result<()> {
        let _ = state;
        Err(crate::PolicyError::declined("this policy keeps no state"))
    }
}

/// Narrows what the policy behind it may do: forbids executors to stages, caps what stages may take.
///
/// Called once a round before the policy, under the same rules (never block, read no clock, be deterministic). Filters
/// see the round, not each other's decisions: limits are conjunctive, so their order does not matter. What a filter
/// forbids cannot be bound by any policy: the host validates every answer against the limits.
pub trait TaskFilter: Debug + Send + Sync {
    /// Writes the round's restrictions into `limits`, which starts unrestricted.
    ///
    /// # Errors
    /// Any error, and any panic, binds nothing in this round (a filter that failed must not let through what it would
    /// have forbidden), and the host takes the filter's activation out of service.
    fn filter(&self, slots: &[AvailableTaskSlots], running_jobs: &RunningJobs<'_>, limits: &mut Limits) -> Result<()>;

    /// As [`DistributionPolicy::observe`].
    fn observe(&self, observations: &Observations<'_>) {
        let _ = observations;
    }
}

/// How the host makes an instance: a name, a config type, a constructor. Implement it for what you export.
pub trait FromConfig: Sized {
    /// The policy's name: what `active.json` says. Lower case, digits and `-`, at most 63 characters.
    const NAME: &'static str;

    /// The type of `config` in `active.json`.
    type Config: PolicyConfig;

    /// Whether `observe` does anything. What does not learn from observations says `false`: where nobody in service
    /// does, embedders need not collect them, and rounds are cheaper by some 20 ns a task. `observe` is then not called.
    const OBSERVES: bool = true;

    /// Makes an instance. Called at admission and at every activation, on a thread that may be thrown away.
    ///
    /// # Errors
    /// The activation is refused with the message; what was active stays active.
    fn from_config(config: Self::Config) -> Result<Self>;
}

/// State handed from one generation of a policy to the next: opaque, versioned bytes.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct PolicyState {
    /// The policy's own version of the format.
    pub version: u32,
    /// The bytes.
    pub bytes: Vec<u8>,
}
