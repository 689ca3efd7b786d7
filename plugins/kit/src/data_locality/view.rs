//! A task's holders as this policy counts them: the first few, and which of them are worth waiting for.

use policy_plugin_api::prelude::*;

/// How to look at holders in this round.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'k> {
    /// How many holders of a task count.
    pub(super) holders: usize,
    /// The least share of a task's bytes that is worth waiting for, in percent.
    pub(super) min_share_percent: u32,
    /// Where an executor stands among the free ones, by uid; [`NOWHERE`] for the others.
    pub(super) seat_of: &'k [u32],
}

/// Not among the free executors.
pub(super) const NOWHERE: u32 = u32::MAX;

/// Which holders of a task count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Worth {
    /// Those with at least so many bytes.
    pub(super) least_bytes: u64,
    /// Whether one of them is worth waiting for; otherwise all count, as long as there is no wait.
    pub(super) waits: bool,
}

impl<'k> View<'k> {
    /// What is worth waiting for.
    pub(super) fn worth(self, stage: &Stage<'_>, task: u32) -> Worth {
        let (mut largest, mut all) = (0, 0u64);
        for (_, bytes) in stage.task(task).holders() {
            largest = largest.max(bytes);
            all = all.saturating_add(bytes);
        }
        let percent = u64::from(self.min_share_percent);
        let least_bytes = (all / 100 * percent + (all % 100 * percent).div_ceil(100)).max(1);
        if least_bytes <= largest { Worth { least_bytes, waits: true } } else { Worth { least_bytes: 1, waits: false } }
    }

    /// The first holders with at least so many bytes, largest first.
    #[inline]
    pub(super) fn uids<'a>(
        self,
        stage: &Stage<'a>,
        task: u32,
        least_bytes: u64,
    ) -> impl Iterator<Item = (ExecutorUid, u64)> + use<'a> {
        stage.task(task).holders().take(self.holders).take_while(move |&(_, bytes)| bytes >= least_bytes)
    }

    /// The seats of the first holders, largest first, as far as they have something free; if `only_worth`, of those
    /// that are worth waiting for, or of all where none is.
    #[inline]
    pub(super) fn seats<'a, 's>(
        self,
        stage: &'s Stage<'a>,
        task: u32,
        only_worth: bool,
    ) -> impl Iterator<Item = (usize, u64)> + use<'a, 's, 'k> {
        let seat = move |uid: ExecutorUid| self.seat_of.get(uid.index()).copied().filter(|&seat| seat != NOWHERE);
        // The largest holder counts in any case: what the others must have is computed when it comes to them.
        let mut least_bytes = if only_worth { None } else { Some(1) };
        let counts = move |&(rank, (_, bytes)): &(usize, (ExecutorUid, u64))| match rank {
            0 => bytes > 0,
            _ => bytes >= *least_bytes.get_or_insert_with(|| self.worth(stage, task).least_bytes),
        };
        let holders = stage.task(task).holders().take(self.holders).enumerate().take_while(counts);
        holders.filter_map(move |(_, (uid, bytes))| Some((seat(uid)? as usize, bytes)))
    }
}
