//! What `resource-aware` promises: no herds on old reports, slow executors noticed and forgiven, memory and labels kept.

#[path = "load/queues.rs"]
mod queues;

use policy_kit::resource_aware::{LabelRule, ResourceAwareConfig};
use policy_kit::{Bias, ResourceAware};
use policy_plugin_api::prelude::*;
use policy_testkit::TestRound;
use policy_testkit::arbitrary;
use policy_testkit::spec::{ExecutorState, executor, job, round, stage, task, tasks};
use policy_wire::assemble::UidTable;
use proptest::prelude::*;
use queues::{LeastReported, Outcome, Queues, finished, late_binding, tell};

mod conformance {
    policy_testkit::policy_conformance!(
        policy_kit::ResourceAware,
        defaults = "{}",
        many_choices = r#"{"choices": 64, "report_ms": 0, "forget_ms": 0, "packing_percent": 0}"#,
        one_choice = r#"{"choices": 1, "packing_percent": 1000}"#,
        rules = r#"{"choices": 3, "rules": [
            {"match": {"tenant": "team-0"}, "require": {"disk": "ssd"}},
            {"match": {"job": "job-*1"}, "prefer": {"disk": "h*"}, "weight": 300},
            {"match": {"tenant": "team-1"}, "require": {"disk": "*"}, "prefer": {"disk": "ssd"}}
        ]}"#,
    );
}

fn made(config: &str) -> ResourceAware {
    ResourceAware::from_config(policy_plugin_api::config::parse(config).expect("a config")).expect("made")
}

