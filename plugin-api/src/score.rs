//! Scores: the middle of filter, score, pick. A score rates executors for tasks; the host adds up the scores of
//! `active.json` by their weights and picks.

use std::fmt::Debug;

use crate::error::{PolicyError, Result};
use policy_wire::StageId;
use policy_wire::observe::Observations;
use policy_wire::round::{AvailableTaskSlots, RunningJobs};

/// The best score.
pub const MAX_SCORE: f32 = 100.0;

/// Rates how well executors suit tasks, from 0 (worst) to [`MAX_SCORE`].
///
/// The host's `composite` policy draws a few candidates for each task, executors where the task fits and that no filter
/// forbids, asks every score of `active.json` about them, and binds the task to the one with the highest weighted mean.
/// Called several times a round, under the rules of
/// [`DistributionPolicy::bind_tasks`](crate::DistributionPolicy::bind_tasks): never block, read no clock, be
/// deterministic.
pub trait TaskScore: Debug + Send + Sync {
    /// Writes one score for each row of `candidates` into `scores`, which has as many rows. [`Candidates::rate`] walks
    /// both.
    ///
    /// # Errors
    /// Any error, any panic, and any score that is not between 0 and [`MAX_SCORE`] costs the round, which the fallback
    /// binds, and the host takes the activation out of service.
    ///
    /// # Cost
    /// A few nanoseconds a row are the budget: with five candidates a task, a million tasks are five million rows.
    /// What is the same for every row of a call (the stage, its columns) belongs before the loop.
    fn score(&self, running_jobs: &RunningJobs<'_>, candidates: &Candidates<'_>, scores: &mut [f32]) -> Result<()>;

    /// As [`DistributionPolicy::observe`](crate::DistributionPolicy::observe).
    fn observe(&self, observations: &Observations<'_>) {
        let _ = observations;
    }
}

/// Tasks of one stage, each with the executors that it may go to.
///
/// One row a (task, executor) pair; the rows of a task stand together, in the order of [`Candidates::tasks`].
#[derive(Clone, Copy, Debug)]
pub struct Candidates<'a> {
    stage: StageId,
    tasks: &'a [u32],
    row_offsets: &'a [u32],
    rows: &'a [AvailableTaskSlots],
}

impl<'a> Candidates<'a> {
    /// Puts the columns together: `row_offsets` says for each task where its rows begin, and where the last end.
    /// The host, the test kit and the export macro call this; authors do not.
    ///
    /// # Errors
    /// When the columns do not fit each other.
    pub fn new(
        stage: StageId,
        tasks: &'a [u32],
        row_offsets: &'a [u32],
        rows: &'a [AvailableTaskSlots],
    ) -> Result<Self> {
        let ascending = row_offsets.is_sorted();
        let ends = (row_offsets.first(), row_offsets.last().map(|&n| n as usize));
        if row_offsets.len() != tasks.len() + 1 || !ascending || ends != (Some(&0), Some(rows.len())) {
            return Err(PolicyError::failed("candidates: their columns do not fit each other"));
        }
        Ok(Self { stage, tasks, row_offsets, rows })
    }

    /// The stage of all the tasks.
    #[inline]
    #[must_use]
    pub fn stage(&self) -> StageId {
        self.stage
    }

    /// The tasks, by their index in the stage.
    #[inline]
    #[must_use]
    pub fn tasks(&self) -> &'a [u32] {
        self.tasks
    }

    /// Where the rows of each task begin, and after the last where they end.
    #[inline]
    #[must_use]
    pub fn row_offsets(&self) -> &'a [u32] {
        self.row_offsets
    }

    /// Every row: an executor with what it has free, less what this round has bound so far.
    #[inline]
    #[must_use]
    pub fn rows(&self) -> &'a [AvailableTaskSlots] {
        self.rows
    }

    /// The tasks with their rows.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (u32, &'a [AvailableTaskSlots])> + use<'a> {
        let this = *self;
        let bounds = this.row_offsets.windows(2).map(|w| (w[0] as usize, w[1] as usize));
        this.tasks.iter().zip(bounds).map(move |(&task, (from, to))| (task, &this.rows[from..to]))
    }

    /// Writes `rate(task, row)` for every row.
    #[inline]
    pub fn rate(&self, scores: &mut [f32], mut rate: impl FnMut(u32, &AvailableTaskSlots) -> f32) {
        let mut scores = scores.iter_mut();
        for (task, rows) in self.iter() {
            for (row, score) in rows.iter().zip(&mut scores) {
                *score = rate(task, row);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy_wire::ExecutorId;

    #[test]
    fn rows_stand_with_their_tasks() {
        let rows = [3, 1, 2].map(|e| AvailableTaskSlots { executor: ExecutorId(e), slots: 10 * e, memory_mib: 0 });
        let candidates = Candidates::new(StageId(4), &[7, 8, 9], &[0, 2, 2, 3], &rows).unwrap();
        let mut scores = [0.0; 3];
        candidates.rate(&mut scores, |task, row| (task * 100 + row.slots) as f32);
        assert_eq!(scores, [730.0, 710.0, 920.0]);
        let walked: Vec<(u32, usize)> = candidates.iter().map(|(task, rows)| (task, rows.len())).collect();
        assert_eq!(walked, [(7, 2), (8, 0), (9, 1)]);
    }

    #[test]
    fn columns_that_do_not_fit_are_refused() {
        let row = AvailableTaskSlots { executor: ExecutorId(0), slots: 1, memory_mib: 0 };
        for (tasks, offsets) in
            [(vec![0], vec![0]), (vec![0], vec![1, 1]), (vec![0], vec![0, 2]), (vec![0, 1], vec![0, 2, 1])]
        {
            assert!(Candidates::new(StageId(0), &tasks, &offsets, &[row]).is_err(), "{tasks:?} {offsets:?}");
        }
    }
}
