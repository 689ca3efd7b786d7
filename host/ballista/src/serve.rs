//! A Ballista scheduler with a policy host in it.

use std::sync::Arc;
use std::time::Instant;

use ballista_core::error::Result;
use ballista_core::serde::protobuf::scheduler_grpc_server::SchedulerGrpc;
use ballista_core::serde::protobuf::{CancelJobParams, UpdateTaskStatusParams};
use ballista_core::utils::{default_config_producer, default_session_builder};
use ballista_core::{ConfigProducer, JobId};
use ballista_scheduler::cluster::BallistaCluster;
use ballista_scheduler::cluster::memory::InMemoryJobState;
use ballista_scheduler::config::{SchedulerConfig, TaskDistributionPolicy};
use ballista_scheduler::scheduler_process::{create_scheduler, start_grpc_service_with_listener};
use ballista_scheduler::scheduler_server::SchedulerServer;
use ballista_scheduler::state::session_manager::share_file_statistics_cache;
use datafusion_proto::protobuf::{LogicalPlanNode, PhysicalPlanNode};
use policy_host::PolicyHost;
use tokio::net::TcpListener;

use crate::adapter::{Mode, PolicyAdapter};
use crate::cluster::ObservedCluster;
use crate::limits::{LOOK_FOR_STALLED_EVERY, STALLED_FOR};
use crate::reoffer::Reoffers;
use crate::settings::PolicyOptions;
use crate::stall::Stalls;

/// Ballista's scheduler as its own types name it.
pub type Scheduler = SchedulerServer<LogicalPlanNode, PhysicalPlanNode>;

/// Sets up what [`serve`] runs: the adapter as Ballista's distribution policy, the cluster state that it can see, and
/// sessions that know the settings of [`PolicyOptions`]. Everything else of `config` stays.
#[must_use]
pub fn install(
    host: Arc<PolicyHost>,
    mut config: SchedulerConfig,
) -> (Arc<PolicyAdapter>, BallistaCluster, SchedulerConfig) {
    let mode = if config.is_push_staged_scheduling() { Mode::Push } else { Mode::Pull };
    let adapter = Arc::new(PolicyAdapter::new(host, mode));
    let inner = config.override_config_producer.take().unwrap_or_else(|| Arc::new(default_config_producer));
    let producer: ConfigProducer = Arc::new(move || inner().with_option_extension(PolicyOptions::default()));
    let sessions = config.override_session_builder.clone().unwrap_or_else(|| Arc::new(default_session_builder));
    let sessions = share_file_statistics_cache(sessions);
    let jobs = InMemoryJobState::new(config.scheduler_id.clone(), sessions, Arc::clone(&producer));
    let cluster = BallistaCluster::new(Arc::new(ObservedCluster::new(&adapter)), Arc::new(jobs));
    config.override_config_producer = Some(producer);
    config.task_distribution = TaskDistributionPolicy::Custom(adapter.clone());
    (adapter, cluster, config)
}

/// Runs a scheduler on this listener until the process ends or the future is dropped.
///
/// # Errors
/// Ballista's own, when the configuration is not valid or the service ends.
pub async fn serve(
    adapter: Arc<PolicyAdapter>,
    cluster: BallistaCluster,
    config: SchedulerConfig,
    listener: TcpListener,
) -> Result<()> {
    config.validate()?;
    let push = config.is_push_staged_scheduling();
    let scheduler: Scheduler = create_scheduler(cluster, Arc::new(config)).await?;
    let offers = reoffer(adapter.reoffers(), scheduler.clone());
    let watch = cancel_stalled(adapter, scheduler.clone(), push);
    let service = start_grpc_service_with_listener(listener, scheduler);
    tokio::select! {
        ended = service => ended,
        never = offers, if push => match never {},
        never = watch => match never {},
    }
}

/// Cancels jobs that would never end: their clients would wait for ever.
async fn cancel_stalled(adapter: Arc<PolicyAdapter>, scheduler: Scheduler, push: bool) -> std::convert::Infallible {
    let mut stalls = Stalls::default();
    loop {
        tokio::time::sleep(LOOK_FOR_STALLED_EVERY).await;
        // The ledger is compared with the graphs when Ballista looks for work, which it does not do after a report that fails.
        if let Some(executor) = adapter.view().any_registered().filter(|_| push) {
            offer(&scheduler, executor).await;
        }
        let idle = adapter.idle().await;
        let ids: Vec<JobId> = idle.iter().map(|job| job.id.clone()).collect();
        for job in stalls.look(&ids, Instant::now()) {
            tracing::warn!(%job, "nothing of the job has run or could run for {STALLED_FOR:?}: Ballista makes no progress with it; cancelled");
            idle.iter().filter(|one| one.id == job).for_each(|one| adapter.will_be_cancelled(one));
            let cancellation = CancelJobParams { job_id: job.to_string() };
            if let Err(status) = SchedulerGrpc::cancel_job(&scheduler, tonic::Request::new(cancellation)).await {
                tracing::warn!(%job, "cannot be cancelled: {status}");
            }
        }
    }
}

/// Makes the offers that the adapter asks for.
async fn reoffer(reoffers: Arc<Reoffers>, scheduler: Scheduler) -> std::convert::Infallible {
    loop {
        offer(&scheduler, reoffers.due().await).await;
    }
}

/// A report of no tasks at all is Ballista's public way of saying that it should look for work.
async fn offer(scheduler: &Scheduler, executor_id: String) {
    let report = UpdateTaskStatusParams { executor_id, task_status: Vec::new() };
    if let Err(status) = SchedulerGrpc::update_task_status(scheduler, tonic::Request::new(report)).await {
        tracing::warn!("cannot ask for another offer: {status}");
    }
}
