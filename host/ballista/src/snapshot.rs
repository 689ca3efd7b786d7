//! One round out of Ballista's state: one job at a time, under its read lock; sorted, because the order of Ballista's hash
//! maps must not reach a policy.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use ballista_core::JobId;
use ballista_core::serde::protobuf::job_status;
use ballista_scheduler::state::execution_graph::ExecutionGraph;
use ballista_scheduler::state::execution_stage::{ExecutionStage, RunningStage};
use ballista_scheduler::state::task_manager::JobInfoCache;
use policy_host::round::{
    BoundTask, Clock, ExecutorId, ExecutorUid, JobRow, Round, RoundBuilder, StageRow, StageTasks, TenantId,
};

use crate::apply::revived;
use crate::decision::{Share, StageDecision, StageRef};
use crate::identity::{Cluster, ClusterView};
use crate::queue::Queue;
use crate::reservation::Reservations;
use crate::tracked::{TaskEvents, TrackedJob, TrackedJobs, TrackedStage};

/// The running jobs as one round shows them.
pub(crate) struct Snapshot {
    jobs: Vec<JobShot>,
    running_tasks: Vec<u32>,
    /// Tasks that a policy could bind.
    pub(crate) pending: u64,
    /// Whether some stage has partitions that must be repeated before others.
    pub(crate) has_repeats: bool,
}

struct JobShot {
    id: JobId,
    key: u64,
    tenant: String,
    priority: i32,
    submit_us: u64,
    vcores_in_use: u32,
    stages: Vec<StageShot>,
}

struct StageShot {
    stage: StageRef,
    tasks: Arc<StageTasks>,
    /// What may be bound; of a collapse stage, its partitions.
    queue: Queue,
    running: u32,
    since_us: u64,
}

/// What a snapshot is taken of.
pub(crate) struct Source<'s> {
    pub(crate) jobs: &'s HashMap<JobId, JobInfoCache>,
    pub(crate) view: &'s ClusterView,
    pub(crate) cluster: &'s Cluster,
    pub(crate) reservations: &'s Reservations,
    pub(crate) now_us: u64,
}

impl Snapshot {
    /// Reads all running jobs. `out` gets what happened to their tasks since the last round.
    pub(crate) async fn take(source: &Source<'_>, tracked: &mut TrackedJobs, out: &mut TaskEvents) -> Self {
        tracked.close(source.jobs, source.now_us, source.view, out).await;
        let running_tasks = vec![0; source.cluster.roster.len()];
        let mut this = Self { jobs: Vec::new(), running_tasks, pending: 0, has_repeats: false };
        for (id, info) in source.jobs {
            if !matches!(info.status, Some(job_status::Status::Running(_))) {
                continue;
            }
            let graph = revived(&info.execution_graph).await;
            if matches!(graph.status().status, Some(job_status::Status::Failed(_))) {
                continue;
            }
            let job = tracked.job(id, info, graph.as_ref());
            this.add(source, id, info, graph.as_ref(), job, out);
        }
        let order = |job: &JobShot| (Reverse(job.priority), job.submit_us);
        this.jobs.sort_by(|a, b| order(a).cmp(&order(b)).then_with(|| a.id.cmp(&b.id)));
        this
    }

    fn add(
        &mut self,
        source: &Source<'_>,
        id: &JobId,
        info: &JobInfoCache,
        graph: &dyn ExecutionGraph,
        tracked: &mut TrackedJob,
        out: &mut TaskEvents,
    ) {
        tracked.observe_ended(graph, source.now_us, source.view, out);
        let running_stages = graph.stages().values().filter_map(|stage| match stage {
            ExecutionStage::Running(stage) => Some(stage),
            _ => None,
        });
        let mut running_stages: Vec<&RunningStage> = running_stages.collect();
        running_stages.sort_unstable_by_key(|s| s.stage_id);
        let mut vcores_in_use = 0;
        let mut stages = Vec::new();
        for stage in running_stages {
            let known = tracked.stages.get(&stage.stage_id);
            if known.is_none_or(|b| !b.is_of(stage.stage_attempt_num, &stage.plan)) {
                let since_us = u64::try_from(stage.stage_running_time).unwrap_or(0).saturating_mul(1_000);
                let opened = TrackedStage::open(stage, since_us, source.view);
                tracked.stages.insert(stage.stage_id, opened);
            }
            let Some(known) = tracked.stages.get_mut(&stage.stage_id) else { continue };
            let infos = &stage.task_infos;
            let running = known.observe(tracked.key, stage.stage_id, infos, source.now_us, source.view, out);
            vcores_in_use += running.vcores;
            for uid in running.executors {
                if let Some(position) = source.cluster.position(uid) {
                    self.running_tasks[position] += 1;
                }
            }
            if let Some(shot) = shot(source, id, info, stage, known, running.partitions) {
                self.pending += u64::from(shot.pending());
                self.has_repeats |= shot.has_repeats();
                stages.push(shot);
            }
        }
        self.jobs.push(JobShot {
            id: id.clone(),
            key: tracked.key,
            tenant: tracked.settings.tenant.clone(),
            priority: tracked.settings.priority,
            submit_us: tracked.submit_us,
            vcores_in_use,
            stages,
        });
    }

