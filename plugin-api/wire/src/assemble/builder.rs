//! One round: collected, put into the contract's order, closed.

use std::sync::Arc;

use super::{Clock, ExecutorRows, Roster, Round, StageTasks};
use crate::block::{BlockKind, BlockWriter};
use crate::columns::round;
use crate::ids::TenantId;

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
    tenant_names: String,
    tenants: Vec<(std::ops::Range<usize>, u64, u64)>,
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
        let from = self.tenant_names.len();
        self.tenant_names.push_str(name);
        self.tenants.push((from..self.tenant_names.len(), vcores_in_use, memory_mib_in_use));
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
        let ids = self.order();
        let mut w = BlockWriter::new(BlockKind::Round, round::COUNT);
        w.put(round::CLOCK, &[clock.now_us, clock.seed, clock.number]);
        w.put(round::FREE_VCORES, &self.free_vcores);
        w.put(round::FREE_MEMORY_MIB, &self.free_memory_mib);
        w.put(round::RUNNING_TASKS, &self.running_tasks);
        w.put(round::LOAD, &self.load);
        let mut stages = Vec::with_capacity(self.stages.len());
        self.put_rest(&mut w, &mut stages, &ids);
        let (body, roster) = (w.finish(), Arc::clone(roster));
        self.clear(ids);
        Arc::new(Round::new(roster, body, stages, clock))
    }

    /// As [`RoundBuilder::finish`], with executor rows that are kept from round to round; rows given to the builder
    /// itself are ignored.
    ///
    /// # Panics
    /// As [`RoundBuilder::finish`].
    pub fn finish_with(&mut self, rows: &mut ExecutorRows, roster: &Arc<Roster>, clock: Clock) -> Arc<Round> {
        assert_eq!(rows.len(), roster.len(), "one row of free vcores an executor");
        let ids = self.order();
        let round = rows.close(roster, clock, |w, stages| self.put_rest(w, stages, &ids));
        self.clear(ids);
        round
    }

    /// Puts jobs into the contract's order; returns the text of their ids.
    fn order(&mut self) -> String {
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
        ids
    }

    /// Everything but clock and executors.
    fn put_rest(&self, w: &mut BlockWriter, stages: &mut Vec<Arc<StageTasks>>, ids: &str) {
        // Names stand one after another, so their ends are the offsets.
        let ends = self.tenants.iter().map(|t| t.0.end as u32);
        w.put_each(round::TENANT_OFFSETS, Offsets::new(ends));
        w.put(round::TENANT_BYTES, self.tenant_names.as_bytes());
        w.put_each(round::TENANT_VCORES_IN_USE, self.tenants.iter().map(|t| t.1));
        w.put_each(round::TENANT_MEMORY_MIB_IN_USE, self.tenants.iter().map(|t| t.2));
        self.put_jobs(w, ids);
        self.put_stages(w, stages);
    }

    fn put_jobs(&self, w: &mut BlockWriter, ids: &str) {
        let jobs = || self.jobs.iter();
        w.put_each(round::JOB_KEY, jobs().map(|j| j.key));
        w.put_strings(round::JOB_ID_OFFSETS, round::JOB_ID_BYTES, jobs().map(|j| &ids[j.id.clone()]));
        w.put_each(round::JOB_TENANT, jobs().map(|j| j.tenant.0));
        w.put_each(round::JOB_PRIORITY, jobs().map(|j| j.priority));
        w.put_each(round::JOB_SUBMIT_US, jobs().map(|j| j.submit_us));
        w.put_each(round::JOB_VCORES_IN_USE, jobs().map(|j| j.vcores_in_use));
        w.put_each(round::JOB_STAGES, Offsets::new(running_sum(jobs().map(|j| j.stages.len() as u32))));
    }

    fn put_stages(&self, w: &mut BlockWriter, blocks: &mut Vec<Arc<StageTasks>>) {
        let ordered = || {
            let stages = self.jobs.iter().enumerate().flat_map(|(at, job)| job.stages.clone().map(move |s| (at, s)));
            Counted { rows: stages.map(|(at, s)| (at as u32, &self.stages[s])), left: self.stages.len() }
        };
        let lengths = ordered().map(|(_, e)| e.row.tasks.len());
        let all: u64 = lengths.map(u64::from).sum();
        assert!(all < 1 << 32, "less than 2^32 tasks in a round");
        w.put_each(round::STAGE_NUMBER, ordered().map(|(_, e)| e.row.number));
        w.put_each(round::STAGE_JOB, ordered().map(|(at, _)| at));
        let lengths = ordered().map(|(_, e)| e.row.tasks.len());
        w.put_each(round::STAGE_TASK_BASE, Offsets::new(running_sum(lengths)));
        w.put_each(round::STAGE_PENDING, ordered().map(|(_, e)| e.row.pending));
        w.put_each(round::STAGE_RUNNING, ordered().map(|(_, e)| e.row.running));
        w.put_each(round::STAGE_RUNNABLE_SINCE_US, ordered().map(|(_, e)| e.row.runnable_since_us));
        let runs = ordered().map(|(_, e)| e.runs.len() as u32);
        w.put_each(round::STAGE_RUNS, Offsets::new(running_sum(runs)));
        let runs = || {
            let runs = ordered().flat_map(|(_, e)| &self.runs[e.runs.clone()]);
            Counted { rows: runs, left: self.runs.len() }
        };
        w.put_each(round::RUN_START, runs().map(|r| r.0));
        w.put_each(round::RUN_LENGTH, runs().map(|r| r.1));
        blocks.extend(ordered().map(|(_, e)| Arc::clone(&e.row.tasks)));
    }

    fn clear(&mut self, mut ids: String) {
        ids.clear();
        self.ids = ids;
        self.free_vcores.clear();
        self.free_memory_mib.clear();
        self.running_tasks.clear();
        self.load.clear();
        self.tenants.clear();
        self.tenant_names.clear();
        self.jobs.clear();
        self.stages.clear();
        self.runs.clear();
    }
}

/// Ends as offsets: a zero before them.
struct Offsets<I> {
    first: Option<u32>,
    ends: I,
}

impl<I: ExactSizeIterator<Item = u32>> Offsets<I> {
    fn new(ends: I) -> Self {
        Self { first: Some(0), ends }
    }
}

impl<I: ExactSizeIterator<Item = u32>> Iterator for Offsets<I> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        self.first.take().or_else(|| self.ends.next())
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let n = self.ends.len() + usize::from(self.first.is_some());
        (n, Some(n))
    }
}

impl<I: ExactSizeIterator<Item = u32>> ExactSizeIterator for Offsets<I> {}

fn running_sum(lengths: impl ExactSizeIterator<Item = u32>) -> impl ExactSizeIterator<Item = u32> {
    let mut sum = 0u32;
    lengths.map(move |length| {
        sum += length;
        sum
    })
}

/// Rows whose number is known though their iterator does not say so.
struct Counted<I> {
    rows: I,
    left: usize,
}

impl<I: Iterator> Iterator for Counted<I> {
    type Item = I::Item;

    fn next(&mut self) -> Option<I::Item> {
        let row = self.rows.next()?;
        self.left -= 1;
        Some(row)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<I: Iterator> ExactSizeIterator for Counted<I> {}
