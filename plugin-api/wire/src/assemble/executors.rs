//! The executor rows of rounds that follow each other: what changed is patched, the rest stays where it is.

use std::sync::Arc;

use super::{Clock, Roster, Round};
use crate::block::{BlockKind, BlockWriter};
use crate::columns::round;

/// What is free on each executor, kept from round to round by an embedder whose rounds change little at a time.
///
/// With [`RoundBuilder::finish_with`](super::RoundBuilder::finish_with), a round costs O(changed executors + jobs +
/// stages + runs of pending tasks) instead of O(executors + …), as long as nobody holds on to the round before; where
/// somebody does, its rows are copied. The round also lists the executors that have something free, so that nobody need
/// look for them.
#[derive(Debug, Default)]
pub struct ExecutorRows {
    free_vcores: Vec<u32>,
    free_memory_mib: Vec<u64>,
    running_tasks: Vec<u32>,
    /// Executors with free vcores, ascending.
    free: Vec<u32>,
    free_total: u64,
    /// Rows that differ from those of the last round.
    changed: Vec<u32>,
    is_changed: Vec<bool>,
    last: Option<Last>,
}

/// The last round, and how many words of it hold executor rows.
#[derive(Debug)]
struct Last {
    round: Arc<Round>,
    head_words: usize,
}

impl ExecutorRows {
    /// Starts anew: another roster. One row an executor of it; `free_memory_mib` is empty where memory is not accounted
    /// for.
    ///
    /// # Panics
    /// When the rows are not equally many.
    pub fn reset(&mut self, free_vcores: &[u32], free_memory_mib: &[u64], running_tasks: &[u32]) {
        let n = free_vcores.len();
        assert!(running_tasks.len() == n && (free_memory_mib.is_empty() || free_memory_mib.len() == n), "equally many");
        self.free_vcores.clear();
        self.free_vcores.extend_from_slice(free_vcores);
        self.free_memory_mib.clear();
        self.free_memory_mib.extend_from_slice(free_memory_mib);
        self.running_tasks.clear();
        self.running_tasks.extend_from_slice(running_tasks);
        self.free.clear();
        self.free.extend((0..n as u32).filter(|&i| free_vcores[i as usize] > 0));
        self.free_total = free_vcores.iter().map(|&v| u64::from(v)).sum();
        self.changed.clear();
        self.is_changed.clear();
        self.is_changed.resize(n, false);
        self.last = None;
    }

    /// Sets the row of one executor, by its place in the roster. Costs O(1), and a shift in the list of free executors
    /// when it becomes free or full.
    ///
    /// # Panics
    /// When there is no such row.
    #[inline]
    pub fn set(&mut self, at: usize, free_vcores: u32, free_memory_mib: u64, running_tasks: u32) {
        let before = std::mem::replace(&mut self.free_vcores[at], free_vcores);
        self.running_tasks[at] = running_tasks;
        if let Some(memory) = self.free_memory_mib.get_mut(at) {
            *memory = free_memory_mib;
        }
        self.free_total = self.free_total - u64::from(before) + u64::from(free_vcores);
        if (before > 0) != (free_vcores > 0) {
            match (self.free.binary_search(&(at as u32)), free_vcores > 0) {
                (Err(place), true) => self.free.insert(place, at as u32),
                (Ok(place), false) => drop(self.free.remove(place)),
                _ => {}
            }
        }
        if !std::mem::replace(&mut self.is_changed[at], true) {
            self.changed.push(at as u32);
        }
    }

