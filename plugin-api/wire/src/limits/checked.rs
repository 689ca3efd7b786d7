//! Limits as they cross the ABI, checked once: what came from a filter is bounded and read completely, or refused.

use super::LimitsView;
use crate::block::{Block, BlockError, BlockKind, BlockView};
use crate::columns::limits as col;

/// Groups that limits may have for each stage of the round, on average, beside [`GROUPS_BESIDE`].
pub const GROUPS_PER_STAGE: usize = 64;
/// See [`GROUPS_PER_STAGE`]: so many groups any round may have, however few stages it has.
pub const GROUPS_BESIDE: usize = 65_536;

/// Limits of one round, checked against its shape. Reading them again costs a few column look-ups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitsBlock {
    block: Block,
    pub(super) stages: usize,
    pub(super) executors: usize,
}

impl LimitsBlock {
    /// Takes limits that came from a filter, for a round of `stages` stages and `executors` executors.
    ///
    /// The size of the words is checked first: nothing is copied of limits that are larger than any for such a round.
    ///
    /// # Errors
    /// When the words are not limits, or too many; as [`LimitsView::new`]; and when they have a column that this version
    /// does not know: it would restrict something, and must not be passed over.
    pub fn from_words(words: &[u64], stages: usize, executors: usize) -> Result<Self, BlockError> {
        let view = BlockView::parse(words, BlockKind::Limits)?;
        check_bounds(view, stages, executors)?;
        LimitsView::new(view, stages, executors)?;
        Ok(Self { block: Block::from_words(words.to_vec(), BlockKind::Limits)?, stages, executors })
    }

    /// Limits that were written here.
    pub(super) fn of(block: Block, stages: usize, executors: usize) -> Self {
        Self { block, stages, executors }
    }

    /// The block, as it crosses.
    #[must_use]
    pub fn block(&self) -> &Block {
        &self.block
    }

    /// What the limits say.
    #[inline]
    #[must_use]
    pub fn view(&self) -> LimitsView<'_> {
        LimitsView::of_checked(self.block.view(), self.stages, self.executors)
    }
}

