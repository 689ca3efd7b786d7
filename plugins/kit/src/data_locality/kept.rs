//! What `data-locality` keeps from round to round.

use policy_plugin_api::prelude::*;

use super::assign::Assigner;
use super::budget::Budgets;
use super::index::Indexes;
use super::racks::Racks;
use crate::first_fit::FirstFit;

/// The seat of an executor that has nothing free.
pub(super) const NOWHERE: u32 = u32::MAX;

/// What outlives a round.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) budgets: Budgets,
    pub(super) indexes: Indexes,
    pub(super) racks: Racks,
    pub(super) assigner: Assigner,
    /// Where an executor stands among the free ones of the round, by uid.
    pub(super) seat_of: Vec<u32>,
    /// The number of a free executor in the round, by uid.
    pub(super) executor_of: Vec<ExecutorId>,
    /// Tasks of the turn under way, and those of them that found no holder.
    pub(super) tasks: Vec<u32>,
    pub(super) homeless: Vec<u32>,
}

impl Kept {
    pub(super) fn begin(&mut self, jobs: &RunningJobs<'_>) {
        self.budgets.begin(jobs.now_us());
        self.indexes.begin();
        self.racks.begin(&jobs.executors());
    }

    /// Notes where the free executors of the round stand.
    pub(super) fn seat(&mut self, jobs: &RunningJobs<'_>, executors: &FirstFit<'_>) {
        let uids = jobs.executors().uids();
        self.seat_of.clear();
        for (seat, slot) in executors.slots().iter().enumerate() {
            let uid = uids[slot.executor.index()] as usize;
            if uid >= self.seat_of.len() {
                self.seat_of.resize(uid + 1, NOWHERE);
                self.executor_of.resize(self.executor_of.len().max(uid + 1), ExecutorId(u32::MAX));
            }
            self.seat_of[uid] = seat as u32;
            self.executor_of[uid] = slot.executor;
        }
    }
}
