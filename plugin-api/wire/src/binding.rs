//! What a policy answers: intentions, never effects.

use crate::ids::{ExecutorId, TaskId};

/// "Run this task there": one row of a policy's answer.
///
/// Two indices of the round that was asked about, nothing else; the host validates every row against its own copy of
/// the round ([`contract`](crate::contract)) and applies the whole answer or none of it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, bytemuck::Pod, bytemuck::Zeroable)]
pub struct BoundTask {
    /// A pending task of the round.
    pub task: TaskId,
    /// An executor of the round with enough free.
    pub executor: ExecutorId,
}

impl BoundTask {
    /// Binds `task` to `executor`.
    #[inline]
    #[must_use]
    pub fn new(task: TaskId, executor: ExecutorId) -> Self {
        Self { task, executor }
    }
}