/// Refuses what is larger than any limits of such a round, and columns that this version does not know.
pub(super) fn check_bounds(block: BlockView<'_>, stages: usize, executors: usize) -> Result<(), BlockError> {
    let groups = stages.saturating_mul(GROUPS_PER_STAGE).saturating_add(GROUPS_BESIDE);
    let masks = stages.saturating_mul(executors.div_ceil(64));
    // A row of 32 bits takes half a word, and a column begins on a word.
    let rows = (stages + stages + 1).saturating_add(groups.saturating_mul(2));
    let most = block.header_words().saturating_add(rows / 2 + 4).saturating_add(masks);
    if block.words() > most {
        return Err(BlockError::TooLarge { words: block.words(), most });
    }
    let known = [col::STAGE_MASK, col::MASKS, col::GROUP_CAP, col::STAGE_GROUPS, col::STAGE_GROUP];
    match (0..block.columns()).find(|column| !known.contains(column) && !block.is_absent(*column)) {
        Some(column) => Err(BlockError::Column { column, what: "is not known to this version" }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Limits;
    use crate::block::BlockWriter;
    use crate::ids::{ExecutorId, StageId};

    const STAGES: usize = 3;
    const EXECUTORS: usize = 70;

    /// One mask (executor 69 forbidden to stage 1) and one group (stages 0 and 2).
    fn limits() -> Limits {
        let mut limits = Limits::unrestricted(STAGES, EXECUTORS);
        limits.forbid(StageId(1), ExecutorId(69));
        limits.cap_vcores([StageId(0), StageId(2)], 5);
        limits
    }

    fn read(block: &Block) -> Result<LimitsBlock, BlockError> {
        LimitsBlock::from_words(block.words(), STAGES, EXECUTORS)
    }

    /// The columns of [`limits`], one of them spoilt.
    fn spoilt(write: impl Fn(&mut BlockWriter, u16) -> bool) -> Block {
        let mut w = BlockWriter::new(BlockKind::Limits, col::COUNT);
        let good = limits().encode();
        let good = good.view();
        for column in [col::STAGE_MASK, col::GROUP_CAP, col::STAGE_GROUPS, col::STAGE_GROUP] {
            if !write(&mut w, column) {
                w.put(column, good.column::<u32>(column));
            }
        }
        if !write(&mut w, col::MASKS) {
            w.put(col::MASKS, good.column::<u64>(col::MASKS));
        }
        w.finish()
    }

    #[test]
    fn good_limits_are_read_and_can_be_narrowed() {
        let block = read(&spoilt(|_, _| false)).unwrap();
        assert_eq!(block.to_limits(), limits());
        assert_eq!(limits().to_block().view().group_caps(), &[5]);
        assert!(!block.view().allows(StageId(1), ExecutorId(69)));
    }

    #[test]
    fn a_column_of_another_type_is_no_missing_column() {
        for column in [col::STAGE_MASK, col::MASKS, col::GROUP_CAP, col::STAGE_GROUPS, col::STAGE_GROUP] {
            let block = spoilt(|w, c| {
                if c == column {
                    w.put(c, &[0u8; 16]);
                }
                c == column
            });
            assert!(matches!(read(&block), Err(BlockError::Column { column: c, .. }) if c == column), "{column}");
            assert!(Limits::decode(block.view(), STAGES, EXECUTORS).is_err(), "{column}");
            assert!(LimitsView::new(block.view(), STAGES, EXECUTORS).is_err(), "{column}");
            let absent = spoilt(|_, c| c == column);
            assert!(read(&absent).is_err(), "{column} absent, its fellows there");
        }
    }

    #[test]
    fn a_column_that_reaches_past_the_block_is_no_missing_column() {
        for column in [col::STAGE_MASK, col::MASKS, col::GROUP_CAP, col::STAGE_GROUPS, col::STAGE_GROUP] {
            for rows in [u64::MAX, 1 << 40, 10_000] {
                let mut words = limits().encode().words().to_vec();
                words[2 + 2 * usize::from(column) + 1] = rows;
                assert!(LimitsBlock::from_words(&words, STAGES, EXECUTORS).is_err(), "{column}, {rows} rows");
                let mut words = limits().encode().words().to_vec();
                words[2 + 2 * usize::from(column)] |= 0xffff_fff0;
                assert!(LimitsBlock::from_words(&words, STAGES, EXECUTORS).is_err(), "{column} begins past the end");
            }
        }
    }

    #[test]
    fn a_column_of_a_later_version_is_refused_by_hosts_and_left_to_them_by_policies() {
        let mut w = BlockWriter::new(BlockKind::Limits, col::COUNT);
        w.put(col::COUNT - 1, &[1u32]);
        let later = w.finish();
        let unknown = BlockError::Column { column: col::COUNT - 1, what: "is not known to this version" };
        assert_eq!(read(&later).err(), Some(unknown));
        assert!(LimitsView::new(later.view(), STAGES, EXECUTORS).unwrap().is_unrestricted());
        let mut w = BlockWriter::new(BlockKind::Limits, 40);
        w.put(33, &[1.0f32]);
        assert!(read(&w.finish()).is_err());
        let mut words = limits().encode().words().to_vec();
        words[2 + 2 * usize::from(col::COUNT - 1)] = 77 << 32;
        words[3 + 2 * usize::from(col::COUNT - 1)] = 1;
        assert!(LimitsBlock::from_words(&words, STAGES, EXECUTORS).is_err(), "an element type of a later version");
        let mut w = BlockWriter::new(BlockKind::Limits, col::COUNT);
        w.put::<u32>(col::COUNT - 1, &[]);
        assert!(read(&w.finish()).is_ok(), "an empty column is the same as none");
    }

    #[test]
    fn rows_that_contradict_each_other_are_refused() {
        let caps = |caps: &[u32], offsets: &[u32], groups: &[u32]| {
            let mut w = BlockWriter::new(BlockKind::Limits, col::COUNT);
            w.put(col::GROUP_CAP, caps);
            w.put(col::STAGE_GROUPS, offsets);
            w.put(col::STAGE_GROUP, groups);
            read(&w.finish()).is_ok()
        };
        assert!(caps(&[5, 6], &[0, 2, 2, 3], &[0, 1, 1]));
        assert!(!caps(&[5, 6], &[0, 2, 2, 2], &[0, 1, 1]), "a pair of no stage");
        assert!(!caps(&[5, 6], &[1, 2, 2, 3], &[0, 1, 1]), "as well");
        assert!(!caps(&[5, 6], &[0, 2, 1, 3], &[0, 1, 1]), "descending");
        assert!(!caps(&[5, 6], &[0, 2, 3], &[0, 1, 1]), "another number of stages");
        assert!(!caps(&[5, 6], &[0, 2, 2, 3], &[0, 2, 1]), "no such group");
        assert!(!caps(&[5, 6], &[0, 2, 2, 3], &[0, 0, 1]), "a group twice");
        let masks = |of_stage: &[u32], masks: &[u64]| {
            let mut w = BlockWriter::new(BlockKind::Limits, col::COUNT);
            w.put(col::STAGE_MASK, of_stage);
            w.put(col::MASKS, masks);
            read(&w.finish()).is_ok()
        };
        assert!(masks(&[0, u32::MAX, 0], &[1, 0]));
        assert!(!masks(&[0, u32::MAX, 1], &[1, 0]), "no such mask");
        assert!(!masks(&[0, u32::MAX], &[1, 0]), "another number of stages");
        assert!(!masks(&[0, u32::MAX, 0], &[1, 0, 3]), "half a mask");
    }

    #[test]
    fn a_mask_that_stages_share_is_narrowed_for_one_of_them_alone() {
        let mut w = BlockWriter::new(BlockKind::Limits, col::COUNT);
        w.put(col::STAGE_MASK, &[0u32, 0, u32::MAX]);
        w.put(col::MASKS, &[0b11u64, 0]);
        let mut shared = read(&w.finish()).unwrap().to_limits();
        shared.forbid(StageId(0), ExecutorId(0));
        let block = shared.to_block();
        let allowed = |s| (0..3).map(|e| block.view().allows(StageId(s), ExecutorId(e))).collect::<Vec<_>>();
        assert_eq!([allowed(0), allowed(1)], [[false, true, false], [true, true, false]]);
    }

    #[test]
    fn limits_are_no_larger_than_their_round() {
        let masks = |masks: usize| {
            let mut w = BlockWriter::new(BlockKind::Limits, col::COUNT);
            w.put(col::STAGE_MASK, &[0u32; STAGES]);
            w.put(col::MASKS, &vec![u64::MAX; masks * EXECUTORS.div_ceil(64)]);
            read(&w.finish())
        };
        assert!(masks(STAGES).is_ok());
        assert!(matches!(masks(1_000_000), Err(BlockError::TooLarge { words: 2_000_020.., .. })));
        let caps = |groups: usize| {
            let mut w = BlockWriter::new(BlockKind::Limits, col::COUNT);
            let caps = vec![7u32; groups];
            w.put(col::GROUP_CAP, &caps);
            w.put(col::STAGE_GROUPS, &[0, groups as u32, groups as u32, groups as u32]);
            w.put_each(col::STAGE_GROUP, 0..groups as u32);
            read(&w.finish())
        };
        assert!(caps(GROUPS_BESIDE + STAGES * GROUPS_PER_STAGE).is_ok());
        assert!(matches!(caps(200_000), Err(BlockError::TooLarge { .. })));
    }
}