#[test]
fn old_reports_raise_no_herd() {
    let mean = |refresh: f64, observed: bool| {
        let queues = Queues { observed, ..Queues::new(100, 0.9, refresh) };
        queues.run(&made(r#"{"choices": 2}"#), 7).mean
    };
    let stale = Queues::new(100, 0.9, 10.0).run(&made(r#"{"choices": 2, "report_ms": 0}"#), 7).mean;
    let herd = Queues::new(100, 0.9, 10.0).run(&LeastReported, 7).mean;
    let (fresh, old, blind) = (mean(1.0, true), mean(10.0, true), mean(10.0, false));
    println!("mean response: {fresh:.2}, {old:.2}, unobserved {blind:.2}, reports alone {stale:.2}, least {herd:.2}");
    // Two choices of the true queues, many servers: 2.61 (Mitzenmacher, IEEE TPDS 2001, section 3).
    assert!((2.3..3.2).contains(&fresh), "{fresh}");
    assert!(old <= fresh * 1.1, "what is in flight makes up for the age of the reports: {old} against {fresh}");
    assert!(blind <= stale, "unobserved, it is no worse than reports alone: {blind} against {stale}");
    assert!(stale >= 1.5 * old, "two choices by reports alone: {stale} against {old}");
    assert!(herd >= 4.0 * old, "least loaded by reports alone: {herd} against {old}");
}

#[test]
fn a_slow_executor_gets_less_than_its_load_would_give_it() {
    let mut queues = Queues::new(20, 0.75, 1.0);
    queues.speeds[7] = 0.25;
    let share = |outcome: &Outcome| f64::from(outcome.tasks[7]) / f64::from(outcome.tasks.iter().sum::<u32>());
    for seed in [3, 4] {
        for choices in [2, 4, 64] {
            let run = |knob: &str| queues.run(&made(&format!(r#"{{"choices": {choices}{knob}}}"#)), seed);
            let (aware, by_load) = (run(""), run(r#", "forget_ms": 0"#));
            let (shares, tails) = ((share(&aware), share(&by_load)), (aware.p99, by_load.p99));
            // Told with --nocapture; the figures of the README.
            println!(
                "{choices} of 20: share {shares:.4?}, p99 {tails:.2?}, mean {:.2} {:.2}",
                aware.mean, by_load.mean
            );
            assert!(shares.0 < 0.7 * shares.1, "seed {seed}, {choices} choices: {shares:?}");
            assert!(tails.0 < 0.95 * tails.1, "seed {seed}, {choices} choices: {tails:?}");
        }
    }
}

#[test]
fn a_slow_executor_is_left_alone_while_others_have_room() {
    let aware = late_binding(&made("{}"), 0.25, 5);
    let by_load = late_binding(&made(r#"{"forget_ms": 0}"#), 0.25, 5);
    let bias = late_binding(&Bias, 0.25, 5);
    let unharmed = late_binding(&made("{}"), 1.0, 5);
    println!("share and p99: {aware:.4?}, load only {by_load:.4?}, bias {bias:.4?}, none slow {unharmed:.4?}");
    assert!(aware.0 < 0.5 * by_load.0 && aware.0 < 0.5 * bias.0, "{aware:?} {by_load:?} {bias:?}");
    assert!(aware.1 < 0.95 * by_load.1 && aware.1 < 0.95 * bias.1, "{aware:?} {by_load:?} {bias:?}");
    assert!((0.04..0.06).contains(&unharmed.0), "a twentieth, where none is slow: {unharmed:?}");
}

/// Four executors of 100 vcores, and tasks for half of them, so that there is a choice.
fn four(now_us: u64) -> TestRound {
    let mut spec = round().executors(4, 100).job(job("j").stage(stage(200)));
    spec.clock.now_us = now_us;
    spec.build()
}

fn counts(round: &TestRound, policy: &impl DistributionPolicy) -> Vec<usize> {
    round.counts(policy).into_iter().map(|(_, count)| count).collect()
}

/// A policy that has seen executor 3 take four times as long as the others, `now_us` being one second.
fn warned() -> ResourceAware {
    let policy = made(r#"{"choices": 4}"#);
    assert_eq!(counts(&four(1_000_000), &policy), [50, 50, 50, 50]);
    for _ in 0..16 {
        (0..4).for_each(|uid| tell(&policy, &finished(uid, 0, 1, if uid == 3 { 4_000 } else { 1_000 }, 1_000_000)));
    }
    policy
}

#[test]
fn a_slow_executor_is_noticed_and_recovers_by_proof_or_with_time() {
    let policy = warned();
    let shunned = counts(&four(1_000_000), &policy);
    assert_eq!(shunned[3], 0, "half full is 1.5 times as long, no more than that: {shunned:?}");
    assert_eq!(shunned.iter().sum::<usize>(), 200, "{shunned:?}");
    // All of it is used when it is needed.
    let mut spec = round().executors(4, 100).job(job("j").stage(stage(400)));
    spec.clock.now_us = 1_000_000;
    assert_eq!(counts(&spec.build(), &policy), [100; 4]);

    // Half of the evidence is gone after two minutes, practically all after half an hour.
    let later = counts(&four(1_800_000_000), &policy);
    assert!(later[3] >= 45, "{later:?}");
    let policy = warned();
    (0..64).for_each(|_| (0..4).for_each(|uid| tell(&policy, &finished(uid, 0, 1, 1_000, 1_000_000))));
    let proven = counts(&four(1_000_000), &policy);
    assert!(proven[3] >= 35, "{proven:?}");
}

#[test]
fn stages_of_long_tasks_make_no_executor_slow() {
    let policy = made(r#"{"choices": 4}"#);
    counts(&four(1_000_000), &policy);
    for _ in 0..50 {
        // Each has a stage of its own; the longest takes a million times as long as the shortest.
        (0..4).for_each(|uid| tell(&policy, &finished(uid, uid, 5, 1_000 * 100u64.pow(uid), 1_000_000)));
    }
    assert_eq!(counts(&four(1_000_000), &policy), [50; 4]);
}

#[test]
fn what_durations_told_survives_a_swap_by_name() {
    let state = warned().export_state().expect("something is known");
    let successor = made(r#"{"choices": 4}"#);
    successor.import_state(&state).expect("its own state");
    // The successor's host numbers executors in another order.
    let mut uids = UidTable::default();
    ["executor-3", "executor-9", "executor-0"].iter().for_each(|name| {
        uids.uid(name);
    });
    let mut spec = round().executors(4, 100).job(job("j").stage(stage(200)));
    spec.clock.now_us = 1_000_000;
    let known = counts(&spec.build_with(&mut uids), &successor);
    assert_eq!((known[3], known.iter().sum::<usize>()), (0, 200), "{known:?}");
    assert!(successor.import_state(&PolicyState { version: 2, ..state.clone() }).is_err());
    let cut = PolicyState { bytes: state.bytes[..state.bytes.len() - 1].to_vec(), ..state };
    assert!(successor.import_state(&cut).is_err());
}

#[test]
fn declared_speed_counts_before_anything_is_observed() {
    let spec = round().executor(executor("a", 100)).executor(executor("b", 100).speed(0.5));
    let round = spec.job(job("j").stage(stage(60))).build();
    assert_eq!(counts(&round, &made(r#"{"choices": 2}"#)), [60, 0]);
}

#[test]
fn load_is_balanced_over_what_executors_have() {
    // Reported load counts where it is more than what tasks hold, and what is bound is added to it.
    let spec = round().executor(executor("a", 100).load(60.0)).executor(executor("b", 100).free(70));
    let spec = spec.executor(executor("c", 50));
    let round = spec.job(job("j").stage(stage(100))).build();
    let counts = counts(&round, &made(r#"{"choices": 3}"#));
    // All at 76 %: (60 + 30 + 0 + 100) / 250.
    assert_eq!(counts, [16, 46, 38]);
}

#[test]
fn required_labels_hold_and_preferred_ones_are_found_however_rare() {
    let plain = (0..990).map(|i| executor(format!("plain-{i:03}"), 4));
    let gpus = (0..10).map(|i| executor(format!("gpu-{i}"), 4).label("gpu", "v100"));
    let cluster = plain.chain(gpus).fold(round(), |round, e: ExecutorState| round.executor(e));
    let cluster = cluster.job(job("train-1").priority(1).stage(stage(60))).job(job("etl").stage(stage(60)));
    let on_gpus = |config: &str, job: &str| {
        let rows = cluster.clone().build().answer(&made(config));
        let of_job = rows.iter().filter(|row| row.0 == job);
        (of_job.clone().filter(|row| row.3.starts_with("gpu")).count(), of_job.count())
    };
    let required = r#"{"rules": [{"match": {"job": "train-*"}, "require": {"gpu": "v*"}}]}"#;
    assert_eq!(on_gpus(required, "train-1"), (40, 40), "twenty wait");
    assert_eq!(on_gpus(required, "etl").1, 60);
    let preferred = |weight: u32| {
        let rule = r#"{"match": {"job": "train-*"}, "prefer": {"gpu": "v100"}, "weight": "#;
        on_gpus(&format!(r#"{{"rules": [{rule}{weight}}}]}}"#), "train-1")
    };
    assert_eq!(preferred(500), (40, 60), "all they have, the rest elsewhere");
    // Four vcores: a second task counts as a fifth more stretched than a first one elsewhere.
    let (few, all) = preferred(15);
    assert!((10..40).contains(&few) && all == 60, "{few} of {all}");
    assert_eq!(on_gpus(r#"{"rules": [{"require": {"gpu": "none"}}]}"#, "etl"), (0, 0));
}

#[test]
fn alignment_packs_more_than_load_alone() {
    // Executors rich in memory and rich in vcores, tasks that want the one or the other.
    let bound = |packing: u32, seed: u64| {
        let rich = |i: u32| match i % 2 {
            0 => executor(format!("memory-{i}"), 8).memory(64_000, 64_000),
            _ => executor(format!("vcores-{i}"), 32).memory(8_000, 8_000),
        };
        let cluster = (0..20).map(rich).fold(round().seed(seed), |round, e| round.executor(e));
        let mixed = (0..220).map(|i| match i % 5 {
            0 | 1 => task().vcores(1).memory_mib(7_000),
            _ => task().vcores(2).memory_mib(300),
        });
        let round = cluster.job(job("j").stage(tasks(mixed.collect::<Vec<_>>()))).build();
        round.answer(&made(&format!(r#"{{"choices": 4, "packing_percent": {packing}}}"#))).len()
    };
    let (with, without): (usize, usize) = (0..10)
        .map(|seed| (bound(100, seed), bound(0, seed)))
        .fold((0, 0), |(with, without), (a, b)| (with + a, without + b));
    println!("bound with alignment {with}, without {without}");
    assert!(with > without, "{with} against {without}");
}

#[test]
fn configs_out_of_range_are_refused_by_name() {
    for (config, message) in [
        (r#"{"choices": 0}"#, "choices is 0: 1 to 64"),
        (r#"{"choices": 65}"#, "choices is 65: 1 to 64"),
        (r#"{"report_ms": 3600001}"#, "report_ms is 3600001: 0 to 3600000"),
        (r#"{"forget_ms": 86400001}"#, "forget_ms is 86400001: 0 to 86400000"),
        (r#"{"packing_percent": 1001}"#, "packing_percent is 1001: 0 to 1000"),
        (r#"{"rules": [{"match": {"job": "a"}}]}"#, "rules[0] neither requires nor prefers a label"),
        (r#"{"rules": [{"prefer": {"a": "b"}, "weight": 0}]}"#, "rules[0].weight is 0: 1 to 10000"),
    ] {
        let config: ResourceAwareConfig = policy_plugin_api::config::parse(config).expect("it parses");
        let error = ResourceAware::from_config(config).expect_err(message).to_string();
        assert!(error.contains(message), "{error}");
    }
    for config in [r#"{"choice": 2}"#, r#"{"rules": [{"match": {"jobs": "a"}}]}"#, r#"{"choices": -1}"#] {
        assert!(policy_plugin_api::config::parse::<ResourceAwareConfig>(config).is_err(), "{config}");
    }
    let too_many = ResourceAwareConfig { rules: vec![LabelRule::default(); 65], ..ResourceAwareConfig::default() };
    assert!(ResourceAware::from_config(too_many).is_err());
}

#[test]
fn numbers_that_are_none_do_no_harm() {
    let odd = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -1.0, 0.0, f32::MAX];
    let cluster = (0..).zip(odd).fold(round().executor(executor("z", 4).load(1.0)), |round, (i, odd)| {
        round.executor(executor(format!("e{i}"), 4).load(odd).speed(odd))
    });
    let round = cluster.job(job("j").stage(stage(40))).build();
    let policy = made(r#"{"choices": 5}"#);
    for _ in 0..3 {
        assert_eq!(round.answer(&policy).len(), 28);
        let mut batch = finished(0, 0, 40, u64::MAX, u64::MAX);
        batch.extend(finished(1, 0, 40, 0, 0));
        batch.extend(finished(u32::MAX, 0, 1, 1, 1));
        tell(&policy, &batch);
    }
}

/// Vcores and memory left by executor, and tasks bound by stage.
fn left(round: &TestRound, rows: &[BoundTask]) -> (Vec<(u32, u64)>, Vec<u32>) {
    round.with(|slots, jobs| {
        let (mut left, mut bound) = (vec![(0, 0); jobs.executors().len()], vec![0; jobs.stage_count()]);
        slots.iter().for_each(|s| left[s.executor.index()] = (s.slots, s.memory_mib));
        for row in rows {
            let (stage, index) = jobs.locate(row.task).expect("a task of the round");
            bound[stage.index()] += 1;
            let left = &mut left[row.executor.index()];
            left.0 -= jobs.stage(stage).vcores_of(index);
            left.1 -= u64::from(jobs.stage(stage).memory_mib_of(index));
        }
        (left, bound)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_vcore_stays_free_while_a_unit_task_waits(round in arbitrary::unit_rounds(), choices in 1..=12u32) {
        let prefers = r#""rules": [{"match": {"tenant": "team-1"}, "prefer": {"disk": "ssd"}}]"#;
        let bindable = round.with(|_, jobs| jobs.bindable());
        for config in [format!(r#"{{"choices": {choices}}}"#), format!(r#"{{"choices": {choices}, {prefers}}}"#)] {
            prop_assert_eq!(round.ask(&made(&config)).unwrap().len(), bindable);
        }
    }

    #[test]
    fn what_is_left_fits_nowhere(round in arbitrary::unlimited_rounds(), choices in 1..=4u32) {
        let rows = round.ask(&made(&format!(r#"{{"choices": {choices}}}"#))).unwrap();
        let (left, bound) = left(&round, &rows);
        round.with(|_, jobs| {
            for stage in jobs.stages().filter(|s| bound[s.id().index()] < s.pending_count()) {
                if let (Some(vcores), Some(memory)) = (stage.uniform_vcores(), stage.uniform_memory_mib()) {
                    assert!(left.iter().all(|l| l.0 < vcores || l.1 < u64::from(memory)), "{left:?} for {stage:?}");
                }
            }
        });
    }

    #[test]
    fn with_all_executors_looked_at_the_least_loaded_is_taken(round in arbitrary::unit_rounds()) {
        let all = made(r#"{"choices": 64}"#);
        let rows = round.ask(&all).unwrap();
        round.with(|slots, jobs| {
            let e = jobs.executors();
            let occupancy = |s: &AvailableTaskSlots| {
                let (capacity, load) = (e.get(s.executor).vcores() as f32, e.load().get(s.executor.index()));
                (capacity - s.slots as f32).max(load.copied().unwrap_or(0.0)) / capacity + 1.0 / capacity
            };
            if let Some(first) = rows.first() {
                let taken = slots.iter().find(|s| s.executor == first.executor).map(occupancy).unwrap();
                assert!(slots.iter().map(occupancy).all(|other| taken <= other + 1e-5));
            }
        });
    }
}
