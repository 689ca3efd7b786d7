//! What filters decide: which executors a stage may use, and how many vcores a set of stages may take in this round.
//!
//! Filters only narrow. Limits of several filters are conjunctive: masks are intersected, caps all hold, and the order
//! of the filters does not matter. The validator enforces the result on whatever policy stands behind them.

use crate::block::{Block, BlockError, BlockKind, BlockView, BlockWriter, ragged};
use crate::columns::limits as col;
use crate::ids::{ExecutorId, StageId};

/// "No mask": every executor is allowed.
const ALL: u32 = u32::MAX;

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
    stage_mask: Vec<u32>,
    masks: Vec<Box<[u64]>>,
    groups: Vec<Group>,
}

impl Limits {
    /// No restriction, for a round of `stages` stages and `executors` executors.
    #[must_use]
    pub fn unrestricted(stages: usize, executors: usize) -> Self {
        Self { stages, executors, stage_mask: vec![ALL; stages], masks: Vec::new(), groups: Vec::new() }
    }

    /// Whether nothing has been restricted.
    #[must_use]
    pub fn is_unrestricted(&self) -> bool {
        self.masks.is_empty() && self.groups.is_empty()
    }

    /// Forbids an executor to a stage. Ids that are not of the round are ignored.
    pub fn forbid(&mut self, stage: StageId, executor: ExecutorId) {
        if executor.index() < self.executors
            && let Some(mask) = self.own_mask(stage, true)
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
        if let Some(mask) = self.own_mask(stage, true) {
            mask.iter_mut().zip(&allowed).for_each(|(m, a)| *m &= a);
        }
    }

    /// Caps what these stages together may take in this round, in vcores. Zero closes them.
    pub fn cap_vcores(&mut self, stages: impl IntoIterator<Item = StageId>, cap_vcores: u32) {
        let stages = stages.into_iter().filter(|s| s.index() < self.stages).collect();
        self.groups.push(Group { cap_vcores, stages });
    }

    /// Adds the restrictions of another filter for the same round.
    ///
    /// # Panics
    /// If `other` was made for a round of another shape.
    pub fn intersect(&mut self, other: &Limits) {
        assert_eq!((self.stages, self.executors), (other.stages, other.executors), "limits of two different rounds");
        for (stage, &mask) in other.stage_mask.iter().enumerate().filter(|&(_, &m)| m != ALL) {
            let theirs = &other.masks[mask as usize];
            if let Some(own) = self.own_mask(StageId::from_index(stage), true) {
                own.iter_mut().zip(theirs.iter()).for_each(|(m, t)| *m &= t);
            }
        }
        self.groups.extend(other.groups.iter().cloned());
    }

    fn own_mask(&mut self, stage: StageId, create: bool) -> Option<&mut [u64]> {
        let at = self.stage_mask.get_mut(stage.index())?;
        if *at == ALL {
            if !create {
                return None;
            }
            *at = u32::try_from(self.masks.len()).ok()?;
            self.masks.push(vec![u64::MAX; self.executors.div_ceil(64)].into());
        }
        self.masks.get_mut(*at as usize).map(|m| &mut **m)
    }

    /// Writes the limits as a block.
    #[must_use]
    pub fn encode(&self) -> Block {
        let mut w = BlockWriter::new(BlockKind::Limits, col::COUNT);
        if !self.masks.is_empty() {
            w.put(col::STAGE_MASK, &self.stage_mask);
            w.put(col::MASKS, &self.masks.concat());
        }
        if !self.groups.is_empty() {
            w.put(col::GROUP_CAP, &self.groups.iter().map(|g| g.cap_vcores).collect::<Vec<_>>());
            let mut of_stage = vec![Vec::new(); self.stages];
            for (number, group) in self.groups.iter().enumerate() {
                for stage in &group.stages {
                    // A stage named twice in one group counts once.
                    if of_stage[stage.index()].last() != Some(&(number as u32)) {
                        of_stage[stage.index()].push(number as u32);
                    }
                }
            }
            let mut offsets = vec![0u32];
            offsets.extend(of_stage.iter().scan(0u32, |sum, groups| {
                *sum += groups.len() as u32;
                Some(*sum)
            }));
            w.put(col::STAGE_GROUPS, &offsets);
            w.put(col::STAGE_GROUP, &of_stage.concat());
        }
        w.finish()
    }

