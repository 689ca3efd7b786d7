//! What the filters of a round decided: the one value that lane, validation, fallback, shadows and recorder go by.

use std::sync::Arc;

use policy_wire::RunningJobs;
use policy_wire::assemble::Round;
use policy_wire::block::{Block, BlockError, BlockRef};
use policy_wire::limits::LimitsBlock;

use crate::core::guard::Fault;
use crate::core::text::chain;

/// What the filters of a round decided. Limits are checked once, when they come from a filter.
#[derive(Clone, Debug, Default)]
pub(crate) enum Decided {
    /// They did not come to a decision: nothing may be bound.
    #[default]
    Undecided,
    /// Nothing is restricted, or there are no filters.
    Unrestricted,
    /// These limits hold.
    Limited(Arc<LimitsBlock>),
}

impl Decided {
    /// Limits as they cross; `None` where nothing is restricted, or nothing decided.
    pub(crate) fn block(&self) -> Option<&Block> {
        match self {
            Self::Undecided | Self::Unrestricted => None,
            Self::Limited(limits) => Some(limits.block()),
        }
    }

    /// What holds when these limits come to it. Where one filter decides, what it wrote is what holds; the limits of several
    /// are encoded once.
    pub(crate) fn restricted_by(&self, mut limits: Vec<LimitsBlock>) -> Self {
        match (self, limits.len()) {
            (Self::Undecided, _) => Self::Undecided,
            (decided, 0) => decided.clone(),
            (Self::Unrestricted, 1) => limits.pop().map_or(Self::Undecided, |own| Self::Limited(Arc::new(own))),
            (decided, _) => {
                let before = if let Self::Limited(limits) = decided { Some(&**limits) } else { None };
                let all = before.into_iter().chain(&limits).map(LimitsBlock::to_limits).reduce(|mut all, own| {
                    all.intersect(&own);
                    all
                });
                all.map_or(Self::Undecided, |all| Self::Limited(Arc::new(all.to_block())))
            }
        }
    }

    pub(crate) fn is_undecided(&self) -> bool {
        matches!(self, Self::Undecided)
    }

    /// The round under what was decided.
    ///
    /// # Errors
    /// When nothing was decided, or the limits are of a round of another shape: nothing may be bound then.
    pub(crate) fn view<'a>(&'a self, round: &'a Round, stages: &'a [BlockRef<'a>]) -> Result<RunningJobs<'a>, Fault> {
        let jobs =
            RunningJobs::from_blocks(BlockRef::new(round.body()), BlockRef::new(round.roster().block()), stages, None);
        let limited = match self {
            Self::Undecided => return Err(Fault::bad_limits("the filters have not decided")),
            Self::Unrestricted => jobs,
            Self::Limited(limits) => jobs.and_then(|jobs| jobs.with_limits(limits.view())),
        };
        limited.map_err(|e: BlockError| Fault::bad_limits(&chain(&e)))
    }
}

#[cfg(test)]
mod tests {
    use policy_wire::canned;

    use super::*;

    #[test]
    fn what_is_undecided_or_of_another_round_opens_nothing() {
        let rounds = canned::rounds();
        let limited = rounds.iter().find_map(|(_, round, limits)| limits.as_ref().map(|l| (round, l)));
        let (round, limits) = limited.expect("a canned round under limits");
        let stages = round.stage_refs();
        let decided = Decided::Limited(Arc::new(limits.to_block()));
        assert!(!decided.view(round, &stages).expect("its own round").limits().is_unrestricted());
        assert!(Decided::Unrestricted.view(round, &stages).expect("any round").limits().is_unrestricted());
        let other = rounds.iter().map(|r| &r.1).find(|r| r.stage_refs().len() != stages.len()).expect("another shape");
        for (decided, round) in [(Decided::default(), round), (decided, other)] {
            let stages = round.stage_refs();
            assert_eq!(decided.view(round, &stages).expect_err("nothing may be bound").code, "filter-bad-limits");
        }
    }
}
