//! How fast the simulator is: `cargo bench -p policy-sim --bench speed [-- PART-OF-A-ROW'S-NAME]`. Each figure is a ratio
//! to a bare binary heap in the same run; what it means stands in `host/sim/benches/README.md`.
//!
//! One pair is a whole run of a cluster (built before the clock starts) and as many pushes and pops of a bare heap as
//! the run has events, in the order A B B A. The figure is the median of the pairs' ratios; least and largest are shown.
#![allow(missing_docs, reason = "a program")]

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use policy_host::round::{AvailableTaskSlots, BoundTask, Observation, Round};
use policy_host::{HostOptions, PolicyHost, TaskDistributionPolicy};
use policy_sim::cluster::{Cluster, ClusterOptions};
use policy_sim::outcome::{End, Outcome};
use policy_sim::virtual_time::{self, VirtualTimeOptions};
use policy_sim::workload::{ClusterDefaults, Workload, parse_source};
use policy_sim::{Answer, Binder};

const EXECUTORS: u32 = 10_000;
const PAIRS: usize = 11;
/// An event is a line of the event log: a task is submitted, bound, started and finished.
const EVENTS_A_TASK: u64 = 4;

/// Fills one free executor after another: the simulator without a host and with next to no policy.
#[derive(Default)]
struct FirstFit(std::sync::Mutex<Vec<AvailableTaskSlots>>);

struct Rows(Vec<BoundTask>);

impl Answer for Rows {
    fn rows(&self) -> &[BoundTask] {
        &self.0
    }

    fn policy(&self) -> &str {
        "first-fit"
    }
}

impl Binder for FirstFit {
    type Answer = Rows;

    async fn bind(&self, round: Arc<Round>) -> Rows {
        let stages = round.stage_refs();
        let jobs = round.view(&stages);
        let mut slots = self.0.lock().expect("no one panics");
        jobs.available_slots(&mut slots);
        let mut rows = Vec::with_capacity(jobs.bindable());
        let mut pending = jobs.stages().flat_map(|s| s.pending());
        for slot in slots.iter() {
            for _ in 0..slot.slots {
                let Some(task) = pending.next() else { return Rows(rows) };
                rows.push(BoundTask::new(task.id(), slot.executor));
            }
        }
        Rows(rows)
    }

    fn observe(&self, _: Vec<Observation>) {}
}

/// Nanoseconds of a whole run.
fn simulate<B: Binder>(workload: &Arc<Workload>, binder: &B) -> (f64, Outcome) {
    let cluster = Cluster::new(Arc::clone(workload), ClusterOptions::default()).expect("a good workload");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let start = Instant::now();
    let run = virtual_time::run(cluster, binder, VirtualTimeOptions::default());
    let outcome = runtime.block_on(run).expect("no event log");
    let nanos = start.elapsed().as_nanos() as f64;
    assert_eq!((outcome.end, outcome.counts.completed), (End::WorkloadDone, workload.task_count()));
    (nanos, outcome)
}

/// Nanoseconds of so many pushes and pops on a heap that holds as many entries as the cluster has executors.
fn bare_heap(events: u64) -> f64 {
    let mut state = 1u64;
    let mut draw = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 40
    };
    let mut heap: BinaryHeap<Reverse<(u64, u64, u32)>> = (0..EXECUTORS).map(|i| Reverse((draw(), 0, i))).collect();
    let start = Instant::now();
    for number in 0..events {
        let Some(Reverse((at, _, slot))) = heap.pop() else { break };
        heap.push(Reverse((at + draw(), number, slot)));
    }
    let nanos = start.elapsed().as_nanos() as f64;
    black_box(heap);
    nanos
}

fn compare<B: Binder>(name: &str, source: &str, binder: &B) {
    let workload = parse_source(source, &ClusterDefaults::uniform(EXECUTORS, 1)).expect("a good source");
    let workload = Arc::new(workload);
    let events = workload.task_count() * EVENTS_A_TASK;
    let (mut ratios, mut speeds, mut heaps, mut rounds) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for pair in 0..PAIRS {
        let heap_first = (pair % 2 == 0).then(|| bare_heap(events));
        let (nanos, outcome) = simulate(&workload, binder);
        let heap = heap_first.unwrap_or_else(|| bare_heap(events));
        rounds = outcome.rounds;
        ratios.push(heap / nanos);
        speeds.push(events as f64 / nanos * 1e3);
        heaps.push(heap / events as f64);
    }
    let median = |values: &mut Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let (ratio, speed, heap) = (median(&mut ratios), median(&mut speeds), median(&mut heaps));
    println!(
        "| {name} | {} | {rounds} | {speed:.2} M | {:.2} M | {heap:.0} ns | {ratio:.2} [{:.2}, {:.2}] |",
        workload.task_count(),
        speed / EVENTS_A_TASK as f64,
        ratios[0],
        ratios[ratios.len() - 1],
    );
}

fn main() {
    if !std::env::args().any(|a| a == "--bench") {
        println!("nothing is measured without --bench");
        return;
    }
    println!("| what | tasks | rounds | events/s | tasks/s | bare push + pop | events/s against bare [least, most] |");
    println!("|---|---|---|---|---|---|---|");
    let backlog = "synthetic:jobs=1,tasks=1000000,stages=1,keys=0,duration=exp:10s";
    let arriving = "synthetic:jobs=10000,rate=9,tasks=100,stages=1,keys=0,duration=exp:10s";
    let queueing = "synthetic:jobs=20,rate=1000,tasks=20000,stages=1,keys=0,duration=exp:10s";
    let host = |policy| PolicyHost::start(HostOptions::with_policy(policy)).expect("a host");
    let wanted = std::env::args().skip(1).find(|a| !a.starts_with('-')).unwrap_or_default();
    for (name, source) in [("backlog", backlog), ("arriving", arriving), ("20 jobs queue", queueing)] {
        let (bare, hosted) = (format!("{name}, no host"), format!("{name}, host, round-robin"));
        if bare.contains(&wanted) {
            compare(&bare, source, &FirstFit::default());
        }
        if hosted.contains(&wanted) {
            compare(&hosted, source, &host(TaskDistributionPolicy::RoundRobin));
        }
    }
}
