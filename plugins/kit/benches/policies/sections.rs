//! What is measured.

use std::hint::black_box;
use std::time::{Duration, Instant};

use policy_plugin_api::{BoundTask, DistributionPolicy, ExecutorId, TaskId};

use crate::baseline::Strings;
use crate::paired::{Ratio, compare, quantile};
use crate::workload::{Cluster, Subject, bind};

const EXECUTORS: u32 = 10_000;
const VCORES: u32 = 100;
const TASKS: u32 = 1_000_000;
/// Least time of a block.
const BLOCK: Duration = Duration::from_millis(5);
const PAIRS: usize = 31;

fn everything(_: u32) -> u32 {
    VCORES
}

/// One free vcore on each of a hundred executors.
fn a_hundred(executor: u32) -> u32 {
    u32::from(executor.is_multiple_of(EXECUTORS / 100))
}

pub(crate) fn goal(met: bool) -> &'static str {
    if met { "yes" } else { "no" }
}

/// A million tasks over ten thousand executors with a hundred free slots each.
pub(crate) fn full_round(subjects: &[Subject]) {
    println!(
        "| policy | work | M tasks/s | ns a task | round / memcpy of the answer | strings / round | first round | bound |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let strings = Strings::new(EXECUTORS, everything, TASKS);
    let copied = vec![BoundTask::new(TaskId(1), ExecutorId(1)); TASKS as usize];
    let sides = compare(5, BLOCK, || drop(black_box(copied.clone())), || drop(black_box(strings.bind())));
    for subject in subjects {
        let round = Cluster::new(subject.workload, EXECUTORS, TASKS).round(everything, None);
        let mut slots = Vec::new();
        let mut first = || {
            let policy = (subject.make)();
            let start = Instant::now();
            drop(black_box(bind(&*policy, &round, &mut slots)));
            start.elapsed().as_nanos() as f64
        };
        let first = quantile(&[first(), first(), first(), first(), first()], 0.5);
        let (policy, mut slots) = ((subject.make)(), Vec::new());
        let bound = bind(&*policy, &round, &mut slots).len();
        let mut once = || drop(black_box(bind(&*policy, &round, &mut slots)));
        let answer = vec![BoundTask::new(TaskId(1), ExecutorId(1)); bound];
        let to_copy = compare(PAIRS, BLOCK, || drop(black_box(answer.clone())), &mut once);
        let to_strings = compare(5, BLOCK, &mut once, || drop(black_box(strings.bind())));
        let (nanos, rate) = (to_copy.nanos.1 / bound as f64, bound as f64 / to_copy.nanos.1 * 1e3);
        println!(
            "| {} | {} | {rate:.0} | {nanos:.1} | {to_copy:#} | {:.0} | {:.1} ms | {bound} |",
            subject.name,
            subject.workload.describe(),
            to_strings.median,
            first / 1e6,
        );
    }
    let (copy, strings) = (sides.nanos.0 / 1e6, sides.nanos.1 / 1e6);
    println!("\nTo compare machines: memcpy of an answer {copy:.2} ms, a round of strings {strings:.0} ms.");
}

/// A hundred free slots, with few and with many tasks pending.
pub(crate) fn incremental(subjects: &[Subject]) {
    println!("| policy | 10,000 pending | 1,000,000 pending | ratio (goal <= 1.5) | met | strings / round | bound |");
    println!("|---|---|---|---|---|---|---|");
    let strings = Strings::new(EXECUTORS, a_hundred, TASKS);
    for subject in subjects {
        let few = Cluster::new(subject.workload, EXECUTORS, 10_000).round(a_hundred, None);
        let many = Cluster::new(subject.workload, EXECUTORS, TASKS).round(a_hundred, None);
        let (for_few, for_many) = ((subject.make)(), (subject.make)());
        let (mut a, mut b, mut c) = (Vec::new(), Vec::new(), Vec::new());
        let bound = bind(&*for_many, &many, &mut c).len();
        let ratio = compare(
            PAIRS,
            BLOCK,
            || drop(black_box(bind(&*for_few, &few, &mut a))),
            || drop(black_box(bind(&*for_many, &many, &mut b))),
        );
        let again = || drop(black_box(bind(&*for_many, &many, &mut c)));
        let to_strings = compare(PAIRS, BLOCK, again, || drop(black_box(strings.bind())));
        println!(
            "| {} | {:.1} us | {:.1} us | {ratio:#} | {} | {:.1} | {bound} |",
            subject.name,
            ratio.nanos.0 / 1e3,
            ratio.nanos.1 / 1e3,
            goal(ratio.interval.0 <= 1.5),
            to_strings.median,
        );
    }
}

/// What a task costs in rounds of different size, over ten thousand executors with a hundred free slots each; against
/// the round of a hundred thousand, too, where the executors' own cost no longer counts. As information, the same where
/// executors grow with the tasks, from ten.
pub(crate) fn per_task(subjects: &[Subject]) {
    const SIZES: [u32; 4] = [1_000, 10_000, 100_000, TASKS];
    println!(
        "| policy | ns a task at 1k | 10k | 100k | 1M | 1M / 1k (goal <= 1.5) | met | 1M / 100k | executors grow: 1k | 1M \
         | 1M / 1k |\n|---|---|---|---|---|---|---|---|---|---|---|"
    );
    for subject in subjects {
        let against = |(few, many): (u32, u32), executors: Option<u32>| -> Ratio {
            let side = |tasks: u32| {
                let mut cluster = Cluster::new(subject.workload, executors.unwrap_or(tasks / VCORES), tasks);
                let (round, policy, mut slots) = (cluster.round(everything, None), (subject.make)(), Vec::new());
                move || drop(black_box(bind(&*policy, &round, &mut slots)))
            };
            compare(PAIRS, BLOCK, side(few), side(many)).scaled(f64::from(few) / f64::from(many))
        };
        let [least, ten, hundred, most] = SIZES;
        let second = against((least, ten), Some(EXECUTORS));
        let upper = against((hundred, most), Some(EXECUTORS));
        let whole = against((least, most), Some(EXECUTORS));
        let growing = against((least, most), None);
        println!(
            "| {} | {:.1} | {:.1} | {:.1} | {:.1} | {whole:.2} | {} | {upper:.2} | {:.1} | {:.1} | {growing:.2} |",
            subject.name,
            whole.nanos.0 / f64::from(least),
            second.nanos.1 / f64::from(ten),
            upper.nanos.0 / f64::from(hundred),
            whole.nanos.1 / f64::from(most),
            goal(whole.interval.0 <= 1.5),
            growing.nanos.0 / f64::from(least),
            growing.nanos.1 / f64::from(most),
        );
    }
}

/// A round after one executor was replaced by one that is new to the cluster, against a round after none was.
pub(crate) fn one_changed(subjects: &[Subject]) {
    println!("| policy | unchanged | one replaced | ratio (goal <= 1.05) | met |\n|---|---|---|---|---|");
    for subject in subjects {
        let mut cluster = Cluster::new(subject.workload, EXECUTORS, TASKS);
        let same = cluster.round(everything, None);
        // More than are used in one block, for policies that take a few milliseconds a round.
        let changing: Vec<_> = (0..96).map(|other| cluster.round(everything, Some(other))).collect();
        let policies: [Box<dyn DistributionPolicy>; 2] = [(subject.make)(), (subject.make)()];
        let (mut a, mut b, mut next) = (Vec::new(), Vec::new(), 0);
        let ratio = compare(
            PAIRS,
            BLOCK,
            || drop(black_box(bind(&*policies[0], &same, &mut a))),
            || {
                next += 1;
                drop(black_box(bind(&*policies[1], &changing[next % changing.len()], &mut b)));
            },
        );
        println!(
            "| {} | {:.2} ms | {:.2} ms | {ratio:#} | {} |",
            subject.name,
            ratio.nanos.0 / 1e6,
            ratio.nanos.1 / 1e6,
            goal(ratio.interval.0 <= 1.05),
        );
    }
}
