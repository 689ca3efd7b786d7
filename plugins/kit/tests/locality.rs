//! The promises of data locality: close to the best possible assignment, a wait that ends, and neither depends on how
//! large a stage is.

#[path = "locality/worth.rs"]
mod worth;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use policy_kit::data_locality::{DataLocalityConfig, WINDOW_TASKS};
use policy_kit::{Bias, DataLocality, RoundRobin};
use policy_plugin_api::prelude::*;
use policy_testkit::TestRound;
use policy_testkit::spec::{RoundSpec, executor, job, round, stage, task, tasks};
use policy_wire::assemble::{
    Clock, ExecutorSpec, JobRow, Roster, RoundBuilder, StageRow, StageTasks, TaskSpec, UidTable,
};
use policy_wire::key_hash;

fn policy(config: DataLocalityConfig) -> DataLocality {
    DataLocality::from_config(config).unwrap()
}

/// Waits this long for holders, as long again for racks.
fn waiting(wait_ms: u32, rack_wait_ms: u32) -> DataLocality {
    policy(DataLocalityConfig { wait_ms, rack_wait_ms, ..EVERY_BYTE })
}

/// As usual, but for any number of bytes.
fn patient() -> DataLocality {
    policy(EVERY_BYTE)
}

/// Tasks in here have a few bytes each, which nobody would wait for.
const EVERY_BYTE: DataLocalityConfig =
    DataLocalityConfig { wait_ms: 300, rack_wait_ms: 100, holders: 3, min_share_percent: 20, network_mib_per_s: 0 };

/// SplitMix64: numbers for generated rounds.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % sides as u64) as usize
    }
}

/// Executors with a few free slots, stages of tasks with up to three holders, some executors much in demand.
fn described(seed: u64, stages: usize) -> RoundSpec {
    let mut dice = Dice(seed);
    let executors = 2 + dice.roll(9);
    let mut spec = round();
    for i in 0..executors {
        let free = dice.roll(5) as u32;
        spec = spec.executor(executor(format!("executor-{i}"), 8).free(free));
    }
    let hot = 1 + dice.roll(executors);
    for j in 0..stages {
        let count = 1 + dice.roll(30);
        let made = (0..count).map(|_| {
            (0..dice.roll(4)).fold(task(), |task, _| {
                let among = if dice.roll(2) == 0 { hot } else { executors };
                let name = format!("executor-{}", dice.roll(among));
                let known = task.holders.iter().any(|holder| holder.0 == name);
                let bytes = 1 + dice.roll(100) as u64;
                if known { task } else { task.holder(name, bytes) }
            })
        });
        let made: Vec<_> = made.collect();
        spec = spec.job(job(format!("job-{j}")).stage(tasks(made)));
    }
    spec
}

fn generated(seed: u64, stages: usize) -> TestRound {
    described(seed, stages).build()
}

/// Local bytes and all bytes of what was bound.
fn bytes(round: &TestRound, answer: &[BoundTask]) -> (u64, u64) {
    round.check(answer).unwrap();
    round.with(|_, jobs| {
        answer.iter().fold((0, 0), |(local, all), row| {
            let (stage, index) = jobs.locate(row.task).unwrap();
            let uid = jobs.executors().get(row.executor).uid();
            let stage = jobs.stage(stage);
            let holders = stage.task(index).holders();
            holders.fold((local, all), |(local, all), (h, bytes)| (local + u64::from(h == uid) * bytes, all + bytes))
        })
    })
}

