//! How true simulations of the recordings are: each policy's run, simulated under that policy, against what was measured;
//! and all policies simulated on one recording, against how they did.

use anyhow::{Context, Result};
use policy_sim::workload::{Recorded, Workload};
use serde_json::{Value, json};

use super::Candidate;
use super::figures::{jobs_of, median};
use crate::simulate::simulate;

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
