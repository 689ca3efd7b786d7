//! The contract's checker against a bare loop over the same columns: bit sets of what is pending and what is bound, sums
//! by executor and by group, one row after the other.

use std::hint::black_box;

use policy_kit::{Bias, RoundRobin};
use policy_wire::block::{BlockKind, BlockView};
use policy_wire::contract::Checker;
use policy_wire::limits::LimitsView;
use policy_wire::{BoundTask, ExecutorId, Limits, RunningJobs, StageId};
use tokio::runtime::Runtime;

use crate::boundary::kernel_under;
use crate::paired::compare_least;
use crate::rounds::Shape;

/// A stage, as the bare loop reads it.
struct Row<'a> {
    vcores: &'a [u32],
    memory_mib: &'a [u32],
    mask: Option<&'a [u64]>,
    groups: &'a [u32],
}

fn one(column: &[u32], index: usize, absent: u32) -> u32 {
    match column {
        [] => absent,
        [all] => *all,
        each => each[index],
    }
}

/// Scratch of the bare loop, kept from answer to answer.
#[derive(Default)]
struct Bare {
    pending: Vec<u64>,
    taken: Vec<u32>,
    taken_mib: Vec<u64>,
    groups: Vec<u64>,
}

impl Bare {
    fn check(&mut self, jobs: &RunningJobs<'_>, answer: &[BoundTask]) -> bool {
        let (executors, limits, bases) = (jobs.executors(), jobs.limits(), jobs.task_bases());
        let (free, free_mib, caps) = (executors.free_vcores(), executors.free_memory_mib(), limits.group_caps());
        let tasks = bases.last().map_or(0, |&n| n as usize);
        self.pending.clear();
        self.pending.resize(tasks.div_ceil(64), 0);
        self.taken.clear();
        self.taken.resize(free.len(), 0);
        self.taken_mib.clear();
        self.taken_mib.resize(free.len(), 0);
        self.groups.clear();
        self.groups.resize(caps.len(), 0);
        let mut rows = Vec::with_capacity(jobs.stage_count());
        for stage in jobs.stages() {
            for (first, length) in stage.pending_runs() {
                let from = stage.first_task().index() + first as usize;
                (from..from + length as usize).for_each(|task| self.pending[task / 64] |= 1 << (task % 64));
            }
            rows.push(Row {
                vcores: stage.vcores_column(),
                memory_mib: stage.memory_mib_column(),
                mask: limits.mask(stage.id()),
                groups: limits.groups(stage.id()),
            });
        }
        for bound in answer {
            let (task, executor) = (bound.task.index(), bound.executor.index());
            if task >= tasks || executor >= free.len() || self.pending[task / 64] >> (task % 64) & 1 == 0 {
                return false;
            }
            // Bound: no longer pending.
            self.pending[task / 64] &= !(1 << (task % 64));
            let stage = if rows.len() == 1 { 0 } else { bases.partition_point(|&base| base as usize <= task) - 1 };
            let (row, index) = (&rows[stage], task - bases[stage] as usize);
            let vcores = one(row.vcores, index, 1).max(1);
            self.taken[executor] += vcores;
            if self.taken[executor] > free[executor] {
                return false;
            }
            let memory_mib = one(row.memory_mib, index, 0);
            if memory_mib > 0 {
                self.taken_mib[executor] += u64::from(memory_mib);
                if self.taken_mib[executor] > free_mib[executor] {
                    return false;
                }
            }
            if row.mask.is_some_and(|mask| mask[executor / 64] >> (executor % 64) & 1 == 0) {
                return false;
            }
            for &group in row.groups {
                self.groups[group as usize] += u64::from(vcores);
                if self.groups[group as usize] > u64::from(caps[group as usize]) {
                    return false;
                }
            }
        }
        true
    }
}

/// What filters say, if anything.
#[derive(Clone, Copy)]
enum Filtered {
    No,
    /// Each job's stages are capped, at what they need.
    Caps,
    /// Every stage may use all executors but one.
    Masks,
}

fn limits(jobs: &RunningJobs<'_>, filtered: Filtered) -> Limits {
    let executors = jobs.executors().len();
    let mut limits = Limits::unrestricted(jobs.stage_count(), executors);
    for stage in (0..jobs.stage_count()).map(StageId::from_index) {
        match filtered {
            Filtered::No => {}
            Filtered::Caps => limits.cap_vcores([stage], 1_000_000),
            Filtered::Masks => limits.forbid(stage, ExecutorId::from_index(executors / 2)),
        }
    }
    limits
}

