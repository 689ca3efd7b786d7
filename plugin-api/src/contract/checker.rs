//! The checker: stretches of rows in step at once, everything else row by row.

use super::Violation;
use crate::binding::BoundTask;
use crate::ids::{ExecutorId, StageId, TaskId};
use crate::round::{RunningJobs, Stage};

/// The checker with its scratch memory; one a thread is enough. Clean between calls, whatever the answer was.
#[derive(Debug, Default)]
pub struct Checker {
    /// One bit a task of the round.
    bound: Vec<u64>,
    /// One row an executor of the round.
    vcores_taken: Vec<u32>,
    memory_taken_mib: Vec<u64>,
    /// One row a group of the limits.
    group_taken: Vec<u64>,
}

impl Checker {
    /// A checker without scratch memory yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Checks an answer against the round it was given for.
    ///
    /// # Errors
    /// The first violation. The answer must then not be applied, not even in part.
    pub fn check(&mut self, jobs: &RunningJobs<'_>, answer: &[BoundTask]) -> Result<(), Violation> {
        if answer.is_empty() {
            return Ok(());
        }
        let bindable = jobs.bindable();
        if answer.len() > bindable {
            return Err(Violation::TooManyRows { rows: answer.len(), bindable });
        }
        let round = Bounds::of(jobs);
        let words = (round.tasks as usize).div_ceil(64);
        grow(&mut self.bound, words);
        grow(&mut self.vcores_taken, round.free_vcores.len());
        grow(&mut self.memory_taken_mib, round.free_memory_mib.len());
        grow(&mut self.group_taken, round.group_caps.len());
        let result = self.walk(jobs, &round, answer);
        self.clean(&round, words, answer);
        result
    }

    fn walk(&mut self, jobs: &RunningJobs<'_>, round: &Bounds<'_>, answer: &[BoundTask]) -> Result<(), Violation> {
        let mut at = StageCursor::none();
        let mut row = 0;
        while row < answer.len() {
            let stretch = Stretch::at(answer, row);
            let fast = match stretch.rows {
                0..Stretch::WORTH_IT => 0,
                _ => self.stretch(jobs, round, &mut at, &stretch),
            };
            // What the fast way could not take, the slow way takes, or names as a violation.
            let end = if fast > 0 { row + fast } else { row + 1 };
            if fast == 0 {
                self.row(jobs, round, &mut at, row, answer[row])?;
            }
            row = end;
        }
        Ok(())
    }

