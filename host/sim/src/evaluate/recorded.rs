//! The figures of a run that was recorded, under the names of those that are simulated.

use super::figures::{RunFigures, Spread};
use crate::workload::{Recorded, Workload};

/// What was measured: makespan, completion times and the share of local bytes. Waits, slowdowns and what needs the whole
/// of a round are not known of a recording, and have no figure.
#[must_use]
pub fn recorded_figures(workload: &Workload, recorded: &Recorded) -> RunFigures {
    let mut jcts_us: Vec<f64> = recorded.jcts_us(workload).map(|us| us as f64).collect();
    let jct = Spread::of(&mut jcts_us);
    let (local, all) = recorded.local_and_all_bytes(workload);
    RunFigures::known(&[
        ("makespan_us", recorded.makespan_us(workload) as f64),
        ("jct_us.mean", jct.mean),
        ("jct_us.p50", jct.p50),
        ("jct_us.p95", jct.p95),
        ("jct_us.p99", jct.p99),
        ("jct_us.max", jct.max),
        ("locality_bytes_share", if all == 0 { 1.0 } else { local as f64 / all as f64 }),
        ("jobs_completed", workload.jobs.len() as f64),
        ("tasks_completed", workload.task_count() as f64),
    ])
}
