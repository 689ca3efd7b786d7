//! A task's holders as this policy counts them: the first few, and which of them are worth waiting for.

use policy_plugin_api::prelude::*;
use policy_plugin_api::round::Holders;

/// How to look at holders.
#[derive(Clone, Copy, Debug)]
pub(super) struct View {
    /// How many holders of a task count.
    pub(super) holders: usize,
    /// The least share of a task's bytes that is worth waiting for, in percent.
    pub(super) min_share_percent: u32,
}

/// Which holders of a task count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Worth {
    /// Those with at least so many bytes.
    pub(super) least_bytes: u64,
    /// Whether one of them is worth waiting for; otherwise all count, as long as there is no wait.
    pub(super) waits: bool,
}

/// The holders of a stage's tasks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held<'a> {
    view: View,
    holders: Holders<'a>,
}

impl View {
    /// The holders of a stage's tasks, so seen.
    pub(super) fn of<'a>(self, stage: &Stage<'a>) -> Held<'a> {
        Held { view: self, holders: stage.holders() }
    }
}

impl<'a> Held<'a> {
    /// What is worth waiting for.
    pub(super) fn worth(&self, task: u32) -> Worth {
        let (mut largest, mut all) = (0, 0u64);
        for &bytes in self.holders.of(task).1 {
            largest = largest.max(bytes);
            all = all.saturating_add(bytes);
        }
        let percent = u64::from(self.view.min_share_percent);
        let least_bytes = (all / 100 * percent + (all % 100 * percent).div_ceil(100)).max(1);
        if least_bytes <= largest { Worth { least_bytes, waits: true } } else { Worth { least_bytes: 1, waits: false } }
    }

    /// The largest holder, where the task has any.
    #[inline(always)]
    pub(super) fn first(&self, task: u32) -> Option<(usize, u64)> {
        let (uids, bytes) = self.holders.of(task);
        let first = uids.first().zip(bytes.first()).map(|(uid, &bytes)| (uid.index(), bytes));
        first.filter(|&(_, bytes)| bytes > 0)
    }

    /// The first holders with at least so many bytes, largest first.
    #[inline]
    pub(super) fn uids(&self, task: u32, least_bytes: u64) -> impl Iterator<Item = (ExecutorUid, u64)> + use<'a> {
        let (uids, bytes) = self.holders.of(task);
        let rows = uids.iter().copied().zip(bytes.iter().copied()).take(self.view.holders);
        rows.take_while(move |&(_, bytes)| bytes >= least_bytes)
    }

    /// The first holders that count, largest first; if `only_worth`, those that are worth waiting for, or all where none
    /// is.
    #[inline]
    pub(super) fn counted(&self, task: u32, only_worth: bool) -> impl Iterator<Item = (usize, u64)> + use<'a> {
        let this = *self;
        // The largest holder counts in any case: what the others must have is computed when it comes to them.
        let mut least_bytes = if only_worth { None } else { Some(1) };
        let (uids, bytes) = self.holders.of(task);
        let rows = uids.iter().zip(bytes).take(self.view.holders).enumerate();
        let counts = move |&(rank, (_, &bytes)): &(usize, (&ExecutorUid, &u64))| match rank {
            0 => bytes > 0,
            _ => bytes >= *least_bytes.get_or_insert_with(|| this.worth(task).least_bytes),
        };
        rows.take_while(counts).map(|(_, (uid, &bytes))| (uid.index(), bytes))
    }
}
