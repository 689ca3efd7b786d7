//! What a policy sees in one round: free slots, executors, tenants, jobs, stages, pending tasks, limits, clock and seed.
//!
//! Everything here borrows from the round's blocks: reading costs no allocation. An accessor that returns a slice is
//! the fast way through many rows; the row types ([`Executor`], [`Job`], [`Stage`], [`Task`]) read like objects and are
//! views of two words or so. The views hold no state, and nothing here writes.

use crate::abi::RawBlock;
use crate::block::{BlockError, BlockKind, BlockView, ragged};
use crate::columns::{roster, round, stage};
use crate::ids::{ExecutorId, ExecutorUid, JobId, StageId, TaskId, TenantId};
use crate::limits::LimitsView;

/// An executor that has something free in this round: the policy's scratch.
///
/// The host hands out `&mut [AvailableTaskSlots]`, ordered by executor, holding only executors with at least one free
/// vcore. A policy may count them down while it binds, as in Ballista; the host validates against its own copy.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct AvailableTaskSlots {
    /// The executor.
    pub executor: ExecutorId,
    /// Free vcores: a task takes as many as it asks for, one unless told otherwise.
    pub slots: u32,
    /// Free memory in MiB. Zero where the embedder does not account for memory, and no task asks for any.
    pub memory_mib: u64,
}

/// Everything about a round but the scratch slots: the article's "running jobs", with the cluster they run on.
///
/// Order is part of the contract: executors by name; jobs by priority (higher first), submit time, id; stages of a job
/// by number; tasks by index. The same cluster state gives the same round, whatever map the embedder keeps.
#[derive(Clone, Copy, Debug)]
pub struct RunningJobs<'a> {
    round: BlockView<'a>,
    roster: BlockView<'a>,
    limits: LimitsView<'a>,
    stages: &'a [RawBlock<'a>],
}