/// The most local bytes that any assignment of unit tasks to free slots has: the assignment problem, by successive
/// longest paths (Bellman and Ford). Small rounds only.
fn most_local_bytes(round: &TestRound) -> u64 {
    let (gains, free): (Vec<BTreeMap<usize, i64>>, Vec<usize>) = round.with(|slots, jobs| {
        let mut free = vec![0; jobs.executors().len()];
        slots.iter().for_each(|slot| free[slot.executor.index()] = slot.slots as usize);
        let pending = jobs.stages().flat_map(|stage| stage.pending());
        let gains = pending.map(|task| {
            let here = task.holders().filter_map(|(uid, bytes)| Some((jobs.executors().by_uid(uid)?, bytes)));
            here.map(|(executor, bytes)| (executor.index(), bytes as i64)).collect()
        });
        (gains.collect(), free)
    });
    let mut at: Vec<Option<usize>> = vec![None; gains.len()];
    let mut total = 0;
    loop {
        // The gain of giving each executor one more task, over any chain of moves, and by which task it gets it.
        let mut best: Vec<(i64, Option<usize>)> = vec![(i64::MIN, None); free.len()];
        for (task, gain) in gains.iter().enumerate().filter(|(task, _)| at[*task].is_none()) {
            for (&e, &bytes) in gain {
                best[e] = best[e].max((bytes, Some(task)));
            }
        }
        for _ in 0..free.len() {
            for (task, gain) in gains.iter().enumerate() {
                let Some(from) = at[task] else { continue };
                if best[from].1.is_none() {
                    continue;
                }
                for (&e, &bytes) in gain.iter().filter(|(e, _)| **e != from) {
                    let moved = best[from].0 + bytes - gain[&from];
                    if moved > best[e].0 {
                        best[e] = (moved, Some(task));
                    }
                }
            }
        }
        let used = |e: usize| at.iter().filter(|&&a| a == Some(e)).count();
        let end = (0..free.len()).filter(|&e| used(e) < free[e] && best[e].0 > 0).max_by_key(|&e| best[e].0);
        let Some(mut e) = end else { return total as u64 };
        total += best[e].0;
        loop {
            let task = best[e].1.unwrap();
            let Some(from) = at[task].replace(e) else { break };
            e = from;
        }
    }
}

#[test]
fn local_bytes_are_close_to_the_best_possible() {
    let policy = waiting(0, 0);
    let (mut got, mut best, mut contended) = (0, 0, 0);
    for seed in 0..600 {
        let round = generated(seed, 1);
        let most = most_local_bytes(&round);
        let local = bytes(&round, &round.ask(&policy).unwrap()).0;
        assert!(local <= most, "seed {seed}: {local} of {most}");
        assert!(local * 21 >= most * 20, "seed {seed}: {local} of {most}");
        contended += usize::from(local < most);
        (got, best) = (got + local, best + most);
    }
    assert!(contended > 10, "some rounds are hard: {contended}");
    assert!(got * 100 >= best * 97, "{got} of {best}");
    // What does not wait for small shares loses little by it.
    let (mut got, mut best) = (0, 0);
    for seed in 0..200 {
        let round = generated(seed, 1);
        got += bytes(&round, &round.ask(&patient()).unwrap()).0;
        best += most_local_bytes(&round);
    }
    assert!(got * 100 >= best * 97, "{got} of {best}");
}

#[test]
fn heavy_contention_is_solved_as_well() {
    // 400 tasks, some 150 slots, most of the data on a third of the executors.
    let policy = waiting(0, 0);
    for seed in 0..12 {
        let mut dice = Dice(seed);
        let free: Vec<u32> = (0..30).map(|_| dice.roll(11) as u32).collect();
        let spec =
            (0..30).fold(round(), |round, i| round.executor(executor(format!("executor-{i}"), 16).free(free[i])));
        let made: Vec<_> = (0..400)
            .map(|_| {
                let among = [10, 10, 30][dice.roll(3)];
                let first = dice.roll(among);
                let bytes = 1 + dice.roll(1_000) as u64;
                let task = task().holder(format!("executor-{first}"), bytes);
                task.holder(format!("executor-{}", (first + 1 + dice.roll(9)) % 30), bytes * 9 / 10)
            })
            .collect();
        let round = spec.job(job("j").stage(tasks(made))).build();
        let most = most_local_bytes(&round);
        let local = bytes(&round, &round.ask(&policy).unwrap()).0;
        assert!(local * 21 >= most * 20 && local <= most, "seed {seed}: {local} of {most}");
    }
}

