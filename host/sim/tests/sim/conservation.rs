//! Whatever the workload, the faults and the binder: no task disappears, none runs twice, nothing is overbooked, and
//! time adds up. Checked against the event log alone, by a second, simpler book-keeper.

use std::collections::{BTreeMap, BTreeSet};

use policy_sim::cluster::{ClusterOptions, Fault, FaultKind};
use policy_sim::outcome::{End, Outcome};
use policy_sim::workload::{ClusterDefaults, ExecutorSpec, Header, Input, Job, Stage, Task, Workload};
use proptest::prelude::*;
use serde::Deserialize;

use crate::binders::{FirstFit, Hostile, Vice};
use crate::simulate;

fn task(executors: u32) -> impl Strategy<Value = Task> {
    let inputs = prop::collection::vec((0..executors + 1, 0u64..(8 << 20)), 0..3);
    (0u64..2000, 1u32..3, 0u32..600, inputs).prop_map(|(duration_us, vcores, memory_mib, inputs)| {
        let inputs = inputs.into_iter().map(|(e, bytes)| Input { executor: format!("e{e}").into(), bytes }).collect();
        Task { vcores, memory_mib, inputs, ..Task::new(duration_us) }
    })
}

/// Stages that depend on any of those before them.
fn stages(executors: u32) -> impl Strategy<Value = Vec<Stage>> {
    let stage = (prop::collection::vec(task(executors), 0..6), any::<u8>());
    prop::collection::vec(stage, 0..4).prop_map(|stages| {
        let number = |at: usize| 7 * at as u32 % 10;
        let stage = |(at, (tasks, bits)): (usize, (Vec<Task>, u8))| {
            let depends_on = (0..at).filter(|i| bits & (1 << i) != 0).map(number).collect();
            Stage { id: number(at), depends_on, tasks }
        };
        stages.into_iter().enumerate().map(stage).collect()
    })
}

fn workload() -> impl Strategy<Value = Workload> {
    let executors = prop::collection::vec((2u32..5, prop::sample::select(vec![0.5f32, 1.0, 2.0, 1.1])), 1..5);
    (executors, any::<bool>()).prop_flat_map(|(sizes, memory)| {
        let executors: Vec<ExecutorSpec> = sizes
            .iter()
            .enumerate()
            .map(|(i, &(vcores, speed))| {
                let memory_mib = if memory { 1000 } else { 0 };
                ExecutorSpec { memory_mib, speed, ..ExecutorSpec::new(format!("e{i}"), vcores) }
            })
            .collect();
        let job = (stages(executors.len() as u32), 0u64..3000, 0i32..3, 0u8..3);
        let cluster = ClusterDefaults { cluster: Header::new(1000, executors), instead: false };
        prop::collection::vec(job, 0..6).prop_map(move |mut jobs| {
            jobs.sort_by_key(|j| j.1);
            let job = |(i, (stages, submit_us, priority, tenant)): (usize, (Vec<Stage>, u64, i32, u8))| Job {
                id: format!("j{i}"),
                tenant: format!("t{tenant}").into(),
                submit_us,
                priority,
                stages,
            };
            crate::workload(cluster.clone(), jobs.into_iter().enumerate().map(job).collect())
        })
    })
}

fn faults(executors: usize) -> impl Strategy<Value = Vec<Fault>> {
    let fault = (0u64..8000, 0..executors, any::<bool>());
    prop::collection::vec(fault, 0..8).prop_map(|faults| {
        let kind = |lost| if lost { FaultKind::Lost } else { FaultKind::Joined };
        let fault = |(at_us, e, lost)| Fault { at_us, executor: format!("e{e}"), kind: kind(lost) };
        faults.into_iter().map(fault).collect()
    })
}

fn scenario() -> impl Strategy<Value = (Workload, Vec<Fault>)> {
    workload().prop_flat_map(|w| {
        let faults = faults(w.header.executors.len());
        (Just(w), faults)
    })
}

#[derive(Debug, Deserialize)]
struct Line<'a> {
    t_us: u64,
    event: &'a str,
    job: Option<&'a str>,
    stage: Option<u32>,
    task: Option<u32>,
    executor: Option<&'a str>,
}

type TaskName<'a> = (&'a str, u32, u32);

/// A second book-keeper, which knows the workload and believes only the log.
#[derive(Default)]
struct Books<'a> {
    submitted: BTreeSet<TaskName<'a>>,
    running: BTreeMap<TaskName<'a>, (&'a str, u64)>,
    finished: BTreeSet<TaskName<'a>>,
    busy_vcore_us: u128,
    now_us: u64,
}

impl<'a> Books<'a> {
    fn read(workload: &Workload, log: &'a str) -> Self {
        let mut books = Self::default();
        for line in log.lines() {
            books.enter(workload, &serde_json::from_str(line).unwrap());
        }
        books
    }

    fn enter(&mut self, workload: &Workload, line: &Line<'a>) {
        assert!(line.t_us >= self.now_us, "time goes back at {line:?}");
        self.now_us = line.t_us;
        if line.event == "executor-joined" || line.event == "executor-lost" {
            return;
        }
        let name = (line.job.unwrap(), line.stage.unwrap(), line.task.unwrap());
        match line.event {
            "submitted" => assert!(self.submitted.insert(name), "submitted twice: {line:?}"),
            "bound" => assert!(self.submitted.contains(&name)),
            "started" => self.start(workload, name, line),
            "requeued" => assert!(self.running.remove(&name).is_some(), "not running: {line:?}"),
            "finished" => self.finish(workload, name, line),
            other => panic!("unknown event {other}"),
        }
    }

