//! The binder: what a driver asks in every round. The policy host is one; tests write small ones. No policy lives here.

use std::future::Future;
use std::sync::Arc;

use policy_host::round::{BoundTask, Observation, Round};

/// What a binder answered in one round.
pub trait Answer: Send {
    /// The rows, in the order in which tasks shall start.
    fn rows(&self) -> &[BoundTask];

    /// The policy whose rows these are; the fallback's name where the fallback bound the round.
    fn policy(&self) -> &str;

    /// The generation of that policy; 0 where there are none.
    fn generation(&self) -> u64 {
        0
    }

    /// Whether the fallback bound the round.
    fn fallback(&self) -> bool {
        false
    }
}

/// Binds rounds. One round is asked for at a time; the next one only when the answer has been applied.
pub trait Binder: Sync {
    /// What [`bind`](Self::bind) returns.
    type Answer: Answer;

    /// Binds one round: called whenever something changed and something is both pending and free, on the task that
    /// drives the cluster, which waits for it. It is always polled to its end, so it must have a deadline of its own.
    fn bind(&self, round: Arc<Round>) -> impl Future<Output = Self::Answer> + Send;

    /// Whether the binder reads observations; [`observe`](Self::observe) is not called where it does not.
    fn wants_observations(&self) -> bool {
        true
    }

    /// Takes what happened since the last call, oldest first: before each round, before the cluster goes to sleep, and
    /// at the end of the run. Never empty. Must not block.
    fn observe(&self, batch: Vec<Observation>);
}
