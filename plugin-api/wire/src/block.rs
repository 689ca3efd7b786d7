//! The block: a self-describing table of columns in one run of 64-bit words.
//!
//! A round crosses the ABI, and the boundary of a process, as blocks. A block holds no pointers: a column is an element
//! type, an offset and a length, so the same bytes can be read wherever they are mapped. Its directory is indexed by
//! column number; a reader that asks for a column the writer did not know gets an empty slice, and a reader ignores
//! columns that it does not know. That is how attributes are added without breaking older plugins.
//!
//! ```text
//! word 0   magic (32 bit) | kind (16) | directory entries n (16)
//! word 1   length of the block in words
//! word 2…  n entries of two words: offset in words (32) | element tag (32), then elements (64)
//! …        the columns, each starting on a word
//! ```
//! Reading is safe code throughout: every cast is checked, every length is bounded by the block.

use bytemuck::Pod;

const MAGIC: u32 = 0x504b_4c42; // "BLKP"
const HEADER_WORDS: usize = 2;
const ENTRY_WORDS: usize = 2;

/// What a block describes. The numbers are part of the ABI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum BlockKind {
    /// Executors and what of them does not change: name, capacity, rack, speed, labels.
    Roster = 1,
    /// The tasks of one stage, written once and referred to by every later round.
    Stage = 2,
    /// One round: free capacity, tenants, jobs, stages with their pending tasks, the clock.
    Round = 3,
    /// What filters decided: masks of executors and caps, per stage.
    Limits = 4,
    /// What happened to earlier bindings.
    Observations = 5,
}

/// Why a run of words is not a block.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BlockError {
    /// Too short, or not one of our blocks at all.
    #[error("not a block: {0}")]
    NotABlock(&'static str),
    /// A block, but of another kind than the reader expects.
    #[error("expected a block of kind {expected}, found kind {found}")]
    Kind {
        /// The kind that the reader expects, as in [`BlockKind`].
        expected: u16,
        /// The kind that stands in the header.
        found: u16,
    },
    /// More than can be meant.
    #[error("{words} words; for a round of this shape there are {most} at most")]
    TooLarge {
        /// What was found.
        words: usize,
        /// The most that there can be.
        most: usize,
    },
    /// A column that reaches past the end of the block, or whose columns contradict each other.
    #[error("column {column} is broken: {what}")]
    Column {
        /// The column's number.
        column: u16,
        /// What is wrong with it.
        what: &'static str,
    },
}

mod sealed {
    pub trait Sealed {}
}

/// An element type that a column can hold.
pub trait Element: Pod + sealed::Sealed {
    /// The tag in the directory; part of the ABI.
    const TAG: u32;
}

macro_rules! element {
    ($($ty:ty = $tag:literal),*) => {$(
        impl sealed::Sealed for $ty {}
        impl Element for $ty { const TAG: u32 = $tag; }
    )*};
}
element!(u8 = 1, u32 = 2, i32 = 3, u64 = 4, f32 = 5);

/// An owned block. Immutable once finished; share it with an `Arc`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Block {
    words: Vec<u64>,
}

impl Block {
    /// The words, as they cross the ABI.
    #[inline]
    #[must_use]
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// The block, to be read. Its words were checked when it was made.
    #[inline]
    #[must_use]
    pub(crate) fn view(&self) -> BlockView<'_> {
        BlockView { words: &self.words, columns: self.words.first().map_or(0, |head| (head >> 48) as u16) }
    }

    /// Takes words that came from elsewhere.
    ///
    /// # Errors
    /// When they are not a block of kind `kind`, or a column reaches past its end.
    pub fn from_words(words: Vec<u64>, kind: BlockKind) -> Result<Self, BlockError> {
        BlockView::parse(&words, kind)?.check_extents()?;
        Ok(Self { words })
    }
}

/// A reference to a block, or to words that are meant to be one: whoever reads them checks them.
#[repr(transparent)]
#[derive(Clone, Copy, Debug)]
pub struct BlockRef<'a>(&'a [u64]);

impl<'a> BlockRef<'a> {
    /// Refers to a block.
    #[inline]
    #[must_use]
    pub fn new(block: &'a Block) -> Self {
        Self(block.words())
    }

    /// Refers to words that came from elsewhere.
    #[inline]
    #[must_use]
    pub const fn from_words(words: &'a [u64]) -> Self {
        Self(words)
    }

    /// The words.
    #[inline]
    #[must_use]
    pub const fn words(self) -> &'a [u64] {
        self.0
    }
}