    /// How many executors there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.free_vcores.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.free_vcores.is_empty()
    }

    /// A round with these rows: `write` adds the rest to the block and to the list of stages.
    pub(super) fn close(
        &mut self,
        roster: &Arc<Roster>,
        clock: Clock,
        write: impl FnOnce(&mut BlockWriter, &mut Vec<Arc<super::StageTasks>>),
    ) -> Arc<Round> {
        let mut last = self.last.take().filter(|l| Arc::ptr_eq(l.round.roster(), roster));
        let unused = last.as_mut().and_then(|l| Some((Arc::get_mut(&mut l.round)?, l.head_words)));
        if let Some((round, head_words)) = unused {
            let mut w = BlockWriter::reopen(round.take_body(), head_words);
            self.patch(&mut w, clock);
            let stages = round.stages_mut();
            stages.clear();
            self.write_free(&mut w);
            write(&mut w, stages);
            round.set(w.finish(), clock);
        } else {
            let mut w = BlockWriter::new(BlockKind::Round, round::COUNT);
            w.put(round::CLOCK, &[clock.now_us, clock.seed, clock.number]);
            w.put(round::FREE_VCORES, &self.free_vcores);
            w.put(round::FREE_MEMORY_MIB, &self.free_memory_mib);
            w.put(round::RUNNING_TASKS, &self.running_tasks);
            let (head_words, mut stages) = (w.len_words(), Vec::new());
            self.write_free(&mut w);
            write(&mut w, &mut stages);
            let round = Arc::new(Round::new(Arc::clone(roster), w.finish(), stages, clock));
            last = Some(Last { round, head_words });
        }
        self.changed.drain(..).for_each(|i| self.is_changed[i as usize] = false);
        let last = self.last.insert(last.expect("reused or made"));
        Arc::clone(&last.round)
    }

    fn patch(&self, w: &mut BlockWriter, clock: Clock) {
        w.column_mut::<u64>(round::CLOCK).copy_from_slice(&[clock.now_us, clock.seed, clock.number]);
        let free_vcores = w.column_mut::<u32>(round::FREE_VCORES);
        self.changed.iter().for_each(|&i| free_vcores[i as usize] = self.free_vcores[i as usize]);
        let running = w.column_mut::<u32>(round::RUNNING_TASKS);
        self.changed.iter().for_each(|&i| running[i as usize] = self.running_tasks[i as usize]);
        if !self.free_memory_mib.is_empty() {
            let memory = w.column_mut::<u64>(round::FREE_MEMORY_MIB);
            self.changed.iter().for_each(|&i| memory[i as usize] = self.free_memory_mib[i as usize]);
        }
    }

    fn write_free(&self, w: &mut BlockWriter) {
        w.put(round::FREE_TOTAL, &[self.free_total]);
        w.put(round::FREE_EXECUTORS, &self.free);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ExecutorSpec, JobRow, RoundBuilder, StageRow, StageTasks, UidTable};
    use super::*;

    fn list(builder: &mut RoundBuilder, pending: u32) {
        let tenant = builder.tenant("t", 0, 0);
        builder.job(JobRow { key: 1, id: "j", tenant, priority: 0, submit_us: 0, vcores_in_use: 0 });
        let tasks = StageTasks::uniform(9, 1);
        builder.stage(StageRow { number: 0, tasks, pending, running: 0, runnable_since_us: 0 }, [(0, pending)]);
    }

    #[derive(Debug, PartialEq)]
    struct Seen {
        columns: (Vec<u32>, Vec<u64>, Vec<u32>),
        slots: Vec<(u32, u32, u64)>,
        bindable: usize,
        now_us: u64,
        pending: u64,
    }

    /// What a policy sees of a round.
    fn seen(round: &Round) -> Seen {
        let stages = round.stage_refs();
        let view = round.view(&stages);
        let (executors, mut slots) = (view.executors(), Vec::new());
        view.available_slots(&mut slots);
        let slots = slots.iter().map(|s| (s.executor.0, s.slots, s.memory_mib)).collect();
        let (memory, running) = (executors.free_memory_mib().to_vec(), executors.running_tasks().to_vec());
        Seen {
            columns: (executors.free_vcores().to_vec(), memory, running),
            slots,
            bindable: view.bindable(),
            now_us: view.now_us(),
            pending: view.pending_tasks(),
        }
    }

    #[test]
    fn patched_rounds_are_those_built_anew() {
        let specs: Vec<ExecutorSpec> = (0..50).map(|i| ExecutorSpec::new(format!("e{i:02}"), 4)).collect();
        let roster = Roster::new(&specs, &mut UidTable::default());
        let (mut patched, mut anew) = (RoundBuilder::new(), RoundBuilder::new());
        let (mut vcores, mut memory, mut running) = (vec![4u32; 50], vec![100u64; 50], vec![0u32; 50]);
        let mut rows = ExecutorRows::default();
        rows.reset(&vcores, &memory, &running);
        let (mut state, mut held) = (3u64, None);
        for number in 0..400u64 {
            for _ in 0..number % 7 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let at = (state >> 33) as usize % 50;
                (vcores[at], memory[at], running[at]) = ((state >> 40) as u32 % 5, state >> 50, (state >> 60) as u32);
                rows.set(at, vcores[at], memory[at], running[at]);
            }
            let clock = Clock { now_us: number, seed: 1, number };
            let pending = (number % 9) as u32 + 1;
            list(&mut patched, pending);
            list(&mut anew, pending);
            anew.free_vcores(&vcores).free_memory_mib(&memory).running_tasks(&running);
            let (a, b) = (patched.finish_with(&mut rows, &roster, clock), anew.finish(&roster, clock));
            assert_eq!(seen(&a), seen(&b), "round {number}");
            // Now and then somebody keeps a round: it must not change under them.
            if number % 10 == 0 {
                held = Some((Arc::clone(&a), seen(&a)));
            }
            let (kept, before) = held.as_ref().unwrap();
            assert_eq!(&seen(kept), before);
        }
    }

    #[test]
    fn a_round_that_nobody_holds_is_used_again() {
        let roster = Roster::new(&[ExecutorSpec::new("e", 1)], &mut UidTable::default());
        let (mut rows, mut builder) = (ExecutorRows::default(), RoundBuilder::new());
        rows.reset(&[1], &[], &[0]);
        let first = Arc::as_ptr(&builder.finish_with(&mut rows, &roster, Clock::default()));
        let second = builder.finish_with(&mut rows, &roster, Clock::default());
        assert_eq!(first, Arc::as_ptr(&second));
        assert_ne!(first, Arc::as_ptr(&builder.finish_with(&mut rows, &roster, Clock::default())));
    }
}
