//! Who holds the input of a stage's tasks, as slices: for policies that look at the holders of many tasks.

use crate::block::{BlockView, ragged};
use crate::columns::stage;
use crate::ids::ExecutorUid;

/// The holders of all tasks of a stage. Get it once a stage: a look at one task is then a few loads.
#[derive(Clone, Copy, Debug)]
pub struct Holders<'a> {
    offsets: &'a [u32],
    uids: &'a [ExecutorUid],
    bytes: &'a [u64],
}

impl<'a> Holders<'a> {
    pub(super) fn new(block: BlockView<'a>) -> Self {
        let (uids, bytes) = (block.column::<u32>(stage::HOLDER_UID), block.column(stage::HOLDER_BYTES));
        let rows = uids.len().min(bytes.len());
        Self {
            offsets: block.column(stage::HOLDER_OFFSETS),
            uids: bytemuck::cast_slice(&uids[..rows]),
            bytes: &bytes[..rows],
        }
    }

    /// The holders of task `index`, and how many bytes of its input each has: two slices of equal length, largest
    /// first. Empty where none is known, or the stage has no such task.
    #[inline]
    #[must_use]
    pub fn of(&self, index: u32) -> (&'a [ExecutorUid], &'a [u64]) {
        let rows = ragged(self.offsets, index as usize);
        (self.uids.get(rows.clone()).unwrap_or(&[]), self.bytes.get(rows).unwrap_or(&[]))
    }
}
