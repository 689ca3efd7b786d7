//! Ballista's graphs through its public interface, without executors: tasks end when a test says so.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use ballista_core::JobId;
use ballista_core::config::BALLISTA_SCHEDULER_MAX_PARTITIONS_PER_TASK;
use ballista_core::execution_plans::{ShuffleWriter, ShuffleWriterExec};
use ballista_core::extension::SessionConfigExt;
use ballista_core::serde::protobuf::{
    AvailableVcores, FailedTask, IoError, ShuffleWritePartition, SuccessfulTask, TaskStatus, failed_task, task_status,
};
use ballista_core::serde::scheduler::{ExecutorMetadata, ExecutorOperatingSystemSpecification, ExecutorSpecification};
use ballista_scheduler::cluster::{BoundTask, DistributionPolicy};
use ballista_scheduler::planner::{DefaultDistributedPlanner, DistributedPlanner};
use ballista_scheduler::state::execution_graph::{ExecutionGraphBox, StaticExecutionGraph, TaskDescription};
use ballista_scheduler::state::task_manager::JobInfoCache;
use datafusion::arrow::array::{Int64Array, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::config::ConfigOptions;
use datafusion::datasource::MemTable;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::{ExecutionPlan, Partitioning};
use datafusion::prelude::{CsvReadOptions, SessionConfig, SessionContext};
use policy_ballista::{Mode, PolicyAdapter};
use policy_host::{HostOptions, PolicyHost, TaskDistributionPolicy};

/// Groups over all partitions: two stages, `partitions` tasks each.
pub(crate) const GROUP: &str = "SELECT k, sum(v) FROM t GROUP BY k";
/// A sum over everything: the second stage is a collapse of one partition.
pub(crate) const TOTAL: &str = "SELECT sum(v) FROM t";
/// Makes one stage of `partitions` partitions that brings them all together and parts them again: a collapse that must
/// take all its partitions. Ballista's own planner cuts such plans in two; its range repartitioning does not.
pub(crate) const COLLAPSE: &str = "SELECT k, v FROM t";

/// A job over a table of `partitions` partitions, with its first stage running.
pub(crate) async fn graph(job: &str, sql: &str, partitions: usize, per_task: usize) -> ExecutionGraphBox {
    named_graph(job, "", sql, partitions, per_task).await
}

/// As [`graph`], with a name.
pub(crate) async fn named_graph(
    job: &str,
    name: &str,
    sql: &str,
    partitions: usize,
    per_task: usize,
) -> ExecutionGraphBox {
    let context = context(partitions, per_task);
    let schema =
        Arc::new(Schema::new(vec![Field::new("k", DataType::Int64, false), Field::new("v", DataType::Int64, false)]));
    let part = |p: usize| {
        let column = || Arc::new(Int64Array::from_iter_values((0..4).map(|i| (p * 4 + i) as i64)));
        vec![RecordBatch::try_new(Arc::clone(&schema), vec![column(), column()]).unwrap()]
    };
    let table = MemTable::try_new(Arc::clone(&schema), (0..partitions).map(part).collect()).unwrap();
    context.register_table("t", Arc::new(table)).unwrap();
    let planner: &mut dyn DistributedPlanner =
        if sql == COLLAPSE { &mut OneStage(partitions) } else { &mut DefaultDistributedPlanner::new() };
    planned(job, name, &context, sql, planner).await
}

/// As [`graph`] over a table of so many files, each of which is a partition and its task's key.
pub(crate) async fn graph_of_files(job: &str, sql: &str, files: usize, directory: &Path) -> ExecutionGraphBox {
    for file in 0..files {
        std::fs::write(directory.join(format!("{file}.csv")), format!("k,v\n{file},1\n")).unwrap();
    }
    let context = context(files, 1);
    context.register_csv("t", directory.to_str().unwrap(), CsvReadOptions::new()).await.unwrap();
    planned(job, "", &context, sql, &mut DefaultDistributedPlanner::new()).await
}

fn context(partitions: usize, per_task: usize) -> SessionContext {
    let config = SessionConfig::new_with_ballista()
        .with_target_partitions(partitions)
        .with_round_robin_repartition(false)
        .set_str(BALLISTA_SCHEDULER_MAX_PARTITIONS_PER_TASK, &per_task.to_string());
    SessionContext::new_with_config(config)
}

async fn planned(
    job: &str,
    name: &str,
    context: &SessionContext,
    sql: &str,
    planner: &mut dyn DistributedPlanner,
) -> ExecutionGraphBox {
    let plan = context.sql(sql).await.unwrap().create_physical_plan().await.unwrap();
    let job = JobId::from(job);
    let config = Arc::new(context.copied_config());
    let graph = StaticExecutionGraph::new("scheduler", &job, name, "session", plan, 0, config, planner, None).unwrap();
    let mut graph: ExecutionGraphBox = Box::new(graph);
    graph.revive();
    graph
}

/// Plans [`COLLAPSE`].
struct OneStage(usize);

impl DistributedPlanner for OneStage {
    fn plan_query_stages<'a>(
        &'a mut self,
        job: &'a JobId,
        scan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> ballista_core::error::Result<Vec<Arc<dyn ShuffleWriter>>> {
        let together = Arc::new(CoalescePartitionsExec::new(scan));
        let apart = Arc::new(RepartitionExec::try_new(together, Partitioning::RoundRobinBatch(self.0))?);
        Ok(vec![Arc::new(ShuffleWriterExec::try_new(job.clone(), 1, apart, String::new())?)])
    }
}

/// Jobs as Ballista passes them to a policy.
pub(crate) fn jobs(graphs: Vec<ExecutionGraphBox>) -> Arc<HashMap<JobId, JobInfoCache>> {
    Arc::new(graphs.into_iter().map(|g| (g.job_id().clone(), JobInfoCache::new(g))).collect())
}

pub(crate) fn executor(id: &str, vcores: u32) -> ExecutorMetadata {
    ExecutorMetadata {
        id: id.into(),
        host: "localhost".into(),
        port: 1,
        grpc_port: 2,
        specification: ExecutorSpecification::default().with_vcores(vcores),
        os_info: ExecutorOperatingSystemSpecification::default(),
    }
}

pub(crate) fn budgets(free: &[(String, u32)]) -> Vec<AvailableVcores> {
    free.iter().map(|(id, vcores)| AvailableVcores { executor_id: id.clone(), vcores: *vcores }).collect()
}

/// An adapter over a host that a built-in policy answers, on the caller's task.
pub(crate) async fn adapter(active: &str, mode: Mode) -> PolicyAdapter {
    let host = PolicyHost::start(HostOptions::with_policy(TaskDistributionPolicy::RoundRobin)).unwrap();
    host.switch(active).await.unwrap();
    PolicyAdapter::new(Arc::new(host), mode)
}

/// One offer.
pub(crate) async fn bind(
    policy: &PolicyAdapter,
    free: &mut [AvailableVcores],
    jobs: &Arc<HashMap<JobId, JobInfoCache>>,
) -> Vec<BoundTask> {
    policy.bind_tasks(free.iter_mut().collect(), Arc::clone(jobs)).await.unwrap()
}

/// A task's report: it ended well and wrote `bytes` into each of its output partitions.
pub(crate) fn finished(task: &TaskDescription, executor: &str, bytes: u64) -> TaskStatus {
    let partition = |id: usize| ShuffleWritePartition {
        partition_id: id as u64,
        num_batches: 1,
        num_rows: 1,
        num_bytes: bytes,
        file_id: None,
        is_sort_shuffle: false,
    };
    let partitions = (0..task.get_output_partition_number()).map(partition).collect();
    status(
        task,
        task_status::Status::Successful(SuccessfulTask {
            executor_id: executor.into(),
            partitions,
            runtime_stats: vec![],
            task_column_stats: vec![],
            window_state: vec![],
        }),
    )
}

/// A task's report: it failed and may be repeated.
pub(crate) fn failed(task: &TaskDescription) -> TaskStatus {
    status(
        task,
        task_status::Status::Failed(FailedTask {
            error: "test".into(),
            retryable: true,
            count_to_failures: true,
            failed_reason: Some(failed_task::FailedReason::IoError(IoError {})),
        }),
    )
}

fn status(task: &TaskDescription, status: task_status::Status) -> TaskStatus {
    TaskStatus {
        task_id: task.key.task_id as u32,
        job_id: task.key.job_id.to_string(),
        stage_id: task.key.stage_id as u32,
        stage_attempt_num: task.stage_attempt_num as u32,
        launch_time: 0,
        start_exec_time: 1_000,
        end_exec_time: 1_500,
        metrics: vec![],
        status: Some(status),
    }
}

/// Reports tasks to their job's graph.
pub(crate) async fn report(
    jobs: &HashMap<JobId, JobInfoCache>,
    bound: &[BoundTask],
    status: impl Fn(&str, &TaskDescription) -> TaskStatus,
) {
    for (id, task) in bound {
        let mut graph = jobs[&task.key.job_id].execution_graph.write().await;
        graph.update_task_status(&executor(id, 64), vec![status(id, task)], 4, 4).unwrap();
    }
}

/// What was bound where, comparable: (executor, job, stage, partitions, vcores), sorted.
pub(crate) type Placement = (String, String, usize, Vec<usize>, u32);

pub(crate) fn placements(bound: &[BoundTask]) -> Vec<Placement> {
    let row = |(executor, task): &BoundTask| {
        let key = &task.key;
        let partitions = task.global_input_partition_ids.clone();
        (executor.clone(), key.job_id.to_string(), key.stage_id, partitions, task.vcores_consumed)
    };
    let mut rows: Vec<Placement> = bound.iter().map(row).collect();
    rows.sort();
    rows
}
