//! The contract's checker against a slow one that is plainly right: the two agree on every answer, however hostile, and
//! on the row and the values that they name.

use std::collections::{HashMap, HashSet};

use policy_host::policy::*;
use policy_host::round::{Checker, Violation};
use policy_testkit::spec::{StageSpec, executor, job, round, task, tasks};
use policy_testkit::{TestRound, arbitrary};
use proptest::prelude::*;

/// The rules, one row after the other, with a set and maps.
struct Slow {
    pending: HashSet<TaskId>,
    bound: HashSet<TaskId>,
    vcores: HashMap<ExecutorId, u64>,
    memory_mib: HashMap<ExecutorId, u64>,
    groups: HashMap<u32, u64>,
}

impl Slow {
    fn new(jobs: &RunningJobs<'_>) -> Self {
        let pending = jobs.stages().flat_map(|s| s.pending().map(|t| t.id())).collect();
        let (bound, vcores, memory_mib, groups) = Default::default();
        Self { pending, bound, vcores, memory_mib, groups }
    }

    fn check(jobs: &RunningJobs<'_>, answer: &[BoundTask]) -> Result<(), Violation> {
        let pending: usize = jobs.stages().map(|s| s.pending_count() as usize).sum();
        let free: usize = jobs.executors().free_vcores().iter().map(|&v| v as usize).sum();
        let (rows, bindable) = (answer.len(), pending.min(free));
        if rows > bindable {
            return Err(Violation::TooManyRows { rows, bindable });
        }
        let mut this = Self::new(jobs);
        answer.iter().enumerate().try_for_each(|(row, &bound)| this.row(jobs, row, bound))
    }

    /// Takes a row, or leaves everything as it was.
    fn row(&mut self, jobs: &RunningJobs<'_>, row: usize, bound: BoundTask) -> Result<(), Violation> {
        let (BoundTask { task, executor }, executors) = (bound, jobs.executors());
        if executor.index() >= executors.len() {
            return Err(Violation::UnknownExecutor { row, executor, executors: executors.len() });
        }
        let Some((id, index)) = jobs.locate(task) else {
            let tasks = *jobs.task_bases().last().expect("one row more than stages");
            return Err(Violation::UnknownTask { row, task, tasks });
        };
        let of = jobs.stage(id);
        let (stage, job, name) = (of.number(), of.job().name().to_owned(), executors.get(executor).name().to_owned());
        if !self.pending.contains(&task) {
            return Err(Violation::NotPending { row, index, stage, job });
        }
        if self.bound.contains(&task) {
            return Err(Violation::BoundTwice { row, index, stage, job });
        }
        let (vcores, memory_mib) = (u64::from(of.task(index).vcores()), u64::from(of.task(index).memory_mib()));
        let (free, free_mib) = (executors.get(executor).free_vcores(), executors.get(executor).free_memory_mib());
        let wanted = self.vcores.get(&executor).unwrap_or(&0) + vcores;
        if wanted > u64::from(free) {
            return Err(Violation::Overbooked { row, executor: name, free, wanted });
        }
        let wanted_mib = self.memory_mib.get(&executor).unwrap_or(&0) + memory_mib;
        if memory_mib > 0 && wanted_mib > free_mib {
            return Err(Violation::MemoryOverbooked { row, executor: name, free_mib, wanted_mib });
        }
        let limits = jobs.limits();
        if !limits.allows(id, executor) {
            return Err(Violation::Ineligible { row, executor: name, stage, job });
        }
        for &group in limits.groups(id) {
            let (wanted, cap) = (self.groups.get(&group).unwrap_or(&0) + vcores, limits.group_caps()[group as usize]);
            if wanted > u64::from(cap) {
                return Err(Violation::OverCap { row, stage, job, cap, wanted });
            }
        }
        self.bound.insert(task);
        self.vcores.insert(executor, wanted);
        self.memory_mib.insert(executor, wanted_mib);
        limits.groups(id).iter().for_each(|&group| *self.groups.entry(group).or_default() += vcores);
        Ok(())
    }
}

/// Answers that are nearly right: stretches in step, with a mistake here and there.
fn answers() -> impl Strategy<Value = Vec<BoundTask>> {
    let stretch = (0..60u32, 0..8u32, 1..40u32, any::<bool>()).prop_map(|(task, executor, rows, deal)| {
        (0..rows).map(move |i| BoundTask::new(TaskId(task + i), ExecutorId(executor + if deal { i } else { 0 })))
    });
    let rows = prop::collection::vec(stretch, 0..4).prop_map(|s| s.into_iter().flatten().collect::<Vec<_>>());
    (rows, prop::collection::vec((any::<prop::sample::Index>(), any::<u32>(), any::<u32>()), 0..2)).prop_map(
        |(mut rows, mistakes)| {
            for (at, task, executor) in mistakes {
                if !rows.is_empty() {
                    let at = at.index(rows.len());
                    rows[at] = BoundTask::new(TaskId(task % 80), ExecutorId(executor % 10));
                }
            }
            rows
        },
    )
}

