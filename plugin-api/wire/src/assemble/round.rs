//! One round, owned: its own block with the roster and the stages that it refers to.

use std::sync::Arc;

use smallvec::SmallVec;

use super::{Roster, StageTasks};
use crate::block::{Block, BlockRef};
use crate::ids::StageId;
use crate::round::RunningJobs;

/// Time, seed and number of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Clock {
    /// Microseconds on the embedder's clock.
    pub now_us: u64,
    /// The round's seed.
    pub seed: u64,
    /// The round's number.
    pub number: u64,
}

/// One round, owned: immutable, shared with whoever still reads it.
#[derive(Debug)]
pub struct Round {
    roster: Arc<Roster>,
    body: Block,
    stages: Vec<Arc<StageTasks>>,
    clock: Clock,
}

/// The stage blocks of a round as references: what a view borrows.
pub type StageRefs<'a> = SmallVec<[BlockRef<'a>; 8]>;

impl Round {
    pub(super) fn new(roster: Arc<Roster>, body: Block, stages: Vec<Arc<StageTasks>>, clock: Clock) -> Self {
        Self { roster, body, stages, clock }
    }

    /// Takes the block out, to be put back changed.
    pub(super) fn take_body(&mut self) -> Block {
        std::mem::take(&mut self.body)
    }

    pub(super) fn stages_mut(&mut self) -> &mut Vec<Arc<StageTasks>> {
        &mut self.stages
    }

    pub(super) fn set(&mut self, body: Block, clock: Clock) {
        (self.body, self.clock) = (body, clock);
    }

    /// The roster that the executor numbers of this round refer to.
    #[must_use]
    pub fn roster(&self) -> &Arc<Roster> {
        &self.roster
    }

    /// The round's own block.
    #[must_use]
    pub fn body(&self) -> &Block {
        &self.body
    }

    /// The tasks of stage `id`.
    #[must_use]
    pub fn stage_tasks(&self, id: StageId) -> Option<&Arc<StageTasks>> {
        self.stages.get(id.index())
    }

    /// Time, seed and number.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// References to the stage blocks, for [`Round::view`].
    #[must_use]
    pub fn stage_refs(&self) -> StageRefs<'_> {
        self.stages.iter().map(|s| BlockRef::new(s.block())).collect()
    }

    /// The round as a policy sees it, without limits.
    ///
    /// # Panics
    /// If `stages` is not what [`Round::stage_refs`] of this round returned.
    #[must_use]
    pub fn view<'a>(&'a self, stages: &'a StageRefs<'_>) -> RunningJobs<'a> {
        RunningJobs::from_blocks(BlockRef::new(&self.body), BlockRef::new(self.roster.block()), stages, None)
            .expect("a round built here is well formed")
    }
}