/// A legal answer in an order of its own.
type Order = fn(&RunningJobs<'_>, Vec<BoundTask>) -> Vec<BoundTask>;

fn shuffled(_: &RunningJobs<'_>, mut rows: Vec<BoundTask>) -> Vec<BoundTask> {
    let mut state = 7u64;
    for i in (1..rows.len()).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        rows.swap(i, (state >> 33) as usize % (i + 1));
    }
    rows
}

fn strided(_: &RunningJobs<'_>, rows: Vec<BoundTask>) -> Vec<BoundTask> {
    (0..7).flat_map(|from| rows.iter().copied().skip(from).step_by(7)).collect()
}

fn backwards(_: &RunningJobs<'_>, mut rows: Vec<BoundTask>) -> Vec<BoundTask> {
    rows.reverse();
    rows
}

/// The first task of each stage, the second of each …
fn across_stages(jobs: &RunningJobs<'_>, mut rows: Vec<BoundTask>) -> Vec<BoundTask> {
    rows.sort_by_key(|row| jobs.locate(row.task).map(|(stage, index)| (index, stage)));
    rows
}

/// Executors in turn, two at a time: the rows of two executors are shuffled together like cards.
fn alternating(_: &RunningJobs<'_>, mut rows: Vec<BoundTask>) -> Vec<BoundTask> {
    let mut place = std::collections::HashMap::<ExecutorId, u32>::new();
    rows.sort_by_cached_key(|row| {
        let place = place.entry(row.executor).and_modify(|n| *n += 1).or_default();
        (row.executor.0 / 2, *place, row.executor.0)
    });
    rows
}

fn as_answered(_: &RunningJobs<'_>, rows: Vec<BoundTask>) -> Vec<BoundTask> {
    rows
}

const TASKS: u32 = 10_000;

fn shapes() -> Vec<(&'static str, Shape, Filtered)> {
    let plain = Shape::plain(TASKS);
    let differ = Shape { differ: true, ..plain };
    let memory = Shape { memory: true, ..differ };
    vec![
        ("alike", plain, Filtered::No),
        ("alike, capped", plain, Filtered::Caps),
        ("vcores differ", differ, Filtered::No),
        ("vcores and memory differ", memory, Filtered::No),
        ("the same, 3 holders", Shape { holders: 3, ..memory }, Filtered::No),
        ("vcores differ, capped", differ, Filtered::Caps),
        ("vcores differ, an executor forbidden", differ, Filtered::Masks),
        ("vcores and memory differ, 100 jobs", Shape { jobs: 100, ..memory }, Filtered::No),
        ("the same, capped", Shape { jobs: 100, ..memory }, Filtered::Caps),
        ("vcores differ, 10,000 jobs", Shape { jobs: TASKS, ..differ }, Filtered::No),
        ("vcores differ, every third task not pending", Shape { holes: true, ..differ }, Filtered::No),
        ("vcores differ, 100,000 tasks", Shape { differ: true, ..Shape::plain(10 * TASKS) }, Filtered::No),
    ]
}

/// The checker against the bare loop.
pub(crate) fn validation(_: &Runtime) {
    let orders: [(&str, bool, Order); 7] = [
        ("filled", false, as_answered),
        ("dealt", true, as_answered),
        ("shuffled", false, shuffled),
        ("every 7th", false, strided),
        ("backwards", false, backwards),
        ("across stages", false, across_stages),
        ("two executors in turn", false, alternating),
    ];
    println!("| round | {} |", orders.map(|order| order.0).join(" | "));
    println!("|---|{}", "---|".repeat(orders.len()));
    for (what, shape, filtered) in shapes() {
        let round = shape.round();
        let stages = round.stage_refs();
        let jobs = round.view(&stages);
        let block = limits(&jobs, filtered).encode();
        let view = BlockView::parse(block.words(), BlockKind::Limits).expect("a block");
        let view = LimitsView::new(view, jobs.stage_count(), jobs.executors().len()).expect("of this round");
        let jobs = jobs.with_limits(view).expect("of this round");
        let cells = orders.map(|(_, dealt, order)| {
            let rows = if dealt { kernel_under(&RoundRobin::default(), &jobs) } else { kernel_under(&Bias, &jobs) };
            let answer = order(&jobs, rows);
            let (mut bare, mut checker) = (Bare::default(), Checker::new());
            assert!(bare.check(&jobs, &answer) && checker.check(&jobs, &answer).is_ok() && answer.len() > 1_000);
            let ratio = compare_least(
                || assert!(black_box(bare.check(&jobs, black_box(&answer)))),
                || assert!(black_box(checker.check(&jobs, black_box(&answer))).is_ok()),
            );
            let each = ratio.least.1 / answer.len() as f64;
            format!("{:.2} ({each:.1} ns)", ratio.of_least())
        });
        println!("| {what} | {} |", cells.join(" | "));
    }
}