/// Runs 300 tasks of 40 to 160 ms with up to three holders on 20 executors of four slots. Returns the local bytes of all.
fn ran_local(seed: u64, policy: &impl DistributionPolicy) -> u64 {
    let (mut uids, mut dice) = (UidTable::default(), Dice(seed));
    let specs: Vec<_> = (0..20).map(|i| ExecutorSpec::new(format!("executor-{i:02}"), 4)).collect();
    let roster = Roster::new(&specs, &mut uids);
    let uid: Vec<_> = specs.iter().map(|spec| uids.uid(&spec.name)).collect();
    let made: Vec<_> = (0..300)
        .map(|_| {
            let first = dice.roll(20);
            let holders = (0..dice.roll(4)).map(|i| (uid[(first + i * 7) % 20], 1 + dice.roll(100) as u64)).collect();
            TaskSpec { holders, ..TaskSpec::default() }
        })
        .collect();
    let took_ms: Vec<u64> = (0..300).map(|_| 40 + dice.roll(120) as u64).collect();
    let (stage, mut pending) = (StageTasks::new(&made), BTreeSet::from_iter(0..300u32));
    let mut ends: Vec<Vec<u64>> = vec![Vec::new(); 20];
    let mut local = 0;
    for step in 0.. {
        let now_ms = step * 10;
        ends.iter_mut().for_each(|ends| ends.retain(|&end| end > now_ms));
        let free: Vec<u32> = ends.iter().map(|ends| 4 - ends.len() as u32).collect();
        let round = cluster(&roster, &free, &stage, &pending, now_ms);
        let rows = round.ask(policy).unwrap();
        local += bytes(&round, &rows).0;
        for row in rows {
            assert!(pending.remove(&row.task.0));
            ends[row.executor.index()].push(now_ms + took_ms[row.task.index()]);
        }
        if pending.is_empty() {
            break;
        }
        assert!(step < 1_000, "it ends");
    }
    local
}

#[test]
fn no_seed_is_more_local_under_bias_or_round_robin() {
    // All tasks run, so that the bytes are the same and the share is told by the local ones.
    for seed in 0..40 {
        let ours = [waiting(0, 0), patient()].map(|ours| ran_local(seed, &ours));
        let others = [ran_local(seed, &Bias), ran_local(seed, &RoundRobin::default())];
        assert!(ours.iter().min() >= others.iter().max(), "seed {seed}: {ours:?}, {others:?}");
        assert!(ours[1] > 2 * others[0], "seed {seed}: by far");
    }
    // And in a single round.
    for seed in 0..300 {
        let round = generated(seed, 1);
        let local = |answer: Vec<BoundTask>| bytes(&round, &answer).0;
        let ours = local(round.ask(&waiting(0, 0)).unwrap());
        let others = [round.ask(&Bias).unwrap(), round.ask(&RoundRobin::default()).unwrap()].map(local);
        assert!(ours >= others[0] && ours >= others[1], "seed {seed}: {ours}, {others:?}");
    }
}

#[test]
fn nothing_stays_free_once_the_wait_is_over() {
    for seed in 0..200 {
        let round = generated(seed, 3);
        let bindable = round.with(|_, jobs| jobs.bindable());
        assert_eq!(round.ask(&waiting(0, 0)).unwrap().len(), bindable, "seed {seed}");
    }
    // The wait is over by itself: a second passes, and nobody waits any more.
    let mut waited = 0;
    for seed in 0..200 {
        let ours = patient();
        let bound = [0, 100].map(|number| described(seed, 1).number(number).build().ask(&ours).unwrap().len());
        let bindable = generated(seed, 1).with(|_, jobs| jobs.bindable());
        assert_eq!(bound[1], bindable, "seed {seed}: {bound:?}");
        waited += usize::from(bound[0] < bindable);
    }
    assert!(waited > 20, "some had to wait: {waited}");
}

#[test]
fn a_stage_waits_for_its_holders_then_for_their_racks_then_goes_anywhere() {
    let cluster = |ms: u64, free: [u32; 4]| {
        let names = ["holder", "mate", "other", "third"];
        let racks = ["r1", "r1", "r2", "r3"];
        let spec = (0..4).fold(round().number(ms / 10), |round, i| {
            round.executor(executor(names[i], 64).free(free[i]).rack(racks[i]))
        });
        spec.job(job("j").stage(stage(4).each(|_, task| task.holder("holder", 7)))).build()
    };
    let ours = waiting(100, 100);
    let counts = |ms, free| -> Vec<usize> { cluster(ms, free).counts(&ours).into_iter().map(|c| c.1).collect() };
    assert_eq!(counts(0, [2, 0, 9, 9]), [2, 0, 0, 0], "a holder at once, else nobody");
    assert_eq!(counts(90, [0, 9, 9, 9]), [0, 0, 0, 0]);
    assert_eq!(counts(100, [0, 1, 9, 9]), [0, 1, 0, 0], "100 ms spent: its rack, too");
    assert_eq!(counts(190, [2, 1, 9, 9]), [2, 1, 0, 0], "a local launch gives nothing back");
    assert_eq!(counts(200, [1, 1, 1, 9]), [1, 1, 0, 2], "200 ms spent: anywhere, holder and rack first");
    assert_eq!(counts(9_000, [0, 0, 9, 0]), [0, 0, 4, 0], "and for good");
}

