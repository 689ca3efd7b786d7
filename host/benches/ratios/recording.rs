//! What recording costs the rounds that it records.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use policy_host::{HostOptions, PolicyHost, RecordOptions, TaskDistributionPolicy};
use tokio::runtime::Runtime;

use crate::boundary::now;
use crate::paired::compare;
use crate::rounds::round;

/// Rounds a second: a busy scheduler's. Back to back, a second core writes all the time, and what the figure shows is
/// how much memory bandwidth two cores share.
const PACE: Duration = Duration::from_millis(1);

fn host(options: HostOptions) -> PolicyHost {
    let policy = TaskDistributionPolicy::Custom(Arc::new(policy_kit::Bias));
    PolicyHost::start(HostOptions { policy, ..options }).expect("it starts")
}

/// Rounds with a recording against rounds without, one at a pace, and back to back.
pub(crate) fn recording(_: &Runtime) {
    let directory = tempfile::tempdir().expect("a directory");
    let alone = host(HostOptions::default());
    println!("| tasks | with a recording / without, at a pace | back to back | recorded | bytes a round |");
    println!("|---|---|---|---|---|");
    for (tasks, executors) in [(1_000, 100), (10_000, 1_000), (100_000, 10_000)] {
        let mut record = RecordOptions::new(directory.path().join(format!("{tasks}.rec")));
        record.limit_bytes = 4 << 30;
        let recorded = host(HostOptions::default().record(record));
        let r = round(executors, 10, tasks);
        let bind = |host: &PolicyHost| {
            black_box(now(host.bind(Arc::clone(&r))));
        };
        let paced = paced(&|| bind(&alone), &|| bind(&recorded));
        let busy = compare(61, Duration::from_millis(8), || bind(&alone), || bind(&recorded));
        let told = now_or_later(&recorded);
        let all = told.rounds + told.rounds_missed + told.rounds_after_stop;
        let bytes = told.bytes / told.rounds.max(1);
        println!("| {tasks} | {paced} | {busy} | {} of {all} | {bytes} |", told.rounds);
    }
}

/// Median of the paired ratios of single rounds that come at a pace, with the medians of either side.
fn paced(without: &dyn Fn(), with: &dyn Fn()) -> String {
    let timed = |f: &dyn Fn()| {
        std::thread::sleep(PACE);
        let start = Instant::now();
        f();
        start.elapsed().as_nanos() as f64
    };
    let (mut ratios, mut sides) = (Vec::new(), (Vec::new(), Vec::new()));
    for pair in 0..1_001 {
        let (a, b) = match pair % 2 {
            0 => {
                let a = timed(without);
                (a, timed(with))
            }
            _ => {
                let b = timed(with);
                (timed(without), b)
            }
        };
        ratios.push(b / a);
        sides.0.push(a);
        sides.1.push(b);
    }
    let median = |values: &mut Vec<f64>| {
        values.sort_unstable_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let (a, b) = (median(&mut sides.0), median(&mut sides.1));
    format!("{:.3} ({b:.0} ns against {a:.0} ns)", median(&mut ratios))
}

/// The receipt once everything is written.
fn now_or_later(host: &PolicyHost) -> policy_host::receipt::RecordingReceipt {
    pollster::block_on(host.finish_recording()).expect("it records")
}
