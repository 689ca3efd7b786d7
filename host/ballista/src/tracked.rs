//! The jobs and stages that the adapter tracks between rounds: what does not change is read from Ballista once.

use std::collections::HashMap;
use std::sync::Arc;

use ballista_core::JobId;
use ballista_core::serde::protobuf::task_status;
use ballista_scheduler::state::execution_graph::{ExecutionGraph, ExecutionGraphBox};
use ballista_scheduler::state::execution_stage::{ExecutionStage, RunningStage, TaskInfo};
use ballista_scheduler::state::task_manager::JobInfoCache;
use datafusion::physical_plan::ExecutionPlan;
use policy_host::round::{ExecutorUid, Observation, ObservationKind, StageTasks, TaskSpec};
use tokio::sync::RwLock;

use crate::decision::{Applied, Taken};
use crate::identity::ClusterView;
use crate::locality;
use crate::queue::Queue;
use crate::rules::{is_collapse, partitions_per_task};
use crate::settings::JobSettings;

/// What happened to tasks since the last round, where the host wants observations.
pub(crate) struct TaskEvents(Option<Vec<Observation>>);

impl TaskEvents {
    pub(crate) fn new(wanted: bool) -> Self {
        Self(wanted.then(Vec::new))
    }

    /// The observations; `None` when the host wants none.
    pub(crate) fn into_batch(self) -> Option<Vec<Observation>> {
        self.0
    }
}

/// All jobs that are running, or were in the last round.
#[derive(Default)]
pub(crate) struct TrackedJobs {
    jobs: HashMap<JobId, TrackedJob>,
    next_key: u64,
}

/// A job.
pub(crate) struct TrackedJob {
    /// The job's lasting number.
    pub(crate) key: u64,
    pub(crate) settings: JobSettings,
    pub(crate) submit_us: u64,
    pub(crate) stages: HashMap<usize, TrackedStage>,
    graph: Arc<RwLock<ExecutionGraphBox>>,
}

/// A stage attempt.
pub(crate) struct TrackedStage {
    pub(crate) attempt: usize,
    pub(crate) plan: Arc<dyn ExecutionPlan>,
    pub(crate) tasks: Arc<StageTasks>,
    pub(crate) collapse: bool,
    pub(crate) partitions_per_task: usize,
    /// What is pending.
    pub(crate) queue: Queue,
    specs: Vec<TaskSpec>,
    /// Ballista's tasks looked at: all before this number.
    known: usize,
    /// Tasks that had not ended when last looked at.
    open: Vec<(usize, ExecutorUid)>,
    /// How many of them have been reported as started; the others come after those.
    reported: usize,
    since_us: u64,
}

/// What runs in a stage or job, by executor and in vcores.
#[derive(Default)]
pub(crate) struct Running {
    pub(crate) vcores: u32,
    pub(crate) partitions: u32,
    pub(crate) executors: Vec<ExecutorUid>,
}

impl TrackedJobs {
    /// A job, tracked from now on if it was not.
    pub(crate) fn job(&mut self, id: &JobId, info: &JobInfoCache, graph: &dyn ExecutionGraph) -> &mut TrackedJob {
        let next_key = &mut self.next_key;
        self.jobs.entry(id.clone()).or_insert_with(|| {
            *next_key += 1;
            TrackedJob {
                key: *next_key,
                settings: JobSettings::of(graph),
                submit_us: graph.start_time().saturating_mul(1_000),
                stages: HashMap::new(),
                graph: Arc::clone(&info.execution_graph),
            }
        })
    }

    /// Follows what was applied: those tasks need not be looked for.
    pub(crate) fn bound(&mut self, applied: Applied) {
        let job = self.jobs.get_mut(&applied.job);
        let stage = job.and_then(|job| job.stages.get_mut(&applied.stage_id));
        let Some(stage) = stage.filter(|stage| stage.attempt == applied.attempt) else { return };
        match applied.taken {
            Some(Taken::Run(run)) => stage.queue.took_run(run),
            Some(Taken::These(partitions)) => stage.queue.took(partitions),
            None => stage.queue.forget(),
        }
        if stage.known == applied.first_task {
            stage.known += applied.executors.len();
            stage.open.extend((applied.first_task..).zip(applied.executors));
        }
    }

    /// The jobs and their graphs.
    pub(crate) fn graphs(&self) -> Vec<(JobId, Arc<RwLock<ExecutionGraphBox>>)> {
        self.jobs.iter().map(|(id, job)| (id.clone(), Arc::clone(&job.graph))).collect()
    }

    /// Drops jobs that are no longer running, after a last look at how their tasks ended.
    pub(crate) async fn close(
        &mut self,
        running: &HashMap<JobId, JobInfoCache>,
        now_us: u64,
        view: &ClusterView,
        out: &mut TaskEvents,
    ) {
        if self.jobs.len() == running.len() && self.jobs.keys().all(|id| running.contains_key(id)) {
            return;
        }
        for (_, mut job) in self.jobs.extract_if(|id, _| !running.contains_key(id)) {
            let graph = Arc::clone(&job.graph);
            job.observe_ended(graph.read().await.as_ref(), now_us, view, out);
        }
    }
}

