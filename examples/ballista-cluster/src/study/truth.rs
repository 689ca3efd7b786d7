//! How true simulations of the recordings are: each policy's run, simulated under that policy, against what was measured;
//! and all policies simulated on one recording, against how they did.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use policy_host::{HostOptions, LaneKind, PolicyHost, TaskDistributionPolicy};
use policy_sim::cluster::{Cluster, ClusterOptions};
use policy_sim::virtual_time::{self, VirtualTimeOptions};
use policy_sim::workload::{Recorded, Workload};
use serde_json::{Value, json};

use super::Candidate;
use super::figures::{jobs_of, median};
use crate::swaps;

/// What simulations said, and what was measured.
pub(super) struct Truth {
    pub(super) rows: Vec<TruthRow>,
    /// Whose recording all policies were simulated on.
    pub(super) common: String,
}

pub(super) struct TruthRow {
    pub(super) label: String,
    /// Sum over jobs of submission to end, as measured, milliseconds.
    pub(super) measured_ms: f64,
    /// The same, simulated on the policy's own recording.
    pub(super) simulated_ms: f64,
    /// Median over jobs of how far the simulation was off, as a share of what was measured.
    pub(super) median_error: f64,
    /// From the first submission to the last end: measured and simulated, milliseconds.
    pub(super) makespan_ms: (f64, f64),
    /// Sum over jobs, simulated on the common recording, milliseconds.
    pub(super) on_common_ms: f64,
}

impl Truth {
    pub(super) fn json(&self) -> Value {
        let row = |r: &TruthRow| {
            json!({
                "policy": r.label, "measured_jct_ms": r.measured_ms, "simulated_jct_ms": r.simulated_ms,
                "median_job_error": r.median_error, "measured_makespan_ms": r.makespan_ms.0,
                "simulated_makespan_ms": r.makespan_ms.1, "simulated_on_common_jct_ms": r.on_common_ms,
            })
        };
        json!({ "common_recording": self.common, "policies": self.rows.iter().map(row).collect::<Vec<_>>() })
    }
}

/// Simulates. Ballista's own policies are simulated as the hosted ones of the same name.
pub(super) async fn of(candidates: &[Candidate], recordings: &[(Workload, Recorded)]) -> Result<Truth> {
    let part = |candidate: &Candidate| {
        let (workload, recorded) = &recordings[candidate.at];
        let own: Vec<usize> = jobs_of(candidate, recorded).map(|job| job.2).collect();
        let jobs = own.iter().map(|&at| workload.jobs[at].clone()).collect();
        let ends = own.iter().map(|&at| recorded.jobs[at].run.end_us).collect::<Vec<_>>();
        (Workload { header: workload.header.clone(), jobs }, ends)
    };
    let common = part(&candidates[0]).0;
    let mut rows = Vec::new();
    for candidate in candidates {
        let (workload, ends) = part(candidate);
        let active = match &candidate.active {
            Some(active) => active.clone(),
            None => json!({ "policy": candidate.label.trim_start_matches("ballista:") }),
        };
        let measured: Vec<f64> =
            workload.jobs.iter().zip(&ends).map(|(j, end)| end.saturating_sub(j.submit_us) as f64 / 1e3).collect();
        let first = workload.jobs.first().map_or(0, |j| j.submit_us);
        let makespan = ends.iter().max().map_or(0, |end| end - first) as f64 / 1e3;
        let simulated = simulate(&active, workload).await.with_context(|| candidate.label.clone())?;
        let errors: Vec<f64> = measured.iter().zip(&simulated.jcts_ms).map(|(m, s)| (s / m - 1.0).abs()).collect();
        let on_common = simulate(&active, common.clone()).await?;
        rows.push(TruthRow {
            label: candidate.label.clone(),
            measured_ms: measured.iter().sum(),
            simulated_ms: simulated.jcts_ms.iter().sum(),
            median_error: median(&errors),
            makespan_ms: (makespan, simulated.makespan_ms),
            on_common_ms: on_common.jcts_ms.iter().sum(),
        });
    }
    Ok(Truth { rows, common: candidates[0].label.clone() })
}

struct Simulated {
    /// In the order of the jobs.
    jcts_ms: Vec<f64>,
    makespan_ms: f64,
}

/// How long a policy may take to be in service.
const SERVICE_LIMIT: Duration = Duration::from_secs(60);

/// A host on the policy's library, and nothing else.
async fn host(active: &Value, directory: &Path) -> Result<PolicyHost> {
    let plugins = directory.join("plugins.d");
    std::fs::create_dir(&plugins)?;
    let name = active["policy"].as_str().unwrap_or_default();
    let library = swaps::library_of(name).with_context(|| format!("{name} is none of the bundled policies"))?;
    swaps::drop_in(&plugins, library)?;
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
    while host.active().policy != name || !host.active().library.to_string().contains(library) {
        ensure!(Instant::now() < until, "{name} is not in service after {SERVICE_LIMIT:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(host)
}

async fn simulate(active: &Value, workload: Workload) -> Result<Simulated> {
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
