//! One task of a stage: its demand, its key, its pin and the holders of its input.

use super::Stage;
use super::stages::per_task;
use crate::columns::stage;
use crate::ids::{ExecutorUid, TaskId};

impl<'a> Stage<'a> {
    /// The pending tasks one by one, ascending. Lazy: what is not asked for costs nothing.
    pub fn pending(&self) -> impl Iterator<Item = Task<'a>> + use<'a> {
        let this = *self;
        self.pending_runs().flat_map(|(first, length)| first..first.saturating_add(length)).map(move |i| this.task(i))
    }

    /// Task `index` of the stage.
    #[inline]
    #[must_use]
    pub fn task(&self, index: u32) -> Task<'a> {
        Task { stage: *self, index }
    }
}

/// One task.
#[derive(Clone, Copy, Debug)]
pub struct Task<'a> {
    stage: Stage<'a>,
    index: u32,
}

impl<'a> Task<'a> {
    /// Its number in this round: what a [`BoundTask`](crate::BoundTask) names.
    #[inline]
    #[must_use]
    pub fn id(&self) -> TaskId {
        TaskId(self.stage.first_task.wrapping_add(self.index))
    }

    /// Its index in its stage: the same in every round.
    #[inline]
    #[must_use]
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Its stage.
    #[inline]
    #[must_use]
    pub fn stage(&self) -> Stage<'a> {
        self.stage
    }

    /// Vcores that it takes: at least one.
    #[inline]
    #[must_use]
    pub fn vcores(&self) -> u32 {
        self.stage.vcores_of(self.index)
    }

    /// Memory that it takes, MiB.
    #[inline]
    #[must_use]
    pub fn memory_mib(&self) -> u32 {
        self.stage.memory_mib_of(self.index)
    }

    /// The key of the data it reads (a file, a partition), where the embedder knows one; empty where not.
    #[must_use]
    pub fn key(&self) -> &'a str {
        self.stage.block.string(stage::KEY_OFFSETS, stage::KEY_BYTES, self.index as usize)
    }

    /// XXH3-64 (seed 0) of its key: stable across processes, platforms and versions.
    #[must_use]
    pub fn key_hash(&self) -> Option<u64> {
        (!self.key().is_empty()).then(|| self.stage.key_hashes().get(self.index as usize).copied()).flatten()
    }

    /// The executor that the embedder wants for it, where it wants one. The executor may be gone:
    /// [`Executors::by_uid`](super::Executors::by_uid) tells.
    #[must_use]
    pub fn pin(&self) -> Option<ExecutorUid> {
        let pin = per_task(self.stage.block.column(stage::PIN), self.index, u32::MAX);
        (pin != u32::MAX).then_some(ExecutorUid(pin))
    }

    /// Who holds how many bytes of its input: largest first. For many tasks, [`Stage::holders`] is the fast way.
    #[inline]
    pub fn holders(&self) -> impl ExactSizeIterator<Item = (ExecutorUid, u64)> + Clone + use<'a> {
        let (uids, bytes) = self.stage.holders().of(self.index);
        uids.iter().copied().zip(bytes.iter().copied())
    }
}
