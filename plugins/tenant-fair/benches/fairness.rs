//! What `tenant-fair` costs: `cargo bench -p policy-tenant-fair --bench fairness`. Sides that are compared alternate (A B B A …);
//! a ratio is the median of the paired ratios. Absolute times are for sizing only.
#![allow(missing_docs, reason = "a program")]

#[path = "../../kit/benches/paired/mod.rs"]
mod paired;

use std::collections::BinaryHeap;
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use paired::{compare, median};
use policy_plugin_api::prelude::*;
use policy_tenant_fair::policy::{Placement, TenantFair, TenantFairConfig};
use policy_testkit::TestRound;
use policy_testkit::spec::{executor, job, round, stage, task};

/// Least time of a block.
const BLOCK: Duration = Duration::from_millis(5);
const PAIRS: usize = 31;

fn main() {
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("nothing is measured without --bench");
        return;
    }
    for (name, placement) in [("spread", Placement::Spread), ("pack", Placement::Pack)] {
        let config = TenantFairConfig { placement, ..TenantFairConfig::default() };
        let policy = TenantFair::from_config(config).expect("a config");
        let full = cluster(10_000, 100, 100, 1_000, 1_000);
        let few = cluster(10_000, 100, 100, 4, 250_000);
        let mixed = mixed_cluster();
        report(name, "1,000 tenants, 1,000,000 tasks", 1_000_000, || bind(&policy, &full));
        report(name, "4 tenants, 1,000,000 tasks", 1_000_000, || bind(&policy, &few));
        report(name, "1,000 tenants, 200,000 mixed tasks", 200_000, || bind(&policy, &mixed));
        let (many, some) = (busy_cluster(1_000), busy_cluster(10));
        let ratio = compare(PAIRS, BLOCK, || once(&policy, &some), || once(&policy, &many));
        println!(
            "{name}: 100 free slots, 1,000 tenants: {:.1} us with 10,000 pending, {:.1} us with 1,000,000; ratio {ratio}",
            ratio.nanos.0 / 1e3,
            ratio.nanos.1 / 1e3
        );
    }
    heap();
}

fn report(placement: &str, what: &str, tasks: usize, mut call: impl FnMut() -> usize) {
    assert_eq!(call(), tasks);
    let seconds = median(&(0..PAIRS).map(|_| time(&mut call)).collect::<Vec<_>>());
    let each = seconds * 1e9 / tasks as f64;
    println!("{placement}: {what}: {:.1} ms, {each:.0} ns a task, {:.1}M tasks/s", seconds * 1e3, 1e3 / each);
}

/// What one update of the top of a heap of 1,000 costs: the floor of any exact progressive filling.
fn heap() {
    let mut heap: BinaryHeap<(u64, u64, u32, u32)> = (0..1_000).map(|i| (u64::MAX, u64::from(i), i, i)).collect();
    let mut update = || {
        for _ in 0..1_000_000u32 {
            let mut top = heap.peek_mut().expect("not empty");
            top.0 -= 1_000;
            top.1 = top.1.wrapping_sub(1_000);
        }
        1
    };
    let seconds = median(&(0..PAIRS).map(|_| time(&mut update)).collect::<Vec<_>>());
    println!("bare heap of 1,000: {:.0} ns an update", seconds * 1e3);
}

fn time(call: impl FnMut() -> usize) -> f64 {
    duration(call).as_secs_f64()
}

fn duration(mut call: impl FnMut() -> usize) -> Duration {
    let start = Instant::now();
    black_box(call());
    start.elapsed()
}

/// Binds a round and forgets the answer.
fn once(policy: &impl DistributionPolicy, round: &TestRound) {
    black_box(bind(policy, round));
}

fn bind(policy: &impl DistributionPolicy, round: &TestRound) -> usize {
    round.with(|slots, jobs| {
        let mut answer = pin!(policy.bind_tasks(slots, jobs));
        match answer.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(rows)) => black_box(&rows).len(),
            _ => panic!("no answer"),
        }
    })
}

fn cluster(executors: usize, vcores: u32, free: u32, tenants: usize, pending: usize) -> TestRound {
    let spec =
        (0..executors).fold(round(), |spec, i| spec.executor(executor(format!("executor-{i:05}"), vcores).free(free)));
    let spec = (0..tenants)
        .fold(spec, |spec, i| spec.job(job(format!("job-{i}")).tenant(format!("tenant-{i}")).stage(stage(pending))));
    spec.build()
}

/// A full cluster in which 100 executors have one slot free, and each of 1,000 tenants has so many tasks pending.
fn busy_cluster(pending: usize) -> TestRound {
    let state = |i: usize| executor(format!("executor-{i:05}"), 100).free(u32::from(i.is_multiple_of(100)));
    let spec = (0..10_000).fold(round(), |spec, i| spec.executor(state(i)));
    let spec = (0..1_000).fold(spec, |spec, i| {
        let name = format!("tenant-{i}");
        spec.job(job(format!("job-{i}")).tenant(&name).stage(stage(pending))).tenant(name, 1_000 - i as u64 % 3, 0)
    });
    spec.build()
}

fn mixed_cluster() -> TestRound {
    let state = |i: usize| executor(format!("executor-{i:05}"), 100).memory(400_000, 400_000);
    let spec = (0..10_000).fold(round(), |spec, i| spec.executor(state(i)));
    let mixed = || stage(200).each(|i, _| task().vcores(1 + i % 4).memory_mib(100 + i % 7));
    let spec =
        (0..1_000).fold(spec, |spec, i| spec.job(job(format!("job-{i}")).tenant(format!("tenant-{i}")).stage(mixed())));
    spec.build()
}