#[test]
fn tasks_without_hope_do_not_wait() {
    let spec = round().executors(3, 4).executor(executor("busy", 4).free(0));
    let build = |one: policy_testkit::spec::TestTask| spec.clone().job(job("j").stage(tasks(vec![one; 3]))).build();
    let bound = |round: &TestRound| round.ask(&patient()).unwrap().len();
    assert_eq!(bound(&build(task().holder("busy", 9))), 0, "it waits");
    assert_eq!(bound(&build(task().holder("gone", 9))), 3, "its data is lost");
    assert_eq!(bound(&build(task().holder("busy", 0))), 3, "nothing to read");
    let spread = (0..9).fold(task().holder("busy", 11), |task, i| task.holder(format!("gone-{i}"), 10));
    assert_eq!(bound(&build(spread)), 3, "no holder has a fifth of it");
    let major = task().holder("busy", 90).holder("executor-0", 10);
    assert_eq!(bound(&build(major.clone())), 0, "a tenth is not worth going for while there is time");
    let over = build(major).counts(&waiting(0, 0));
    assert_eq!(over[0..3].iter().map(|c| c.1).collect::<Vec<_>>(), [0, 3, 0], "but better than none: {over:?}");
    let third = (0..3).fold(task(), |task, i| task.holder(format!("gone-{i}"), 30)).holder("executor-2", 29);
    let two = policy(DataLocalityConfig { holders: 4, ..EVERY_BYTE });
    assert_eq!(build(third).counts(&two)[3].1, 3, "the fourth holder counts where four do");
}

/// 100 executors of one slot, `jobs` tasks of 5 s that all prefer the first: delay scheduling in virtual time. Returns how
/// many ran where, and when all were done, in ms.
fn spark_18886(mut ours: DataLocality, refill: bool) -> (BTreeMap<u32, usize>, u64) {
    const EXECUTORS: usize = 100;
    let mut uids = UidTable::default();
    let rack = |i: usize| Some(format!("rack-{i}"));
    let one = |i: usize| ExecutorSpec { rack: rack(i), ..ExecutorSpec::new(format!("executor-{i:03}"), 1) };
    let roster = Roster::new(&(0..EXECUTORS).map(one).collect::<Vec<_>>(), &mut uids);
    let preferred = uids.uid("executor-000");
    let stage = StageTasks::new(&vec![TaskSpec { holders: vec![(preferred, 1)], ..TaskSpec::default() }; 500]);
    let (mut busy_until, mut pending) = ([0u64; EXECUTORS], BTreeSet::from_iter(0..500u32));
    let (mut ran, mut now_ms) = (BTreeMap::new(), 0);
    while !pending.is_empty() {
        let free: Vec<u32> = busy_until.iter().map(|&until| u32::from(until <= now_ms)).collect();
        let round = cluster(&roster, &free, &stage, &pending, now_ms);
        let rows = round.ask(&ours).unwrap();
        round.check(&rows).unwrap();
        for row in &rows {
            assert!(pending.remove(&row.task.0));
            busy_until[row.executor.index()] = now_ms + 5_000;
            *ran.entry(row.executor.0).or_default() += 1;
        }
        if refill && rows.iter().any(|row| row.executor.0 == 0) {
            ours = waiting(3_000, 3_000);
        }
        now_ms += 500;
    }
    (ran, busy_until.into_iter().max().unwrap())
}

