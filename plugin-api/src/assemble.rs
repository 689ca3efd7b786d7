//! Building rounds: for hosts, embedders and test kits. A policy author needs nothing from here but the test kit.
//!
//! What does not change is built once and shared: a [`Roster`] until the set of executors changes, a [`StageTasks`] for
//! the life of its stage. A [`Round`] refers to them and costs O(executors + jobs + stages + runs of pending tasks).

use std::collections::HashMap;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::abi::RawBlock;
use crate::block::{Block, BlockKind, BlockWriter};
use crate::columns::{roster, round, stage};
use crate::ids::{ExecutorId, ExecutorUid, StageId, TenantId};
use crate::round::RunningJobs;

/// What of an executor does not change while it is in the cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct ExecutorSpec {
    /// Unique name.
    pub name: String,
    /// Capacity in vcores.
    pub vcores: u32,
    /// Capacity in MiB; zero where memory is not accounted for.
    pub memory_mib: u64,
    /// Rack, where known.
    pub rack: Option<String>,
    /// Relative speed, 1.0 where unknown.
    pub speed: f32,
    /// Labels (key, value).
    pub labels: Vec<(String, String)>,
}

impl ExecutorSpec {
    /// An executor with this name and these vcores, and defaults for the rest.
    #[must_use]
    pub fn new(name: impl Into<String>, vcores: u32) -> Self {
        Self { name: name.into(), vcores, memory_mib: 0, rack: None, speed: 1.0, labels: Vec::new() }
    }
}

/// Gives every executor name its lasting number. Keep one for the life of the host.
#[derive(Clone, Debug, Default)]
pub struct UidTable {
    by_name: HashMap<String, ExecutorUid>,
}

impl UidTable {
    /// The number of this name, given now if it has none.
    pub fn uid(&mut self, name: &str) -> ExecutorUid {
        if let Some(&uid) = self.by_name.get(name) {
            return uid;
        }
        let uid = ExecutorUid::from_index(self.by_name.len());
        self.by_name.insert(name.to_owned(), uid);
        uid
    }

    /// How many names have a number.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether none has.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }
}

/// The executors of the cluster, ordered by name. Immutable; make a new one when an executor comes or goes.
#[derive(Clone, Debug)]
pub struct Roster {
    block: Block,
    names: Vec<String>,
    uids: Vec<ExecutorUid>,
}

impl Roster {
    /// Builds the roster. The order of `executors` does not matter; of two with one name, the first counts.
    #[must_use]
    pub fn new(executors: &[ExecutorSpec], uids: &mut UidTable) -> Arc<Self> {
        let mut sorted: Vec<&ExecutorSpec> = executors.iter().collect();
        sorted.sort_by(|a, b| a.name.cmp(&b.name));
        sorted.dedup_by(|later, first| later.name == first.name);
        let own: Vec<ExecutorUid> = sorted.iter().map(|e| uids.uid(&e.name)).collect();
        let mut w = BlockWriter::new(BlockKind::Roster, roster::COUNT);
        w.put_strings(roster::NAME_OFFSETS, roster::NAME_BYTES, sorted.iter().map(|e| &e.name));
        w.put(roster::UID, &own.iter().map(|u| u.0).collect::<Vec<_>>());
        w.put(roster::VCORES, &sorted.iter().map(|e| e.vcores).collect::<Vec<_>>());
        if sorted.iter().any(|e| e.memory_mib > 0) {
            w.put(roster::MEMORY_MIB, &sorted.iter().map(|e| e.memory_mib).collect::<Vec<_>>());
        }
        Self::put_racks(&mut w, &sorted);
        if sorted.iter().any(|e| e.speed != 1.0) {
            w.put(roster::SPEED, &sorted.iter().map(|e| e.speed).collect::<Vec<_>>());
        }
        Self::put_labels(&mut w, &sorted);
        let mut index_by_uid = vec![u32::MAX; uids.len()];
        own.iter().enumerate().for_each(|(i, uid)| index_by_uid[uid.index()] = i as u32);
        w.put(roster::INDEX_BY_UID, &index_by_uid);
        Arc::new(Self { block: w.finish(), names: sorted.iter().map(|e| e.name.clone()).collect(), uids: own })
    }

    fn put_racks(w: &mut BlockWriter, sorted: &[&ExecutorSpec]) {
        let mut racks: Vec<&str> = sorted.iter().filter_map(|e| e.rack.as_deref()).collect();
        racks.sort_unstable();
        racks.dedup();
        if racks.is_empty() {
            return;
        }
        let number = |e: &&ExecutorSpec| {
            e.rack.as_deref().and_then(|r| racks.binary_search(&r).ok()).map_or(u32::MAX, |i| i as u32)
        };
        w.put(roster::RACK, &sorted.iter().map(number).collect::<Vec<_>>());
        w.put_strings(roster::RACK_OFFSETS, roster::RACK_BYTES, &racks);
    }

    fn put_labels(w: &mut BlockWriter, sorted: &[&ExecutorSpec]) {
        let mut offsets = vec![0u32];
        let mut labels: Vec<&(String, String)> = Vec::new();
        for e in sorted {
            let mut own: Vec<_> = e.labels.iter().collect();
            own.sort();
            labels.extend(own);
            offsets.push(labels.len() as u32);
        }
        if !labels.is_empty() {
            w.put(roster::LABEL_OFFSETS, &offsets);
            w.put_strings(roster::LABEL_KEY_OFFSETS, roster::LABEL_KEY_BYTES, labels.iter().map(|l| &l.0));
            w.put_strings(roster::LABEL_VALUE_OFFSETS, roster::LABEL_VALUE_BYTES, labels.iter().map(|l| &l.1));
        }
    }

