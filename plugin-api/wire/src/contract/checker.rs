//! The checker: rows that run in step are checked together, all others one by one.

use super::Violation;
use super::demand::Demand;
use super::stages::{StageRows, StageScratch, Stages, grow};
use super::stretch::{Stretch, claim, words_of};
use crate::binding::BoundTask;
use crate::round::RunningJobs;

/// The checker with its scratch memory; one a thread is enough. Clean between calls, whatever the answer was.
#[derive(Debug, Default)]
pub struct Checker {
    taken: Taken,
    stages: StageScratch,
    /// How often a row was looked at.
    #[cfg(test)]
    looks: usize,
}

/// What the rows so far have taken.
#[derive(Debug, Default)]
struct Taken {
    /// One bit a task of the round.
    bound: Vec<u64>,
    /// One row an executor of the round.
    vcores: Vec<u32>,
    memory_mib: Vec<u64>,
    /// One row a group of the limits.
    groups: Vec<u64>,
}

impl Checker {
    /// A checker without scratch memory yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Checks an answer against the round it was given for. An answer with more rows than the round can bind is refused
    /// before any row is read.
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
        grow(&mut self.taken.bound, words);
        grow(&mut self.taken.vcores, round.free_vcores.len());
        grow(&mut self.taken.memory_mib, round.free_memory_mib.len());
        grow(&mut self.taken.groups, round.group_caps.len());
        let mut walk = Walk {
            jobs,
            round: &round,
            stages: Stages::new(jobs, &mut self.stages),
            taken: &mut self.taken,
            #[cfg(test)]
            looks: 0,
        };
        let result = walk.answer(answer);
        #[cfg(test)]
        {
            self.looks = walk.looks;
        }
        walk.stages.finish();
        self.taken.clean(&round, words, answer);
        result
    }
}

/// One answer being checked.
struct Walk<'w, 'a, 's> {
    jobs: &'w RunningJobs<'a>,
    round: &'w Bounds<'a>,
    stages: Stages<'a, 's>,
    taken: &'w mut Taken,
    #[cfg(test)]
    looks: usize,
}