    /// Reads limits that came from a plugin.
    ///
    /// # Errors
    /// When the block is broken or was made for a round of another shape.
    pub fn decode(block: BlockView<'_>, stages: usize, executors: usize) -> Result<Self, BlockError> {
        let view = LimitsView::new(block, stages, executors)?;
        let mut limits = Self::unrestricted(stages, executors);
        // Without executors a mask has no words, and there is nothing to narrow.
        if !view.stage_mask.is_empty() && executors > 0 {
            limits.stage_mask = view.stage_mask.to_vec();
            limits.masks = view.masks.chunks(executors.div_ceil(64).max(1)).map(Into::into).collect();
        }
        limits.groups = view.group_cap.iter().map(|&cap_vcores| Group { cap_vcores, stages: Vec::new() }).collect();
        for stage in 0..stages {
            for &group in view.groups(StageId::from_index(stage)) {
                limits.groups[group as usize].stages.push(StageId::from_index(stage));
            }
        }
        Ok(limits)
    }
}

/// Limits as a policy reads them.
#[derive(Clone, Copy, Debug)]
pub struct LimitsView<'a> {
    stage_mask: &'a [u32],
    masks: &'a [u64],
    mask_words: usize,
    group_cap: &'a [u32],
    stage_groups: &'a [u32],
    stage_group: &'a [u32],
}

impl<'a> LimitsView<'a> {
    /// No limits.
    #[must_use]
    pub const fn unrestricted() -> Self {
        Self { stage_mask: &[], masks: &[], mask_words: 0, group_cap: &[], stage_groups: &[], stage_group: &[] }
    }

    /// Reads limits and checks them against the round's shape.
    ///
    /// # Errors
    /// When a mask or a group that is referred to does not exist, or a column has the wrong number of rows.
    pub fn new(block: BlockView<'a>, stages: usize, executors: usize) -> Result<Self, BlockError> {
        let view = Self {
            stage_mask: block.column(col::STAGE_MASK),
            masks: block.column(col::MASKS),
            mask_words: executors.div_ceil(64),
            group_cap: block.column(col::GROUP_CAP),
            stage_groups: block.column(col::STAGE_GROUPS),
            stage_group: block.column(col::STAGE_GROUP),
        };
        view.check_shape(stages, executors)?;
        Ok(view)
    }

    pub(crate) fn check_shape(&self, stages: usize, executors: usize) -> Result<(), BlockError> {
        let broken = |column, what| Err(BlockError::Column { column, what });
        if !self.stage_mask.is_empty() {
            if self.stage_mask.len() != stages || self.mask_words != executors.div_ceil(64) {
                return broken(col::STAGE_MASK, "was made for another round");
            }
            let masks = self.masks.len().checked_div(self.mask_words).unwrap_or(0);
            if self.stage_mask.iter().any(|&m| m != ALL && m as usize >= masks) && self.mask_words > 0 {
                return broken(col::STAGE_MASK, "refers to a mask that does not exist");
            }
        }
        if !self.group_cap.is_empty() {
            if self.stage_groups.len() != stages + 1 {
                return broken(col::STAGE_GROUPS, "was made for another round");
            }
            if self.stage_groups.windows(2).any(|w| w[0] > w[1])
                || self.stage_groups.last().is_some_and(|&end| end as usize > self.stage_group.len())
            {
                return broken(col::STAGE_GROUPS, "does not fit its values");
            }
            if self.stage_group.iter().any(|&g| g as usize >= self.group_cap.len()) {
                return broken(col::STAGE_GROUP, "refers to a group that does not exist");
            }
        }
        Ok(())
    }

    /// Whether nothing is restricted: then there is no need to ask further.
    #[inline]
    #[must_use]
    pub fn is_unrestricted(&self) -> bool {
        self.stage_mask.is_empty() && self.group_cap.is_empty()
    }

    /// The executors that a stage may use, as a bit set in words of 64; `None` means all of them.
    #[inline]
    #[must_use]
    pub fn mask(&self, stage: StageId) -> Option<&'a [u64]> {
        let mask = *self.stage_mask.get(stage.index())?;
        (mask != ALL).then(|| {
            let at = mask as usize * self.mask_words;
            self.masks.get(at..at + self.mask_words).unwrap_or(&[])
        })
    }

    /// Whether a stage may use an executor.
    #[inline]
    #[must_use]
    pub fn allows(&self, stage: StageId, executor: ExecutorId) -> bool {
        match self.mask(stage) {
            None => true,
            Some(mask) => mask.get(executor.index() / 64).is_some_and(|w| w >> (executor.index() % 64) & 1 == 1),
        }
    }

    /// The cap of each group: vcores that its stages together may take in this round.
    #[inline]
    #[must_use]
    pub fn group_caps(&self) -> &'a [u32] {
        self.group_cap
    }

    /// The groups that a stage belongs to: every one of them must have room.
    #[inline]
    #[must_use]
    pub fn groups(&self, stage: StageId) -> &'a [u32] {
        self.stage_group.get(ragged(self.stage_groups, stage.index())).unwrap_or(&[])
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
