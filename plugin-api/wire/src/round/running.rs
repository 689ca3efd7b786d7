//! The round itself: its blocks, its clock, its limits, and what holds for all of its stages together.

use super::{AvailableTaskSlots, Executors};
use crate::block::{BlockError, BlockKind, BlockRef, BlockView};
use crate::columns::{limits, round};
use crate::ids::{ExecutorId, StageId, TaskId};
use crate::limits::LimitsView;

/// Everything about a round but the scratch slots: the article's "running jobs", with the cluster they run on.
///
/// Order is part of the contract: executors by name; jobs by priority (higher first), submit time, id; stages of a job
/// by number; tasks by index. The same cluster state gives the same round, whatever map the embedder keeps.
#[derive(Clone, Copy, Debug)]
pub struct RunningJobs<'a> {
    pub(super) round: BlockView<'a>,
    roster: BlockView<'a>,
    limits: LimitsView<'a>,
    pub(super) stages: &'a [BlockRef<'a>],
}

impl<'a> RunningJobs<'a> {
    /// Reads a round out of its blocks. The host, the test kit and the export macro call this; authors do not.
    ///
    /// # Errors
    /// When a block is not of its kind, or the round does not fit its roster or its stage blocks.
    pub fn from_blocks(
        round: BlockRef<'a>,
        roster: BlockRef<'a>,
        stages: &'a [BlockRef<'a>],
        limits: Option<BlockRef<'a>>,
    ) -> Result<Self, BlockError> {
        let round = BlockView::parse(round.words(), BlockKind::Round)?;
        let roster = BlockView::parse(roster.words(), BlockKind::Roster)?;
        let this = Self { round, roster, limits: LimitsView::unrestricted(), stages };
        if this.executors().free_vcores().len() != this.executors().len() {
            return Err(BlockError::Column { column: round::FREE_VCORES, what: "is not one row an executor" });
        }
        if this.task_bases().len() != stages.len() + 1 {
            return Err(BlockError::Column {
                column: round::STAGE_TASK_BASE,
                what: "is not one row a stage, plus one",
            });
        }
        match limits {
            None => Ok(this),
            Some(block) => {
                let view = BlockView::parse(block.words(), BlockKind::Limits)?;
                this.with_limits(LimitsView::new(view, stages.len(), this.executors().len())?)
            }
        }
    }

    /// The same round under other limits.
    ///
    /// # Errors
    /// When the limits were made for another number of stages or executors.
    pub fn with_limits(mut self, limits: LimitsView<'a>) -> Result<Self, BlockError> {
        if !limits.fits(self.stages.len(), self.executors().len()) {
            return Err(BlockError::Column { column: limits::STAGE_MASK, what: "was made for another round" });
        }
        self.limits = limits;
        Ok(self)
    }

    /// The time of the round in microseconds, on the embedder's clock (virtual in the simulator). Policies read no
    /// other clock, so that the same round gives the same answer.
    #[must_use]
    pub fn now_us(&self) -> u64 {
        self.clock(0)
    }

    /// A seed for this round: the only source of randomness a policy may use.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.clock(1)
    }

    /// The number of the round since the host started.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.clock(2)
    }

    fn clock(&self, row: usize) -> u64 {
        self.round.column::<u64>(round::CLOCK).get(row).copied().unwrap_or(0)
    }

    /// The executors, free or not.
    #[inline]
    #[must_use]
    pub fn executors(&self) -> Executors<'a> {
        Executors { round: self.round, roster: self.roster }
    }

    /// What the filters of `active.json` decided. Unrestricted where there are none.
    #[inline]
    #[must_use]
    pub fn limits(&self) -> LimitsView<'a> {
        self.limits
    }

    /// The number of stages listed.
    #[inline]
    #[must_use]
    pub fn stage_count(&self) -> usize {
        self.stages.len()
    }

    /// The first task number of each stage, and after the last stage the number of all tasks.
    #[inline]
    #[must_use]
    pub fn task_bases(&self) -> &'a [u32] {
        self.round.column(round::STAGE_TASK_BASE)
    }

    /// The stage of a task and the task's index in it; `None` for a number that is not of this round.
    /// Costs a binary search over the stages.
    #[must_use]
    pub fn locate(&self, task: TaskId) -> Option<(StageId, u32)> {
        let bases = self.task_bases();
        let after = bases.partition_point(|&base| base <= task.0);
        let stage = after.checked_sub(1)?;
        (stage + 1 < bases.len()).then(|| (StageId::from_index(stage), task.0 - bases[stage]))
    }

    /// Pending tasks over all stages, listed or not.
    #[must_use]
    pub fn pending_tasks(&self) -> u64 {
        self.round.column::<u32>(round::STAGE_PENDING).iter().map(|&n| u64::from(n)).sum()
    }

    /// An upper bound of how many tasks this round can bind: the lesser of pending tasks and free vcores.
    /// The right capacity for the answer.
    #[must_use]
    pub fn bindable(&self) -> usize {
        let free: u64 = match self.round.column::<u64>(round::FREE_TOTAL).first() {
            Some(&total) => total,
            None => self.executors().free_vcores().iter().map(|&v| u64::from(v)).sum(),
        };
        usize::try_from(free.min(self.pending_tasks())).unwrap_or(usize::MAX)
    }

    /// The executors with something free, as the host hands them to a policy.
    pub fn available_slots(&self, into: &mut Vec<AvailableTaskSlots>) {
        let executors = self.executors();
        let memory = executors.free_memory_mib();
        into.clear();
        if !self.round.column::<u64>(round::FREE_TOTAL).is_empty() {
            // The round lists who has something free.
            let (listed, free) = (self.round.column::<u32>(round::FREE_EXECUTORS), executors.free_vcores());
            into.extend(listed.iter().map(|&i| AvailableTaskSlots {
                executor: ExecutorId(i),
                slots: free.get(i as usize).copied().unwrap_or(0),
                memory_mib: memory.get(i as usize).copied().unwrap_or(0),
            }));
            return;
        }
        into.reserve(executors.len());
        into.extend(executors.free_vcores().iter().enumerate().filter(|&(_, &free)| free > 0).map(|(i, &free)| {
            AvailableTaskSlots {
                executor: ExecutorId(i as u32),
                slots: free,
                memory_mib: memory.get(i).copied().unwrap_or(0),
            }
        }));
    }
}