impl Walk<'_, '_, '_> {
    fn answer(&mut self, answer: &[BoundTask]) -> Result<(), Violation> {
        let mut row = 0;
        while row < answer.len() {
            row = match Stretch::at(answer, row) {
                None => self.rows(answer, row)?,
                Some(stretch) => {
                    self.stretch(answer, row, stretch)?;
                    row + stretch.rows
                }
            };
        }
        Ok(())
    }

    /// Checks rows of one stage one by one, up to where a stretch begins. Returns where it stopped.
    fn rows(&mut self, answer: &[BoundTask], from: usize) -> Result<usize, Violation> {
        let mut row = from;
        if self.stages.find(answer[row].task.0).is_some() {
            let (stage, pending) = self.stages.here_with_pending();
            while let Some(&bound) = answer.get(row) {
                let begins = row > from && Stretch::begins(answer, row).is_some();
                if begins || !self.taken.take(self.round, stage, pending, bound) {
                    break;
                }
                row += 1;
            }
        }
        self.look(row - from);
        if row == from {
            // Not to be taken as quickly: in a run that has to be looked for, or at fault.
            self.row(row, answer[row])?;
            row += 1;
        }
        Ok(row)
    }

    /// Checks all rows of a stretch, piece by piece: a piece ends with a run of pending tasks.
    fn stretch(&mut self, answer: &[BoundTask], from: usize, stretch: Stretch) -> Result<(), Violation> {
        self.look(stretch.rows);
        let (mut row, end) = (from, from + stretch.rows);
        while row < end {
            let piece = Stretch { first: answer[row], rows: end - row, ..stretch };
            let rows = self.piece(piece);
            if rows == 0 {
                // Where rows cannot be taken together, one of them may be at fault: find out which.
                (row..end).try_for_each(|row| self.row(row, answer[row]))?;
                return Ok(());
            }
            row += rows;
        }
        Ok(())
    }

    /// Takes the rows that begin a stretch, as far as they are pending without a gap. Returns how many those are; 0,
    /// without a trace, when they need a closer look.
    fn piece(&mut self, stretch: Stretch) -> usize {
        let Some(index) = self.stages.find(stretch.first.task.0) else { return 0 };
        let first_executor = stretch.first.executor.index();
        let executors_left = self.round.free_vcores.len().saturating_sub(first_executor);
        let rows = stretch.rows.min(self.stages.pending_from(index));
        let (rows, executors) = match stretch.one_executor {
            true => (rows, executors_left.min(1)),
            false => (rows.min(executors_left), rows.min(executors_left)),
        };
        if rows == 0 || executors == 0 {
            return 0;
        }
        self.look(rows);
        let stage = self.stages.here();
        let (Some(vcores), Some(memory_mib)) = (stage.vcores_from(index, rows), stage.memory_mib_from(index, rows))
        else {
            return 0;
        };
        // One executor takes the sum, consecutive ones take a task each.
        let (vcores, memory_mib) = match stretch.one_executor {
            true => (Demand::Same(vcores.sum(rows)), Demand::Same(memory_mib.sum(rows))),
            false => (vcores, memory_mib),
        };
        let all_vcores = match vcores {
            _ if stage.groups.is_empty() => 0,
            Demand::Same(all) if stretch.one_executor => all,
            each => each.sum(rows),
        };
        let allowed = stage.mask.is_none_or(|mask| {
            words_of(first_executor, executors).all(|(word, bits)| mask.get(word).is_some_and(|m| m & bits == bits))
        });
        let range = first_executor..first_executor + executors;
        let Some(free_mib) = self.round.free_memory(range.clone(), &memory_mib) else { return 0 };
        let groups_fit = |&group: &u32| {
            self.taken.groups[group as usize] + all_vcores <= u64::from(self.round.group_caps[group as usize])
        };
        let fits = allowed
            && vcores.fits(&self.round.free_vcores[range.clone()], &self.taken.vcores[range.clone()])
            && memory_mib.fits(free_mib, self.taken.memory_mib.get(range.clone()).unwrap_or(&[]))
            && stage.groups.iter().all(groups_fit);
        if !fits || !claim(&mut self.taken.bound, stretch.first.task.index(), rows) {
            return 0;
        }
        vcores.add_to(&mut self.taken.vcores[range.clone()]);
        memory_mib.add_to(self.taken.memory_mib.get_mut(range).unwrap_or(&mut []));
        stage.groups.iter().for_each(|&group| self.taken.groups[group as usize] += all_vcores);
        rows
    }

    fn row(&mut self, row: usize, bound: BoundTask) -> Result<(), Violation> {
        self.look(1);
        let BoundTask { task, executor } = bound;
        let round = self.round;
        let Some(&free) = round.free_vcores.get(executor.index()) else {
            return Err(Violation::UnknownExecutor { row, executor, executors: round.free_vcores.len() });
        };
        let Some(index) = self.stages.find(task.0) else {
            return Err(Violation::UnknownTask { row, task, tasks: round.tasks });
        };
        if !self.stages.is_pending(index) {
            let (stage, job) = self.names();
            return Err(Violation::NotPending { row, index, stage, job });
        }
        let bit = 1u64 << (task.0 % 64);
        let word = &mut self.taken.bound[task.index() / 64];
        if *word & bit != 0 {
            let (stage, job) = self.names();
            return Err(Violation::BoundTwice { row, index, stage, job });
        }
        *word |= bit;
        let stage = self.stages.here();
        let (vcores, memory_mib) = (stage.vcores_of(index), stage.memory_mib_of(index));
        let taken = &mut self.taken.vcores[executor.index()];
        let wanted = u64::from(*taken) + u64::from(vcores);
        if wanted > u64::from(free) {
            let executor = self.jobs.executors().get(executor).name().to_owned();
            return Err(Violation::Overbooked { row, executor, free, wanted });
        }
        *taken += vcores;
        if memory_mib > 0 {
            let free_mib = round.free_memory_mib.get(executor.index()).copied().unwrap_or(0);
            let before = self.taken.memory_mib.get(executor.index()).copied().unwrap_or(0);
            let wanted_mib = before + u64::from(memory_mib);
            if wanted_mib > free_mib {
                let executor = self.jobs.executors().get(executor).name().to_owned();
                return Err(Violation::MemoryOverbooked { row, executor, free_mib, wanted_mib });
            }
            self.taken.memory_mib[executor.index()] = wanted_mib;
        }
        let allowed = |mask: &[u64]| {
            let at = executor.index();
            mask.get(at / 64).is_some_and(|word| word >> (at % 64) & 1 == 1)
        };
        if !stage.mask.is_none_or(allowed) {
            let (stage, job) = self.names();
            let executor = self.jobs.executors().get(executor).name().to_owned();
            return Err(Violation::Ineligible { row, executor, stage, job });
        }
        for &group in stage.groups {
            let taken = &mut self.taken.groups[group as usize];
            *taken += u64::from(vcores);
            let (wanted, cap) = (*taken, round.group_caps[group as usize]);
            if wanted > u64::from(cap) {
                let (stage, job) = self.names();
                return Err(Violation::OverCap { row, stage, job, cap, wanted });
            }
        }
        Ok(())
    }

    /// The stage's number and its job's name, for messages.
    fn names(&self) -> (u32, String) {
        let stage = self.jobs.stage(self.stages.here().id);
        (stage.number(), stage.job().name().to_owned())
    }

    #[inline]
    fn look(&mut self, _rows: usize) {
        #[cfg(test)]
        {
            self.looks += _rows;
        }
    }
}