/// Numbers that look random, the same for the same seed.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        if end == 0 { 0 } else { (self.0 >> 33) as usize % end }
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        (1..items.len()).for_each(|i| items.swap(i, self.below(i + 1)));
    }
}

/// A round that is large enough for every index of the checker: up to ninety stages, up to a hundred and fifty runs of
/// pending tasks in one of them, tasks alike or different, under limits or not.
fn large_round(numbers: &mut Numbers) -> TestRound {
    let (executors, vcores, memory) = (1 + numbers.below(70), 1 + numbers.below(40), numbers.one_in(2));
    let spec = (0..executors).fold(round(), |spec, i| {
        let free = numbers.below(vcores + 1) as u32;
        let mib = if memory { 1 + numbers.below(2_000) as u64 } else { 0 };
        spec.executor(executor(format!("executor-{i:03}"), vcores as u32).free(free).memory(mib, mib))
    });
    let jobs = 1 + numbers.below(9);
    let spec = (0..jobs).fold(spec, |spec, i| {
        let stages = 1 + numbers.below(10);
        spec.job((0..stages).fold(job(format!("job-{i}")), |job, _| job.stage(stage_of(numbers, memory))))
    });
    let round = spec.build();
    if numbers.one_in(3) {
        return round;
    }
    round.limited(|jobs, limits| {
        let stage = |numbers: &mut Numbers| StageId::from_index(numbers.below(jobs.stage_count()));
        for _ in 0..numbers.below(12) {
            let of = stage(numbers);
            match numbers.below(3) {
                0 => limits.forbid(of, ExecutorId::from_index(numbers.below(executors))),
                1 => {
                    let allowed = (0..executors).filter(|_| !numbers.one_in(3)).map(ExecutorId::from_index);
                    limits.allow_only(of, allowed.collect::<Vec<_>>());
                }
                _ => {
                    let group: Vec<StageId> = (0..1 + numbers.below(20)).map(|_| stage(numbers)).collect();
                    limits.cap_vcores(group, numbers.below(30) as u32);
                }
            }
        }
    })
}

fn stage_of(numbers: &mut Numbers, memory: bool) -> StageSpec {
    let most = [1, 1, 9, 9, 9, 40, 40, 300][numbers.below(8)];
    let count = 1 + numbers.below(most);
    let (differ, mib) = (numbers.one_in(2), if memory { 1 + numbers.below(2) } else { 0 });
    let (all, all_mib) = (1 + numbers.below(3) as u32, 50 * numbers.below(3) as u32);
    let each = (0..count).map(|_| {
        let vcores = if differ { numbers.below(4) as u32 } else { all };
        let memory_mib = [0, all_mib, numbers.below(100) as u32][mib];
        task().vcores(vcores).memory_mib(memory_mib)
    });
    let spec = tasks(each.collect::<Vec<_>>());
    match numbers.below(3) {
        0 => spec,
        1 => spec.pending((0..count as u32).step_by(2).map(|at| (at, 1)).collect::<Vec<_>>()),
        _ => {
            let starts = (0..count as u32).step_by(7);
            let run = |at: u32| (at, (1 + numbers.below(6) as u32).min(count as u32 - at));
            spec.pending(starts.map(run).collect::<Vec<_>>())
        }
    }
}

/// A legal answer, tasks and executors in one of several orders.
fn legal_answer(numbers: &mut Numbers, jobs: &RunningJobs<'_>) -> Vec<BoundTask> {
    let mut wanted: Vec<TaskId> = jobs.stages().flat_map(|s| s.pending().map(|t| t.id())).collect();
    match numbers.below(5) {
        0 => numbers.shuffle(&mut wanted),
        1 => {
            let stride = 2 + numbers.below(9);
            wanted = (0..stride).flat_map(|from| wanted.iter().copied().skip(from).step_by(stride)).collect();
        }
        2 => wanted.reverse(),
        3 => {
            // The first task of each stage, the second of each …
            let index = |task: &TaskId| jobs.locate(*task).map(|(stage, index)| (index, stage));
            wanted.sort_by_key(index);
        }
        _ => {}
    }
    let (executors, order) = (jobs.executors().len(), numbers.below(3));
    let (mut slow, mut answer, mut at) = (Slow::new(jobs), Vec::new(), 0);
    for task in wanted {
        for _ in 0..executors.min(4) {
            let executor = ExecutorId::from_index(if order == 2 { numbers.below(executors) } else { at });
            let bound = BoundTask::new(task, executor);
            let taken = slow.row(jobs, answer.len(), bound).is_ok();
            if taken {
                answer.push(bound);
            }
            if order == 1 || !taken {
                at = (at + 1) % executors;
            }
            if taken {
                break;
            }
        }
    }
    answer
}