/// A round over one stage, at some time.
fn cluster(
    roster: &Arc<Roster>,
    free: &[u32],
    stage: &Arc<StageTasks>,
    pending: &BTreeSet<u32>,
    now_ms: u64,
) -> TestRound {
    let mut builder = RoundBuilder::new();
    builder.free_vcores(free);
    let tenant = builder.tenant("t", 0, 0);
    let (priority, submit_us, vcores_in_use) = (0, 0, 0);
    builder.job(JobRow { key: key_hash("j"), id: "j", tenant, priority, submit_us, vcores_in_use });
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for &task in pending {
        match runs.last_mut() {
            Some((first, length)) if *first + *length == task => *length += 1,
            _ => runs.push((task, 1)),
        }
    }
    let pending = pending.len() as u32;
    let row = StageRow { number: 1, tasks: Arc::clone(stage), pending, running: 0, runnable_since_us: 0 };
    builder.stage(row, runs);
    TestRound::of(builder.finish(roster, Clock { now_us: now_ms * 1_000, seed: 1, number: now_ms }), None)
}

#[test]
fn a_stage_that_prefers_one_executor_leaves_it() {
    // SPARK-18886: a wait of 6 s that each local launch refills keeps all 500 tasks of 5 s on one executor of 100.
    // A new instance knows nothing of time spent: that is what a refill is.
    let (ran, done_ms) = spark_18886(waiting(3_000, 3_000), true);
    assert_eq!((ran.len(), ran[&0], done_ms), (1, 500, 2_500_000));
    let (ran, done_ms) = spark_18886(waiting(3_000, 3_000), false);
    assert_eq!(ran.len(), 100);
    assert!(ran[&0] <= 8 && done_ms <= 6_000 + 30_000, "{} on one, done after {done_ms} ms", ran[&0]);
}

#[test]
fn more_patience_is_more_local_as_the_theory_says() {
    // One task, local to a tenth of the executors; each millisecond another executor is free. Within D skips it finds a
    // local one with 1 - (1 - p)^D (Zaharia et al., section 3.3).
    const RUNS: u32 = 2_000;
    let (p, mut dice) = (0.1, Dice(7));
    for skips in [1, 5, 10, 20] {
        let mut local = 0;
        for _ in 0..RUNS {
            let ours = waiting(skips, 0);
            let offer = |ms: u32, on_holder: bool| {
                let mut uids = UidTable::default();
                let roster = Roster::new(&[ExecutorSpec::new("holder", 1), ExecutorSpec::new("other", 1)], &mut uids);
                let spec = TaskSpec { holders: vec![(uids.uid("holder"), 1)], ..TaskSpec::default() };
                let free = if on_holder { [1, 0] } else { [0, 1] };
                let round = cluster(&roster, &free, &StageTasks::new(&[spec]), &BTreeSet::from([0]), u64::from(ms));
                round.ask(&ours).unwrap().len()
            };
            // Offers 0 to D - 1 may be skipped.
            for ms in 0..skips {
                let on_holder = dice.roll(10) == 0;
                assert_eq!(offer(ms, on_holder), usize::from(on_holder), "within the budget only local ones are taken");
                if on_holder {
                    local += 1;
                    break;
                }
                if ms + 1 == skips {
                    assert_eq!(offer(skips, false), 1, "and then any");
                }
            }
        }
        let (seen, expected) = (f64::from(local) / f64::from(RUNS), 1.0 - f64::powi(1.0 - p, skips as i32));
        let deviation = (expected * (1.0 - expected) / f64::from(RUNS)).sqrt();
        assert!((seen - expected).abs() < 3.0 * deviation, "D = {skips}: {seen}, expected {expected}");
    }
}