    /// The number of executors.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Where an executor stands.
    #[must_use]
    pub fn position(&self, name: &str) -> Option<ExecutorId> {
        self.names.binary_search_by(|n| n.as_str().cmp(name)).ok().map(ExecutorId::from_index)
    }

    /// An executor's name.
    #[must_use]
    pub fn name(&self, id: ExecutorId) -> &str {
        self.names.get(id.index()).map_or("", String::as_str)
    }

    /// An executor's lasting number.
    #[must_use]
    pub fn uid(&self, id: ExecutorId) -> Option<ExecutorUid> {
        self.uids.get(id.index()).copied()
    }

    /// The block.
    #[must_use]
    pub fn block(&self) -> &Block {
        &self.block
    }
}

/// One task, as its stage is built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskSpec {
    /// Vcores that it takes; zero counts as one.
    pub vcores: u32,
    /// Memory that it takes, MiB.
    pub memory_mib: u32,
    /// The key of its data; empty for none.
    pub key: String,
    /// The executor that the embedder wants for it.
    pub pin: Option<ExecutorUid>,
    /// Who holds how many bytes of its input.
    pub holders: Vec<(ExecutorUid, u64)>,
}

impl Default for TaskSpec {
    fn default() -> Self {
        Self { vcores: 1, memory_mib: 0, key: String::new(), pin: None, holders: Vec::new() }
    }
}

/// The tasks of a stage: built once, referred to by every later round.
#[derive(Clone, Debug)]
pub struct StageTasks {
    block: Block,
    tasks: u32,
}

impl StageTasks {
    /// A stage of `tasks` tasks that differ in nothing, each taking `vcores`.
    #[must_use]
    pub fn uniform(tasks: u32, vcores: u32) -> Arc<Self> {
        let mut w = BlockWriter::new(BlockKind::Stage, stage::COUNT);
        w.put(stage::TASKS, &[tasks]);
        if vcores != 1 {
            w.put(stage::VCORES, &[vcores.max(1)]);
        }
        Arc::new(Self { block: w.finish(), tasks })
    }

    /// A stage of these tasks.
    ///
    /// # Panics
    /// If there are 2^32 tasks or more.
    #[must_use]
    pub fn new(tasks: &[TaskSpec]) -> Arc<Self> {
        let count = u32::try_from(tasks.len()).expect("a stage of less than 2^32 tasks");
        let mut w = BlockWriter::new(BlockKind::Stage, stage::COUNT);
        w.put(stage::TASKS, &[count]);
        put_unless(&mut w, stage::VCORES, tasks.iter().map(|t| t.vcores.max(1)).collect(), 1);
        put_unless(&mut w, stage::MEMORY_MIB, tasks.iter().map(|t| t.memory_mib).collect(), 0);
        let pins = tasks.iter().map(|t| t.pin.map_or(u32::MAX, |p| p.0)).collect();
        put_unless(&mut w, stage::PIN, pins, u32::MAX);
        if tasks.iter().any(|t| !t.key.is_empty()) {
            let hashes: Vec<u64> = tasks.iter().map(|t| key_hash(&t.key)).collect();
            w.put(stage::KEY_HASH, &hashes);
            w.put_strings(stage::KEY_OFFSETS, stage::KEY_BYTES, tasks.iter().map(|t| &t.key));
        }
        if tasks.iter().any(|t| !t.holders.is_empty()) {
            let (mut offsets, mut uids, mut bytes) = (vec![0u32], Vec::new(), Vec::new());
            for t in tasks {
                let mut holders = t.holders.clone();
                holders.sort_by_key(|&(uid, bytes)| (std::cmp::Reverse(bytes), uid));
                uids.extend(holders.iter().map(|h| h.0.0));
                bytes.extend(holders.iter().map(|h| h.1));
                offsets.push(uids.len() as u32);
            }
            w.put(stage::HOLDER_OFFSETS, &offsets);
            w.put(stage::HOLDER_UID, &uids);
            w.put(stage::HOLDER_BYTES, &bytes);
        }
        Arc::new(Self { block: w.finish(), tasks: count })
    }

    /// The number of tasks.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.tasks
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tasks == 0
    }

    /// The block.
    #[must_use]
    pub fn block(&self) -> &Block {
        &self.block
    }
}

/// The fixed hash of a task's key: XXH3-64 with seed 0.
#[must_use]
pub fn key_hash(key: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64(key.as_bytes())
}

/// Writes a per-task column: nothing when all are the default, one row when all are equal.
fn put_unless(w: &mut BlockWriter, column: u16, values: Vec<u32>, default: u32) {
    match values.first() {
        Some(&first) if values.iter().all(|&v| v == first) => {
            if first != default {
                w.put(column, &[first]);
            }
        }
        _ => w.put(column, &values),
    }
}

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
        self.stages.iter().map(|s| RawBlock::new(&s.block)).collect()
    }

    /// The round as a policy sees it, without limits.
    ///
    /// # Panics
    /// If `stages` is not what [`Round::stage_refs`] of this round returned.
    #[must_use]
    pub fn view<'a>(&'a self, stages: &'a StageRefs<'_>) -> RunningJobs<'a> {
        RunningJobs::from_blocks(RawBlock::new(&self.body), RawBlock::new(&self.roster.block), stages, None)
            .expect("a round built here is well formed")
    }
}