    /// Counts decisions as if they were applied: what they take is not pending, runs, and is not free. `free` has a row for
    /// each executor of the cluster.
    pub(crate) fn assume(&mut self, decided: &[StageDecision], cluster: &Cluster, free: &mut [u32]) {
        for decision in decided {
            let Some(job) = self.jobs.iter_mut().find(|job| job.id == decision.stage.job) else { continue };
            let at = job.stages.iter().position(|shot| shot.stage.stage_id == decision.stage.stage_id);
            let Some(at) = at else { continue };
            for share in &decision.shares {
                let vcores = decision.vcores(share);
                job.vcores_in_use += vcores;
                if let Some(position) = cluster.position(share.executor) {
                    free[position] = free[position].saturating_sub(vcores);
                    self.running_tasks[position] += decision.tasks(share);
                }
            }
            let stage = &mut job.stages[at];
            stage.take(decision);
            if stage.queue.len() == 0 {
                job.stages.remove(at);
            }
        }
    }

    /// The round of this snapshot. With `only_repeats`, stages list what must be repeated and nothing else.
    pub(crate) fn round(
        &self,
        builder: &mut RoundBuilder,
        cluster: &Cluster,
        free: &[u32],
        clock: Clock,
        only_repeats: bool,
    ) -> (Arc<Round>, Vec<ListedStage<'_>>) {
        builder.free_vcores(free).running_tasks(&self.running_tasks);
        let mut in_use: Vec<(&str, u64)> = Vec::new();
        for job in &self.jobs {
            match in_use.iter_mut().find(|t| t.0 == job.tenant) {
                Some(tenant) => tenant.1 += u64::from(job.vcores_in_use),
                None => in_use.push((&job.tenant, u64::from(job.vcores_in_use))),
            }
        }
        in_use.sort_unstable();
        let tenants: Vec<TenantId> = in_use.iter().map(|t| builder.tenant(t.0, t.1, 0)).collect();
        let mut listed: Vec<ListedStage<'_>> = Vec::new();
        let mut base = 0;
        for job in &self.jobs {
            let tenant = tenants[in_use.partition_point(|t| t.0 < job.tenant.as_str())];
            let (key, id) = (job.key, job.id.as_str());
            let (priority, submit_us, vcores_in_use) = (job.priority, job.submit_us, job.vcores_in_use);
            builder.job(JobRow { key, id, tenant, priority, submit_us, vcores_in_use });
            for shot in &job.stages {
                if only_repeats && !shot.has_repeats() {
                    continue;
                }
                let row = StageRow {
                    number: shot.stage.stage_id as u32,
                    tasks: Arc::clone(&shot.tasks),
                    pending: shot.pending(),
                    running: shot.running,
                    runnable_since_us: shot.since_us,
                };
                if shot.stage.collapse {
                    builder.stage(row, [(0, 1)]);
                } else if only_repeats {
                    builder.stage(row, shot.queue.repeats());
                } else {
                    builder.stage(row, shot.queue.runs().iter().copied());
                }
                listed.push(ListedStage { base, shot });
                base += shot.tasks.len();
            }
        }
        (builder.finish(&cluster.roster, clock), listed)
    }
}

/// A stage of a round, with the number of its first task there.
pub(crate) struct ListedStage<'s> {
    base: u32,
    shot: &'s StageShot,
}

