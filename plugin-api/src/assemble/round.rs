//! One round: collected, put into the contract's order, closed.

use std::sync::Arc;

use smallvec::SmallVec;

use super::{Roster, StageTasks};
use crate::abi::RawBlock;
use crate::block::{Block, BlockKind, BlockWriter};
use crate::columns::round;
use crate::ids::{StageId, TenantId};
use crate::round::RunningJobs;

/// What of a job a round lists.
#[derive(Clone, Copy, Debug)]
pub struct JobRow<'a> {
    /// The embedder's lasting number of the job.
    pub key: u64,
    /// Its name.
    pub id: &'a str,
    /// Its tenant, as [`RoundBuilder::tenant`] returned it.
    pub tenant: TenantId,
    /// Higher goes first.
    pub priority: i32,
    /// When it was submitted.
    pub submit_us: u64,
    /// Vcores that its running tasks hold.
    pub vcores_in_use: u32,
}

/// What of a stage a round lists.
#[derive(Clone, Debug)]
pub struct StageRow {
    /// The embedder's number of the stage within its job.
    pub number: u32,
    /// Its tasks.
    pub tasks: Arc<StageTasks>,
    /// Tasks pending, listed or not.
    pub pending: u32,
    /// Tasks running.
    pub running: u32,
    /// Since when it has been runnable.
    pub runnable_since_us: u64,
}

#[derive(Debug)]
struct JobEntry {
    key: u64,
    id: std::ops::Range<usize>,
    tenant: TenantId,
    priority: i32,
    submit_us: u64,
    vcores_in_use: u32,
    stages: std::ops::Range<usize>,
}

#[derive(Debug)]
struct StageEntry {
    row: StageRow,
    runs: std::ops::Range<usize>,
}

/// Collects one round. Reuse it: [`RoundBuilder::finish`] leaves it empty, with its memory.
#[derive(Debug, Default)]
pub struct RoundBuilder {
    free_vcores: Vec<u32>,
    free_memory_mib: Vec<u64>,
    running_tasks: Vec<u32>,
    load: Vec<f32>,
    tenants: Vec<(String, u64, u64)>,
    ids: String,
    jobs: Vec<JobEntry>,
    stages: Vec<StageEntry>,
    runs: Vec<(u32, u32)>,
}

impl RoundBuilder {
    /// An empty builder.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Free vcores, one row an executor of the roster. Zero for an executor that should get nothing.
    pub fn free_vcores(&mut self, rows: &[u32]) -> &mut Self {
        self.free_vcores.clear();
        self.free_vcores.extend_from_slice(rows);
        self
    }

    /// Free memory in MiB, one row an executor. Leave it out where memory is not accounted for.
    pub fn free_memory_mib(&mut self, rows: &[u64]) -> &mut Self {
        self.free_memory_mib.clear();
        self.free_memory_mib.extend_from_slice(rows);
        self
    }

    /// Running tasks, one row an executor.
    pub fn running_tasks(&mut self, rows: &[u32]) -> &mut Self {
        self.running_tasks.clear();
        self.running_tasks.extend_from_slice(rows);
        self
    }

    /// Reported load in busy vcores, one row an executor.
    pub fn load(&mut self, rows: &[f32]) -> &mut Self {
        self.load.clear();
        self.load.extend_from_slice(rows);
        self
    }

    /// Adds a tenant with what its running tasks hold. Add each tenant once.
    pub fn tenant(&mut self, name: &str, vcores_in_use: u64, memory_mib_in_use: u64) -> TenantId {
        self.tenants.push((name.to_owned(), vcores_in_use, memory_mib_in_use));
        TenantId::from_index(self.tenants.len() - 1)
    }

    /// Adds a job, in any order; its stages follow, by number.
    pub fn job(&mut self, job: JobRow<'_>) -> &mut Self {
        let from = self.ids.len();
        self.ids.push_str(job.id);
        let at = self.stages.len();
        self.jobs.push(JobEntry {
            key: job.key,
            id: from..self.ids.len(),
            tenant: job.tenant,
            priority: job.priority,
            submit_us: job.submit_us,
            vcores_in_use: job.vcores_in_use,
            stages: at..at,
        });
        self
    }

