//! What filters decide: which executors a stage may use, and how many vcores a set of stages may take in this round.
//!
//! Filters only narrow. Limits of several filters are conjunctive: masks are intersected, caps all hold, and the order
//! of the filters does not matter. The validator enforces the result on whatever policy stands behind them.
//!
//! [`Limits`] is what a filter writes, [`LimitsBlock`] what crosses, checked once, and [`LimitsView`] what policies read.

mod checked;
mod view;

pub use checked::{GROUPS_BESIDE, GROUPS_PER_STAGE, LimitsBlock};
pub use view::LimitsView;

use view::ALL;

use crate::block::{Block, BlockError, BlockKind, BlockView, BlockWriter};
use crate::columns::limits as col;
use crate::ids::{ExecutorId, StageId};

/// A cap over a set of stages.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Group {
    cap_vcores: u32,
    stages: Vec<StageId>,
}

/// What one filter decides for one round; starts unrestricted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    stages: usize,
    executors: usize,
    /// By stage, the number of its mask or [`ALL`]. No two stages share one.
    stage_mask: Vec<u32>,
    /// The masks one after another, `executors.div_ceil(64)` words each.
    masks: Vec<u64>,
    mask_count: u32,
    groups: Vec<Group>,
}

impl Limits {
    /// No restriction, for a round of `stages` stages and `executors` executors.
    #[must_use]
    pub fn unrestricted(stages: usize, executors: usize) -> Self {
        let (stage_mask, masks, groups) = (vec![ALL; stages], Vec::new(), Vec::new());
        Self { stages, executors, stage_mask, masks, mask_count: 0, groups }
    }

    /// Whether nothing has been restricted.
    #[must_use]
    pub fn is_unrestricted(&self) -> bool {
        self.mask_count == 0 && self.caps().next().is_none()
    }

    /// Forbids an executor to a stage. Ids that are not of the round are ignored.
    pub fn forbid(&mut self, stage: StageId, executor: ExecutorId) {
        if executor.index() < self.executors
            && let Some(mask) = self.own_mask(stage)
        {
            mask[executor.index() / 64] &= !(1 << (executor.index() % 64));
        }
    }

    /// Allows a stage these executors only (and of those, only what was not forbidden before).
    pub fn allow_only(&mut self, stage: StageId, executors: impl IntoIterator<Item = ExecutorId>) {
        let mut allowed = vec![0u64; self.executors.div_ceil(64)];
        for e in executors.into_iter().filter(|e| e.index() < self.executors) {
            allowed[e.index() / 64] |= 1 << (e.index() % 64);
        }
        self.narrow(stage, &allowed);
    }

    /// Caps what these stages together may take in this round, in vcores. Zero closes them. A cap over no stage of the
    /// round restricts nothing, and does not cross. A round takes [`GROUPS_BESIDE`] caps and [`GROUPS_PER_STAGE`] more for
    /// each of its stages, and as many pairs of a stage and a cap: a host refuses limits that have more.
    pub fn cap_vcores(&mut self, stages: impl IntoIterator<Item = StageId>, cap_vcores: u32) {
        let stages = stages.into_iter().filter(|s| s.index() < self.stages).collect();
        self.groups.push(Group { cap_vcores, stages });
    }

    /// The groups that restrict something.
    fn caps(&self) -> impl Iterator<Item = &Group> {
        self.groups.iter().filter(|group| !group.stages.is_empty())
    }

    /// Adds the restrictions of another filter for the same round.
    ///
    /// # Panics
    /// If `other` was made for a round of another shape.
    pub fn intersect(&mut self, other: &Limits) {
        assert_eq!((self.stages, self.executors), (other.stages, other.executors), "limits of two different rounds");
        let words = other.executors.div_ceil(64);
        for (stage, &mask) in other.stage_mask.iter().enumerate().filter(|&(_, &m)| m != ALL) {
            let theirs = &other.masks[mask as usize * words..(mask as usize + 1) * words];
            self.narrow(StageId::from_index(stage), theirs);
        }
        self.groups.extend(other.groups.iter().cloned());
    }

    /// Leaves a stage only the executors of a mask.
    fn narrow(&mut self, stage: StageId, allowed: &[u64]) {
        if let Some(mask) = self.own_mask(stage) {
            mask.iter_mut().zip(allowed).for_each(|(m, a)| *m &= a);
        }
    }

    /// The mask of a stage, made where there is none yet.
    fn own_mask(&mut self, stage: StageId) -> Option<&mut [u64]> {
        let at = self.stage_mask.get_mut(stage.index())?;
        let words = self.executors.div_ceil(64);
        if *at == ALL {
            *at = self.mask_count;
            self.mask_count += 1;
            self.masks.resize(self.masks.len() + words, u64::MAX);
        }
        let from = *at as usize * words;
        self.masks.get_mut(from..from + words)
    }

    /// Writes the limits as a block.
    #[must_use]
    pub fn encode(&self) -> Block {
        let mut w = BlockWriter::new(BlockKind::Limits, col::COUNT);
        if self.mask_count > 0 {
            w.put(col::STAGE_MASK, &self.stage_mask);
            w.put(col::MASKS, &self.masks);
        }
        let caps: Vec<u32> = self.caps().map(|group| group.cap_vcores).collect();
        if !caps.is_empty() {
            w.put(col::GROUP_CAP, &caps);
            let mut offsets = vec![0u32; self.stages + 1];
            self.each_pair(|stage, _| offsets[stage + 1] += 1);
            (1..offsets.len()).for_each(|i| offsets[i] += offsets[i - 1]);
            let (mut next, mut of_stage) = (offsets.clone(), vec![0u32; offsets[self.stages] as usize]);
            self.each_pair(|stage, group| {
                of_stage[next[stage] as usize] = group;
                next[stage] += 1;
            });
            w.put(col::STAGE_GROUPS, &offsets);
            w.put(col::STAGE_GROUP, &of_stage);
        }
        w.finish()
    }