/// A plan's bindings as shares of stages: by stage in the round's order, within a stage by executor in the order of its
/// first binding. Costs O(bindings), and a sort of them when the policy went to and fro between stages.
pub(crate) fn shares(listed: &[ListedStage<'_>], cluster: &Cluster, bindings: &[BoundTask]) -> Vec<StageDecision> {
    let stage_of = |binding: &BoundTask| listed.partition_point(|l| l.base <= binding.task.0).saturating_sub(1);
    let end_of = |stage: usize| listed.get(stage + 1).map_or(u32::MAX, |next| next.base);
    let mut sorted;
    let mut rest = bindings;
    let mut end_before = 0;
    let mut decided = Vec::new();
    let mut share_of = vec![(u32::MAX, 0); cluster.roster.len()];
    while let Some(first) = rest.first() {
        if first.task.0 < end_before {
            // To and fro: from the start again, in order.
            decided.clear();
            (sorted, end_before) = (bindings.to_vec(), 0);
            sorted.sort_by_key(stage_of);
            rest = &sorted;
            continue;
        }
        let at = stage_of(first);
        let (Some(stage), end) = (listed.get(at), end_of(at)) else { break };
        let (of_stage, length) = of_one(stage, rest, end, cluster, &mut share_of);
        decided.push(of_stage);
        (rest, end_before) = (&rest[length..], end);
    }
    decided
}

/// The bindings that the answer begins with, as far as they are of this stage, by executor; and how many those are.
/// `share_of`: for each executor its share's number and size; left as it was.
fn of_one(
    stage: &ListedStage<'_>,
    bindings: &[BoundTask],
    end: u32,
    cluster: &Cluster,
    share_of: &mut [(u32, u32)],
) -> (StageDecision, usize) {
    let mut executors = Vec::new();
    let first = bindings.first().map_or(0, |b| b.task.0);
    let (mut length, mut is_run) = (0, true);
    for binding in bindings {
        if !(stage.base..end).contains(&binding.task.0) {
            break;
        }
        is_run &= binding.task.0.wrapping_sub(first) == length;
        length += 1;
        let (number, size) = &mut share_of[binding.executor.index()];
        if *number == u32::MAX {
            *number = executors.len() as u32;
            executors.push(binding.executor);
        }
        *size += 1;
    }
    let bindings = &bindings[..length as usize];
    let share = |&executor: &ExecutorId| Share {
        executor: cluster.roster.uid(executor).unwrap_or(ExecutorUid(u32::MAX)),
        partitions: Vec::with_capacity(share_of[executor.index()].1 as usize),
    };
    let mut shares: Vec<Share> = executors.iter().map(share).collect();
    for binding in bindings {
        let number = share_of[binding.executor.index()].0;
        shares[number as usize].partitions.push((binding.task.0 - stage.base) as usize);
    }
    executors.iter().for_each(|executor| share_of[executor.index()] = (u32::MAX, 0));
    let run = is_run.then(|| (first - stage.base, length));
    (StageDecision { stage: stage.shot.stage.clone(), shares, run }, bindings.len())
}

fn shot(
    source: &Source<'_>,
    id: &JobId,
    info: &JobInfoCache,
    stage: &RunningStage,
    known: &mut TrackedStage,
    running: u32,
) -> Option<StageShot> {
    if stage.pending.is_empty() {
        return None;
    }
    let started = stage.task_infos.iter().flat_map(|info| info.global_input_partition_ids.iter().copied());
    known.queue.follow(&stage.pending, started);
    let mut queue = known.queue.clone();
    if !source.reservations.is_empty() {
        let kept = source.reservations.of_stage(id, stage.stage_id, stage.stage_attempt_num);
        if known.collapse && !kept.is_empty() {
            return None;
        }
        queue.leave_out(kept.into_iter());
    }
    let stage = StageRef {
        job: id.clone(),
        graph: Arc::clone(&info.execution_graph),
        stage_id: stage.stage_id,
        attempt: stage.stage_attempt_num,
        plan: Arc::clone(&stage.plan),
        collapse: known.collapse,
        partitions_per_task: known.partitions_per_task,
    };
    let (tasks, since_us) = (Arc::clone(&known.tasks), known.since_us());
    (queue.len() > 0).then_some(StageShot { stage, tasks, queue, running, since_us })
}

impl StageShot {
    /// Leaves out what a decision takes.
    fn take(&mut self, decision: &StageDecision) {
        let mut taken: Vec<u32> = match self.stage.collapse {
            true => self.queue.runs().iter().flat_map(|&(first, length)| first..first + length).collect(),
            false => decision.shares.iter().flat_map(|share| &share.partitions).map(|&p| p as u32).collect(),
        };
        taken.sort_unstable();
        self.running += taken.len() as u32;
        self.queue.leave_out(taken.into_iter());
    }

    /// Tasks that a policy could bind.
    fn pending(&self) -> u32 {
        if self.stage.collapse { 1 } else { self.queue.len() }
    }

    /// Whether some of them must be repeated before others.
    fn has_repeats(&self) -> bool {
        !self.stage.collapse && self.queue.has_repeats()
    }
}