impl Taken {
    /// Takes a row of this stage, if all that it needs is at hand; else nothing.
    #[inline]
    fn take(&mut self, round: &Bounds<'_>, stage: &StageRows<'_>, pending: &[u64], bound: BoundTask) -> bool {
        let (executor, index) = (bound.executor.index(), bound.task.0.wrapping_sub(stage.first_task));
        let (word, bit) = (bound.task.index() / 64, 1u64 << (bound.task.0 % 64));
        let (Some(free), Some(taken), Some(bits)) =
            (round.free_vcores.get(executor), self.vcores.get_mut(executor), self.bound.get_mut(word))
        else {
            return false;
        };
        if !stage.has_pending(index, pending, word, bit) || *bits & bit != 0 {
            return false;
        }
        let (vcores, memory_mib) = (stage.vcores_of(index), u64::from(stage.memory_mib_of(index)));
        if vcores > *free - *taken {
            return false;
        }
        if let Some(mask) = stage.mask
            && mask.get(executor / 64).is_none_or(|word| word >> (executor % 64) & 1 == 0)
        {
            return false;
        }
        let wide = u64::from(vcores);
        let fits = |&group: &u32| self.groups[group as usize] + wide <= u64::from(round.group_caps[group as usize]);
        if !stage.groups.iter().all(fits) {
            return false;
        }
        if memory_mib > 0 {
            match (round.free_memory_mib.get(executor), self.memory_mib.get_mut(executor)) {
                (Some(free), Some(taken)) if memory_mib <= *free - *taken => *taken += memory_mib,
                _ => return false,
            }
        }
        *bits |= bit;
        *taken += vcores;
        stage.groups.iter().for_each(|&group| self.groups[group as usize] += wide);
        true
    }

    /// Leaves no trace, in O(rows), or in one sweep where that is less.
    fn clean(&mut self, round: &Bounds<'_>, words: usize, answer: &[BoundTask]) {
        if answer.len() >= words + round.free_vcores.len() {
            self.bound[..words].fill(0);
            self.vcores[..round.free_vcores.len()].fill(0);
            self.memory_mib[..round.free_memory_mib.len()].fill(0);
        } else {
            for bound in answer {
                // A row at fault may name anything.
                if let Some(word) = self.bound.get_mut(bound.task.index() / 64) {
                    *word = 0;
                }
                if let Some(taken) = self.vcores.get_mut(bound.executor.index()) {
                    *taken = 0;
                }
                if let Some(taken) = self.memory_mib.get_mut(bound.executor.index()) {
                    *taken = 0;
                }
            }
        }
        self.groups[..round.group_caps.len()].fill(0);
    }
}

/// What an answer is held against.
struct Bounds<'a> {
    tasks: u32,
    free_vcores: &'a [u32],
    free_memory_mib: &'a [u64],
    group_caps: &'a [u32],
}

impl<'a> Bounds<'a> {
    fn of(jobs: &RunningJobs<'a>) -> Self {
        Self {
            tasks: jobs.task_bases().last().copied().unwrap_or(0),
            free_vcores: jobs.executors().free_vcores(),
            free_memory_mib: jobs.executors().free_memory_mib(),
            group_caps: jobs.limits().group_caps(),
        }
    }

