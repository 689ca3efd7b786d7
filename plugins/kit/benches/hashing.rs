//! Consistent hashing with 10,000 executors: the ring, whole rounds, and for comparison the shape that Ballista had until
//! its #1526: an ordered map of virtual nodes, made anew in every round. (That one hashed with MD5; here it gets the
//! faster hash, too.) Prints loads and moved keys first.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;

use divan::Bencher;
use policy_kit::ConsistentHash;
use policy_kit::consistent_hash::ConsistentHashConfig;
use policy_kit::ring::Ring;
use policy_plugin_api::prelude::*;
use policy_testkit::TestRound;
use policy_wire::assemble::{
    Clock, ExecutorSpec, JobRow, Roster, RoundBuilder, StageRow, StageTasks, TaskSpec, UidTable,
};
use policy_wire::key_hash;

const EXECUTORS: usize = 10_000;
const POINTS: u32 = 100;

fn main() {
    loads();
    divan::main();
}

fn name(executor: usize) -> String {
    format!("executor-{executor:05}")
}

/// Rounds over one stage.
struct Cluster {
    uids: UidTable,
    vcores: u32,
    tasks: Arc<StageTasks>,
    pending: u32,
}

impl Cluster {
    fn new(vcores: u32, pending: u32) -> Self {
        let task = |i: u32| TaskSpec { key: format!("part-{i:07}"), ..TaskSpec::default() };
        let tasks = StageTasks::new(&(0..pending).map(task).collect::<Vec<_>>());
        Self { uids: UidTable::default(), vcores, tasks, pending }
    }

    fn round(&mut self, executors: impl Iterator<Item = usize>, free: impl Fn(usize) -> u32) -> TestRound {
        let executors: Vec<usize> = executors.collect();
        let specs: Vec<_> = executors.iter().map(|&i| ExecutorSpec::new(name(i), self.vcores)).collect();
        let roster = Roster::new(&specs, &mut self.uids);
        let mut builder = RoundBuilder::new();
        builder.free_vcores(&executors.iter().map(|&i| free(i)).collect::<Vec<_>>());
        let tenant = builder.tenant("t", 0, 0);
        builder.job(JobRow { key: 7, id: "j", tenant, priority: 0, submit_us: 0, vcores_in_use: 0 });
        let (tasks, pending) = (Arc::clone(&self.tasks), self.pending);
        builder.stage(StageRow { number: 1, tasks, pending, running: 0, runnable_since_us: 0 }, [(0, pending)]);
        TestRound::of(builder.finish(&roster, Clock { now_us: 1, seed: 1, number: 1 }), None)
    }
}

fn policy(balance_factor_percent: u32) -> ConsistentHash {
    ConsistentHash::from_config(ConsistentHashConfig { balance_factor_percent, points: POINTS }).unwrap()
}

/// The shape of old: points from `name#i`, in an ordered map.
fn tree(executors: usize, replicas: usize) -> BTreeMap<u64, String> {
    let points =
        (0..executors).flat_map(|e| (0..replicas).map(move |i| (key_hash(&format!("{}#{i}", name(e))), name(e))));
    points.collect()
}

/// The largest load in parts of the mean, and how many keys move when one of 1,000 executors leaves, in parts of the
/// keys that it had.
fn loads() {
    const SOME: usize = 1_000;
    const KEYS: u32 = 100_000;
    let most = |homes: &[usize]| {
        let mut loads = vec![0u32; SOME];
        homes.iter().for_each(|&home| loads[home] += 1);
        f64::from(*loads.iter().max().unwrap()) * SOME as f64 / f64::from(KEYS)
    };
    let moved = |before: &[usize], after: &[usize]| {
        let own = before.iter().filter(|&&home| home == 500).count();
        before.iter().zip(after).filter(|(b, a)| b != a).count() as f64 / own as f64
    };
    let number = |name: &str| name["executor-".len()..].parse::<usize>().unwrap();
    for factor in [0, 200, 125, 110] {
        let mut cluster = Cluster::new(4_096, KEYS);
        let all = cluster.round(0..SOME, |_| 4_096);
        let without = cluster.round((0..SOME).filter(|&e| e != 500), |_| 4_096);
        let homes = |round: &TestRound| {
            let mut rows = round.answer(&policy(factor));
            rows.sort_by_key(|row| row.2);
            rows.into_iter().map(|row| number(&row.3)).collect::<Vec<_>>()
        };
        let (before, after) = (homes(&all), homes(&without));
        println!("ours, {factor} %: largest load {:.2}, moved {:.2}", most(&before), moved(&before, &after));
    }
    let whole = tree(SOME, 31);
    let home = |tree: &BTreeMap<u64, String>, key: u32| {
        let key = key_hash(&format!("part-{key:07}"));
        number(tree.range(key..).next().or_else(|| tree.iter().next()).unwrap().1)
    };
    let homes = |tree: &BTreeMap<u64, String>| (0..KEYS).map(|key| home(tree, key)).collect::<Vec<_>>();
    let mut without = whole.clone();
    without.retain(|_, name| number(name) != 500);
    let (before, after) = (homes(&whole), homes(&without));
    println!("tree of 31 replicas: largest load {:.2}, moved {:.2}", most(&before), moved(&before, &after));
}