    /// Calls `f(stage, group)` for each pair, groups ascending. A stage that is named twice in one group counts once.
    fn each_pair(&self, mut f: impl FnMut(usize, u32)) {
        let mut last = vec![u32::MAX; self.stages];
        for (number, group) in (0u32..).zip(self.caps()) {
            for stage in &group.stages {
                if std::mem::replace(&mut last[stage.index()], number) != number {
                    f(stage.index(), number);
                }
            }
        }
    }

    /// Writes the limits as a block of its round.
    #[must_use]
    pub fn to_block(&self) -> LimitsBlock {
        LimitsBlock::of(self.encode(), self.stages, self.executors)
    }

    /// Reads limits that came from elsewhere.
    ///
    /// # Errors
    /// As [`LimitsBlock::from_words`].
    pub fn decode(block: BlockView<'_>, stages: usize, executors: usize) -> Result<Self, BlockError> {
        checked::check_bounds(block, stages, executors)?;
        Ok(Self::of_view(&LimitsView::new(block, stages, executors)?, stages, executors))
    }

    /// Limits that were checked, to be changed.
    fn of_view(view: &LimitsView<'_>, stages: usize, executors: usize) -> Self {
        let mut limits = Self::unrestricted(stages, executors);
        let ids = || (0..stages).map(StageId::from_index);
        // Without executors there is nothing to narrow.
        for stage in ids().filter(|_| executors > 0) {
            if let Some(mask) = view.mask(stage) {
                limits.narrow(stage, mask);
            }
        }
        limits.groups = view.group_caps().iter().map(|&cap_vcores| Group { cap_vcores, stages: Vec::new() }).collect();
        for stage in ids() {
            view.groups(stage).iter().for_each(|&group| limits.groups[group as usize].stages.push(stage));
        }
        limits.groups.retain(|group| !group.stages.is_empty());
        limits
    }
}

impl LimitsBlock {
    /// The limits, to be narrowed further.
    #[must_use]
    pub fn to_limits(&self) -> Limits {
        Limits::of_view(&self.view(), self.stages, self.executors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through_a_block(limits: &Limits) -> Limits {
        let block = limits.encode();
        let view = BlockView::parse(block.words(), BlockKind::Limits).unwrap();
        Limits::decode(view, limits.stages, limits.executors).unwrap()
    }

    #[test]
    fn limits_survive_the_block() {
        let mut limits = Limits::unrestricted(3, 70);
        assert_eq!(through_a_block(&limits), limits);
        limits.forbid(StageId(1), ExecutorId(69));
        limits.allow_only(StageId(2), [ExecutorId(0), ExecutorId(65)]);
        limits.cap_vcores([StageId(0), StageId(2)], 5);
        limits.cap_vcores([StageId(2)], 1);
        assert_eq!(through_a_block(&limits), limits);

        let block = limits.encode();
        let view = LimitsView::new(BlockView::parse(block.words(), BlockKind::Limits).unwrap(), 3, 70).unwrap();
        assert!(view.allows(StageId(0), ExecutorId(69)));
        assert!(!view.allows(StageId(1), ExecutorId(69)) && view.allows(StageId(1), ExecutorId(68)));
        assert!(view.allows(StageId(2), ExecutorId(65)) && !view.allows(StageId(2), ExecutorId(64)));
        assert_eq!(
            (view.groups(StageId(0)), view.groups(StageId(1)), view.groups(StageId(2))),
            (&[0][..], &[][..], &[0, 1][..])
        );
        assert_eq!(view.group_caps(), &[5, 1]);
    }

    #[test]
    fn filters_are_conjunctive_and_their_order_does_not_matter() {
        let mut a = Limits::unrestricted(2, 4);
        a.allow_only(StageId(0), [ExecutorId(0), ExecutorId(1)]);
        let mut b = Limits::unrestricted(2, 4);
        b.forbid(StageId(0), ExecutorId(0));
        b.forbid(StageId(1), ExecutorId(3));
        let allowed = |first: &Limits, second: &Limits| {
            let mut all = first.clone();
            all.intersect(second);
            let block = all.encode();
            let view = LimitsView::new(BlockView::parse(block.words(), BlockKind::Limits).unwrap(), 2, 4).unwrap();
            (0..2).flat_map(|s| (0..4).map(move |e| view.allows(StageId(s), ExecutorId(e)))).collect::<Vec<_>>()
        };
        assert_eq!(allowed(&a, &b), allowed(&b, &a));
        assert_eq!(allowed(&a, &b), [false, true, false, false, true, true, true, false]);
    }

    #[test]
    fn limits_of_another_round_are_refused() {
        let mut limits = Limits::unrestricted(3, 70);
        limits.forbid(StageId(1), ExecutorId(69));
        let block = limits.encode();
        let view = BlockView::parse(block.words(), BlockKind::Limits).unwrap();
        assert!(Limits::decode(view, 2, 70).is_err());
        assert!(Limits::decode(view, 3, 300).is_err());
    }

    #[test]
    fn limits_of_a_round_without_executors_can_be_intersected() {
        let mut limits = Limits::unrestricted(2, 0);
        limits.allow_only(StageId(1), []);
        let mut all = Limits::unrestricted(2, 0);
        all.intersect(&through_a_block(&limits));
        assert!(all.is_unrestricted());
    }
}
