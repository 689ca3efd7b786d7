//! The rules of a legal answer, executable and pure. The host, the test kit and the simulator all call this.
//!
//! An answer is legal when every row names a pending task and an executor of the round, no task stands in it twice, no
//! executor gets more vcores or memory than it has free, and every row respects the limits that filters set. The
//! checker walks the answer, not the round: cost is O(rows), whatever tasks take, whatever limits hold, and in whatever
//! order the rows stand: below 1 ns a row for answers that fill or deal out in order, a few nanoseconds a row for others.
//! It keeps its memory between rounds.

mod checker;
mod demand;
mod stages;
mod stretch;

pub use checker::Checker;

use crate::ids::{ExecutorId, TaskId};

/// How an answer breaks the contract. Each variant names the first row at fault and both sides' values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// More rows than pending tasks or free vcores.
    #[error("the answer has {rows} rows, but at most {bindable} tasks can be bound in this round")]
    TooManyRows {
        /// Rows of the answer.
        rows: usize,
        /// The lesser of pending tasks and free vcores.
        bindable: usize,
    },
    /// A task number that is not of the round.
    #[error("row {row}: task {} is not of this round, which has {tasks} tasks", task.0)]
    UnknownTask {
        /// The row at fault.
        row: usize,
        /// What it names.
        task: TaskId,
        /// The number of tasks in the round.
        tasks: u32,
    },
    /// An executor number that is not of the round.
    #[error("row {row}: executor {} is not of this round, which has {executors} executors", executor.0)]
    UnknownExecutor {
        /// The row at fault.
        row: usize,
        /// What it names.
        executor: ExecutorId,
        /// The number of executors in the round.
        executors: usize,
    },
    /// A task that is running or done.
    #[error("row {row}: task {index} of stage {stage} of job {job} is not pending")]
    NotPending {
        /// The row at fault.
        row: usize,
        /// The task's index in its stage.
        index: u32,
        /// The stage's number in its job.
        stage: u32,
        /// The job's name.
        job: String,
    },
    /// A task that stands in the answer twice.
    #[error("row {row}: task {index} of stage {stage} of job {job} is bound twice")]
    BoundTwice {
        /// The second row that names it.
        row: usize,
        /// The task's index in its stage.
        index: u32,
        /// The stage's number in its job.
        stage: u32,
        /// The job's name.
        job: String,
    },
    /// More vcores than the executor has free.
    #[error("row {row}: executor {executor} has {free} vcores free, the answer takes {wanted}")]
    Overbooked {
        /// The row at fault.
        row: usize,
        /// The executor's name.
        executor: String,
        /// Free before the round.
        free: u32,
        /// Taken up to and including this row.
        wanted: u64,
    },
    /// More memory than the executor has free.
    #[error("row {row}: executor {executor} has {free_mib} MiB free, the answer takes {wanted_mib} MiB")]
    MemoryOverbooked {
        /// The row at fault.
        row: usize,
        /// The executor's name.
        executor: String,
        /// Free before the round, MiB.
        free_mib: u64,
        /// Taken up to and including this row, MiB.
        wanted_mib: u64,
    },
    /// A pair that a filter forbids.
    #[error("row {row}: a filter forbids executor {executor} to stage {stage} of job {job}")]
    Ineligible {
        /// The row at fault.
        row: usize,
        /// The executor's name.
        executor: String,
        /// The stage's number in its job.
        stage: u32,
        /// The job's name.
        job: String,
    },
    /// More than a filter's cap allows.
    #[error(
        "row {row}: a filter caps a group of stages, among them stage {stage} of job {job}, at {cap} vcores in this round; the answer takes {wanted}"
    )]
    OverCap {
        /// The row at fault.
        row: usize,
        /// The stage's number in its job.
        stage: u32,
        /// The job's name.
        job: String,
        /// The cap of the group.
        cap: u32,
        /// Taken up to and including this row.
        wanted: u64,
    },
}

impl Violation {
    /// The stable code, as it stands in events, receipts and summaries.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooManyRows { .. } => "too-many-rows",
            Self::UnknownTask { .. } => "unknown-task",
            Self::UnknownExecutor { .. } => "unknown-executor",
            Self::NotPending { .. } => "task-not-pending",
            Self::BoundTwice { .. } => "task-bound-twice",
            Self::Overbooked { .. } => "executor-overbooked",
            Self::MemoryOverbooked { .. } => "memory-overbooked",
            Self::Ineligible { .. } => "ineligible-pair",
            Self::OverCap { .. } => "over-cap",
        }
    }
}