impl TrackedJob {
    /// Reports the tasks of stages that have ended since the last round, and drops those stages.
    pub(crate) fn observe_ended(
        &mut self,
        graph: &dyn ExecutionGraph,
        now_us: u64,
        view: &ClusterView,
        out: &mut TaskEvents,
    ) {
        let (key, stages) = (self.key, graph.stages());
        self.stages.retain(|id, tracked| {
            let (attempt, ended) = match stages.get(id) {
                Some(ExecutionStage::Running(stage)) => return stage.stage_attempt_num == tracked.attempt,
                Some(ExecutionStage::Successful(stage)) => (stage.stage_attempt_num, &stage.task_infos),
                Some(ExecutionStage::Failed(stage)) => (stage.stage_attempt_num, &stage.task_infos),
                _ => return false,
            };
            if attempt == tracked.attempt {
                tracked.observe(key, *id, ended, now_us, view, out);
            }
            false
        });
    }
}

impl TrackedStage {
    /// Begins to track a stage attempt. Tasks that it has already, as a stage that runs once more, are known. Costs
    /// O(plan nodes + shuffle locations + tasks).
    pub(crate) fn open(stage: &RunningStage, since_us: u64, view: &ClusterView) -> Self {
        let collapse = is_collapse(&stage.plan);
        let specs = view.with_uids(|uids| locality::tasks(&stage.plan, stage.partitions, collapse, uids));
        let running = |(task, info): (usize, &TaskInfo)| match &info.task_status {
            task_status::Status::Running(on) => Some((task, view.uid(&on.executor_id))),
            _ => None,
        };
        let open: Vec<_> = stage.task_infos.iter().enumerate().filter_map(running).collect();
        Self {
            attempt: stage.stage_attempt_num,
            plan: Arc::clone(&stage.plan),
            tasks: StageTasks::new(&specs),
            collapse,
            partitions_per_task: partitions_per_task(&stage.session_config),
            queue: Queue::default(),
            specs,
            known: stage.task_infos.len(),
            reported: open.len(),
            open,
            since_us,
        }
    }

    /// Whether this is the attempt that is tracked.
    pub(crate) fn is_of(&self, attempt: usize, plan: &Arc<dyn ExecutionPlan>) -> bool {
        self.attempt == attempt && Arc::ptr_eq(&self.plan, plan)
    }

    /// Since when the stage has been runnable.
    pub(crate) fn since_us(&self) -> u64 {
        self.since_us
    }

    /// Looks at Ballista's tasks: reports what started and ended since the last look, and returns what runs.
    /// Costs O(tasks that had not ended).
    pub(crate) fn observe(
        &mut self,
        job_key: u64,
        stage_id: usize,
        infos: &[TaskInfo],
        now_us: u64,
        view: &ClusterView,
        out: &mut TaskEvents,
    ) -> Running {
        for (task, info) in infos.iter().enumerate().skip(self.known) {
            let executor = match &info.task_status {
                task_status::Status::Running(running) => &running.executor_id,
                task_status::Status::Successful(done) => &done.executor_id,
                // It no longer says where it ran.
                task_status::Status::Failed(_) => continue,
            };
            self.open.push((task, view.uid(executor)));
        }
        self.known = infos.len();
        let mut running = Running::default();
        let mut open = std::mem::take(&mut self.open);
        for &(task, uid) in open.iter().skip(self.reported) {
            if let Some(info) = infos.get(task) {
                self.report(ObservationKind::Started, job_key, stage_id, uid, info, now_us, out);
            }
        }
        open.retain(|&(task, uid)| {
            let Some(info) = infos.get(task) else { return false };
            let kind = match &info.task_status {
                task_status::Status::Running(_) => {
                    running.vcores += info.vcores_consumed;
                    running.partitions += info.global_input_partition_ids.len() as u32;
                    running.executors.push(uid);
                    return true;
                }
                task_status::Status::Successful(_) => ObservationKind::Finished,
                task_status::Status::Failed(_) => ObservationKind::Failed,
            };
            self.report(kind, job_key, stage_id, uid, info, now_us, out);
            false
        });
        self.reported = open.len();
        self.open = open;
        running
    }

    /// One observation for each task that the policy knows.
    #[allow(clippy::too_many_arguments, reason = "one row, spelled out")]
    fn report(
        &self,
        kind: ObservationKind,
        job_key: u64,
        stage_id: usize,
        uid: ExecutorUid,
        info: &TaskInfo,
        now_us: u64,
        out: &mut TaskEvents,
    ) {
        let Some(out) = &mut out.0 else { return };
        let whole = [0];
        let tasks: &[usize] = if self.collapse { &whole } else { &info.global_input_partition_ids };
        let mut of_task = Observation::new(kind, uid, now_us);
        (of_task.job_key, of_task.stage_number) = (job_key, stage_id as u32);
        of_task.duration_us = micros(info.end_exec_time.saturating_sub(info.start_exec_time));
        of_task.queue_wait_us = micros(info.scheduled_time).saturating_sub(self.since_us);
        out.extend(tasks.iter().map(|&task| {
            let mut seen = Observation { task: task as u32, ..of_task };
            for &(holder, bytes) in self.specs.get(task).map_or(&[][..], |s| &s.holders) {
                *if holder == uid { &mut seen.local_bytes } else { &mut seen.remote_bytes } += bytes;
            }
            seen
        }));
    }
}

fn micros(ms: u128) -> u64 {
    u64::try_from(ms.saturating_mul(1_000)).unwrap_or(u64::MAX)
}