impl<'a> RunningJobs<'a> {
    /// Reads a round out of its blocks. The host, the test kit and the export macro call this; authors do not.
    ///
    /// # Errors
    /// When a block is not of its kind, or the round does not fit its roster or its stage blocks.
    pub fn from_blocks(
        round: RawBlock<'a>,
        roster: RawBlock<'a>,
        stages: &'a [RawBlock<'a>],
        limits: Option<RawBlock<'a>>,
    ) -> Result<Self, BlockError> {
        let round = BlockView::parse(round.words(), BlockKind::Round)?;
        let roster = BlockView::parse(roster.words(), BlockKind::Roster)?;
        let this = Self { round, roster, limits: LimitsView::unrestricted(), stages };
        if this.executors().free_vcores().len() != this.executors().len() {
            return Err(BlockError::Column { column: round::FREE_VCORES, what: "is not one row an executor" });
        }
        if this.task_bases().len() != stages.len() + 1 {
            return Err(BlockError::Column {
                column: round::STAGE_TASK_BASE,
                what: "is not one row a stage, plus one",
            });
        }
        match limits {
            None => Ok(this),
            Some(block) => {
                let view = BlockView::parse(block.words(), BlockKind::Limits)?;
                this.with_limits(LimitsView::new(view, stages.len(), this.executors().len())?)
            }
        }
    }

    /// The same round under other limits.
    ///
    /// # Errors
    /// When the limits were made for another number of stages or executors.
    pub fn with_limits(mut self, limits: LimitsView<'a>) -> Result<Self, BlockError> {
        limits.check_shape(self.stages.len(), self.executors().len())?;
        self.limits = limits;
        Ok(self)
    }

    /// The time of the round in microseconds, on the embedder's clock (virtual in the simulator). Policies read no
    /// other clock, so that the same round gives the same answer.
    #[must_use]
    pub fn now_us(&self) -> u64 {
        self.clock(0)
    }

    /// A seed for this round: the only source of randomness a policy may use.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.clock(1)
    }

    /// The number of the round since the host started.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.clock(2)
    }

    fn clock(&self, row: usize) -> u64 {
        self.round.column::<u64>(round::CLOCK).get(row).copied().unwrap_or(0)
    }

    /// The executors, free or not.
    #[inline]
    #[must_use]
    pub fn executors(&self) -> Executors<'a> {
        Executors { round: self.round, roster: self.roster }
    }

    /// What the filters of `active.json` decided. Unrestricted where there are none.
    #[inline]
    #[must_use]
    pub fn limits(&self) -> LimitsView<'a> {
        self.limits
    }

    /// The tenants that have jobs in this round, in no particular order.
    pub fn tenants(&self) -> impl ExactSizeIterator<Item = Tenant<'a>> + use<'a> {
        let round = self.round;
        let n = round.column::<u32>(round::TENANT_OFFSETS).len().saturating_sub(1);
        (0..n).map(move |i| Tenant { round, id: TenantId::from_index(i) })
    }

    /// One tenant.
    #[must_use]
    pub fn tenant(&self, id: TenantId) -> Tenant<'a> {
        Tenant { round: self.round, id }
    }

    /// The jobs that have at least one pending task, in the contract's order.
    pub fn jobs(&self) -> impl ExactSizeIterator<Item = Job<'a>> + use<'a> {
        let this = *self;
        let n = self.round.column::<u64>(round::JOB_KEY).len();
        (0..n).map(move |i| Job { jobs: this, id: JobId::from_index(i) })
    }

    /// One job.
    #[must_use]
    pub fn job(&self, id: JobId) -> Job<'a> {
        Job { jobs: *self, id }
    }

    /// The number of stages listed.
    #[inline]
    #[must_use]
    pub fn stage_count(&self) -> usize {
        self.stages.len()
    }

    /// The stages with pending tasks, in the contract's order: the order in which a policy without another opinion
    /// should bind.
    pub fn stages(&self) -> impl ExactSizeIterator<Item = Stage<'a>> + DoubleEndedIterator + use<'a> {
        let this = *self;
        (0..self.stages.len()).map(move |i| this.stage(StageId::from_index(i)))
    }

    /// One stage. Costs a handful of column look-ups: get it once, not once a task.
    ///
    /// A stage id that is not of this round gives a stage without tasks.
    #[must_use]
    pub fn stage(&self, id: StageId) -> Stage<'a> {
        let i = id.index();
        let block = self.stages.get(i).and_then(|b| BlockView::parse(b.words(), BlockKind::Stage).ok());
        let block = block.unwrap_or(BlockView::empty());
        let runs = ragged(self.round.column(round::STAGE_RUNS), i);
        let first = self.task_bases().get(i).copied().unwrap_or(0);
        let next = self.task_bases().get(i + 1).copied().unwrap_or(first);
        Stage {
            jobs: *self,
            id,
            block,
            first_task: first,
            tasks: next.saturating_sub(first),
            run_start: self.round.column::<u32>(round::RUN_START).get(runs.clone()).unwrap_or(&[]),
            run_length: self.round.column::<u32>(round::RUN_LENGTH).get(runs).unwrap_or(&[]),
            vcores: block.column(stage::VCORES),
            memory_mib: block.column(stage::MEMORY_MIB),
        }
    }

    /// The first task number of each stage, and after the last stage the number of all tasks.
    #[inline]
    #[must_use]
    pub fn task_bases(&self) -> &'a [u32] {
        self.round.column(round::STAGE_TASK_BASE)
    }

    /// The stage of a task and the task's index in it; `None` for a number that is not of this round.
    /// Costs a binary search over the stages.
    #[must_use]
    pub fn locate(&self, task: TaskId) -> Option<(StageId, u32)> {
        let bases = self.task_bases();
        let after = bases.partition_point(|&base| base <= task.0);
        let stage = after.checked_sub(1)?;
        (stage + 1 < bases.len()).then(|| (StageId::from_index(stage), task.0 - bases[stage]))
    }

    /// Pending tasks over all stages, listed or not.
    #[must_use]
    pub fn pending_tasks(&self) -> u64 {
        self.round.column::<u32>(round::STAGE_PENDING).iter().map(|&n| u64::from(n)).sum()
    }

    /// An upper bound of how many tasks this round can bind: the lesser of pending tasks and free vcores.
    /// The right capacity for the answer.
    #[must_use]
    pub fn bindable(&self) -> usize {
        let free: u64 = match self.round.column::<u64>(round::FREE_TOTAL).first() {
            Some(&total) => total,
            None => self.executors().free_vcores().iter().map(|&v| u64::from(v)).sum(),
        };
        usize::try_from(free.min(self.pending_tasks())).unwrap_or(usize::MAX)
    }

    /// The executors with something free, as the host hands them to a policy.
    pub fn available_slots(&self, into: &mut Vec<AvailableTaskSlots>) {
        let executors = self.executors();
        let memory = executors.free_memory_mib();
        into.clear();
        if !self.round.column::<u64>(round::FREE_TOTAL).is_empty() {
            // The round lists who has something free.
            let (listed, free) = (self.round.column::<u32>(round::FREE_EXECUTORS), executors.free_vcores());
            into.extend(listed.iter().map(|&i| AvailableTaskSlots {
                executor: ExecutorId(i),
                slots: free.get(i as usize).copied().unwrap_or(0),
                memory_mib: memory.get(i as usize).copied().unwrap_or(0),
            }));
            return;
        }
        into.reserve(executors.len());
        into.extend(executors.free_vcores().iter().enumerate().filter(|&(_, &free)| free > 0).map(|(i, &free)| {
            AvailableTaskSlots {
                executor: ExecutorId(i as u32),
                slots: free,
                memory_mib: memory.get(i).copied().unwrap_or(0),
            }
        }));
    }
}