    /// Adds a stage of the last job, with its pending tasks as runs (first, length), ascending and apart.
    ///
    /// # Panics
    /// If no job was added before.
    pub fn stage(&mut self, row: StageRow, pending: impl IntoIterator<Item = (u32, u32)>) -> &mut Self {
        let from = self.runs.len();
        self.runs.extend(pending);
        self.stages.push(StageEntry { row, runs: from..self.runs.len() });
        self.jobs.last_mut().expect("a job before its stages").stages.end = self.stages.len();
        self
    }

    /// Closes the round: sorts jobs into the contract's order (no work if they are), leaves out jobs without stages.
    ///
    /// # Panics
    /// If the executor rows do not match the roster, or the listed stages hold 2^32 tasks or more.
    pub fn finish(&mut self, roster: &Arc<Roster>, clock: Clock) -> Arc<Round> {
        assert_eq!(self.free_vcores.len(), roster.len(), "one row of free vcores an executor");
        let ids = std::mem::take(&mut self.ids);
        self.jobs.retain(|j| !j.stages.is_empty());
        let key = |j: &JobEntry| (std::cmp::Reverse(j.priority), j.submit_us, j.id.clone());
        let order = |a: &JobEntry, b: &JobEntry| {
            let ((pa, sa, ia), (pb, sb, ib)) = (key(a), key(b));
            (pa, sa).cmp(&(pb, sb)).then_with(|| ids[ia].cmp(&ids[ib]))
        };
        if !self.jobs.is_sorted_by(|a, b| order(a, b).is_le()) {
            self.jobs.sort_by(order);
        }
        let mut w = BlockWriter::new(BlockKind::Round, round::COUNT);
        w.put(round::CLOCK, &[clock.now_us, clock.seed, clock.number]);
        w.put(round::FREE_VCORES, &self.free_vcores);
        w.put(round::FREE_MEMORY_MIB, &self.free_memory_mib);
        w.put(round::RUNNING_TASKS, &self.running_tasks);
        w.put(round::LOAD, &self.load);
        w.put_strings(round::TENANT_OFFSETS, round::TENANT_BYTES, self.tenants.iter().map(|t| &t.0));
        w.put(round::TENANT_VCORES_IN_USE, &self.tenants.iter().map(|t| t.1).collect::<Vec<_>>());
        w.put(round::TENANT_MEMORY_MIB_IN_USE, &self.tenants.iter().map(|t| t.2).collect::<Vec<_>>());
        self.put_jobs(&mut w, &ids);
        let stages = self.put_stages(&mut w);
        let (body, roster) = (w.finish(), Arc::clone(roster));
        self.clear(ids);
        Arc::new(Round { roster, body, stages, clock })
    }

    fn put_jobs(&self, w: &mut BlockWriter, ids: &str) {
        fn column<T>(jobs: &[JobEntry], of: impl Fn(&JobEntry) -> T) -> Vec<T> {
            jobs.iter().map(of).collect()
        }
        w.put(round::JOB_KEY, &column(&self.jobs, |j| j.key));
        w.put_strings(round::JOB_ID_OFFSETS, round::JOB_ID_BYTES, self.jobs.iter().map(|j| &ids[j.id.clone()]));
        w.put(round::JOB_TENANT, &column(&self.jobs, |j| j.tenant.0));
        w.put(round::JOB_PRIORITY, &column(&self.jobs, |j| j.priority));
        w.put(round::JOB_SUBMIT_US, &column(&self.jobs, |j| j.submit_us));
        w.put(round::JOB_VCORES_IN_USE, &column(&self.jobs, |j| j.vcores_in_use));
        let mut offsets = vec![0u32];
        offsets.extend(self.jobs.iter().scan(0u32, |sum, j| {
            *sum += j.stages.len() as u32;
            Some(*sum)
        }));
        w.put(round::JOB_STAGES, &offsets);
    }

