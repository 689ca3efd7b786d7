//! Stages as a round shows them: which of their tasks are pending, and what is the same for all tasks of one.

use super::{Holders, Job, RunningJobs};
use crate::block::{BlockKind, BlockView, ragged};
use crate::columns::{round, stage};
use crate::ids::{JobId, StageId, TaskId};

/// One stage with pending tasks: tasks that differ in their data, not in their code.
#[derive(Clone, Copy, Debug)]
pub struct Stage<'a> {
    pub(super) jobs: RunningJobs<'a>,
    pub(super) id: StageId,
    pub(super) block: BlockView<'a>,
    pub(super) first_task: u32,
    pub(super) tasks: u32,
    pub(super) run_start: &'a [u32],
    pub(super) run_length: &'a [u32],
    pub(super) vcores: &'a [u32],
    pub(super) memory_mib: &'a [u32],
}

/// The columns of a round that say what its stages are, looked up once for all of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StageColumns<'a> {
    task_bases: &'a [u32],
    runs: &'a [u32],
    run_start: &'a [u32],
    run_length: &'a [u32],
}

impl<'a> StageColumns<'a> {
    pub(crate) fn of(jobs: &RunningJobs<'a>) -> Self {
        Self {
            task_bases: jobs.task_bases(),
            runs: jobs.round.column(round::STAGE_RUNS),
            run_start: jobs.round.column(round::RUN_START),
            run_length: jobs.round.column(round::RUN_LENGTH),
        }
    }

    /// One stage of the same round.
    #[inline]
    pub(crate) fn stage(&self, jobs: &RunningJobs<'a>, id: StageId) -> Stage<'a> {
        let i = id.index();
        let block = jobs.stages.get(i).and_then(|b| BlockView::parse(b.words(), BlockKind::Stage).ok());
        let block = block.unwrap_or(BlockView::empty());
        let runs = ragged(self.runs, i);
        let first = self.task_bases.get(i).copied().unwrap_or(0);
        let next = self.task_bases.get(i + 1).copied().unwrap_or(first);
        Stage {
            jobs: *jobs,
            id,
            block,
            first_task: first,
            tasks: next.saturating_sub(first),
            run_start: self.run_start.get(runs.clone()).unwrap_or(&[]),
            run_length: self.run_length.get(runs).unwrap_or(&[]),
            vcores: block.column(stage::VCORES),
            memory_mib: block.column(stage::MEMORY_MIB),
        }
    }
}

impl<'a> RunningJobs<'a> {
    /// The stages with pending tasks, in the contract's order: the order in which a policy without another opinion
    /// should bind.
    pub fn stages(&self) -> impl ExactSizeIterator<Item = Stage<'a>> + DoubleEndedIterator + use<'a> {
        let (this, columns) = (*self, StageColumns::of(self));
        (0..self.stages.len()).map(move |i| columns.stage(&this, StageId::from_index(i)))
    }

    /// One stage. Costs a handful of column look-ups: get it once, not once a task.
    ///
    /// A stage id that is not of this round gives a stage without tasks.
    #[must_use]
    pub fn stage(&self, id: StageId) -> Stage<'a> {
        StageColumns::of(self).stage(self, id)
    }
}

impl<'a> Job<'a> {
    /// Its stages with pending tasks, by number.
    pub fn stages(&self) -> impl ExactSizeIterator<Item = Stage<'a>> + use<'a> {
        let (jobs, columns) = (self.jobs, StageColumns::of(&self.jobs));
        self.stage_ids().map(move |id| columns.stage(&jobs, id))
    }
}

impl<'a> Stage<'a> {
    /// Its number in this round.
    #[must_use]
    pub fn id(&self) -> StageId {
        self.id
    }