/// All executors of a round, by column or by row. Rows are ordered by name.
#[derive(Clone, Copy, Debug)]
pub struct Executors<'a> {
    round: BlockView<'a>,
    roster: BlockView<'a>,
}

impl<'a> Executors<'a> {
    /// The number of executors.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.uids().len()
    }

    /// Whether there is none.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Vcores free now, one row an executor. Zero for an executor that takes no tasks.
    #[inline]
    #[must_use]
    pub fn free_vcores(&self) -> &'a [u32] {
        self.round.column(round::FREE_VCORES)
    }

    /// Memory free now in MiB, one row an executor; empty where the embedder does not account for memory.
    #[inline]
    #[must_use]
    pub fn free_memory_mib(&self) -> &'a [u64] {
        self.round.column(round::FREE_MEMORY_MIB)
    }

    /// Tasks running now, one row an executor.
    #[must_use]
    pub fn running_tasks(&self) -> &'a [u32] {
        self.round.column(round::RUNNING_TASKS)
    }

    /// Load as the executors reported it, one row an executor, in busy vcores; empty where none is reported.
    #[must_use]
    pub fn load(&self) -> &'a [f32] {
        self.round.column(round::LOAD)
    }

    /// The lasting number of each executor.
    #[inline]
    #[must_use]
    pub fn uids(&self) -> &'a [u32] {
        self.roster.column(roster::UID)
    }

    /// Capacity in vcores, one row an executor.
    #[must_use]
    pub fn vcores(&self) -> &'a [u32] {
        self.roster.column(roster::VCORES)
    }

    /// Capacity in memory, MiB, one row an executor; empty where the embedder does not account for memory.
    #[must_use]
    pub fn memory_mib(&self) -> &'a [u64] {
        self.roster.column(roster::MEMORY_MIB)
    }

    /// Where the executor of this lasting number stands in this round; `None` while it is gone.
    #[must_use]
    pub fn by_uid(&self, uid: ExecutorUid) -> Option<ExecutorId> {
        let at = *self.roster.column::<u32>(roster::INDEX_BY_UID).get(uid.index())?;
        (at != u32::MAX).then_some(ExecutorId(at))
    }

    /// The executor of this name. Costs a binary search.
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<ExecutorId> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.name(middle).cmp(name) {
                std::cmp::Ordering::Equal => return Some(ExecutorId::from_index(middle)),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    fn name(&self, i: usize) -> &'a str {
        self.roster.string(roster::NAME_OFFSETS, roster::NAME_BYTES, i)
    }

    /// One executor.
    #[must_use]
    pub fn get(&self, id: ExecutorId) -> Executor<'a> {
        Executor { all: *self, id }
    }

    /// Every executor, by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Executor<'a>> + use<'a> {
        let all = *self;
        (0..self.len()).map(move |i| Executor { all, id: ExecutorId::from_index(i) })
    }
}

/// One executor.
#[derive(Clone, Copy, Debug)]
pub struct Executor<'a> {
    all: Executors<'a>,
    id: ExecutorId,
}

impl<'a> Executor<'a> {
    /// Its number in this round.
    #[must_use]
    pub fn id(&self) -> ExecutorId {
        self.id
    }

    /// Its lasting number.
    #[must_use]
    pub fn uid(&self) -> ExecutorUid {
        ExecutorUid(self.all.uids().get(self.id.index()).copied().unwrap_or(u32::MAX))
    }