impl<'a> From<&'a Block> for BlockRef<'a> {
    fn from(block: &'a Block) -> Self {
        Self::new(block)
    }
}

/// Writes one block, column by column.
#[derive(Debug)]
pub struct BlockWriter {
    words: Vec<u64>,
    columns: u16,
}

impl BlockWriter {
    /// Starts a block of `kind` with room for column numbers below `columns`.
    #[must_use]
    pub fn new(kind: BlockKind, columns: u16) -> Self {
        Self::reusing(Vec::new(), kind, columns)
    }

    /// As [`BlockWriter::new`], in the memory of an earlier block.
    #[must_use]
    pub fn reusing(mut words: Vec<u64>, kind: BlockKind, columns: u16) -> Self {
        words.clear();
        words.push(u64::from(MAGIC) | (u64::from(kind as u16) << 32) | (u64::from(columns) << 48));
        words.push(0);
        words.resize(HEADER_WORDS + ENTRY_WORDS * usize::from(columns), 0);
        Self { words, columns }
    }

    /// Opens a finished block again: keeps its first `words` words and the columns that lie in them.
    #[must_use]
    pub fn reopen(block: Block, words: usize) -> Self {
        let mut kept = block.words;
        kept.truncate(words);
        let columns = kept.first().map_or(0, |head| (head >> 48) as u16);
        for column in 0..usize::from(columns) {
            let entry = HEADER_WORDS + ENTRY_WORDS * column;
            if kept[entry] as u32 as usize >= words {
                kept[entry..entry + ENTRY_WORDS].fill(0);
            }
        }
        Self { words: kept, columns }
    }

    /// Words written so far.
    #[must_use]
    pub fn len_words(&self) -> usize {
        self.words.len()
    }

    /// A column that was put before, to change it in place; empty when there is none of this type.
    pub fn column_mut<T: Element>(&mut self, column: u16) -> &mut [T] {
        let entry = HEADER_WORDS + ENTRY_WORDS * usize::from(column);
        if column >= self.columns || (self.words[entry] >> 32) as u32 != T::TAG {
            return &mut [];
        }
        let (start, length) = (self.words[entry] as u32 as usize, self.words[entry + 1] as usize);
        let words = (length * size_of::<T>()).div_ceil(8);
        &mut bytemuck::cast_slice_mut::<u64, T>(&mut self.words[start..start + words])[..length]
    }

    /// As [`BlockWriter::put`], of values that need not lie in a slice.
    ///
    /// # Panics
    /// As [`BlockWriter::put`].
    pub fn put_each<T: Element>(&mut self, column: u16, values: impl ExactSizeIterator<Item = T>) {
        assert!(column < self.columns, "column {column} is outside the directory of {}", self.columns);
        let offset = u32::try_from(self.words.len()).expect("a block of at most 2^32 words");
        let length = values.len();
        self.words.resize(self.words.len() + (length * size_of::<T>()).div_ceil(8), 0);
        let target = bytemuck::cast_slice_mut::<u64, T>(&mut self.words[offset as usize..]);
        target.iter_mut().zip(values).for_each(|(to, value)| *to = value);
        let entry = HEADER_WORDS + ENTRY_WORDS * usize::from(column);
        self.words[entry] = u64::from(offset) | (u64::from(T::TAG) << 32);
        self.words[entry + 1] = length as u64;
    }

    /// Appends a column. An empty column is the same as none.
    ///
    /// # Panics
    /// If the number is outside the directory, or the block would exceed 2^32 words (32 GiB).
    pub fn put<T: Element>(&mut self, column: u16, values: &[T]) {
        assert!(column < self.columns, "column {column} is outside the directory of {}", self.columns);
        let offset = u32::try_from(self.words.len()).expect("a block of at most 2^32 words");
        let bytes: &[u8] = bytemuck::cast_slice(values);
        let whole = bytes.len() / 8;
        // Words first, in one copy; the tail is padded with zeros.
        self.words.resize(self.words.len() + bytes.len().div_ceil(8), 0);
        let target = &mut self.words[offset as usize..];
        bytemuck::cast_slice_mut::<u64, u8>(&mut target[..whole]).copy_from_slice(&bytes[..whole * 8]);
        if bytes.len() > whole * 8 {
            bytemuck::bytes_of_mut(&mut target[whole])[..bytes.len() - whole * 8].copy_from_slice(&bytes[whole * 8..]);
        }
        let entry = HEADER_WORDS + ENTRY_WORDS * usize::from(column);
        self.words[entry] = u64::from(offset) | (u64::from(T::TAG) << 32);
        self.words[entry + 1] = values.len() as u64;
    }

