//! The same inputs and seed give the same bytes.

use policy_sim::cluster::{ClusterOptions, Fault, FaultKind};
use policy_sim::workload::{ClusterDefaults, parse_source};

use crate::binders::{FirstFit, Hostile, Vice};
use crate::simulate;

const SPEC: &str = "synthetic:jobs=60,seed=11,priorities=3,vcores=uniform:1:3,arrivals=bursty:100ms:300ms";

fn log(seed: u64, vice: Vice) -> String {
    let workload = parse_source(SPEC, &ClusterDefaults::uniform(5, 3)).unwrap();
    let fault = |at_us, kind| Fault { at_us, executor: "e3".to_owned(), kind };
    let faults = (1..40).map(|i| fault(i * 50_000, if i % 2 == 0 { FaultKind::Joined } else { FaultKind::Lost }));
    let faults = faults.collect();
    let options = ClusterOptions { seed, faults, ..ClusterOptions::default() };
    simulate(workload, options, &Hostile::new(vice)).1
}

#[test]
fn the_same_seed_gives_the_same_log_and_another_seed_another() {
    let first = log(1, Vice::Loses);
    assert!(first.contains("requeued") && first.lines().count() > 1000);
    assert_eq!(first, log(1, Vice::Loses));
    assert_ne!(first, log(2, Vice::Loses));
}

#[test]
fn the_log_has_the_lines_of_the_contract() {
    let workload = crate::one_stage(1, [10]);
    let (_, log) = simulate(workload, ClusterOptions::default(), &FirstFit::default());
    let line = |t_us: u64, event: &str, executor: &str| {
        format!(r#"{{"t_us":{t_us},"event":"{event}","job":"j","stage":0,"task":0,"executor":{executor}}}"#)
    };
    let lines = [
        line(0, "submitted", "null"),
        line(0, "bound", r#""e0""#),
        line(0, "started", r#""e0""#),
        line(10, "finished", r#""e0""#),
    ];
    assert_eq!(log.lines().collect::<Vec<_>>(), lines);
}

/// Guards against a generator or a loop that changes without notice. If it was meant to change, so do all figures that
/// were published with it: say so in the change log.
#[test]
fn the_demo_workload_is_the_one_that_was_published() {
    let workload = parse_source("synthetic:", &ClusterDefaults::default()).unwrap();
    let mut bytes = Vec::new();
    policy_sim::workload::file::to_writer(&mut bytes, &workload).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let digest = policy_host::round::key_hash(&text);
    assert_eq!((workload.task_count(), digest), (3601, 1_508_919_431_669_006_291));
}