    /// Takes rows that run in step: consecutive tasks, on one executor or on consecutive ones. Returns how many it
    /// took: 0, without a trace, when the rows need a closer look.
    fn stretch<'a>(
        &mut self,
        jobs: &RunningJobs<'a>,
        round: &Bounds<'_>,
        at: &mut StageCursor<'a>,
        stretch: &Stretch,
    ) -> usize {
        let Some(index) = at.locate_in(jobs, stretch.first.task) else { return 0 };
        if !round.unrestricted || !at.is_pending(index) {
            return 0;
        }
        let Some((1.., 0)) = at.uniform() else { return 0 };
        let vcores = at.uniform().map_or(1, |(vcores, _)| vcores);
        let first_executor = stretch.first.executor.index();
        let room = (at.run.end - index) as usize;
        let executors_left = round.free_vcores.len().saturating_sub(first_executor);
        let rows = stretch.rows.min(room);
        let rows = if stretch.one_executor { rows } else { rows.min(executors_left) };
        let last_executor = if stretch.one_executor { first_executor + 1 } else { first_executor + rows };
        if rows == 0 || executors_left == 0 {
            return 0;
        }
        let (Some(free), taken) = (
            round.free_vcores.get(first_executor..last_executor),
            &mut self.vcores_taken[first_executor..last_executor],
        ) else {
            return 0;
        };
        let each =
            if stretch.one_executor { (rows as u64).saturating_mul(u64::from(vcores)) } else { u64::from(vcores) };
        let Ok(each) = u32::try_from(each) else { return 0 };
        // No sum overflows: what was taken so far is at most what is free.
        let fits =
            taken.iter().zip(free).fold(true, |fits, (&taken, &free)| fits & (each <= free.saturating_sub(taken)));
        if !fits || !claim(&mut self.bound, stretch.first.task.index(), rows) {
            return 0;
        }
        taken.iter_mut().for_each(|taken| *taken += each);
        rows
    }

    fn row<'a>(
        &mut self,
        jobs: &RunningJobs<'a>,
        round: &Bounds<'_>,
        at: &mut StageCursor<'a>,
        row: usize,
        bound: BoundTask,
    ) -> Result<(), Violation> {
        let BoundTask { task, executor } = bound;
        let Some(&free) = round.free_vcores.get(executor.index()) else {
            return Err(Violation::UnknownExecutor { row, executor, executors: round.free_vcores.len() });
        };
        let Some(index) = at.locate_in(jobs, task) else {
            return Err(Violation::UnknownTask { row, task, tasks: round.tasks });
        };
        if !at.is_pending(index) {
            let (stage, job) = at.names();
            return Err(Violation::NotPending { row, index, stage, job });
        }
        if !claim(&mut self.bound, task.index(), 1) {
            let (stage, job) = at.names();
            return Err(Violation::BoundTwice { row, index, stage, job });
        }
        let (vcores, memory_mib) = at.demand(index);
        let taken = &mut self.vcores_taken[executor.index()];
        let wanted = u64::from(*taken) + u64::from(vcores);
        if wanted > u64::from(free) {
            let executor = jobs.executors().get(executor).name().to_owned();
            return Err(Violation::Overbooked { row, executor, free, wanted });
        }
        *taken += vcores;
        if memory_mib > 0 {
            let free_mib = round.free_memory_mib.get(executor.index()).copied().unwrap_or(0);
            let before = self.memory_taken_mib.get(executor.index()).copied().unwrap_or(0);
            let wanted_mib = before + u64::from(memory_mib);
            if wanted_mib > free_mib {
                let executor = jobs.executors().get(executor).name().to_owned();
                return Err(Violation::MemoryOverbooked { row, executor, free_mib, wanted_mib });
            }
            self.memory_taken_mib[executor.index()] = wanted_mib;
        }
        if round.unrestricted { Ok(()) } else { self.limits(jobs, round, at, row, executor, vcores) }
    }

    fn limits(
        &mut self,
        jobs: &RunningJobs<'_>,
        round: &Bounds<'_>,
        at: &StageCursor<'_>,
        row: usize,
        executor: ExecutorId,
        vcores: u32,
    ) -> Result<(), Violation> {
        let Some(id) = at.stage.as_ref().map(Stage::id) else { return Ok(()) };
        let limits = jobs.limits();
        if !limits.allows(id, executor) {
            let (stage, job) = at.names();
            let executor = jobs.executors().get(executor).name().to_owned();
            return Err(Violation::Ineligible { row, executor, stage, job });
        }
        for &group in limits.groups(id) {
            let taken = &mut self.group_taken[group as usize];
            *taken += u64::from(vcores);
            let (wanted, cap) = (*taken, round.group_caps[group as usize]);
            if wanted > u64::from(cap) {
                let (stage, job) = at.names();
                return Err(Violation::OverCap { row, stage, job, cap, wanted });
            }
        }
        Ok(())
    }

    /// Leaves no trace, in O(rows), or in one sweep where that is less.
    fn clean(&mut self, round: &Bounds<'_>, words: usize, answer: &[BoundTask]) {
        if answer.len() >= words + round.free_vcores.len() {
            self.bound[..words].fill(0);
            self.vcores_taken[..round.free_vcores.len()].fill(0);
            self.memory_taken_mib[..round.free_memory_mib.len()].fill(0);
        } else {
            for bound in answer {
                // A row at fault may name anything.
                if let Some(word) = self.bound.get_mut(bound.task.index() / 64) {
                    *word = 0;
                }
                if let Some(taken) = self.vcores_taken.get_mut(bound.executor.index()) {
                    *taken = 0;
                }
                if let Some(taken) = self.memory_taken_mib.get_mut(bound.executor.index()) {
                    *taken = 0;
                }
            }
        }
        self.group_taken.fill(0);
    }
}

/// What an answer is held against.
struct Bounds<'a> {
    tasks: u32,
    free_vcores: &'a [u32],
    free_memory_mib: &'a [u64],
    group_caps: &'a [u32],
    unrestricted: bool,
}

impl<'a> Bounds<'a> {
    fn of(jobs: &RunningJobs<'a>) -> Self {
        Self {
            tasks: jobs.task_bases().last().copied().unwrap_or(0),
            free_vcores: jobs.executors().free_vcores(),
            free_memory_mib: jobs.executors().free_memory_mib(),
            group_caps: jobs.limits().group_caps(),
            unrestricted: jobs.limits().is_unrestricted(),
        }
    }
}

/// Rows that run in step. Policies that fill or deal out answer in such stretches, and they are cheap to check.
struct Stretch {
    first: BoundTask,
    rows: usize,
    one_executor: bool,
}

impl Stretch {
    /// Shorter ones are checked row by row.
    const WORTH_IT: usize = 4;

    fn at(answer: &[BoundTask], row: usize) -> Self {
        let first = answer[row];
        let word = |b: &BoundTask| u64::from(b.task.0) | u64::from(b.executor.0) << 32;
        let rest = &answer[row..];
        let step = rest.get(1).map_or(0, |second| word(second).wrapping_sub(word(&first)));
        let (same, next) = (1u64, 1u64 | 1 << 32);
        if step != same && step != next {
            return Self { first, rows: 1, one_executor: true };
        }
        let mut rows = 2;
        // In blocks, so that the compiler compares many at once.
        const BLOCK: usize = 16;
        while let Some(block) = rest.get(rows - 1..rows + BLOCK) {
            let in_step =
                block.windows(2).fold(true, |so_far, w| so_far & (word(&w[1]).wrapping_sub(word(&w[0])) == step));
            if !in_step {
                break;
            }
            rows += BLOCK;
        }
        while rest.get(rows).is_some_and(|b| word(b).wrapping_sub(word(&rest[rows - 1])) == step) {
            rows += 1;
        }
        Self { first, rows, one_executor: step == same }
    }
}

