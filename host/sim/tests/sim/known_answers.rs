//! Answers that are known without a simulator: list scheduling's bounds, M/M/1, Little's law.

use policy_sim::cluster::ClusterOptions;
use policy_sim::outcome::End;
use policy_sim::workload::{ClusterDefaults, Input, Job, Stage, Task, parse_source};

use crate::binders::{FirstFit, Gate};
use crate::{measure, one_stage, simulate, workload};

fn makespan(executors: u32, durations_us: impl IntoIterator<Item = u64>) -> u64 {
    let (outcome, _) = simulate(one_stage(executors, durations_us), ClusterOptions::default(), &FirstFit::default());
    assert_eq!(outcome.end, End::WorkloadDone);
    outcome.metrics.makespan_us()
}

#[test]
fn list_scheduling_meets_its_bound() {
    // Graham 1966: m(m-1) unit jobs, then one of m, take 2m-1 where m would do.
    for m in 2..9u32 {
        let (units, long) = (m * (m - 1), u64::from(m) * 1000);
        let worst = (0..units).map(|_| 1000).chain([long]);
        assert_eq!(makespan(m, worst), u64::from(2 * m - 1) * 1000);
        let best = [long].into_iter().chain((0..units).map(|_| 1000));
        assert_eq!(makespan(m, best), long);
    }
}

#[test]
fn longest_first_meets_its_bound() {
    // Graham 1969: two each of 2m-1 down to m+1, and three of m, take 4m-1 where 3m would do.
    for m in 2..9u64 {
        let twice = (m + 1..2 * m).rev().flat_map(|d| [d, d]);
        let jobs = twice.chain([m, m, m]).map(|d| d * 1000);
        assert_eq!(makespan(m as u32, jobs), (4 * m - 1) * 1000);
    }
}

#[test]
fn busy_time_is_service_time_and_fills_the_machines() {
    let durations: Vec<u64> = (1..50).map(|i| i * 37 % 101).collect();
    let (outcome, _) = simulate(one_stage(3, durations.clone()), ClusterOptions::default(), &FirstFit::default());
    let service: u64 = durations.iter().sum();
    assert_eq!(outcome.metrics.busy_vcore_us, u128::from(service));
    assert_eq!(outcome.metrics.capacity_vcore_us, u128::from(outcome.metrics.makespan_us() * 3));
    assert!(outcome.metrics.makespan_us() * 3 >= service);
    assert!(outcome.metrics.makespan_us() >= 100);
}

#[test]
fn m_m_1_waits_as_erlang_says() {
    // Arrivals 0.8/s, service 1/s: the mean wait is 4 s, the mean response 5 s.
    let (mut waits, mut responses, runs) = (0.0, 0.0, 5);
    for seed in 1..=runs {
        let spec = format!("synthetic:jobs=40000,rate=0.8,stages=1,tasks=1,keys=0,duration=exp:1s,seed={seed}");
        let workload = parse_source(&spec, &ClusterDefaults::uniform(1, 1)).unwrap();
        let outcome = measure(workload, &FirstFit::default());
        waits += outcome.metrics.queue_wait_us.mean() / 1e6;
        let jobs = &outcome.metrics.jobs;
        let total: u64 = jobs.iter().map(|j| j.finish_us - j.submit_us).sum();
        responses += total as f64 / jobs.len() as f64 / 1e6;
    }
    let (wait, response) = (waits / f64::from(runs as u32), responses / f64::from(runs as u32));
    assert!((wait / 4.0 - 1.0).abs() < 0.08, "mean wait {wait} s");
    assert!((response / 5.0 - 1.0).abs() < 0.08, "mean response {response} s");
}

#[test]
fn littles_law_holds_on_the_path() {
    let workload = parse_source("synthetic:jobs=300,seed=5", &ClusterDefaults::uniform(4, 2)).unwrap();
    let (outcome, _) = simulate(workload, ClusterOptions::default(), &FirstFit::default());
    let jobs = &outcome.metrics.jobs;
    let sojourn: u128 = jobs.iter().map(|j| u128::from(j.finish_us - j.submit_us)).sum();
    // The area under the number of jobs in the cluster, from its steps.
    let mut steps: Vec<(u64, i64)> = jobs.iter().flat_map(|j| [(j.submit_us, 1), (j.finish_us, -1)]).collect();
    steps.sort_unstable();
    let (mut area, mut inside, mut before) = (0i128, 0i64, 0);
    for (at, step) in steps {
        area += i128::from(inside) * i128::from(at - before);
        (inside, before) = (inside + step, at);
    }
    assert_eq!(u128::try_from(area).unwrap(), sojourn);
}

#[test]
fn remote_bytes_and_slow_executors_take_their_time() {
    let input = |executor: &str, bytes| Input { executor: executor.into(), bytes };
    let mut cluster = ClusterDefaults::uniform(1, 1);
    cluster.cluster.executors[0].speed = 0.5;
    let task = Task { inputs: vec![input("e0", 5 << 20), input("store", 2 << 20)], ..Task::new(10_000) };
    let stages = vec![Stage { id: 0, depends_on: Vec::new(), tasks: vec![task] }];
    let job = Job { id: "j".to_owned(), tenant: "t".into(), submit_us: 7, priority: 0, stages };
    let (outcome, _) = simulate(workload(cluster, vec![job]), ClusterOptions::default(), &FirstFit::default());
    assert_eq!(outcome.metrics.makespan_us(), 20_000 + 2_000);
    assert_eq!((outcome.metrics.local_bytes, outcome.metrics.remote_bytes), (5 << 20, 2 << 20));
    assert!((outcome.metrics.locality_bytes_share() - 5.0 / 7.0).abs() < 1e-9);
}

#[test]
fn a_policy_that_never_binds_ends_as_stalled() {
    let gate = Gate::default();
    let (outcome, _) = simulate(one_stage(2, [10, 10, 10]), ClusterOptions::default(), &gate);
    assert_eq!(outcome.end, End::Stalled);
    assert_eq!((outcome.counts.submitted, outcome.counts.unfinished, outcome.counts.lost), (3, 3, 0));
    assert!(outcome.rounds <= 65, "{}", outcome.rounds);
    assert_eq!((outcome.fallback_rounds, outcome.by_policy["shut"].tasks), (outcome.rounds, 0));
}