    /// Its job.
    #[must_use]
    pub fn job(&self) -> Job<'a> {
        let job = self.jobs.round.column::<u32>(round::STAGE_JOB).get(self.id.index()).copied().unwrap_or(u32::MAX);
        self.jobs.job(JobId(job))
    }

    /// The embedder's number of the stage within its job.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.jobs.round.column::<u32>(round::STAGE_NUMBER).get(self.id.index()).copied().unwrap_or(0)
    }

    /// All tasks of the stage: done, running or pending.
    #[inline]
    #[must_use]
    pub fn task_count(&self) -> u32 {
        self.tasks
    }

    /// The number of its first task in this round: task `i` of the stage is `first_task + i`.
    #[inline]
    #[must_use]
    pub fn first_task(&self) -> TaskId {
        TaskId(self.first_task)
    }

    /// Tasks that wait to be bound. [`Stage::pending`] may list fewer: the host bounds the number of runs it lists.
    #[must_use]
    pub fn pending_count(&self) -> u32 {
        self.jobs.round.column::<u32>(round::STAGE_PENDING).get(self.id.index()).copied().unwrap_or(0)
    }

    /// Tasks running now.
    #[must_use]
    pub fn running_count(&self) -> u32 {
        self.jobs.round.column::<u32>(round::STAGE_RUNNING).get(self.id.index()).copied().unwrap_or(0)
    }

    /// Since when the stage has been runnable, in microseconds on the clock of [`RunningJobs::now_us`].
    #[must_use]
    pub fn runnable_since_us(&self) -> u64 {
        self.jobs.round.column::<u64>(round::STAGE_RUNNABLE_SINCE_US).get(self.id.index()).copied().unwrap_or(0)
    }

    /// The pending tasks as runs of consecutive indices, ascending: (first, length). The cheapest way to bind many.
    pub fn pending_runs(&self) -> impl ExactSizeIterator<Item = (u32, u32)> + DoubleEndedIterator + use<'a> {
        self.run_start.iter().copied().zip(self.run_length.iter().copied())
    }

    /// What every task of the stage takes in vcores, where it is the same for all.
    #[inline]
    #[must_use]
    pub fn uniform_vcores(&self) -> Option<u32> {
        match self.vcores {
            [] => Some(1),
            [v] => Some((*v).max(1)),
            _ => None,
        }
    }

    /// Vcores that task `index` takes: at least one.
    #[inline]
    #[must_use]
    pub fn vcores_of(&self, index: u32) -> u32 {
        per_task(self.vcores, index, 1).max(1)
    }

    /// What every task of the stage takes in memory (MiB), where it is the same for all.
    #[inline]
    #[must_use]
    pub fn uniform_memory_mib(&self) -> Option<u32> {
        match self.memory_mib {
            [] => Some(0),
            [m] => Some(*m),
            _ => None,
        }
    }

    /// Memory that task `index` takes, MiB.
    #[inline]
    #[must_use]
    pub fn memory_mib_of(&self, index: u32) -> u32 {
        per_task(self.memory_mib, index, 0)
    }

    /// Whether any task of the stage has a key.
    #[must_use]
    pub fn has_keys(&self) -> bool {
        !self.block.column::<u64>(stage::KEY_HASH).is_empty()
    }

    /// Whether any task of the stage has known holders of its input.
    #[inline]
    #[must_use]
    pub fn has_holders(&self) -> bool {
        !self.block.column::<u32>(stage::HOLDER_UID).is_empty()
    }

    /// Where the runs of pending tasks begin, and how long they are.
    pub(crate) fn run_columns(&self) -> (&'a [u32], &'a [u32]) {
        (self.run_start, self.run_length)
    }

    /// Vcores as the host wrote them: one row a task, or one row for all, or none where each takes one. 0 stands for 1.
    /// For loops over many tasks; for one, there is [`Stage::vcores_of`].
    #[inline]
    #[must_use]
    pub fn vcores_column(&self) -> &'a [u32] {
        self.vcores
    }

    /// Memory in MiB as the host wrote it: one row a task, or one row for all, or none where none is asked for.
    /// For loops over many tasks; for one, there is [`Stage::memory_mib_of`].
    #[inline]
    #[must_use]
    pub fn memory_mib_column(&self) -> &'a [u32] {
        self.memory_mib
    }

    /// The holders of the input of all its tasks, as slices. Costs three column look-ups: get it once, not once a task.
    #[must_use]
    pub fn holders(&self) -> Holders<'a> {
        Holders::new(self.block)
    }

    /// Whether any task of the stage is pinned.
    #[must_use]
    pub fn has_pins(&self) -> bool {
        !self.block.column::<u32>(stage::PIN).is_empty()
    }

    /// XXH3-64 (seed 0) of each task's key, one row a task; empty where tasks have no keys.
    #[must_use]
    pub fn key_hashes(&self) -> &'a [u64] {
        self.block.column(stage::KEY_HASH)
    }

    /// Whether task `index` is pending and listed. Costs a binary search over the runs.
    #[must_use]
    pub fn is_pending(&self, index: u32) -> bool {
        self.pending_run_of(index).is_some()
    }

    /// The listed run of pending tasks that holds task `index`. Costs a binary search over the runs.
    #[must_use]
    pub fn pending_run_of(&self, index: u32) -> Option<std::ops::Range<u32>> {
        let at = self.run_start.partition_point(|&start| start <= index).checked_sub(1)?;
        let run = self.run_start[at]..self.run_start[at].saturating_add(*self.run_length.get(at)?).min(self.tasks);
        run.contains(&index).then_some(run)
    }
}

/// The value of a column that has one row a task, one row for all, or none.
#[inline]
pub(super) fn per_task(column: &[u32], index: u32, absent: u32) -> u32 {
    match column {
        [] => absent,
        [one] => *one,
        many => many.get(index as usize).copied().unwrap_or(absent),
    }
}
