//! Whole binds of rounds that policies and filters make harder than plain ones: tasks that differ, many jobs, holders,
//! filters that limit.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use policy_host::{HostOptions, PolicyHost};
use policy_kit::{Bias, RoundRobin};
use policy_plugin_api::DistributionPolicy;
use tokio::runtime::Runtime;

use crate::artifact;
use crate::boundary::{kernel, now};
use crate::paired::compare_least;
use crate::rounds::Shape;

const TASKS: u32 = 10_000;

/// A host over all the libraries that these sections need, with this `active.json`.
fn host_of(runtime: &Runtime, active: &str) -> (PolicyHost, tempfile::TempDir) {
    let directory = tempfile::tempdir().expect("a directory");
    for library in ["policy_bias", "policy_round_robin", "policy_tenant_quota"] {
        let file = artifact(library);
        std::fs::copy(&file, directory.path().join(file.file_name().expect("a name"))).expect("copied");
    }
    let host = PolicyHost::start(HostOptions::default().plugins(directory.path())).expect("it starts");
    runtime.block_on(async {
        let until = Instant::now() + Duration::from_secs(20);
        while !matches!(host.switch(active).await, Ok(up) if !up.sha256().is_empty()) {
            assert!(Instant::now() < until, "{active} does not come up");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    (host, directory)
}

/// Rounds of 10,000 tasks over 100 executors, each harder than the one before in one respect.
pub(crate) fn shapes() -> Vec<(&'static str, Shape)> {
    let plain = Shape::plain(TASKS);
    let differ = Shape { differ: true, ..plain };
    vec![
        ("alike", plain),
        ("vcores differ", differ),
        ("vcores and memory differ", Shape { memory: true, ..differ }),
        ("the same, 3 holders", Shape { memory: true, holders: 3, ..differ }),
        ("vcores differ, 10 jobs", Shape { jobs: 10, ..differ }),
        ("vcores differ, 1,000 jobs", Shape { jobs: 1_000, ..differ }),
        ("vcores differ, every third task not pending", Shape { holes: true, ..differ }),
    ]
}

fn policies() -> [(&'static str, Box<dyn DistributionPolicy>); 2] {
    [("bias", Box::new(Bias)), ("round-robin", Box::new(RoundRobin::default()))]
}

/// The whole bind of a loaded policy against its bare body, linked in.
pub(crate) fn differing(runtime: &Runtime) {
    println!("| policy | tasks | body | whole bind | whole bind / body |\n|---|---|---|---|---|");
    for (name, policy) in policies() {
        let (host, _directory) = host_of(runtime, &format!(r#"{{ "policy": "{name}", "lane": "inline" }}"#));
        for (what, shape) in shapes() {
            let round = shape.round();
            assert!(now(host.bind(Arc::clone(&round))).bindings().len() as u32 >= TASKS / 2);
            let bare = || drop(black_box(kernel(&*policy, &round)));
            let ratio = compare_least(bare, || drop(black_box(now(host.bind(Arc::clone(&round))))));
            let (body, whole) = (ratio.least.0 / 1e3, ratio.least.1 / 1e3);
            println!("| {name} | {what} | {body:.1} us | {whole:.1} us | {:.2} |", ratio.of_least());
        }
    }
}

/// The whole bind behind filters that limit, against the same round without: `tenant-quota` that caps every tenant, at
/// what it has pending, and twice the same, whose limits have to be put together.
pub(crate) fn limited(runtime: &Runtime) {
    println!(
        "| policy | tasks | without filter | behind one that limits | ratio | behind two | ratio |\n|---|---|---|---|---|---|---|"
    );
    for (name, _) in policies() {
        let with = |filters: &str| format!(r#"{{ "policy": "{name}", "lane": "inline", "filters": [{filters}] }}"#);
        for (what, shape) in shapes() {
            // A vcore less than all tenants could take together, so that the cap binds; more than any has pending.
            let quota = shape.executors * shape.vcores - 1;
            let filter = format!(r#"{{ "policy": "tenant-quota", "config": {{ "default": {quota} }} }}"#);
            let (open, _a) = host_of(runtime, &with(""));
            let (one, _b) = host_of(runtime, &with(&filter));
            let (two, _c) = host_of(runtime, &with(&format!("{filter}, {filter}")));
            let round = shape.round();
            let bind = |host: &PolicyHost| now(host.bind(Arc::clone(&round)));
            let bound = bind(&open).bindings().len();
            assert!(bind(&one).bindings().len() == bound && bind(&two).bindings().len() == bound);
            let by_one = compare_least(|| drop(black_box(bind(&open))), || drop(black_box(bind(&one))));
            let by_two = compare_least(|| drop(black_box(bind(&open))), || drop(black_box(bind(&two))));
            let us = |nanos: f64| format!("{:.1} us", nanos / 1e3);
            println!(
                "| {name} | {what} | {} | {} | {:.2} | {} | {:.2} |",
                us(by_one.least.0),
                us(by_one.least.1),
                by_one.of_least(),
                us(by_two.least.1),
                by_two.of_least()
            );
        }
    }
}