    /// Its name, unique in the cluster.
    #[must_use]
    pub fn name(&self) -> &'a str {
        self.all.name(self.id.index())
    }

    /// Capacity in vcores.
    #[must_use]
    pub fn vcores(&self) -> u32 {
        self.all.vcores().get(self.id.index()).copied().unwrap_or(0)
    }

    /// Free vcores now.
    #[must_use]
    pub fn free_vcores(&self) -> u32 {
        self.all.free_vcores().get(self.id.index()).copied().unwrap_or(0)
    }

    /// Capacity in memory, MiB; zero where the embedder does not account for memory.
    #[must_use]
    pub fn memory_mib(&self) -> u64 {
        self.all.roster.column::<u64>(roster::MEMORY_MIB).get(self.id.index()).copied().unwrap_or(0)
    }

    /// Free memory now, MiB.
    #[must_use]
    pub fn free_memory_mib(&self) -> u64 {
        self.all.free_memory_mib().get(self.id.index()).copied().unwrap_or(0)
    }

    /// Its rack, where the embedder knows racks.
    #[must_use]
    pub fn rack(&self) -> Option<&'a str> {
        let rack = *self.all.roster.column::<u32>(roster::RACK).get(self.id.index())?;
        (rack != u32::MAX).then(|| self.all.roster.string(roster::RACK_OFFSETS, roster::RACK_BYTES, rack as usize))
    }

    /// Its rack as a number of this roster, for comparing; `None` where unknown.
    #[must_use]
    pub fn rack_number(&self) -> Option<u32> {
        self.all.roster.column::<u32>(roster::RACK).get(self.id.index()).copied().filter(|&r| r != u32::MAX)
    }

    /// Relative speed: a task of duration `d` takes `d / speed`. 1.0 where unknown.
    #[must_use]
    pub fn speed(&self) -> f32 {
        self.all.roster.column::<f32>(roster::SPEED).get(self.id.index()).copied().unwrap_or(1.0)
    }

    /// Its labels as (key, value), ordered by key.
    pub fn labels(&self) -> impl ExactSizeIterator<Item = (&'a str, &'a str)> + use<'a> {
        let r = self.all.roster;
        ragged(r.column(roster::LABEL_OFFSETS), self.id.index()).map(move |i| {
            (
                r.string(roster::LABEL_KEY_OFFSETS, roster::LABEL_KEY_BYTES, i),
                r.string(roster::LABEL_VALUE_OFFSETS, roster::LABEL_VALUE_BYTES, i),
            )
        })
    }

    /// The value of one label.
    #[must_use]
    pub fn label(&self, key: &str) -> Option<&'a str> {
        self.labels().find(|&(k, _)| k == key).map(|(_, v)| v)
    }
}

/// One tenant.
#[derive(Clone, Copy, Debug)]
pub struct Tenant<'a> {
    round: BlockView<'a>,
    id: TenantId,
}

impl<'a> Tenant<'a> {
    /// Its number in this round.
    #[must_use]
    pub fn id(&self) -> TenantId {
        self.id
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'a str {
        self.round.string(round::TENANT_OFFSETS, round::TENANT_BYTES, self.id.index())
    }

    /// Vcores that its running tasks hold, over all its jobs, pending or not.
    #[must_use]
    pub fn vcores_in_use(&self) -> u64 {
        self.round.column::<u64>(round::TENANT_VCORES_IN_USE).get(self.id.index()).copied().unwrap_or(0)
    }

    /// Memory in MiB that its running tasks hold.
    #[must_use]
    pub fn memory_mib_in_use(&self) -> u64 {
        self.round.column::<u64>(round::TENANT_MEMORY_MIB_IN_USE).get(self.id.index()).copied().unwrap_or(0)
    }
}

/// One job.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    jobs: RunningJobs<'a>,
    id: JobId,
}

impl<'a> Job<'a> {
    /// Its number in this round.
    #[must_use]
    pub fn id(&self) -> JobId {
        self.id
    }

    /// The embedder's lasting number of the job; the same in every round and in observations.
    #[must_use]
    pub fn key(&self) -> u64 {
        self.jobs.round.column::<u64>(round::JOB_KEY).get(self.id.index()).copied().unwrap_or(u64::MAX)
    }

    /// The embedder's name for the job.
    #[must_use]
    pub fn name(&self) -> &'a str {
        self.jobs.round.string(round::JOB_ID_OFFSETS, round::JOB_ID_BYTES, self.id.index())
    }

    /// Its tenant.
    #[must_use]
    pub fn tenant(&self) -> Tenant<'a> {
        let t = self.jobs.round.column::<u32>(round::JOB_TENANT).get(self.id.index()).copied().unwrap_or(u32::MAX);
        self.jobs.tenant(TenantId(t))
    }

    /// Its priority; higher goes first.
    #[must_use]
    pub fn priority(&self) -> i32 {
        self.jobs.round.column::<i32>(round::JOB_PRIORITY).get(self.id.index()).copied().unwrap_or(0)
    }

    /// When it was submitted, in microseconds on the clock of [`RunningJobs::now_us`].
    #[must_use]
    pub fn submit_us(&self) -> u64 {
        self.jobs.round.column::<u64>(round::JOB_SUBMIT_US).get(self.id.index()).copied().unwrap_or(0)
    }

    /// Vcores that its running tasks hold.
    #[must_use]
    pub fn vcores_in_use(&self) -> u32 {
        self.jobs.round.column::<u32>(round::JOB_VCORES_IN_USE).get(self.id.index()).copied().unwrap_or(0)
    }

    /// Its stages with pending tasks, by number.
    pub fn stages(&self) -> impl ExactSizeIterator<Item = Stage<'a>> + use<'a> {
        let jobs = self.jobs;
        let range = ragged(jobs.round.column(round::JOB_STAGES), self.id.index());
        range.map(move |i| jobs.stage(StageId::from_index(i)))
    }
}

