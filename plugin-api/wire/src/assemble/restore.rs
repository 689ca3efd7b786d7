//! Rounds put together again out of blocks that were kept elsewhere: in a recording, in another process.
//!
//! What is checked: every block is of its kind, every column lies in its block, and the parts fit each other. What the
//! columns say is not checked against what an embedder would have said; accessors of views bear any content.

use std::sync::Arc;

use super::{Clock, Roster, Round, StageTasks};
use crate::block::{Block, BlockError, BlockKind, BlockRef, BlockView};
use crate::columns::{roster, round, stage};
use crate::ids::ExecutorUid;
use crate::round::RunningJobs;

fn parse(block: &Block, kind: BlockKind) -> Result<BlockView<'_>, BlockError> {
    let view = BlockView::parse(block.words(), kind)?;
    view.check_extents()?;
    Ok(view)
}

fn broken(column: u16, what: &'static str) -> BlockError {
    BlockError::Column { column, what }
}

impl Roster {
    /// A roster out of its block.
    ///
    /// # Errors
    /// When the block is not one of a roster, or its columns contradict each other.
    pub fn from_block(block: Block) -> Result<Arc<Self>, BlockError> {
        let view = parse(&block, BlockKind::Roster)?;
        let uids: Vec<ExecutorUid> = view.column::<u32>(roster::UID).iter().map(|&uid| ExecutorUid(uid)).collect();
        if view.column::<u32>(roster::NAME_OFFSETS).len() != uids.len() + 1 {
            return Err(broken(roster::NAME_OFFSETS, "is not one row an executor, plus one"));
        }
        if view.column::<u32>(roster::VCORES).len() != uids.len() {
            return Err(broken(roster::VCORES, "is not one row an executor"));
        }
        let places = view.column::<u32>(roster::INDEX_BY_UID);
        if places.iter().any(|&at| at != u32::MAX && at as usize >= uids.len()) {
            return Err(broken(roster::INDEX_BY_UID, "names an executor that does not exist"));
        }
        let name = |at| view.string(roster::NAME_OFFSETS, roster::NAME_BYTES, at).to_owned();
        let names: Vec<String> = (0..uids.len()).map(name).collect();
        if !names.is_sorted_by(|a, b| a < b) {
            return Err(broken(roster::NAME_BYTES, "does not name executors once each, in order"));
        }
        Ok(Arc::new(Self::of_parts(block, names, uids)))
    }
}

impl StageTasks {
    /// The tasks of a stage out of their block.
    ///
    /// # Errors
    /// When the block is not one of a stage.
    pub fn from_block(block: Block) -> Result<Arc<Self>, BlockError> {
        let view = parse(&block, BlockKind::Stage)?;
        let [tasks] = *view.column::<u32>(stage::TASKS) else {
            return Err(broken(stage::TASKS, "is not one row"));
        };
        let rows = |column, one: usize| {
            let found = view.column::<u32>(column).len();
            found == 0 || found == 1 || found == tasks as usize + one
        };
        for (column, one) in [(stage::VCORES, 0), (stage::MEMORY_MIB, 0), (stage::PIN, 0), (stage::HOLDER_OFFSETS, 1)] {
            if !rows(column, one) {
                return Err(broken(column, "is not one row a task"));
            }
        }
        Ok(Arc::new(Self::of_parts(block, tasks)))
    }
}

impl Round {
    /// A round out of its block, its roster, and the tasks of its stages in its own order.
    ///
    /// # Errors
    /// When the block is not one of a round, or does not fit roster or stages.
    pub fn from_block(body: Block, roster: Arc<Roster>, stages: Vec<Arc<StageTasks>>) -> Result<Arc<Self>, BlockError> {
        let view = parse(&body, BlockKind::Round)?;
        let [now_us, seed, number] = *view.column::<u64>(round::CLOCK) else {
            return Err(broken(round::CLOCK, "is not three rows"));
        };
        let executors = roster.len() as u32;
        if view.column::<u32>(round::FREE_EXECUTORS).iter().any(|&at| at >= executors) {
            return Err(broken(round::FREE_EXECUTORS, "names an executor that does not exist"));
        }
        let bases = view.column::<u32>(round::STAGE_TASK_BASE);
        let fits = bases.len() == stages.len() + 1
            && stages
                .iter()
                .zip(bases.windows(2))
                .all(|(stage, ends)| ends[0].checked_add(stage.len()) == Some(ends[1]));
        if !fits {
            return Err(broken(round::STAGE_TASK_BASE, "does not fit the stages"));
        }
        let (starts, lengths) = (view.column::<u32>(round::RUN_START), view.column::<u32>(round::RUN_LENGTH));
        if starts.len() != lengths.len() || starts.iter().zip(lengths).any(|(s, n)| s.checked_add(*n).is_none()) {
            return Err(broken(round::RUN_LENGTH, "does not fit where the runs start"));
        }
        let clock = Clock { now_us, seed, number };
        let this = Self::new(roster, body, stages, clock);
        {
            let refs = this.stage_refs();
            RunningJobs::from_blocks(BlockRef::new(this.body()), BlockRef::new(this.roster().block()), &refs, None)?;
        }
        Ok(Arc::new(this))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canned;

    #[test]
    fn a_round_is_the_same_again() {
        for (title, round, _) in canned::rounds() {
            let again = |block: &Block, kind| Block::from_words(block.words().to_vec(), kind).unwrap();
            let roster = Roster::from_block(again(round.roster().block(), BlockKind::Roster)).unwrap();
            assert!((0..roster.len()).all(|at| {
                let id = crate::ids::ExecutorId::from_index(at);
                roster.name(id) == round.roster().name(id) && roster.uid(id) == round.roster().uid(id)
            }));
            let stages = round.stage_refs();
            let stages = stages.iter().map(|s| {
                StageTasks::from_block(Block::from_words(s.words().to_vec(), BlockKind::Stage).unwrap()).unwrap()
            });
            let same = Round::from_block(again(round.body(), BlockKind::Round), roster, stages.collect()).unwrap();
            assert_eq!((same.clock(), same.body()), (round.clock(), round.body()), "{title}");
        }
    }

    #[test]
    fn parts_that_do_not_fit_are_refused() {
        let rounds = canned::rounds();
        let (_, round, _) = rounds.iter().find(|(_, r, _)| !r.stage_refs().is_empty()).expect("one with tasks");
        let body = || round.body().clone();
        assert!(Round::from_block(body(), Arc::clone(round.roster()), Vec::new()).is_err(), "no stages");
        assert!(Round::from_block(round.roster().block().clone(), Arc::clone(round.roster()), Vec::new()).is_err());
        assert!(Roster::from_block(body()).is_err());
        assert!(StageTasks::from_block(body()).is_err());
        assert!(StageTasks::from_block(Block::default()).is_err());
    }
}