    /// Appends a list of strings as two columns: offsets (one more than strings) and bytes.
    ///
    /// # Panics
    /// As [`BlockWriter::put`].
    pub fn put_strings<S: AsRef<str>>(&mut self, offsets: u16, bytes: u16, strings: impl IntoIterator<Item = S>) {
        let mut ends = vec![0u32];
        let mut text = Vec::new();
        for s in strings {
            text.extend_from_slice(s.as_ref().as_bytes());
            ends.push(u32::try_from(text.len()).expect("at most 4 GiB of strings in a block"));
        }
        self.put(offsets, &ends);
        self.put(bytes, &text);
    }

    /// Closes the block.
    #[must_use]
    pub fn finish(mut self) -> Block {
        self.words[1] = self.words.len() as u64;
        Block { words: self.words }
    }
}

/// A borrowed block: what a plugin reads.
#[derive(Clone, Copy, Debug)]
pub struct BlockView<'a> {
    words: &'a [u64],
    columns: u16,
}

impl<'a> BlockView<'a> {
    /// Reads the header.
    ///
    /// # Errors
    /// When the words are not a block of kind `kind`. Columns are checked as they are read.
    #[inline]
    pub fn parse(words: &'a [u64], kind: BlockKind) -> Result<Self, BlockError> {
        let [head, length, rest @ ..] = words else {
            return Err(BlockError::NotABlock("shorter than a header"));
        };
        if *head as u32 != MAGIC {
            return Err(BlockError::NotABlock("wrong magic number"));
        }
        let found = (head >> 32) as u16;
        if found != kind as u16 {
            return Err(BlockError::Kind { expected: kind as u16, found });
        }
        let columns = (head >> 48) as u16;
        if *length != words.len() as u64 || rest.len() < ENTRY_WORDS * usize::from(columns) {
            return Err(BlockError::NotABlock("length does not match"));
        }
        Ok(Self { words, columns })
    }

    /// An empty block, for a part that is absent.
    #[must_use]
    pub const fn empty() -> Self {
        Self { words: &[], columns: 0 }
    }

    /// Column `column`; empty when it is absent, of another element type, or reaches past the block.
    #[inline]
    #[must_use]
    pub fn column<T: Element>(&self, column: u16) -> &'a [T] {
        self.try_column(column).unwrap_or(&[])
    }

    /// As [`BlockView::column`]; but a column that is there and cannot be read is an error, not an empty column.
    ///
    /// # Errors
    /// When the column is of another element type, or reaches past the block.
    #[inline]
    pub fn checked_column<T: Element>(&self, column: u16) -> Result<&'a [T], BlockError> {
        match self.try_column(column) {
            Some(rows) => Ok(rows),
            None if self.is_absent(column) => Ok(&[]),
            None => {
                Err(BlockError::Column { column, what: "is of another type, or reaches past the end of the block" })
            }
        }
    }

    /// Whether a column was never written, or written without rows.
    pub(crate) fn is_absent(&self, column: u16) -> bool {
        let entry = HEADER_WORDS + ENTRY_WORDS * usize::from(column);
        column >= self.columns || self.words[entry + 1] == 0
    }

    /// The words of the block.
    pub(crate) fn words(&self) -> usize {
        self.words.len()
    }

    /// The words before the first column.
    pub(crate) fn header_words(&self) -> usize {
        HEADER_WORDS + ENTRY_WORDS * usize::from(self.columns)
    }

    #[inline]
    fn try_column<T: Element>(&self, column: u16) -> Option<&'a [T]> {
        if column >= self.columns {
            return None;
        }
        let entry = HEADER_WORDS + ENTRY_WORDS * usize::from(column);
        let head = self.words[entry];
        if (head >> 32) as u32 != T::TAG {
            return None;
        }
        let length = usize::try_from(self.words[entry + 1]).ok()?;
        let start = head as u32 as usize;
        let words = length.checked_mul(size_of::<T>())?.div_ceil(8);
        let run = self.words.get(start..start.checked_add(words)?)?;
        bytemuck::cast_slice::<u64, T>(run).get(..length)
    }

    /// String `index` of a pair of string columns; empty when out of range or not UTF-8.
    #[inline]
    #[must_use]
    pub fn string(&self, offsets: u16, bytes: u16, index: usize) -> &'a str {
        let offsets = self.column::<u32>(offsets);
        let (Some(&from), Some(&to)) = (offsets.get(index), offsets.get(index + 1)) else { return "" };
        let text = self.column::<u8>(bytes).get(from as usize..to as usize);
        text.and_then(|t| std::str::from_utf8(t).ok()).unwrap_or("")
    }

    /// The number of directory entries.
    #[must_use]
    pub fn columns(&self) -> u16 {
        self.columns
    }

    /// Checks that every column lies within the block: for words that come from an untrusted side.
    ///
    /// # Errors
    /// Names the first column that does not.
    pub fn check_extents(&self) -> Result<(), BlockError> {
        for column in 0..self.columns {
            let entry = HEADER_WORDS + ENTRY_WORDS * usize::from(column);
            let sound = match (self.words[entry] >> 32) as u32 {
                0 => true,
                u8::TAG => self.try_column::<u8>(column).is_some(),
                u32::TAG => self.try_column::<u32>(column).is_some(),
                i32::TAG => self.try_column::<i32>(column).is_some(),
                u64::TAG => self.try_column::<u64>(column).is_some(),
                f32::TAG => self.try_column::<f32>(column).is_some(),
                // An element type of a later version: nothing here will read it.
                _ => true,
            };
            if !sound {
                return Err(BlockError::Column { column, what: "reaches past the end of the block" });
            }
        }
        Ok(())
    }
}

