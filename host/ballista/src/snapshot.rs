//! One round out of Ballista's state: read locks only, one job at a time; sorted, so that Ballista's hash maps do not
//! show. The write lock is taken for one thing: stages that are resolved become running, as Ballista does when it looks
//! for work.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use ballista_core::JobId;
use ballista_core::serde::protobuf::job_status;
use ballista_scheduler::state::execution_graph::{ExecutionGraph, ExecutionGraphBox};
use ballista_scheduler::state::execution_stage::{ExecutionStage, RunningStage};
use ballista_scheduler::state::task_manager::JobInfoCache;
use policy_plugin_api::assemble::{Clock, JobRow, Round, RoundBuilder, StageRow, StageTasks};
use policy_plugin_api::observe::Observation;
use policy_plugin_api::{BoundTask, TenantId};
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::apply::{Share, StageRef, StageShares};
use crate::books::{Books, JobBook, StageBook};
use crate::identity::{Cluster, ClusterView};
use crate::reservation::Reservations;

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
    /// Pending partitions in the queue's order: first those to be repeated.
    queue: Vec<usize>,
    /// How many of them must be repeated.
    repeats: usize,
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
    pub(crate) async fn take(source: &Source<'_>, books: &mut Books, out: &mut Vec<Observation>) -> Self {
        books.close(source.jobs, source.now_us, source.view, out).await;
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
            let book = books.job(id, info, graph.as_ref());
            this.add(source, id, info, graph.as_ref(), book, out);
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
        book: &mut JobBook,
        out: &mut Vec<Observation>,
    ) {
        book.observe_ended(graph, source.now_us, source.view, out);
        let running_stages = graph.stages().values().filter_map(|stage| match stage {
            ExecutionStage::Running(stage) => Some(stage),
            _ => None,
        });
        let mut running_stages: Vec<&RunningStage> = running_stages.collect();
        running_stages.sort_unstable_by_key(|s| s.stage_id);
        let mut vcores_in_use = 0;
        let mut stages = Vec::new();
        for stage in running_stages {
            let known = book.stages.get(&stage.stage_id);
            if known.is_none_or(|b| !b.is_about(stage.stage_attempt_num, &stage.plan)) {
                let since_us = u64::try_from(stage.stage_running_time).unwrap_or(0).saturating_mul(1_000);
                let (attempt, config) = (stage.stage_attempt_num, &stage.session_config);
                let opened = StageBook::open(attempt, &stage.plan, stage.partitions, config, since_us, source.view);
                book.stages.insert(stage.stage_id, opened);
            }
            let Some(known) = book.stages.get_mut(&stage.stage_id) else { continue };
            let infos = &stage.task_infos;
            let running = known.observe(book.key, stage.stage_id, infos, source.now_us, source.view, out);
            vcores_in_use += running.vcores;
            for uid in running.executors {
                if let Some(position) = source.cluster.position(uid) {
                    self.running_tasks[position] += 1;
                }
            }
            if let Some(shot) = shot(source, id, info, stage, known, running.partitions) {
                self.pending += if known.collapse { 1 } else { shot.queue.len() as u64 };
                self.has_repeats |= shot.repeats > 0;
                stages.push(shot);
            }
        }
        self.jobs.push(JobShot {
            id: id.clone(),
            key: book.key,
            tenant: book.settings.tenant.clone(),
            priority: book.settings.priority,
            submit_us: book.submit_us,
            vcores_in_use,
            stages,
        });
    }

    /// The round that this is. With `only_repeats`, stages list what must be repeated and nothing else.
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
                let queue = if only_repeats { &shot.queue[..shot.repeats] } else { &shot.queue[..] };
                if queue.is_empty() {
                    continue;
                }
                let runs = if shot.stage.collapse { vec![(0, 1)] } else { runs(queue) };
                let row = StageRow {
                    number: shot.stage.stage_id as u32,
                    tasks: Arc::clone(&shot.tasks),
                    pending: if shot.stage.collapse { 1 } else { shot.queue.len() as u32 },
                    running: shot.running,
                    runnable_since_us: shot.since_us,
                };
                builder.stage(row, runs);
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
pub(crate) fn shares(listed: &[ListedStage<'_>], cluster: &Cluster, bindings: &[BoundTask]) -> Vec<StageShares> {
    let mut at = 0;
    let mut stage_of = |task: u32| {
        if listed.get(at).is_none_or(|l| task < l.base || task - l.base >= l.shot.tasks.len()) {
            at = listed.partition_point(|l| l.base <= task).saturating_sub(1);
        }
        at
    };
    let mut rows: Vec<(usize, BoundTask)> = bindings.iter().map(|b| (stage_of(b.task.0), *b)).collect();
    if !rows.is_sorted_by_key(|row| row.0) {
        rows.sort_by_key(|row| row.0);
    }
    let mut decided = Vec::new();
    let mut share_of = vec![u32::MAX; cluster.roster.len()];
    for rows in rows.chunk_by(|a, b| a.0 == b.0) {
        let Some(stage) = listed.get(rows[0].0) else { continue };
        let mut shares: Vec<Share> = Vec::new();
        for (_, binding) in rows {
            let slot = &mut share_of[binding.executor.index()];
            if *slot == u32::MAX {
                *slot = shares.len() as u32;
                let executor = cluster.roster.name(binding.executor).to_owned();
                shares.push(Share { executor, partitions: Vec::new() });
            }
            shares[*slot as usize].partitions.push((binding.task.0 - stage.base) as usize);
        }
        rows.iter().for_each(|(_, binding)| share_of[binding.executor.index()] = u32::MAX);
        decided.push(StageShares { stage: stage.shot.stage.clone(), shares });
    }
    decided
}

fn shot(
    source: &Source<'_>,
    id: &JobId,
    info: &JobInfoCache,
    stage: &RunningStage,
    known: &StageBook,
    running: u32,
) -> Option<StageShot> {
    if stage.pending.is_empty() {
        return None;
    }
    let mut queue = stage.pending.clone().next_slice(usize::MAX);
    if !source.reservations.is_empty() {
        let kept = source.reservations.of_stage(id, stage.stage_id, stage.stage_attempt_num);
        if known.collapse && !kept.is_empty() {
            return None;
        }
        queue.retain(|partition| !kept.contains(partition));
    }
    let repeats = if known.collapse { 0 } else { repeats(&queue) };
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
    (!queue.is_empty()).then_some(StageShot { stage, tasks, queue, repeats, running, since_us })
}

/// How many partitions at the front of a queue were put there to be repeated: those before its last ascending part.
fn repeats(queue: &[usize]) -> usize {
    queue.windows(2).rposition(|pair| pair[0] > pair[1]).map_or(0, |at| at + 1)
}

/// Runs (first, length) of partitions, ascending.
fn runs(queue: &[usize]) -> Vec<(u32, u32)> {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    let mut add = |partition: usize| match runs.last_mut() {
        Some((first, length)) if *first as usize + *length as usize == partition => *length += 1,
        _ => runs.push((partition as u32, 1)),
    };
    if queue.is_sorted() {
        queue.iter().copied().for_each(&mut add);
    } else {
        let mut sorted = queue.to_vec();
        sorted.sort_unstable();
        sorted.into_iter().for_each(&mut add);
    }
    runs
}

/// The graph, for reading, with all resolved stages running.
async fn revived(graph: &RwLock<ExecutionGraphBox>) -> RwLockReadGuard<'_, ExecutionGraphBox> {
    let read = graph.read().await;
    if !read.stages().values().any(|stage| matches!(stage, ExecutionStage::Resolved(_))) {
        return read;
    }
    drop(read);
    let mut write = graph.write().await;
    if matches!(write.status().status, Some(job_status::Status::Running(_))) {
        write.revive();
    }
    RwLockWriteGuard::downgrade(write)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_become_runs_and_repeats_are_told_apart() {
        assert_eq!(runs(&[0, 1, 2, 5, 7, 8]), [(0, 3), (5, 1), (7, 2)]);
        assert_eq!(runs(&[7, 2, 3, 4, 8]), [(2, 3), (7, 2)]);
        assert_eq!((repeats(&[0, 1, 2]), repeats(&[7, 2, 3]), repeats(&[9, 4, 7, 5, 6])), (0, 1, 3));
        assert_eq!((repeats(&[]), repeats(&[3])), (0, 0));
    }
}