#[test]
fn large_stages_get_affinity_to_the_end() {
    const EXECUTORS: usize = 400;
    let count = WINDOW_TASKS + WINDOW_TASKS / 2;
    let mut uids = UidTable::default();
    let specs: Vec<_> = (0..EXECUTORS).map(|i| ExecutorSpec::new(format!("executor-{i:03}"), 16)).collect();
    let roster = Roster::new(&specs, &mut uids);
    let uid: Vec<_> = specs.iter().map(|spec| uids.uid(&spec.name)).collect();
    let mut dice = Dice(3);
    let made: Vec<_> = (0..count)
        .map(|_| TaskSpec {
            holders: vec![(uid[dice.roll(EXECUTORS)], 9), (uid[dice.roll(EXECUTORS)], 8)],
            ..TaskSpec::default()
        })
        .collect();
    let stage = StageTasks::new(&made);
    let (ours, mut pending) = (waiting(300, 0), BTreeSet::from_iter(0..count));
    let (mut local, mut bound, mut lost) = (0, 0, Vec::new());
    // A quarter of the cluster is free at a time; every hundredth task fails and is back.
    for number in 0u64.. {
        let free: Vec<u32> =
            (0..EXECUTORS).map(|i| if (i as u64 + number).is_multiple_of(4) { 16 } else { 0 }).collect();
        let round = cluster(&roster, &free, &stage, &pending, number);
        let rows = round.ask(&ours).unwrap();
        round.check(&rows).unwrap();
        pending.append(&mut BTreeSet::from_iter(lost.drain(..)));
        for row in rows {
            assert!(pending.remove(&row.task.0));
            let here = uid[row.executor.index()];
            local += usize::from(made[row.task.index()].holders.iter().any(|holder| holder.0 == here));
            bound += 1;
            lost.extend((bound % 100 == 0).then_some(row.task.0));
        }
        // The last few percent are what is left over; how they go is seen elsewhere.
        if pending.len() < 10_000 {
            break;
        }
        assert!(number < 1_000, "it moves on: {} pending", pending.len());
    }
    assert!(local * 100 >= bound * 99, "{local} of {bound}");
    assert!(bound > 180_000);
}

#[test]
fn another_stage_of_the_same_name_is_noticed() {
    let mut uids = UidTable::default();
    let specs: Vec<_> = (0..50).map(|i| ExecutorSpec::new(format!("executor-{i:03}"), 16)).collect();
    let roster = Roster::new(&specs, &mut uids);
    let uid: Vec<_> = specs.iter().map(|spec| uids.uid(&spec.name)).collect();
    let ours = waiting(300, 0);
    let pending = BTreeSet::from_iter(0..20_000u32);
    for shift in [0, 7, 31] {
        let holder = |i: usize| vec![(uid[(i + shift) % 50], 1)];
        let made: Vec<_> = (0..20_000).map(|i| TaskSpec { holders: holder(i), ..TaskSpec::default() }).collect();
        let round = cluster(&roster, &[2; 50], &StageTasks::new(&made), &pending, 0);
        let rows = round.ask(&ours).unwrap();
        assert_eq!((rows.len(), bytes(&round, &rows)), (100, (100, 100)), "shifted by {shift}");
    }
}

#[test]
fn what_was_waited_is_handed_over() {
    let spec: RoundSpec = round().executor(executor("busy", 4).free(0)).executors(1, 4);
    let at =
        |ms: u64| spec.clone().number(ms / 10).job(job("j").stage(stage(2).each(|_, t| t.holder("busy", 1)))).build();
    let (old, new) = (waiting(300, 0), waiting(300, 0));
    assert_eq!(old.export_state(), None);
    let bound = |policy: &DataLocality, ms| at(ms).ask(policy).unwrap().len();
    assert_eq!((bound(&old, 0), bound(&old, 200)), (0, 0));
    new.import_state(&old.export_state().unwrap()).unwrap();
    assert_eq!((bound(&new, 250), bound(&new, 340), bound(&new, 350)), (0, 0, 2), "200 ms were spent before");
    assert!(new.import_state(&PolicyState { version: 99, bytes: vec![] }).is_err());
}

#[test]
fn senseless_configs_are_refused_with_the_range() {
    let usual = DataLocalityConfig::default();
    for (config, message) in [
        (DataLocalityConfig { wait_ms: 3_600_001, ..usual }, "wait_ms is 3600001: 0 to 3600000"),
        (DataLocalityConfig { rack_wait_ms: u32::MAX, ..usual }, "rack_wait_ms is 4294967295: 0 to 3600000"),
        (DataLocalityConfig { holders: 0, ..usual }, "holders is 0: 1 to 16"),
        (DataLocalityConfig { holders: 17, ..usual }, "holders is 17: 1 to 16"),
        (DataLocalityConfig { min_share_percent: 101, ..usual }, "min_share_percent is 101: 0 to 100"),
    ] {
        assert_eq!(DataLocality::from_config(config).err(), Some(PolicyError::invalid_config(message)));
    }
}
