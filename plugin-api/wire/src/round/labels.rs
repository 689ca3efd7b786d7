//! Labels of executors, for scores and rules that ask for the same few of many executors.

use crate::block::{BlockView, ragged};
use crate::columns::roster;
use crate::ids::ExecutorId;

/// The labels of all executors of a round. Get it once a call: a look at one executor is then a few loads.
#[derive(Clone, Copy, Debug)]
pub struct Labels<'a> {
    rows: &'a [u32],
    keys: Texts<'a>,
    values: Texts<'a>,
}

/// Strings by number.
#[derive(Clone, Copy, Debug)]
struct Texts<'a> {
    offsets: &'a [u32],
    bytes: &'a [u8],
}

impl<'a> Texts<'a> {
    #[inline]
    fn get(self, at: usize) -> &'a [u8] {
        self.bytes.get(ragged(self.offsets, at)).unwrap_or(&[])
    }
}

impl<'a> Labels<'a> {
    pub(super) fn new(roster: BlockView<'a>) -> Self {
        let texts = |offsets, bytes| Texts { offsets: roster.column(offsets), bytes: roster.column(bytes) };
        Self {
            rows: roster.column(roster::LABEL_OFFSETS),
            keys: texts(roster::LABEL_KEY_OFFSETS, roster::LABEL_KEY_BYTES),
            values: texts(roster::LABEL_VALUE_OFFSETS, roster::LABEL_VALUE_BYTES),
        }
    }

    /// Whether an executor carries the label `key` with this value.
    #[inline]
    #[must_use]
    pub fn has(&self, executor: ExecutorId, key: &str, value: &str) -> bool {
        let mut rows = ragged(self.rows, executor.index());
        let found = rows.find(|&at| self.keys.get(at) == key.as_bytes());
        found.is_some_and(|at| self.values.get(at) == value.as_bytes())
    }
}
