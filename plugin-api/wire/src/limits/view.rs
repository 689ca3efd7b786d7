//! Limits as policies and the contract read them.

use crate::block::{BlockError, BlockView, ragged};
use crate::columns::limits as col;
use crate::ids::{ExecutorId, StageId};

/// "No mask": every executor is allowed.
pub(super) const ALL: u32 = u32::MAX;

/// Limits as a policy reads them.
#[derive(Clone, Copy, Debug)]
pub struct LimitsView<'a> {
    /// Stages and executors of the round; `None` where it does not matter.
    shape: Option<(usize, usize)>,
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
        let (stage_mask, masks, group_cap, stage_groups, stage_group) = (&[], &[], &[], &[], &[]);
        Self { shape: None, stage_mask, masks, mask_words: 0, group_cap, stage_groups, stage_group }
    }

    /// Reads limits and checks them against the round's shape.
    ///
    /// Columns that this version does not know are passed over here: for a policy, which is older than its host, the host
    /// holds its answers against them. A host reads the limits of a filter as a [`LimitsBlock`](super::LimitsBlock),
    /// which refuses them.
    ///
    /// # Errors
    /// When a column is broken or of another element type, when it has the wrong number of rows, when a mask or a group
    /// that is referred to does not exist, or when a column is there without the one that says whom it is about. What
    /// cannot be read must not pass for "unrestricted".
    pub fn new(block: BlockView<'a>, stages: usize, executors: usize) -> Result<Self, BlockError> {
        let view = Self {
            shape: Some((stages, executors)),
            stage_mask: block.checked_column(col::STAGE_MASK)?,
            masks: block.checked_column(col::MASKS)?,
            mask_words: executors.div_ceil(64),
            group_cap: block.checked_column(col::GROUP_CAP)?,
            stage_groups: block.checked_column(col::STAGE_GROUPS)?,
            stage_group: block.checked_column(col::STAGE_GROUP)?,
        };
        view.check_masks(stages)?;
        view.check_groups(stages)?;
        Ok(view)
    }

    /// As [`LimitsView::new`], of a block that has passed it for this shape.
    pub(super) fn of_checked(block: BlockView<'a>, stages: usize, executors: usize) -> Self {
        Self {
            shape: Some((stages, executors)),
            stage_mask: block.column(col::STAGE_MASK),
            masks: block.column(col::MASKS),
            mask_words: executors.div_ceil(64),
            group_cap: block.column(col::GROUP_CAP),
            stage_groups: block.column(col::STAGE_GROUPS),
            stage_group: block.column(col::STAGE_GROUP),
        }
    }

    fn check_masks(&self, stages: usize) -> Result<(), BlockError> {
        if self.stage_mask.is_empty() {
            return check(
                self.masks.is_empty(),
                col::MASKS,
                "stands without the column that says whose masks they are",
            );
        }
        check(self.stage_mask.len() == stages, col::STAGE_MASK, "was made for another round")?;
        // Without executors, masks have no words.
        let masks = self.masks.len().checked_div(self.mask_words).unwrap_or(stages);
        check(masks * self.mask_words == self.masks.len(), col::MASKS, "was made for another round")?;
        let exist = self.stage_mask.iter().all(|&mask| mask == ALL || (mask as usize) < masks);
        check(exist, col::STAGE_MASK, "refers to a mask that does not exist")
    }

    fn check_groups(&self, stages: usize) -> Result<(), BlockError> {
        if self.group_cap.is_empty() {
            let alone = "stands without the caps that it is about";
            check(self.stage_groups.is_empty(), col::STAGE_GROUPS, alone)?;
            return check(self.stage_group.is_empty(), col::STAGE_GROUP, alone);
        }
        check(self.stage_groups.len() == stages + 1, col::STAGE_GROUPS, "was made for another round")?;
        let ends = (self.stage_groups.first() == Some(&0), self.stage_groups.last().map(|&end| end as usize));
        let fit = ends == (true, Some(self.stage_group.len())) && self.stage_groups.is_sorted();
        check(fit, col::STAGE_GROUPS, "does not fit its values")?;
        let exist = self.stage_group.iter().all(|&group| (group as usize) < self.group_cap.len());
        check(exist, col::STAGE_GROUP, "refers to a group that does not exist")?;
        let ascend = (0..stages).all(|stage| self.groups(StageId::from_index(stage)).is_sorted_by(|a, b| a < b));
        check(ascend, col::STAGE_GROUP, "does not name the groups of a stage once each, in order")
    }

    /// Whether the limits were made for a round of so many stages and executors.
    pub(crate) fn fits(&self, stages: usize, executors: usize) -> bool {
        self.shape.is_none_or(|shape| shape == (stages, executors))
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

fn check(holds: bool, column: u16, what: &'static str) -> Result<(), BlockError> {
    if holds { Ok(()) } else { Err(BlockError::Column { column, what }) }
}