#[divan::bench]
fn ring_first_build(bencher: Bencher<'_, '_>) {
    let round = Cluster::new(100, 1).round(0..EXECUTORS, |_| 100);
    round.with(|_, jobs| {
        let executors = jobs.executors();
        bencher.with_inputs(Ring::default).bench_local_refs(|ring| ring.update(&executors, POINTS));
    });
}

#[divan::bench]
fn ring_one_new_executor(bencher: Bencher<'_, '_>) {
    let mut cluster = Cluster::new(100, 1);
    let (some, all) = (cluster.round(1..EXECUTORS, |_| 100), cluster.round(0..EXECUTORS, |_| 100));
    let mut ring = Ring::default();
    some.with(|_, jobs| ring.update(&jobs.executors(), POINTS));
    all.with(|_, jobs| {
        let executors = jobs.executors();
        bencher.with_inputs(|| ring.clone()).bench_local_refs(|ring| ring.update(&executors, POINTS));
    });
}

#[divan::bench(args = [31, 100])]
fn tree_in_every_round(replicas: usize) -> BTreeMap<u64, String> {
    tree(EXECUTORS, replicas)
}

fn ask(bencher: Bencher<'_, '_>, policy: &ConsistentHash, rounds: &[TestRound]) {
    rounds.iter().for_each(|round| drop(black_box(round.ask(policy).unwrap())));
    let mut turns = rounds.iter().cycle();
    bencher.bench_local(|| turns.next().map(|round| round.ask(policy).unwrap()));
}

#[divan::bench]
fn a_million_tasks(bencher: Bencher<'_, '_>) {
    let mut cluster = Cluster::new(100, 1_000_000);
    ask(bencher, &policy(125), &[cluster.round(0..EXECUTORS, |_| 100)]);
}

/// In each round, an executor left or is back.
#[divan::bench]
fn a_million_tasks_one_executor_to_and_fro(bencher: Bencher<'_, '_>) {
    let mut cluster = Cluster::new(100, 1_000_000);
    let rounds = [cluster.round(0..EXECUTORS, |_| 100), cluster.round(1..EXECUTORS, |_| 100)];
    ask(bencher, &policy(125), &rounds);
}

/// In each round, an executor is there that was not in the round before: for 40 rounds, one never seen.
#[divan::bench(sample_count = 40, sample_size = 1)]
fn a_million_tasks_one_new_executor(bencher: Bencher<'_, '_>) {
    let mut cluster = Cluster::new(100, 1_000_000);
    let rounds: Vec<_> = (0..41).map(|i| cluster.round(i..EXECUTORS + i, |_| 100)).collect();
    let policy = policy(125);
    drop(black_box(rounds[0].ask(&policy).unwrap()));
    let mut turns = rounds[1..].iter().cycle();
    bencher.bench_local(|| turns.next().map(|round| round.ask(&policy).unwrap()));
}

#[divan::bench(args = [10_000, 1_000_000])]
fn a_hundred_free(bencher: Bencher<'_, '_>, pending: u32) {
    let mut cluster = Cluster::new(100, pending);
    ask(bencher, &policy(125), &[cluster.round(0..EXECUTORS, |i| u32::from(i % 100 == 0))]);
}
