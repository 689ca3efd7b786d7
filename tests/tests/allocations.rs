//! A bound task costs no allocation: what a round allocates does not depend on how many tasks it binds. Counted, not
//! timed, so it holds on any machine. A binary of its own: the counter is its global allocator.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use policy_host::policy::DistributionPolicy;
use policy_host::round::Round;
use policy_host::{HostOptions, PolicyHost, TaskDistributionPolicy};

#[path = "integration/rounds.rs"]
mod rounds;
#[allow(dead_code, reason = "shared with the other test binary, which uses all of it")]
#[path = "integration/sandbox.rs"]
mod sandbox;

/// The inline lane of a linked policy is ready at once.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("not ready at once"),
    }
}

/// Allocations of one whole round: dispatch, policy, validation; after a first round that warms up scratch memory.
fn allocations(host: &PolicyHost, round: &Arc<Round>, tasks: usize) -> u64 {
    drop(now(host.bind(Arc::clone(round))));
    let mut plan = None;
    let info = allocation_counter::measure(|| plan = Some(now(host.bind(Arc::clone(round)))));
    assert_eq!(plan.map(|p| p.bindings().len()), Some(tasks));
    info.count_total
}

#[test]
fn a_bound_task_costs_no_allocation() {
    let policies: [(&str, Arc<dyn DistributionPolicy>); 2] =
        [("bias", Arc::new(policy_kit::Bias)), ("round-robin", Arc::new(policy_kit::RoundRobin::default()))];
    for (name, policy) in policies {
        let host = PolicyHost::start(HostOptions::with_policy(TaskDistributionPolicy::Custom(policy))).unwrap();
        let small = allocations(&host, &rounds::round(100, 10, 1_000), 1_000);
        let large = allocations(&host, &rounds::round(10_000, 100, 1_000_000), 1_000_000);
        assert!(
            large <= small + 4 && large <= 16,
            "{name}: {small} allocations for 1,000 tasks, {large} for 1,000,000"
        );
    }
}

/// The plugin allocates by itself; what is counted here is the host's.
#[test]
fn an_answer_that_is_far_too_long_costs_the_host_no_more_than_its_round() {
    let sandbox = sandbox::Sandbox::new();
    sandbox.drop_in("fixture_hostile");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let host = PolicyHost::start(HostOptions::default().plugins(sandbox.plugins())).unwrap();
    let active = r#"{ "policy": "hostile", "lane": "inline", "deadline_ms": 60000,
        "config": { "bind": "far-too-many-rows", "job": "trap" } }"#;
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while let Err(refused) = runtime.block_on(host.switch(active)) {
        assert!(std::time::Instant::now() < until, "the library is not admitted: {refused}");
    }
    let warm = now(host.bind(rounds::round(4, 4, 8)));
    assert_eq!((warm.policy(), warm.fallback()), ("hostile", None));
    let mut plan = None;
    let round = rounds::jobs_round(4, 4, &[("trap", "team-a", 8)]);
    let info = allocation_counter::measure(|| plan = Some(now(host.bind(round))));
    let plan = plan.expect("bound");
    assert_eq!(plan.fallback().map(|reason| reason.code), Some("too-many-rows"));
    assert_eq!(plan.bindings().len(), 8, "the fallback binds");
    assert!(info.bytes_total < 256 * 1024, "{} bytes for an answer of 16 MiB", info.bytes_total);
}