/// Marks tasks as bound; refuses, without a trace, when one of them is already.
fn claim(bound: &mut [u64], first: usize, rows: usize) -> bool {
    let masks = || {
        let end = first + rows;
        (first / 64..end.div_ceil(64)).map(move |word| {
            let from = first.saturating_sub(word * 64).min(64);
            let to = (end - word * 64).min(64);
            let mask = if to - from == 64 { u64::MAX } else { ((1u64 << (to - from)) - 1) << from };
            (word, mask)
        })
    };
    if masks().any(|(word, mask)| bound[word] & mask != 0) {
        return false;
    }
    masks().for_each(|(word, mask)| bound[word] |= mask);
    true
}

fn grow<T: Clone + Default>(scratch: &mut Vec<T>, to: usize) {
    if scratch.len() < to {
        scratch.resize(to, T::default());
    }
}

/// Remembers the stage and the run of the last row: answers come mostly in order.
struct StageCursor<'a> {
    stage: Option<Stage<'a>>,
    first: u32,
    next: u32,
    run: std::ops::Range<u32>,
}

impl<'a> StageCursor<'a> {
    fn none() -> Self {
        Self { stage: None, first: 1, next: 0, run: 0..0 }
    }

    /// Moves to the stage of `task`; returns the task's index in it.
    #[inline]
    fn locate_in(&mut self, jobs: &RunningJobs<'a>, task: TaskId) -> Option<u32> {
        if !(self.first..self.next).contains(&task.0) {
            let (id, _): (StageId, u32) = jobs.locate(task)?;
            let stage = jobs.stage(id);
            self.first = stage.first_task().0;
            self.next = self.first + stage.task_count();
            self.run = 0..0;
            self.stage = Some(stage);
        }
        Some(task.0 - self.first)
    }

    #[inline]
    fn is_pending(&mut self, index: u32) -> bool {
        if self.run.contains(&index) {
            return true;
        }
        match self.stage.as_ref().and_then(|s| s.pending_run_of(index)) {
            Some(run) => {
                self.run = run;
                true
            }
            None => false,
        }
    }

    /// What every task of the stage takes, where it is the same for all: vcores, memory.
    fn uniform(&self) -> Option<(u32, u32)> {
        let stage = self.stage.as_ref()?;
        Some((stage.uniform_vcores()?, stage.uniform_memory_mib()?))
    }

    #[inline]
    fn demand(&self, index: u32) -> (u32, u32) {
        self.stage.as_ref().map_or((1, 0), |s| (s.vcores_of(index), s.memory_mib_of(index)))
    }

    /// The stage's number and its job's name, for messages.
    fn names(&self) -> (u32, String) {
        self.stage.as_ref().map_or((0, String::new()), |s| (s.number(), s.job().name().to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_exact() {
        for (first, rows) in [(0, 1), (0, 64), (0, 65), (63, 2), (5, 59), (5, 60), (1, 300), (128, 64), (70, 1)] {
            let mut bound = vec![0u64; 8];
            assert!(claim(&mut bound, first, rows));
            let marked: Vec<usize> = (0..512).filter(|i| bound[i / 64] >> (i % 64) & 1 == 1).collect();
            assert_eq!(marked, (first..first + rows).collect::<Vec<_>>());
            let before = bound.clone();
            assert!(!claim(&mut bound, first + rows - 1, 3), "one of them is bound");
            assert_eq!(bound, before, "without a trace");
        }
    }

    #[test]
    fn stretches_are_found() {
        let rows = |pairs: &[(u32, u32)]| -> Vec<BoundTask> {
            pairs.iter().map(|&(t, e)| BoundTask::new(TaskId(t), ExecutorId(e))).collect()
        };
        let fill: Vec<(u32, u32)> = (0..40).map(|t| (t, 7)).chain([(40, 8)]).collect();
        let deal: Vec<(u32, u32)> = (0..40).map(|t| (t, t)).chain([(40, 0)]).collect();
        for (answer, expected, one) in [
            (rows(&fill), 40, true),
            (rows(&deal), 40, false),
            (rows(&[(3, 1)]), 1, true),
            (rows(&[(3, 1), (5, 1)]), 1, true),
            (rows(&[(u32::MAX, 1), (0, 2)]), 2, true),
        ] {
            let found = Stretch::at(&answer, 0);
            assert_eq!((found.rows, found.one_executor), (expected, one), "{answer:?}");
        }
    }
}
