//! Rounds of 10,000 executors and a million tasks that are pinned, or under a rule.

use divan::Bencher;
use policy_kit::Binding;
use policy_kit::binding::{BindingConfig, Rule};
use policy_plugin_api::prelude::*;
use policy_testkit::TestRound;
use policy_wire::assemble::{
    Clock, ExecutorSpec, JobRow, Roster, RoundBuilder, StageRow, StageTasks, TaskSpec, UidTable,
};

const EXECUTORS: usize = 10_000;
const TASKS: u32 = 1_000_000;

fn main() {
    divan::main();
}

/// Executors of 100 vcores; `pin` says where a task is to run, `free` what is free where.
fn round(pin: impl Fn(u32) -> Option<usize>, free: impl Fn(usize) -> u32) -> TestRound {
    let mut uids = UidTable::default();
    let specs: Vec<_> = (0..EXECUTORS).map(|i| ExecutorSpec::new(format!("executor-{i:05}"), 100)).collect();
    let roster = Roster::new(&specs, &mut uids);
    let mut task = |i: u32| TaskSpec { pin: pin(i).map(|at| uids.uid(&specs[at].name)), ..TaskSpec::default() };
    let tasks = StageTasks::new(&(0..TASKS).map(&mut task).collect::<Vec<_>>());
    let mut builder = RoundBuilder::new();
    builder.free_vcores(&(0..EXECUTORS).map(free).collect::<Vec<_>>());
    let tenant = builder.tenant("t", 0, 0);
    builder.job(JobRow { key: 7, id: "j", tenant, priority: 0, submit_us: 0, vcores_in_use: 0 });
    let row = StageRow { number: 1, tasks, pending: TASKS, running: 0, runnable_since_us: 0 };
    builder.stage(row, [(0, TASKS)]);
    TestRound::of(builder.finish(&roster, Clock { now_us: 1, seed: 1, number: 1 }), None)
}

fn ask(bencher: Bencher<'_, '_>, rules: Vec<Rule>, round: &TestRound) {
    let policy = Binding::from_config(BindingConfig { rules, ..BindingConfig::default() }).unwrap();
    bencher.bench_local(|| round.ask(&policy).unwrap());
}

#[divan::bench]
fn all_pinned(bencher: Bencher<'_, '_>) {
    ask(bencher, Vec::new(), &round(|i| Some(i as usize % EXECUTORS), |_| 100));
}

#[divan::bench]
fn one_rule_for_half(bencher: Bencher<'_, '_>) {
    let executors = (0..5).map(|i| format!("executor-0{i}*")).collect();
    ask(bencher, vec![Rule { executors, ..Rule::default() }], &round(|_| None, |_| 100));
}

#[divan::bench]
fn a_hundred_free_elsewhere(bencher: Bencher<'_, '_>) {
    ask(bencher, Vec::new(), &round(|i| Some(5_000 + i as usize % 5_000), |i| u32::from(i < 100)));
}
