//! `bias` and `round-robin` against the plainest program that gives the same answers, where tasks differ.

use std::hint::black_box;

use policy_kit::{Bias, RoundRobin};
use policy_plugin_api::{AvailableTaskSlots, BoundTask, DistributionPolicy, RunningJobs, TaskId};
use policy_wire::assemble::Round;

use crate::paired::compare_least;
use crate::sections::goal;
use crate::workload::{Cluster, Workload, bind};

/// One task with what it takes.
struct Wanted {
    task: TaskId,
    vcores: u32,
    memory_mib: u64,
}

impl Wanted {
    fn fits(&self, slot: &AvailableTaskSlots) -> bool {
        slot.slots >= self.vcores && slot.memory_mib >= self.memory_mib
    }

    fn take(&self, slot: &mut AvailableTaskSlots, answer: &mut Vec<BoundTask>) {
        slot.slots -= self.vcores;
        slot.memory_mib -= self.memory_mib;
        answer.push(BoundTask::new(self.task, slot.executor));
    }
}

fn one(column: &[u32], index: u32, absent: u32) -> u32 {
    match column {
        [] => absent,
        [all] => *all,
        each => each[index as usize],
    }
}

fn each_task(jobs: &RunningJobs<'_>, mut each: impl FnMut(Wanted)) {
    for stage in jobs.stages() {
        let (vcores, memory_mib) = (stage.vcores_column(), stage.memory_mib_column());
        for index in stage.pending_runs().flat_map(|(first, length)| first..first + length) {
            each(Wanted {
                task: TaskId(stage.first_task().0 + index),
                vcores: one(vcores, index, 1).max(1),
                memory_mib: u64::from(one(memory_mib, index, 0)),
            });
        }
    }
}

/// The first executor where it fits, of those with most free first.
fn first_fit(slots: &mut [AvailableTaskSlots], jobs: &RunningJobs<'_>) -> Vec<BoundTask> {
    slots.sort_unstable_by_key(|slot| (std::cmp::Reverse(slot.slots), slot.executor));
    let (mut answer, mut first) = (Vec::with_capacity(jobs.bindable()), 0);
    each_task(jobs, |wanted| {
        while slots.get(first).is_some_and(|slot| slot.slots == 0) {
            first += 1;
        }
        if let Some(slot) = slots[first..].iter_mut().find(|slot| wanted.fits(slot)) {
            wanted.take(slot, &mut answer);
        }
    });
    answer
}

/// The next executor where it fits, by name.
fn next_fit(slots: &mut [AvailableTaskSlots], jobs: &RunningJobs<'_>) -> Vec<BoundTask> {
    let (mut answer, mut at) = (Vec::with_capacity(jobs.bindable()), 0);
    each_task(jobs, |wanted| {
        let places = (at..slots.len()).chain(0..at);
        if let Some(place) = { places }.find(|&place| wanted.fits(&slots[place])) {
            wanted.take(&mut slots[place], &mut answer);
            at = (place + 1) % slots.len();
        }
    });
    answer
}

type Make = fn() -> Box<dyn DistributionPolicy>;
type Plain = fn(&mut [AvailableTaskSlots], &RunningJobs<'_>) -> Vec<BoundTask>;

fn plain(of: Plain, round: &Round, slots: &mut Vec<AvailableTaskSlots>) -> Vec<BoundTask> {
    let stages = round.stage_refs();
    let view = round.view(&stages);
    view.available_slots(slots);
    of(slots, &view)
}

/// 10,000 tasks over 100 executors.
pub(crate) fn against_plain() {
    println!("| policy | work | plain | policy | policy / plain (goal <= 1.3) | met |\n|---|---|---|---|---|---|");
    // A fresh object for each round: where turns begin is state.
    let subjects: [(&str, Make, Plain); 2] =
        [("bias", || Box::new(Bias), first_fit), ("round-robin", || Box::new(RoundRobin::default()), next_fit)];
    for (name, make, of) in subjects {
        for (workload, free) in [
            (Workload::Plain, 150),
            (Workload::Differing, 150),
            (Workload::DifferingMemory, 150),
            (Workload::DifferingMemory, 250),
            (Workload::ManyStages, 150),
        ] {
            let round = Cluster::new(workload, 100, 10_000).round(|_| free, None);
            let (mut a, mut b) = (Vec::new(), Vec::new());
            let (ours, theirs) = (bind(&*make(), &round, &mut a), plain(of, &round, &mut b));
            assert!(ours == theirs && ours.len() > 9_000, "{name}: {} and {}", ours.len(), theirs.len());
            let ratio = compare_least(
                || drop(black_box(plain(of, &round, &mut a))),
                || drop(black_box(bind(&*make(), &round, &mut b))),
            );
            let (plain, policy, by) = (ratio.least.0 / 1e3, ratio.least.1 / 1e3, ratio.of_least());
            let work = format!("{}, {free} vcores an executor", workload.describe());
            println!("| {name} | {work} | {plain:.1} us | {policy:.1} us | {by:.2} | {} |", goal(by <= 1.3));
        }
    }
}
