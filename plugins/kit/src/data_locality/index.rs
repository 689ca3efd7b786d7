//! Which pending tasks have their data on an executor: kept from round to round for stages with many more pending tasks
//! than free slots, so that a round looks at free executors and not at pending tasks.
//!
//! An index covers a window: the first [`WINDOW_TASKS`] pending tasks. It is made in one go, consumed from the front,
//! and made anew further on when three quarters of it are gone: a constant number of steps a task, and a few
//! milliseconds at most in one round. It holds hints: a task is checked against the stage before it is bound.

use policy_plugin_api::prelude::*;

use super::view::View;

/// Tasks that one index covers.
pub const WINDOW_TASKS: u32 = 131_072;

/// Tasks that are indexed in one round.
const ROUND_TASKS: u32 = 2 * WINDOW_TASKS;

/// Words of 32 bits that all indexes together may take; beyond, those unused for longest are dropped.
const MAX_WORDS: usize = 16 << 20;

/// An index that no round has used for so many rounds is dropped.
const FORGET_AFTER_ROUNDS: u64 = 1_024;

/// A stage for as long as the host runs: job key, stage number, number of tasks.
type StageId = (u64, u32, u32);

/// The indexes of all stages.
#[derive(Debug, Default)]
pub(super) struct Indexes {
    all: Vec<Index>,
    round: u64,
    left_to_index: u32,
    pairs: Vec<(u32, u32)>,
}

/// The window of one stage.
#[derive(Debug)]
pub(super) struct Index {
    stage: StageId,
    used: u64,
    /// Pending tasks of the stage when the index was made, and how many of them it covers.
    pending: u32,
    covered: u32,
    /// By uid: where its tasks are among `tasks`, ascending. Those before `from` are done with.
    from: Vec<u32>,
    to: Vec<u32>,
    tasks: Vec<u32>,
    /// Tasks that no executor is worth waiting for; those before `homeless_from` are done with.
    homeless: Vec<u32>,
    homeless_from: usize,
    /// One bit a task: marked in this turn.
    marks: Vec<u64>,
}

impl Indexes {
    pub(super) fn begin(&mut self) {
        self.round += 1;
        self.left_to_index = ROUND_TASKS;
        let round = self.round;
        self.all.retain(|index| round - index.used < FORGET_AFTER_ROUNDS);
    }

    /// The index of a stage, made or moved on where necessary; `None` where this round has made enough of them.
    pub(super) fn of(&mut self, stage: &Stage<'_>, listed: u32, view: View) -> Option<&mut Index> {
        let id = (stage.job().key(), stage.number(), stage.task_count());
        let known = self.all.iter().position(|index| index.stage == id);
        if let Some(at) = known.filter(|&at| self.all[at].is_fresh(stage, listed, view)) {
            self.all[at].used = self.round;
            return self.all.get_mut(at);
        }
        let covered = listed.min(WINDOW_TASKS);
        if covered > self.left_to_index {
            return None;
        }
        self.left_to_index -= covered;
        let recycled = known.map(|at| self.all.swap_remove(at));
        let index = Index::new(id, stage, covered, view, recycled, &mut self.pairs);
        self.all.push(Index { used: self.round, ..index });
        self.shrink();
        self.all.last_mut()
    }

    fn shrink(&mut self) {
        while self.all.len() > 1 && self.all.iter().map(Index::words).sum::<usize>() > MAX_WORDS {
            let oldest = (0..self.all.len() - 1).min_by_key(|&at| (self.all[at].used, self.all[at].stage));
            drop(oldest.map(|at| self.all.remove(at)));
        }
    }
}

impl Index {
    fn new(
        id: StageId,
        stage: &Stage<'_>,
        covered: u32,
        view: View,
        recycled: Option<Index>,
        pairs: &mut Vec<(u32, u32)>,
    ) -> Self {
        let (mut from, mut tasks, mut homeless, mut marks) =
            recycled.map_or_else(Default::default, |old| (old.from, old.tasks, old.homeless, old.marks));
        from.clear();
        homeless.clear();
        pairs.clear();
        let held = view.of(stage);
        let pending = stage.pending_runs().flat_map(|(first, length)| first..first + length);
        for task in pending.take(covered as usize) {
            let worth = held.worth(task);
            if !worth.waits {
                homeless.push(task);
            }
            for (uid, _) in held.uids(task, worth.least_bytes) {
                let uid = uid.index();
                if uid >= from.len() {
                    from.resize(uid + 1, 0);
                }
                from[uid] += 1;
                pairs.push((uid as u32, task));
            }
        }
        let mut sum = 0;
        for slot in &mut from {
            sum += std::mem::replace(slot, sum);
        }
        let mut to = from.clone();
        tasks.clear();
        tasks.resize(pairs.len(), 0);
        for &(uid, task) in &*pairs {
            let at = &mut to[uid as usize];
            tasks[*at as usize] = task;
            *at += 1;
        }
        marks.clear();
        marks.resize((stage.task_count() as usize).div_ceil(64), 0);
        let pending = stage.pending_count();
        Self { stage: id, used: 0, pending, covered, from, to, tasks, homeless, homeless_from: 0, marks }
    }