fn mistaken(numbers: &mut Numbers, jobs: &RunningJobs<'_>, mut answer: Vec<BoundTask>) -> Vec<BoundTask> {
    if answer.is_empty() {
        return answer;
    }
    let (at, other) = (numbers.below(answer.len()), numbers.below(answer.len()));
    let tasks = *jobs.task_bases().last().expect("one row more than stages") as usize;
    match numbers.below(6) {
        0 => answer[at].executor = ExecutorId::from_index(numbers.below(jobs.executors().len() + 2)),
        1 => answer[at].task = TaskId(numbers.below(tasks) as u32),
        2 => answer[at].task = TaskId((tasks + numbers.below(3)) as u32),
        3 => answer[at].task = answer[other].task,
        4 => answer.insert(at, answer[other]),
        _ => {
            // A task that was left out, wherever.
            let bound: HashSet<TaskId> = answer.iter().map(|b| b.task).collect();
            let pending = jobs.stages().flat_map(|s| s.pending().map(|t| t.id()));
            let left: Vec<TaskId> = pending.filter(|task| !bound.contains(task)).collect();
            if !left.is_empty() {
                let executor = ExecutorId::from_index(numbers.below(jobs.executors().len()));
                answer[at] = BoundTask::new(left[numbers.below(left.len())], executor);
            }
        }
    }
    answer
}

#[test]
fn the_two_agree_on_large_rounds_in_any_order() {
    let (mut checker, mut violations) = (Checker::new(), HashMap::<&str, u32>::new());
    for seed in 0..200 {
        let numbers = &mut Numbers(seed);
        let round = large_round(numbers);
        round.with(|_, jobs| {
            let legal = legal_answer(numbers, jobs);
            assert_eq!(checker.check(jobs, &legal), Ok(()), "seed {seed}");
            for _ in 0..4 {
                let answer = mistaken(numbers, jobs, legal.clone());
                let slow = Slow::check(jobs, &answer);
                assert_eq!(checker.check(jobs, &answer), slow, "seed {seed}");
                *violations.entry(slow.err().map_or("legal", |v| v.code())).or_default() += 1;
            }
            // It leaves no trace, whatever it was asked.
            assert_eq!(checker.check(jobs, &legal), Ok(()), "seed {seed}, again");
        });
    }
    // Each kind of mistake was made.
    for code in ["unknown-task", "unknown-executor", "task-not-pending", "task-bound-twice", "too-many-rows"] {
        assert!(violations.get(code) > Some(&4), "{code}: {violations:?}");
    }
    for code in ["executor-overbooked", "memory-overbooked", "ineligible-pair", "over-cap", "legal"] {
        assert!(violations.get(code) > Some(&4), "{code}: {violations:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn the_fast_checker_agrees_with_the_slow_one(round in arbitrary::rounds(), answer in answers()) {
        let mut checker = Checker::new();
        round.with(|_, jobs| {
            let fast = checker.check(jobs, &answer);
            prop_assert_eq!(&fast, &Slow::check(jobs, &answer));
            // It leaves no trace: asked again, it says the same.
            prop_assert_eq!(checker.check(jobs, &answer), fast);
            prop_assert!(checker.check(jobs, &[]).is_ok());
            Ok(())
        })?;
    }

    #[test]
    fn what_good_policies_answer_is_legal_and_stays_legal_in_any_order(
        round in arbitrary::rounds(),
        swaps in prop::collection::vec(any::<(prop::sample::Index, prop::sample::Index)>(), 0..20),
    ) {
        let mut checker = Checker::new();
        let mut answer = round.ask(&policy_kit::Bias).expect("bias answers");
        round.with(|_, jobs| {
            prop_assert_eq!(checker.check(jobs, &answer), Ok(()));
            for (a, b) in swaps {
                if !answer.is_empty() {
                    let (a, b) = (a.index(answer.len()), b.index(answer.len()));
                    answer.swap(a, b);
                }
            }
            prop_assert_eq!(checker.check(jobs, &answer), Ok(()));
            if let Some(&first) = answer.first() {
                answer.push(first);
                prop_assert!(checker.check(jobs, &answer).is_err(), "a task twice");
            }
            Ok(())
        })?;
    }
}