    fn start(&mut self, workload: &Workload, name: TaskName<'a>, line: &Line<'a>) {
        assert!(!self.finished.contains(&name), "started after its end: {line:?}");
        let job = workload.jobs.iter().find(|j| j.id == name.0).unwrap();
        for other in &find_stage(workload, name).depends_on {
            let stage = job.stages.iter().find(|s| s.id == *other).unwrap();
            let done = (0..stage.tasks.len() as u32).all(|t| self.finished.contains(&(name.0, *other, t)));
            assert!(done, "started before stage {other} had finished: {line:?}");
        }
        let executor = line.executor.unwrap();
        assert!(self.running.insert(name, (executor, line.t_us)).is_none(), "started twice: {line:?}");
        let spec = workload.header.executors.iter().find(|e| e.name == executor).unwrap();
        let there = self.running.iter().filter(|(_, (e, _))| *e == executor).map(|(&n, _)| find_task(workload, n));
        let (vcores, memory) = there.fold((0, 0), |(v, m), t| (v + t.vcores, m + u64::from(t.memory_mib)));
        assert!(vcores <= spec.vcores, "overbooked: {line:?}");
        assert!(spec.memory_mib == 0 || memory <= spec.memory_mib, "memory overbooked: {line:?}");
    }

    fn finish(&mut self, workload: &Workload, name: TaskName<'a>, line: &Line<'a>) {
        let (executor, since) = self.running.remove(&name).expect("it ran");
        assert_eq!(Some(executor), line.executor);
        assert!(self.finished.insert(name));
        let task = find_task(workload, name);
        let spec = workload.header.executors.iter().find(|e| e.name == executor).unwrap();
        let speed: f64 = spec.speed.to_string().parse().unwrap();
        let remote: u64 = task.inputs.iter().filter(|i| &*i.executor != executor).map(|i| i.bytes).sum();
        let transfer = (remote as f64 / 1_048_576.0 / 1000.0 * 1e6).ceil() as u64;
        let service = (task.duration_us as f64 / speed).round() as u64 + transfer;
        assert_eq!(line.t_us - since, service, "busy time is service time: {line:?}");
        self.busy_vcore_us += u128::from(service) * u128::from(task.vcores);
    }
}

fn find_stage<'w>(workload: &'w Workload, name: TaskName<'_>) -> &'w Stage {
    let job = workload.jobs.iter().find(|j| j.id == name.0).unwrap();
    job.stages.iter().find(|s| s.id == name.1).unwrap()
}

fn find_task<'w>(workload: &'w Workload, name: TaskName<'_>) -> &'w Task {
    &find_stage(workload, name).tasks[name.2 as usize]
}

fn check(workload: &Workload, outcome: &Outcome, log: &str) {
    let books = Books::read(workload, log);
    let counts = outcome.counts;
    assert_eq!(counts.submitted, counts.completed + counts.unfinished + counts.lost);
    assert_eq!(counts.lost, 0);
    assert_eq!(counts.submitted, books.submitted.len() as u64);
    assert_eq!(counts.completed, books.finished.len() as u64);
    assert_eq!(outcome.metrics.busy_vcore_us, books.busy_vcore_us);
    let used = outcome.metrics.busy_vcore_us + outcome.metrics.wasted_vcore_us;
    assert!(used <= outcome.metrics.capacity_vcore_us, "more used than there was");
    let got: u128 = outcome.metrics.tenants.values().map(|t| t.vcore_us).sum();
    assert_eq!(got, books.busy_vcore_us);
    if outcome.end == End::WorkloadDone {
        assert_eq!(counts.unfinished, 0);
        assert_eq!(outcome.metrics.jobs.len(), workload.jobs.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn an_honest_binder_finishes_everything((workload, faults) in scenario(), seed in any::<u64>()) {
        let options = ClusterOptions { seed, faults: faults.clone(), ..ClusterOptions::default() };
        let (outcome, log) = simulate(workload.clone(), options, &FirstFit::default());
        check(&workload, &outcome, &log);
        prop_assert_eq!(outcome.counts.duplicated, 0);
        prop_assert_eq!(outcome.metrics.refused_rows, 0);
        if faults.is_empty() {
            prop_assert_eq!(outcome.end, End::WorkloadDone);
        }
    }

    #[test]
    fn no_binder_breaks_the_books(
        (workload, faults) in scenario(),
        seed in any::<u64>(),
        vice in prop::sample::select(vec![Vice::Duplicates, Vice::Loses, Vice::Random, Vice::Overbooks]),
    ) {
        let options = ClusterOptions { seed, faults, ..ClusterOptions::default() };
        let (outcome, log) = simulate(workload.clone(), options, &Hostile::new(vice));
        check(&workload, &outcome, &log);
        if vice == Vice::Duplicates && outcome.counts.completed > 0 {
            prop_assert!(outcome.counts.duplicated > 0, "every row came twice");
        }
        if vice == Vice::Loses {
            prop_assert_eq!(outcome.counts.duplicated, 0);
        }
    }
}