    /// Free memory of some executors; empty where nothing is wanted of it, `None` where it is not known for all of them.
    fn free_memory(&self, executors: std::ops::Range<usize>, wanted: &Demand<'_>) -> Option<&'a [u64]> {
        if matches!(wanted, Demand::Same(0)) { Some(&[]) } else { self.free_memory_mib.get(executors) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::assemble::{
        Clock, ExecutorSpec, JobRow, Roster, Round, RoundBuilder, StageRow, StageTasks, TaskSpec, UidTable,
    };
    use crate::ids::{ExecutorId, StageId, TaskId};
    use crate::limits::{Limits, LimitsView};

    /// `stages` stages of `tasks` tasks each, all pending but every `hole`th, over 50 executors with room for all.
    fn round(stages: u32, tasks: u32, hole: u32, differ: bool) -> Arc<Round> {
        let specs: Vec<_> = (0..50).map(|i| ExecutorSpec::new(format!("e{i:02}"), 1_000_000)).collect();
        let roster = Roster::new(&specs, &mut UidTable::default());
        let mut builder = RoundBuilder::new();
        builder.free_vcores(&[1_000_000; 50]);
        let tenant = builder.tenant("team-a", 0, 0);
        for key in 0..u64::from(stages) {
            let id = format!("j{key:06}");
            builder.job(JobRow { key, id: &id, tenant, priority: 0, submit_us: key, vcores_in_use: 0 });
            let task = |i: u32| TaskSpec { vcores: if differ { 1 + i % 2 } else { 1 }, ..TaskSpec::default() };
            let each: Vec<TaskSpec> = (0..tasks).map(task).collect();
            let runs: Vec<(u32, u32)> =
                (0..tasks).step_by(hole as usize).map(|at| (at, (hole - 1).min(tasks - at))).collect();
            let pending = runs.iter().map(|run| run.1).sum();
            let tasks = StageTasks::new(&each);
            builder.stage(StageRow { number: 0, tasks, pending, running: 0, runnable_since_us: 0 }, runs);
        }
        builder.finish(&roster, Clock::default())
    }

    fn pending(jobs: &RunningJobs<'_>) -> Vec<TaskId> {
        jobs.stages().flat_map(|stage| stage.pending().map(|task| task.id())).collect()
    }

    /// How often a row of the answer is looked at, in stretches, pieces and one by one.
    fn looks(round: &Round, limited: bool, answer: impl Fn(&[TaskId]) -> Vec<BoundTask>) -> f64 {
        let stages = round.stage_refs();
        let mut jobs = round.view(&stages);
        let mut limits = Limits::unrestricted(jobs.stage_count(), 50);
        (0..jobs.stage_count()).for_each(|s| limits.cap_vcores([StageId::from_index(s)], 1_000_000));
        let block = limits.encode();
        if limited {
            let block = crate::block::BlockView::parse(block.words(), crate::block::BlockKind::Limits).unwrap();
            jobs = jobs.with_limits(LimitsView::new(block, jobs.stage_count(), 50).unwrap()).unwrap();
        }
        let (answer, mut checker) = (answer(&pending(&jobs)), Checker::new());
        assert_eq!(checker.check(&jobs, &answer), Ok(()));
        checker.looks as f64 / answer.len() as f64
    }

    #[test]
    fn no_row_is_looked_at_more_often_in_longer_answers() {
        let on_one = |tasks: &[TaskId]| tasks.iter().map(|&task| BoundTask::new(task, ExecutorId(3))).collect();
        let dealt = |tasks: &[TaskId]| {
            (0u32..).zip(tasks).map(|(i, &task)| BoundTask::new(task, ExecutorId(i % 50))).collect::<Vec<_>>()
        };
        let alternating = |tasks: &[TaskId]| {
            (0u32..).zip(tasks).map(|(i, &task)| BoundTask::new(task, ExecutorId(i % 2))).collect::<Vec<_>>()
        };
        let backwards =
            |tasks: &[TaskId]| tasks.iter().rev().map(|&task| BoundTask::new(task, ExecutorId(7))).collect::<Vec<_>>();
        for (stages, tasks, hole) in
            [(1, 20_000, 1_000_000), (1, 20_000, 2), (1, 20_000, 9), (10_000, 2, 9), (200, 100, 30)]
        {
            for differ in [false, true] {
                let round = round(stages, tasks, hole, differ);
                for limited in [false, true] {
                    let shape = format!("{stages} stages of {tasks}, holes {hole}, {differ} {limited}");
                    assert!(looks(&round, limited, on_one) <= 3.0, "{shape}: on one executor");
                    assert!(looks(&round, limited, dealt) <= 3.0, "{shape}: dealt");
                    assert!(looks(&round, limited, alternating) <= 3.0, "{shape}: alternating");
                    assert!(looks(&round, limited, backwards) <= 3.0, "{shape}: backwards");
                }
            }
        }
    }
}
