//! A recorded workload in virtual time, under a policy whose plugin file is loaded as the scheduler loads it.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use policy_host::{HostOptions, LaneKind, PolicyHost, TaskDistributionPolicy};
use policy_sim::cluster::{Cluster, ClusterOptions};
use policy_sim::virtual_time::{self, VirtualTimeOptions};
use policy_sim::workload::Workload;
use serde_json::{Value, json};

use crate::swaps;

/// What a simulation says.
pub(crate) struct Simulated {
    /// From submission to end, in the order of the jobs.
    pub(crate) jcts_ms: Vec<f64>,
    /// From the first submission to the last end.
    pub(crate) makespan_ms: f64,
}

/// Simulates a workload under a policy, as `active.json` names it: the same library, loaded by a host of its own.
pub(crate) async fn simulate(active: &Value, workload: Workload) -> Result<Simulated> {
    let directory = tempfile::tempdir()?;
    let host = host(active, directory.path()).await?;
    let jobs = workload.jobs.len();
    let cluster = Cluster::new(Arc::new(workload), ClusterOptions::default())?;
    let outcome = virtual_time::run(cluster, &host, VirtualTimeOptions::default()).await?;
    let mut jcts_ms = vec![f64::NAN; jobs];
    for job in &outcome.metrics.jobs {
        jcts_ms[job.job as usize] = (job.finish_us - job.submit_us) as f64 / 1e3;
    }
    host.shutdown().await;
    Ok(Simulated { jcts_ms, makespan_ms: outcome.metrics.makespan_us() as f64 / 1e3 })
}

/// How long a policy may take to be in service.
const SERVICE_LIMIT: Duration = Duration::from_secs(60);

/// A host on the libraries that are named, and nothing else.
async fn host(active: &Value, directory: &Path) -> Result<PolicyHost> {
    let plugins = directory.join("plugins.d");
    std::fs::create_dir(&plugins)?;
    let name = active["policy"].as_str().unwrap_or_default();
    let library = swaps::library_of(name)?;
    swaps::drop_in(&plugins, library)?;
    for filter in active["filters"].as_array().into_iter().flatten() {
        swaps::drop_in(&plugins, swaps::library_of(filter["policy"].as_str().unwrap_or_default())?)?;
    }
    let mut active = active.clone();
    // A deadline in wall time would make figures depend on the machine.
    active["lane"] = json!("inline");
    swaps::put(&plugins, "active.json", active.to_string().as_bytes())?;
    let options = HostOptions {
        plugins: Some(plugins),
        lane: LaneKind::Inline,
        ..HostOptions::with_policy(TaskDistributionPolicy::RoundRobin)
    };
    let host = PolicyHost::start(options)?;
    let until = Instant::now() + SERVICE_LIMIT;
    while host.active().policy() != name || !host.active().library().contains(library) {
        ensure!(Instant::now() < until, "{name} is not in service after {SERVICE_LIMIT:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(host)
}