    fn words(&self) -> usize {
        self.tasks.len() + self.from.len() + self.to.len() + self.homeless.len() + 2 * self.marks.len()
    }

    /// Whether more than a quarter of the window is left, and it is of these tasks.
    fn is_fresh(&self, stage: &Stage<'_>, listed: u32, view: View) -> bool {
        let gone = self.pending.checked_sub(stage.pending_count());
        let left = gone.map_or(0, |gone| self.covered.saturating_sub(gone));
        let held = view.of(stage);
        let holds = |task: &u32, uid: usize| held.uids(*task, 1).any(|(holder, _)| holder.index() == uid);
        // A few samples tell another stage of the same name from this one.
        let step = (self.from.len() / 8).max(1);
        let sampled = (0..self.from.len()).step_by(step).all(|uid| {
            let (from, to) = (self.from[uid] as usize, self.to[uid] as usize);
            self.tasks[from..to].first().is_none_or(|task| holds(task, uid))
        });
        left > listed.min(WINDOW_TASKS) / 4 && sampled
    }

    /// Marks up to `most` pending tasks that have data on an executor, and adds them to `found`. Tasks that are no
    /// longer pending are dropped on the way.
    pub(super) fn gather(&mut self, uid: u32, most: u32, pending: &Pending<'_>, found: &mut Vec<u32>) {
        let (Some(&from), Some(&to)) = (self.from.get(uid as usize), self.to.get(uid as usize)) else { return };
        let (from, to) = (from as usize, to as usize);
        let done = sift(&mut self.tasks[from..to], most, pending, |task| {
            let (word, bit) = (&mut self.marks[task as usize / 64], 1 << (task % 64));
            if *word & bit == 0 {
                *word |= bit;
                found.push(task);
            }
        });
        self.from[uid as usize] = (from + done) as u32;
    }

    /// The same for tasks that no executor is worth waiting for.
    pub(super) fn gather_homeless(&mut self, most: u32, pending: &Pending<'_>, found: &mut Vec<u32>) {
        let done = sift(&mut self.homeless[self.homeless_from..], most, pending, |task| {
            let (word, bit) = (&mut self.marks[task as usize / 64], 1 << (task % 64));
            if *word & bit == 0 {
                *word |= bit;
                found.push(task);
            }
        });
        self.homeless_from += done;
    }

    /// Whether a task is marked; marks it.
    pub(super) fn mark(&mut self, task: u32) -> bool {
        let (word, bit) = (&mut self.marks[task as usize / 64], 1 << (task % 64));
        let marked = *word & bit != 0;
        *word |= bit;
        marked
    }

    /// Takes the mark off tasks.
    pub(super) fn unmark(&mut self, tasks: impl IntoIterator<Item = u32>) {
        tasks.into_iter().for_each(|task| self.marks[task as usize / 64] &= !(1 << (task % 64)));
    }
}

/// Shows up to `most` pending tasks from the front of a list. Returns how many entries at the front are done with; what
/// is still pending stands behind them, in order.
fn sift(list: &mut [u32], most: u32, pending: &Pending<'_>, mut show: impl FnMut(u32)) -> usize {
    // How many entries are kept, and how many were looked at.
    let (mut kept, mut looked) = (0, 0);
    while looked < list.len() && kept < most as usize && list[looked] < pending.end {
        let task = list[looked];
        if pending.has(task) {
            show(task);
            // Kept ones stand together in front of what was not yet looked at, once all is done.
            list[kept] = task;
            kept += 1;
        }
        looked += 1;
    }
    list.copy_within(..kept, looked - kept);
    looked - kept
}

/// The listed pending tasks of a stage.
pub(super) struct Pending<'a> {
    stage: Stage<'a>,
    /// Behind the last of them.
    end: u32,
    /// The longest run, by far, where there is one.
    run: std::ops::Range<u32>,
}

impl<'a> Pending<'a> {
    pub(super) fn of(stage: &Stage<'a>) -> Self {
        let last = stage.pending_runs().next_back().map_or(0..0, |(first, length)| first..first.saturating_add(length));
        let end = last.end.min(stage.task_count());
        Self { stage: *stage, end, run: last.start..end }
    }

    #[inline]
    pub(super) fn has(&self, task: u32) -> bool {
        self.run.contains(&task) || self.stage.is_pending(task)
    }
}
