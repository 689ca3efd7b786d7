//! What happened, for the record: written down by the cluster when asked to, read by the event log.

/// What kind of thing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HappeningKind {
    /// A task came, with its job.
    Submitted,
    /// A policy's answer put a task on an executor.
    Bound,
    /// The task started there.
    Started,
    /// The task ended.
    Finished,
    /// The task's attempt failed; the task is pending again.
    Failed,
    /// The task's executor went away; the task is pending again.
    Requeued,
    /// An executor went away.
    ExecutorLost,
    /// An executor came back.
    ExecutorJoined,
}

/// One thing that happened. Fields that do not apply are `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Happening {
    /// When, virtual microseconds.
    pub at_us: u64,
    /// What.
    pub kind: HappeningKind,
    /// To which task.
    pub task: Option<TaskRef>,
    /// On which executor, by index.
    pub executor: Option<u32>,
}

/// A task of the workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskRef {
    /// The job's index in the workload.
    pub job: u32,
    /// The stage's number in its job.
    pub stage: u32,
    /// The task's index in its stage.
    pub task: u32,
}