    fn put_stages(&self, w: &mut BlockWriter) -> Vec<Arc<StageTasks>> {
        let n = self.stages.len();
        let (mut numbers, mut jobs, mut pending) =
            (Vec::with_capacity(n), Vec::with_capacity(n), Vec::with_capacity(n));
        let (mut running, mut since) = (Vec::with_capacity(n), Vec::with_capacity(n));
        let (mut bases, mut offsets) = (vec![0u32], vec![0u32]);
        let (mut starts, mut lengths) = (Vec::with_capacity(self.runs.len()), Vec::with_capacity(self.runs.len()));
        let mut blocks = Vec::with_capacity(n);
        for (at, job) in self.jobs.iter().enumerate() {
            for entry in &self.stages[job.stages.clone()] {
                numbers.push(entry.row.number);
                jobs.push(at as u32);
                pending.push(entry.row.pending);
                running.push(entry.row.running);
                since.push(entry.row.runnable_since_us);
                let base = bases.last().copied().unwrap_or(0);
                bases.push(base.checked_add(entry.row.tasks.len()).expect("less than 2^32 tasks in a round"));
                for &(start, length) in &self.runs[entry.runs.clone()] {
                    starts.push(start);
                    lengths.push(length);
                }
                offsets.push(starts.len() as u32);
                blocks.push(Arc::clone(&entry.row.tasks));
            }
        }
        w.put(round::STAGE_NUMBER, &numbers);
        w.put(round::STAGE_JOB, &jobs);
        w.put(round::STAGE_TASK_BASE, &bases);
        w.put(round::STAGE_PENDING, &pending);
        w.put(round::STAGE_RUNNING, &running);
        w.put(round::STAGE_RUNNABLE_SINCE_US, &since);
        w.put(round::STAGE_RUNS, &offsets);
        w.put(round::RUN_START, &starts);
        w.put(round::RUN_LENGTH, &lengths);
        blocks
    }

    fn clear(&mut self, mut ids: String) {
        ids.clear();
        self.ids = ids;
        self.free_vcores.clear();
        self.free_memory_mib.clear();
        self.running_tasks.clear();
        self.load.clear();
        self.tenants.clear();
        self.jobs.clear();
        self.stages.clear();
        self.runs.clear();
    }
}

/// Time, seed and number of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Clock {
    /// Microseconds on the embedder's clock.
    pub now_us: u64,
    /// The round's seed.
    pub seed: u64,
    /// The round's number.
    pub number: u64,
}

/// One round, owned: immutable, shared with whoever still reads it.
#[derive(Debug)]
pub struct Round {
    roster: Arc<Roster>,
    body: Block,
    stages: Vec<Arc<StageTasks>>,
    clock: Clock,
}

/// The stage blocks of a round as references: what a view borrows.
pub type StageRefs<'a> = SmallVec<[RawBlock<'a>; 8]>;

impl Round {
    /// The roster that the executor numbers of this round refer to.
    #[must_use]
    pub fn roster(&self) -> &Arc<Roster> {
        &self.roster
    }

    /// The round's own block.
    #[must_use]
    pub fn body(&self) -> &Block {
        &self.body
    }

    /// The tasks of stage `id`.
    #[must_use]
    pub fn stage_tasks(&self, id: StageId) -> Option<&Arc<StageTasks>> {
        self.stages.get(id.index())
    }

    /// Time, seed and number.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// References to the stage blocks, for [`Round::view`].
    #[must_use]
    pub fn stage_refs(&self) -> StageRefs<'_> {
        self.stages.iter().map(|s| RawBlock::new(s.block())).collect()
    }

    /// The round as a policy sees it, without limits.
    ///
    /// # Panics
    /// If `stages` is not what [`Round::stage_refs`] of this round returned.
    #[must_use]
    pub fn view<'a>(&'a self, stages: &'a StageRefs<'_>) -> RunningJobs<'a> {
        RunningJobs::from_blocks(RawBlock::new(&self.body), RawBlock::new(self.roster.block()), stages, None)
            .expect("a round built here is well formed")
    }
}