/// One stage with pending tasks: tasks that differ in their data, not in their code.
#[derive(Clone, Copy, Debug)]
pub struct Stage<'a> {
    jobs: RunningJobs<'a>,
    id: StageId,
    block: BlockView<'a>,
    first_task: u32,
    tasks: u32,
    run_start: &'a [u32],
    run_length: &'a [u32],
    vcores: &'a [u32],
    memory_mib: &'a [u32],
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

    /// The pending tasks one by one, ascending. Lazy: what is not asked for costs nothing.
    pub fn pending(&self) -> impl Iterator<Item = Task<'a>> + use<'a> {
        let this = *self;
        self.pending_runs().flat_map(|(first, length)| first..first.saturating_add(length)).map(move |i| this.task(i))
    }

    /// Task `index` of the stage.
    #[inline]
    #[must_use]
    pub fn task(&self, index: u32) -> Task<'a> {
        Task { stage: *self, index }
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

#[inline]
fn per_task(column: &[u32], index: u32, absent: u32) -> u32 {
    match column {
        [] => absent,
        [one] => *one,
        many => many.get(index as usize).copied().unwrap_or(absent),
    }
}

/// One task.
#[derive(Clone, Copy, Debug)]
pub struct Task<'a> {
    stage: Stage<'a>,
    index: u32,
}

impl<'a> Task<'a> {
    /// Its number in this round: what a [`BoundTask`](crate::BoundTask) names.
    #[inline]
    #[must_use]
    pub fn id(&self) -> TaskId {
        TaskId(self.stage.first_task.wrapping_add(self.index))
    }

    /// Its index in its stage: the same in every round.
    #[inline]
    #[must_use]
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Its stage.
    #[inline]
    #[must_use]
    pub fn stage(&self) -> Stage<'a> {
        self.stage
    }

    /// Vcores that it takes: at least one.
    #[inline]
    #[must_use]
    pub fn vcores(&self) -> u32 {
        self.stage.vcores_of(self.index)
    }

    /// Memory that it takes, MiB.
    #[inline]
    #[must_use]
    pub fn memory_mib(&self) -> u32 {
        self.stage.memory_mib_of(self.index)
    }

    /// The key of the data it reads (a file, a partition), where the embedder knows one; empty where not.
    #[must_use]
    pub fn key(&self) -> &'a str {
        self.stage.block.string(stage::KEY_OFFSETS, stage::KEY_BYTES, self.index as usize)
    }

    /// XXH3-64 (seed 0) of its key: stable across processes, platforms and versions.
    #[must_use]
    pub fn key_hash(&self) -> Option<u64> {
        (!self.key().is_empty()).then(|| self.stage.key_hashes().get(self.index as usize).copied()).flatten()
    }

    /// The executor that the embedder wants for it, where it wants one. The executor may be gone:
    /// [`Executors::by_uid`] tells.
    #[must_use]
    pub fn pin(&self) -> Option<ExecutorUid> {
        let pin = per_task(self.stage.block.column(stage::PIN), self.index, u32::MAX);
        (pin != u32::MAX).then_some(ExecutorUid(pin))
    }

    /// Who holds how many bytes of its input: largest first.
    #[inline]
    pub fn holders(&self) -> impl ExactSizeIterator<Item = (ExecutorUid, u64)> + Clone + use<'a> {
        let block = self.stage.block;
        let range = ragged(block.column(stage::HOLDER_OFFSETS), self.index as usize);
        let uids = block.column::<u32>(stage::HOLDER_UID).get(range.clone()).unwrap_or(&[]);
        let bytes = block.column::<u64>(stage::HOLDER_BYTES).get(range).unwrap_or(&[]);
        uids.iter().map(|&u| ExecutorUid(u)).zip(bytes.iter().copied())
    }
}
