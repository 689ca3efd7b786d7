//! The rules of a legal answer, executable and pure. The host, the test kit and the simulator all call this.
//!
//! An answer is legal when every row names a pending task and an executor of the round, no task stands in it twice, no
//! executor gets more vcores or memory than it has free, and every row respects the limits that filters set. The
//! checker walks the answer, not the round: cost is O(rows), about 5 ns a row, and it keeps its memory between rounds.

use crate::binding::BoundTask;
use crate::ids::{ExecutorId, StageId, TaskId};
use crate::round::{RunningJobs, Stage};

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

/// The checker with its scratch memory; one a thread is enough. Clean between calls, whatever the answer was.
#[derive(Debug, Default)]
pub struct Checker {
    bound: Vec<u64>,
    taken: Vec<Taken>,
    group_taken: Vec<u64>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Taken {
    vcores: u64,
    memory_mib: u64,
}

impl Checker {
    /// A checker without scratch memory yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Checks an answer against the round it was given for.
    ///
    /// # Errors
    /// The first violation. The answer must then not be applied, not even in part.
    pub fn check(&mut self, jobs: &RunningJobs<'_>, answer: &[BoundTask]) -> Result<(), Violation> {
        if answer.is_empty() {
            return Ok(());
        }
        let bindable = jobs.bindable();
        if answer.len() > bindable {
            return Err(Violation::TooManyRows { rows: answer.len(), bindable });
        }
        let tasks = jobs.task_bases().last().copied().unwrap_or(0) as usize;
        grow(&mut self.bound, tasks.div_ceil(64));
        grow(&mut self.taken, jobs.executors().len());
        grow(&mut self.group_taken, jobs.limits().group_caps().len());
        let (walked, result) = self.walk(jobs, answer);
        for bound in &answer[..walked] {
            self.bound[bound.task.index() / 64] = 0;
            self.taken[bound.executor.index()] = Taken::default();
        }
        self.group_taken.fill(0);
        result
    }

    /// Returns how many rows left a mark in the scratch memory.
    fn walk(&mut self, jobs: &RunningJobs<'_>, answer: &[BoundTask]) -> (usize, Result<(), Violation>) {
        let executors = jobs.executors();
        let free_vcores = executors.free_vcores();
        let free_memory = executors.free_memory_mib();
        let limits = jobs.limits();
        let unrestricted = limits.is_unrestricted();
        let tasks = jobs.task_bases().last().copied().unwrap_or(0);
        let mut at = StageCursor::none();
        for (row, bound) in answer.iter().enumerate() {
            let (task, executor) = (bound.task, bound.executor);
            let Some(&free) = free_vcores.get(executor.index()) else {
                return (row, Err(Violation::UnknownExecutor { row, executor, executors: executors.len() }));
            };
            let Some((stage, index)) = at.locate(jobs, task) else {
                return (row, Err(Violation::UnknownTask { row, task, tasks }));
            };
            if !at.is_pending(index) {
                let (stage, job) = stage_names(&stage);
                return (row, Err(Violation::NotPending { row, index, stage, job }));
            }
            let (word, bit) = (&mut self.bound[task.index() / 64], 1u64 << (task.index() % 64));
            if *word & bit != 0 {
                let (stage, job) = stage_names(&stage);
                return (row, Err(Violation::BoundTwice { row, index, stage, job }));
            }
            *word |= bit;
            let vcores = u64::from(stage.vcores_of(index));
            let taken = &mut self.taken[executor.index()];
            taken.vcores += vcores;
            if taken.vcores > u64::from(free) {
                let (executor, wanted) = (executors.get(executor).name().to_owned(), taken.vcores);
                return (row + 1, Err(Violation::Overbooked { row, executor, free, wanted }));
            }
            let memory = u64::from(stage.memory_mib_of(index));
            if memory > 0 {
                taken.memory_mib += memory;
                let free_mib = free_memory.get(executor.index()).copied().unwrap_or(0);
                if taken.memory_mib > free_mib {
                    let (executor, wanted_mib) = (executors.get(executor).name().to_owned(), taken.memory_mib);
                    return (row + 1, Err(Violation::MemoryOverbooked { row, executor, free_mib, wanted_mib }));
                }
            }
            if unrestricted {
                continue;
            }
            if !limits.allows(stage.id(), executor) {
                let (stage, job) = stage_names(&stage);
                let executor = executors.get(executor).name().to_owned();
                return (row + 1, Err(Violation::Ineligible { row, executor, stage, job }));
            }
            for &group in limits.groups(stage.id()) {
                let taken = &mut self.group_taken[group as usize];
                *taken += vcores;
                let cap = limits.group_caps()[group as usize];
                if *taken > u64::from(cap) {
                    let wanted = *taken;
                    let (stage, job) = stage_names(&stage);
                    return (row + 1, Err(Violation::OverCap { row, stage, job, cap, wanted }));
                }
            }
        }
        (answer.len(), Ok(()))
    }
}

fn grow<T: Clone + Default>(scratch: &mut Vec<T>, to: usize) {
    if scratch.len() < to {
        scratch.resize(to, T::default());
    }
}

fn stage_names(stage: &Stage<'_>) -> (u32, String) {
    (stage.number(), stage.job().name().to_owned())
}

/// Remembers the stage and the run of the last row: answers come mostly in order.
struct StageCursor<'a> {
    stage: Option<Stage<'a>>,
    first: u32,
    next: u32,
    run: std::ops::Range<u32>,
}

impl<'a> StageCursor<'a> {
    fn none() -> Self {
        Self { stage: None, first: 1, next: 0, run: 0..0 }
    }

    #[inline]
    fn locate(&mut self, jobs: &RunningJobs<'a>, task: TaskId) -> Option<(Stage<'a>, u32)> {
        if !(self.first..self.next).contains(&task.0) {
            let (id, _): (StageId, u32) = jobs.locate(task)?;
            let stage = jobs.stage(id);
            self.first = stage.first_task().0;
            self.next = self.first + stage.task_count();
            self.run = 0..0;
            self.stage = Some(stage);
        }
        self.stage.map(|s| (s, task.0 - self.first))
    }

    #[inline]
    fn is_pending(&mut self, index: u32) -> bool {
        if self.run.contains(&index) {
            return true;
        }
        match self.stage.and_then(|s| s.pending_run_of(index)) {
            Some(run) => {
                self.run = run;
                true
            }
            None => false,
        }
    }
}
