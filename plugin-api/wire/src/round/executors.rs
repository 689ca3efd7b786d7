//! Executors as a round shows them: what is free of each, and what the roster says about it.

use super::Labels;
use crate::block::{BlockView, ragged};
use crate::columns::{roster, round};
use crate::ids::{ExecutorId, ExecutorUid};

/// An executor that has something free in this round: the policy's scratch.
///
/// The host hands out `&mut [AvailableTaskSlots]`, ordered by executor, holding only executors with at least one free
/// vcore. A policy may count them down while it binds, as in Ballista; the host validates against its own copy.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct AvailableTaskSlots {
    /// The executor.
    pub executor: ExecutorId,
    /// Free vcores: a task takes as many as it asks for, one unless the round says otherwise.
    pub slots: u32,
    /// Free memory in MiB. Zero where the embedder does not account for memory, and no task asks for any.
    pub memory_mib: u64,
}
/// All executors of a round, by column or by row. Rows are ordered by name.
#[derive(Clone, Copy, Debug)]
pub struct Executors<'a> {
    pub(super) round: BlockView<'a>,
    pub(super) roster: BlockView<'a>,
}

impl<'a> Executors<'a> {
    /// The number of executors.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.uids().len()
    }

    /// Whether there is none.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Vcores free now, one row an executor. Zero for an executor that takes no tasks.
    #[inline]
    #[must_use]
    pub fn free_vcores(&self) -> &'a [u32] {
        self.round.column(round::FREE_VCORES)
    }

    /// Memory free now in MiB, one row an executor; empty where the embedder does not account for memory.
    #[inline]
    #[must_use]
    pub fn free_memory_mib(&self) -> &'a [u64] {
        self.round.column(round::FREE_MEMORY_MIB)
    }

    /// Tasks running now, one row an executor.
    #[must_use]
    pub fn running_tasks(&self) -> &'a [u32] {
        self.round.column(round::RUNNING_TASKS)
    }

    /// Load as the executors reported it, one row an executor, in busy vcores; empty where none is reported.
    #[must_use]
    pub fn load(&self) -> &'a [f32] {
        self.round.column(round::LOAD)
    }

    /// The lasting number of each executor.
    #[inline]
    #[must_use]
    pub fn uids(&self) -> &'a [u32] {
        self.roster.column(roster::UID)
    }

    /// Capacity in vcores, one row an executor.
    #[must_use]
    pub fn vcores(&self) -> &'a [u32] {
        self.roster.column(roster::VCORES)
    }

    /// Capacity in memory, MiB, one row an executor; empty where the embedder does not account for memory.
    #[must_use]
    pub fn memory_mib(&self) -> &'a [u64] {
        self.roster.column(roster::MEMORY_MIB)
    }

    /// By lasting number, the number in this round; `u32::MAX` for executors that are gone. For many look-ups.
    #[inline]
    #[must_use]
    pub fn index_by_uid(&self) -> &'a [u32] {
        self.roster.column(roster::INDEX_BY_UID)
    }

    /// Their labels, for many look-ups. Costs five column look-ups: get it once, not once an executor.
    #[must_use]
    pub fn labels(&self) -> Labels<'a> {
        Labels::new(self.roster)
    }

    /// Where the executor of this lasting number stands in this round; `None` while it is gone.
    #[inline]
    #[must_use]
    pub fn by_uid(&self, uid: ExecutorUid) -> Option<ExecutorId> {
        let at = *self.index_by_uid().get(uid.index())?;
        (at != u32::MAX).then_some(ExecutorId(at))
    }

    /// The executor of this name. Costs a binary search.
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<ExecutorId> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.name(middle).cmp(name) {
                std::cmp::Ordering::Equal => return Some(ExecutorId::from_index(middle)),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    fn name(&self, i: usize) -> &'a str {
        self.roster.string(roster::NAME_OFFSETS, roster::NAME_BYTES, i)
    }

    /// One executor.
    #[must_use]
    pub fn get(&self, id: ExecutorId) -> Executor<'a> {
        Executor { all: *self, id }
    }

    /// Every executor, by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Executor<'a>> + use<'a> {
        let all = *self;
        (0..self.len()).map(move |i| Executor { all, id: ExecutorId::from_index(i) })
    }
}

/// One executor.
#[derive(Clone, Copy, Debug)]
pub struct Executor<'a> {
    pub(super) all: Executors<'a>,
    pub(super) id: ExecutorId,
}

impl<'a> Executor<'a> {
    /// Its number in this round.
    #[must_use]
    pub fn id(&self) -> ExecutorId {
        self.id
    }

    /// Its lasting number.
    #[must_use]
    pub fn uid(&self) -> ExecutorUid {
        ExecutorUid(self.all.uids().get(self.id.index()).copied().unwrap_or(u32::MAX))
    }

    /// Its name, unique in the cluster.
    #[must_use]
    pub fn name(&self) -> &'a str {
        self.all.name(self.id.index())
    }

    /// Capacity in vcores.
    #[must_use]
    pub fn vcores(&self) -> u32 {
        self.all.vcores().get(self.id.index()).copied().unwrap_or(0)
    }

    /// Free vcores now.
    #[must_use]
    pub fn free_vcores(&self) -> u32 {
        self.all.free_vcores().get(self.id.index()).copied().unwrap_or(0)
    }

    /// Capacity in memory, MiB; zero where the embedder does not account for memory.
    #[must_use]
    pub fn memory_mib(&self) -> u64 {
        self.all.roster.column::<u64>(roster::MEMORY_MIB).get(self.id.index()).copied().unwrap_or(0)
    }

    /// Free memory now, MiB.
    #[must_use]
    pub fn free_memory_mib(&self) -> u64 {
        self.all.free_memory_mib().get(self.id.index()).copied().unwrap_or(0)
    }

    /// Its rack, where the embedder knows racks.
    #[must_use]
    pub fn rack(&self) -> Option<&'a str> {
        let rack = *self.all.roster.column::<u32>(roster::RACK).get(self.id.index())?;
        (rack != u32::MAX).then(|| self.all.roster.string(roster::RACK_OFFSETS, roster::RACK_BYTES, rack as usize))
    }

    /// Its rack as a number of this roster, for comparing; `None` where unknown.
    #[must_use]
    pub fn rack_number(&self) -> Option<u32> {
        self.all.roster.column::<u32>(roster::RACK).get(self.id.index()).copied().filter(|&r| r != u32::MAX)
    }

    /// Relative speed: a task of duration `d` takes `d / speed`. 1.0 where unknown.
    #[must_use]
    pub fn speed(&self) -> f32 {
        self.all.roster.column::<f32>(roster::SPEED).get(self.id.index()).copied().unwrap_or(1.0)
    }

    /// Its labels as (key, value), ordered by key.
    pub fn labels(&self) -> impl ExactSizeIterator<Item = (&'a str, &'a str)> + use<'a> {
        let r = self.all.roster;
        ragged(r.column(roster::LABEL_OFFSETS), self.id.index()).map(move |i| {
            (
                r.string(roster::LABEL_KEY_OFFSETS, roster::LABEL_KEY_BYTES, i),
                r.string(roster::LABEL_VALUE_OFFSETS, roster::LABEL_VALUE_BYTES, i),
            )
        })
    }

    /// The value of one label.
    #[must_use]
    pub fn label(&self, key: &str) -> Option<&'a str> {
        self.labels().find(|&(k, _)| k == key).map(|(_, v)| v)
    }
}
