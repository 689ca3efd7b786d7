//! What the boundary, the lanes, the dispatch and the validation cost.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use policy_host::{HostOptions, PolicyHost, TaskDistributionPolicy};
use policy_plugin_api::DistributionPolicy;
use policy_wire::assemble::Round;
use policy_wire::{BoundTask, RunningJobs};
use tokio::runtime::Runtime;

use crate::artifact;
use crate::paired::{compare, quantile};
use crate::rounds::round;

/// A host whose policy `name` comes from a library.
pub(crate) fn loaded(runtime: &Runtime, library: &str, name: &str, lane: &str) -> (PolicyHost, tempfile::TempDir) {
    let directory = tempfile::tempdir().expect("a directory");
    let file = artifact(library);
    std::fs::copy(&file, directory.path().join(file.file_name().expect("a name"))).expect("copied");
    let host = PolicyHost::start(HostOptions::default().plugins(directory.path())).expect("it starts");
    let json = format!(r#"{{ "policy": "{name}", "lane": "{lane}", "deadline_ms": 60000 }}"#);
    runtime.block_on(async {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            match host.switch(&json).await {
                Ok(active) if !active.sha256().is_empty() => return,
                _ => assert!(Instant::now() < until, "{name} does not come up"),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    (host, directory)
}

fn linked(policy: Arc<dyn DistributionPolicy>) -> PolicyHost {
    PolicyHost::start(HostOptions::with_policy(TaskDistributionPolicy::Custom(policy))).expect("it starts")
}

/// A future that is ready at once needs no runtime.
pub(crate) fn now<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => panic!("the inline lane is ready at once"),
    }
}

/// The same policy body, linked in and loaded, both through the host's inline lane.
pub(crate) fn boundary(runtime: &Runtime) {
    println!("| tasks | loaded / linked (median of 61 pairs, 95 %) | linked | loaded | difference a round |");
    println!("|---|---|---|---|---|");
    let linked = linked(Arc::new(policy_kit::Bias));
    let (loaded, _directory) = loaded(runtime, "policy_bias", "bias", "inline");
    for (tasks, executors) in [(0, 8), (1_000, 100), (10_000, 1_000)] {
        let r = round(executors, 10, tasks);
        let bind = |host: &PolicyHost| {
            black_box(now(host.bind(Arc::clone(&r))));
        };
        let ratio = compare(61, Duration::from_millis(8), || bind(&linked), || bind(&loaded));
        let (of_linked, of_loaded) = ratio.nanos;
        println!("| {tasks} | {ratio:.3} | {of_linked:.0} ns | {of_loaded:.0} ns | {:+.0} ns |", ratio.difference);
    }
}

/// What a shadow costs the rounds that it watches.
pub(crate) fn shadow(runtime: &Runtime) {
    let (alone, _a) = loaded(runtime, "policy_bias", "bias", "inline");
    let (watched, _b) = loaded(runtime, "policy_bias", "bias", "inline");
    let json = r#"{ "policy": "bias", "lane": "inline", "shadow": [{ "policy": "round-robin" }] }"#;
    runtime.block_on(watched.switch(json)).expect("switched");
    println!("| tasks | with a shadow / without (median of 61 pairs, 95 %) | difference a round | rounds seen |");
    println!("|---|---|---|---|");
    for (tasks, executors) in [(1_000, 100), (10_000, 1_000), (100_000, 10_000)] {
        let r = round(executors, 10, tasks);
        let bind = |host: &PolicyHost| {
            black_box(now(host.bind(Arc::clone(&r))));
        };
        let seen = || watched.receipt().active.map(|a| (a.shadow[0].rounds, a.shadow_rounds_skipped)).expect("active");
        let before = seen();
        let ratio = compare(61, Duration::from_millis(8), || bind(&alone), || bind(&watched));
        let after = seen();
        let (rounds, skipped) = (after.0 - before.0, after.1 - before.1);
        println!("| {tasks} | {ratio:.3} | {:+.0} ns | {rounds} of {} |", ratio.difference, rounds + skipped);
    }
}

/// What the thread lane adds to the inline lane.
pub(crate) fn thread_lane(runtime: &Runtime) {
    let (inline, _a) = loaded(runtime, "policy_bias", "bias", "inline");
    let (thread, _b) = loaded(runtime, "policy_bias", "bias", "thread");
    println!("| tasks | inline p50 / p99 | thread p50 / p99 | added p50 / p99 |\n|---|---|---|---|");
    for (tasks, executors) in [(0, 8), (1_000, 100), (10_000, 1_000)] {
        let r = round(executors, 10, tasks);
        let mut times = [Vec::new(), Vec::new()];
        runtime.block_on(async {
            for block in 0..40 {
                let order = if block % 2 == 0 { [0, 1] } else { [1, 0] };
                for side in order {
                    let host = if side == 0 { &inline } else { &thread };
                    for _ in 0..50 {
                        let start = Instant::now();
                        black_box(host.bind(Arc::clone(&r)).await);
                        times[side].push(start.elapsed().as_nanos() as f64 / 1e3);
                    }
                }
            }
        });
        let at = |side: usize, q| quantile(&times[side], q);
        println!(
            "| {tasks} | {:.1} / {:.1} us | {:.1} / {:.1} us | {:+.1} / {:+.1} us |",
            at(0, 0.5),
            at(0, 0.99),
            at(1, 0.5),
            at(1, 0.99),
            at(1, 0.5) - at(0, 0.5),
            at(1, 0.99) - at(0, 0.99)
        );
    }
}

/// The kernel alone: the policy's body on prepared slots, nothing else.
pub(crate) fn kernel(policy: &dyn DistributionPolicy, round: &Round) -> Vec<BoundTask> {
    let stages = round.stage_refs();
    kernel_under(policy, &round.view(&stages))
}

/// As [`kernel`], of a view.
pub(crate) fn kernel_under(policy: &dyn DistributionPolicy, view: &RunningJobs<'_>) -> Vec<BoundTask> {
    let mut slots = Vec::new();
    view.available_slots(&mut slots);
    now(policy.bind_tasks(&mut slots, view)).expect("it binds")
}

/// A million pending tasks on ten thousand executors.
pub(crate) fn full_round(runtime: &Runtime) {
    const TASKS: u32 = 1_000_000;
    let r = round(10_000, 100, TASKS);
    let answer = vec![BoundTask::new(policy_wire::TaskId(1), policy_wire::ExecutorId(1)); TASKS as usize];
    let copy = |_: &()| {
        black_box(answer.clone());
    };
    println!(
        "| policy | tasks/s, kernel | tasks/s, whole bind | whole bind / kernel | whole bind / memcpy of the answer |\n|---|---|---|---|---|"
    );
    let kits: [(&str, &str, Box<dyn DistributionPolicy>); 2] = [
        ("policy_bias", "bias", Box::new(policy_kit::Bias)),
        ("policy_round_robin", "round-robin", Box::new(policy_kit::RoundRobin::default())),
    ];
    for (library, name, policy) in &kits {
        let (host, _directory) = loaded(runtime, library, name, "inline");
        assert_eq!(now(host.bind(Arc::clone(&r))).bindings().len(), TASKS as usize);
        let whole = || {
            black_box(now(host.bind(Arc::clone(&r))));
        };
        let block = Duration::from_millis(20);
        let to_kernel = compare(41, block, || drop(black_box(kernel(&**policy, &r))), whole);
        let to_copy = compare(41, block, || copy(&()), whole);
        let rate = |nanos: f64| format!("{:.0} M", f64::from(TASKS) / nanos * 1e3);
        println!("| {name} | {} | {} | {to_kernel} | {to_copy} |", rate(to_kernel.nanos.0), rate(to_kernel.nanos.1));
    }
}