/// The range `index` of a ragged column's offsets; empty when out of range or descending.
#[inline]
#[must_use]
pub(crate) fn ragged(offsets: &[u32], index: usize) -> std::ops::Range<usize> {
    match (offsets.get(index), offsets.get(index + 1)) {
        (Some(&from), Some(&to)) if from <= to => from as usize..to as usize,
        _ => 0..0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Block {
        let mut w = BlockWriter::new(BlockKind::Stage, 5);
        w.put(0, &[1u32, 2, 3]);
        w.put(2, &[7u64]);
        w.put_strings(3, 4, ["a", "", "long-name"]);
        w.finish()
    }

    #[test]
    fn a_column_reads_back_and_an_absent_one_is_empty() {
        let block = sample();
        let view = BlockView::parse(block.words(), BlockKind::Stage).unwrap();
        assert_eq!(view.column::<u32>(0), &[1, 2, 3]);
        assert_eq!(view.column::<u64>(2), &[7]);
        assert!(view.column::<u32>(1).is_empty(), "never written");
        assert!(view.column::<u32>(99).is_empty(), "a column of a later version");
        assert!(view.column::<u64>(0).is_empty(), "another element type");
        assert_eq!(view.string(3, 4, 0), "a");
        assert_eq!(view.string(3, 4, 1), "");
        assert_eq!(view.string(3, 4, 2), "long-name");
        assert_eq!(view.string(3, 4, 3), "");
    }

    #[test]
    fn a_block_opened_again_keeps_what_it_is_told_to() {
        let mut w = BlockWriter::new(BlockKind::Stage, 5);
        w.put(0, &[1u32, 2, 3]);
        let head = w.len_words();
        w.put_each(1, [9u32, 8, 7].into_iter());
        let block = w.finish();
        let view = BlockView::parse(block.words(), BlockKind::Stage).unwrap();
        assert_eq!(view.column::<u32>(1), &[9, 8, 7]);
        let mut w = BlockWriter::reopen(block, head);
        w.column_mut::<u32>(0)[2] = 5;
        assert!(w.column_mut::<u64>(0).is_empty() && w.column_mut::<u32>(1).is_empty());
        w.put(2, &[7u64]);
        let block = w.finish();
        let view = BlockView::parse(block.words(), BlockKind::Stage).unwrap();
        assert_eq!((view.column::<u32>(0), view.column::<u64>(2)), (&[1, 2, 5][..], &[7][..]));
        assert!(view.column::<u32>(1).is_empty(), "not kept");
    }

    #[test]
    fn broken_words_are_refused_and_never_panic() {
        let good = sample().words().to_vec();
        assert!(matches!(BlockView::parse(&good[..1], BlockKind::Stage), Err(BlockError::NotABlock(_))));
        assert!(matches!(BlockView::parse(&good, BlockKind::Round), Err(BlockError::Kind { expected: 3, found: 2 })));
        for word in 0..good.len() {
            for bit in 0..64 {
                let mut bad = good.clone();
                bad[word] ^= 1 << bit;
                if let Ok(block) = Block::from_words(bad, BlockKind::Stage) {
                    let view = BlockView::parse(block.words(), BlockKind::Stage).unwrap();
                    for column in 0..8 {
                        let _ = (view.column::<u32>(column), view.column::<u8>(column), view.string(column, 4, 1));
                    }
                }
            }
        }
    }
}
