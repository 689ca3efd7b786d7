//! What the built-in `composite` costs with scores that come from a library.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use policy_host::{HostOptions, PolicyHost};
use policy_kit::Composite;
use policy_plugin_api::{Candidates, FromConfig, PolicyError, TaskScore};
use policy_scores::allocated::LeastAllocated;
use policy_scores::labels::PreferredLabels;
use policy_scores::local_bytes::LocalBytes;
use policy_wire::BoundTask;
use policy_wire::assemble::Round;
use tokio::runtime::Runtime;

use crate::artifact;
use crate::boundary::now;
use crate::limited::shapes;
use crate::paired::compare;
use crate::rounds::scored;

const LABELS: &str = r#"{ "labels": { "disk": "ssd" } }"#;

/// A host with all three scores from their library.
fn loaded(runtime: &Runtime) -> (PolicyHost, tempfile::TempDir) {
    let directory = tempfile::tempdir().expect("a directory");
    let file = artifact("policy_scores");
    std::fs::copy(&file, directory.path().join(file.file_name().expect("a name"))).expect("copied");
    let host = PolicyHost::start(HostOptions::default().plugins(directory.path())).expect("it starts");
    let scores = format!(
        r#"[ {{ "policy": "least-allocated", "weight": 2 }}, {{ "policy": "local-bytes" }},
             {{ "policy": "preferred-labels", "config": {LABELS} }} ]"#
    );
    let json = format!(r#"{{ "policy": "composite", "lane": "inline", "deadline_ms": 60000, "scores": {scores} }}"#);
    runtime.block_on(async {
        let until = Instant::now() + Duration::from_secs(20);
        while let Err(error) = host.switch(&json).await {
            assert!(Instant::now() < until, "composite does not come up: {error}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    (host, directory)
}

/// The same scores, linked in: no boundary, no host.
fn linked(composite: &Composite, scores: &[(u32, &dyn TaskScore)], round: &Round) -> Vec<BoundTask> {
    let stages = round.stage_refs();
    let view = round.view(&stages);
    let mut slots = Vec::new();
    view.available_slots(&mut slots);
    let weights: Vec<u32> = scores.iter().map(|score| score.0).collect();
    let ask =
        |place: usize, candidates: &Candidates<'_>, into: &mut [f32]| scores[place].1.score(&view, candidates, into);
    composite.bind::<PolicyError>(&mut slots, &view, &weights, ask).expect("it binds")
}

/// Three scores: 10,000 executors of 100 vcores, then 100 executors and tasks that differ.
pub(crate) fn composite(runtime: &Runtime) {
    let labels = policy_plugin_api::config::parse(LABELS).expect("a config");
    let labels = PreferredLabels::from_config(labels).expect("a score");
    let scores: [(u32, &dyn TaskScore); 3] = [(2, &LeastAllocated), (1, &LocalBytes), (1, &labels)];
    let (composite, (host, _directory)) = (Composite::default(), loaded(runtime));
    println!(
        "| tasks | holders, or the round | linked, bare | loaded, whole bind | whole bind / bare (median of 15 pairs, 95 %) |\n\
         |---|---|---|---|---|"
    );
    let large = [(10_000, 0), (1_000_000, 0), (1_000_000, 3)];
    let large = large.map(|(tasks, holders)| (holders.to_string(), tasks, scored(10_000, 100, tasks, holders)));
    let harder = shapes().into_iter().map(|(title, shape)| (title.to_owned(), shape.tasks, shape.round()));
    for (what, tasks, r) in large.into_iter().chain(harder) {
        let answer = now(host.bind(Arc::clone(&r)));
        assert!(answer.fallback().is_none(), "composite answers");
        assert_eq!(answer.bindings(), linked(&composite, &scores, &r), "loaded as linked in");
        let ratio = compare(
            15,
            Duration::from_millis(20),
            || drop(black_box(linked(&composite, &scores, &r))),
            || drop(black_box(now(host.bind(Arc::clone(&r))))),
        );
        let each = |nanos: f64| nanos / f64::from(tasks);
        println!(
            "| {tasks} | {what} | {:.0} ns a task | {:.0} ns a task | {ratio} |",
            each(ratio.nanos.0),
            each(ratio.nanos.1)
        );
    }
}
