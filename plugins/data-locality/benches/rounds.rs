//! Rounds of 10,000 executors: all slots free for a million tasks, and a hundred free while many tasks wait.

use std::sync::Arc;

use divan::Bencher;
use policy_kit::data_locality::DataLocalityConfig;
use policy_kit::{DataLocality, RoundRobin};
use policy_plugin_api::prelude::*;
use policy_testkit::TestRound;
use policy_wire::assemble::{
    Clock, ExecutorSpec, JobRow, Roster, Round, RoundBuilder, StageRow, StageTasks, TaskSpec, UidTable,
};

const EXECUTORS: usize = 10_000;

fn main() {
    divan::main();
}

/// Executors of 100 vcores in racks of 40; tasks with three holders each; `free` says what is free where.
fn round(tasks: u32, free: impl Fn(usize) -> u32) -> TestRound {
    let mut uids = UidTable::default();
    let spec = |i: usize| ExecutorSpec {
        rack: Some(format!("rack-{}", i / 40)),
        ..ExecutorSpec::new(format!("executor-{i:05}"), 100)
    };
    let specs: Vec<_> = (0..EXECUTORS).map(spec).collect();
    let roster = Roster::new(&specs, &mut uids);
    let mut state = 1u64;
    let mut roll = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ExecutorUid((state >> 33) as u32 % EXECUTORS as u32)
    };
    let made = (0..tasks)
        .map(|_| TaskSpec { holders: vec![(roll(), 128), (roll(), 128), (roll(), 128)], ..TaskSpec::default() });
    let stage = StageTasks::new(&made.collect::<Vec<_>>());
    let free: Vec<u32> = (0..EXECUTORS).map(free).collect();
    TestRound::of(built(&roster, &free, stage, tasks), None)
}

fn built(roster: &Arc<Roster>, free: &[u32], tasks: Arc<StageTasks>, pending: u32) -> Arc<Round> {
    let mut builder = RoundBuilder::new();
    builder.free_vcores(free);
    let tenant = builder.tenant("t", 0, 0);
    builder.job(JobRow { key: 7, id: "j", tenant, priority: 0, submit_us: 0, vcores_in_use: 0 });
    builder.stage(StageRow { number: 1, tasks, pending, running: 0, runnable_since_us: 0 }, [(0, pending)]);
    builder.finish(roster, Clock { now_us: 1, seed: 1, number: 1 })
}

fn policy(wait_ms: u32) -> DataLocality {
    DataLocality::from_config(DataLocalityConfig {
        wait_ms,
        rack_wait_ms: 0,
        network_mib_per_s: 0,
        ..DataLocalityConfig::default()
    })
    .unwrap()
}

fn ask(bencher: Bencher<'_, '_>, policy: &impl DistributionPolicy, round: &TestRound) {
    let bound = round.ask(policy).unwrap().len();
    bencher.counter(divan::counter::ItemsCount::new(bound)).bench_local(|| round.ask(policy).unwrap());
}

#[divan::bench(args = [0, 300])]
fn a_million_tasks_all_free(bencher: Bencher<'_, '_>, wait_ms: u32) {
    ask(bencher, &policy(wait_ms), &round(1_000_000, |_| 100));
}

#[divan::bench]
fn a_million_tasks_round_robin(bencher: Bencher<'_, '_>) {
    ask(bencher, &RoundRobin::default(), &round(1_000_000, |_| 100));
}

#[divan::bench(args = [10_000, 1_000_000])]
fn a_hundred_free(bencher: Bencher<'_, '_>, pending: u32) {
    ask(bencher, &policy(300), &round(pending, |i| u32::from(i % 100 == 0)));
}

#[divan::bench(args = [10_000, 1_000_000])]
fn a_hundred_free_in_racks(bencher: Bencher<'_, '_>, pending: u32) {
    ask(bencher, &policy(0), &round(pending, |i| u32::from(i % 100 == 0)));
}

#[divan::bench]
fn a_hundred_free_first_round(bencher: Bencher<'_, '_>) {
    let round = round(1_000_000, |i| u32::from(i % 100 == 0));
    bencher.with_inputs(|| policy(300)).bench_local_refs(|policy| round.ask(policy).unwrap());
}
