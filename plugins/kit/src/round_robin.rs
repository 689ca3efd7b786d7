//! `round-robin`: one task to each executor in turn, going on where the last round stopped.
//!
//! As `bind_task_round_robin` of Apache DataFusion Ballista 55 (`ballista/scheduler/src/cluster/mod.rs`) within a
//! round: one task to each executor that has room, then again from the first. It differs in where a round starts.
//! Ballista orders executors by free vcores and starts every round at the first, so that with few tasks a round the
//! same executors are served again and again; here executors go by name, and a round starts behind the executor that
//! was served last.

use std::ops::ControlFlow;
use std::sync::{Mutex, MutexGuard, PoisonError};

use policy_plugin_api::prelude::*;

use crate::demand::{Demand, Hints};
use crate::gate::{Gate, Pass};
use crate::pending::{MAX_PASSED_OVER, draw, each_pending};

/// The version of the exported state: the name of the executor served last, UTF-8.
pub const STATE_VERSION: u32 = 1;

/// One task to each executor in turn.
///
/// Spreads load evenly in number of tasks; not for tasks of very different length, nor for data locality. Work
/// conserving; deterministic for the same sequence of rounds. Keeps one name as state, and hands it over. Cost:
/// O(executors with something free + bindings).
#[derive(Debug, Default)]
pub struct RoundRobin {
    /// The name of the executor served last. A name and not a number: it has its place in the order even after the
    /// executor is gone, and means the same after a restart.
    last_served: Mutex<String>,
}

impl RoundRobin {
    fn last_served(&self) -> MutexGuard<'_, String> {
        self.last_served.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FromConfig for RoundRobin {
    const NAME: &'static str = "round-robin";
    const OBSERVES: bool = false;
    type Config = NoConfig;

    fn from_config(_: NoConfig) -> Result<Self> {
        Ok(Self::default())
    }
}

#[async_trait]
impl DistributionPolicy for RoundRobin {
    async fn bind_tasks(
        &self,
        slots: &mut [AvailableTaskSlots],
        running_jobs: &RunningJobs<'_>,
    ) -> Result<Vec<BoundTask>> {
        let mut last_served = self.last_served();
        let name = |slot: &AvailableTaskSlots| running_jobs.executors().get(slot.executor).name();
        if !last_served.is_empty() {
            let behind = slots.partition_point(|slot| name(slot) <= last_served.as_str());
            slots.rotate_left(behind);
        }
        let mut answer = Vec::with_capacity(running_jobs.bindable());
        let mut gate = Gate::new(running_jobs);
        let mut turns = Turns::new(slots);
        for stage in running_jobs.stages() {
            if turns.is_exhausted() {
                break;
            }
            turns.bind(&stage, &mut gate, &mut answer);
        }
        if let Some(last) = answer.last() {
            last_served.clear();
            last_served.push_str(running_jobs.executors().get(last.executor).name());
        }
        Ok(answer)
    }

    fn export_state(&self) -> Option<PolicyState> {
        let name = self.last_served();
        (!name.is_empty()).then(|| PolicyState { version: STATE_VERSION, bytes: name.as_bytes().to_vec() })
    }

    fn import_state(&self, state: &PolicyState) -> Result<()> {
        if state.version != STATE_VERSION {
            let version = state.version;
            return Err(PolicyError::declined(format!("state version {version}, this policy reads {STATE_VERSION}")));
        }
        let name = String::from_utf8(state.bytes.clone())
            .map_err(|_| PolicyError::declined("the state is not the name of an executor"))?;
        *self.last_served() = name;
        Ok(())
    }
}

/// Whose turn it is.
///
/// Tasks of one vcore that may go anywhere are dealt in whole sweeps over the executors, without looking at counts: an
/// executor drops out once as many sweeps are done as the least of them had free. Of stages that need more care, each
/// task looks for the next executor where it fits.
struct Turns<'s> {
    slots: &'s mut [AvailableTaskSlots],
    /// Executors still in the game: the front part of `slots`.
    len: usize,
    /// Whose turn is next.
    at: usize,
    /// Sweeps dealt that are not yet taken off the counts.
    sweeps: u32,
    /// The lowest count among the executors in the game.
    lowest: u32,
    /// Whether counts are exact and each task is placed on its own.
    careful: bool,
    /// Executors in the game that have nothing left; only while `careful`.
    drained: usize,
    hints: Hints,
    passed_over: u32,
}

impl<'s> Turns<'s> {
    fn new(slots: &'s mut [AvailableTaskSlots]) -> Self {
        let len = slots.len();
        let mut this = Self {
            slots,
            len,
            at: 0,
            sweeps: 0,
            lowest: 0,
            careful: false,
            drained: 0,
            hints: Hints::default(),
            passed_over: 0,
        };
        this.settle();
        this
    }

    fn is_exhausted(&self) -> bool {
        self.drained == self.len
    }

    fn bind(&mut self, stage: &Stage<'_>, gate: &mut Gate<'_>, answer: &mut Vec<BoundTask>) {
        let pass = gate.pass(stage.id());
        // Looking for the few in every turn would cost more than finding them once.
        if stage.pending_count() > 1 && pass.allows_at_most(self.len / 4) {
            return self.bind_among(stage, gate, &pass, answer);
        }
        self.bind_open(stage, gate, &pass, answer);
    }

    fn bind_open(&mut self, stage: &Stage<'_>, gate: &mut Gate<'_>, pass: &Pass<'_>, answer: &mut Vec<BoundTask>) {
        let uniform = Demand::of_stage(stage);
        if uniform == Some(Demand::UNIT) && pass.allows_all() && self.can_deal(stage.pending_count() as usize) {
            let bound = self.deal(stage, gate.room(pass), answer);
            return gate.take(pass, bound);
        }
        self.be_careful();
        let _ = self.place_each(stage, uniform.is_some(), gate, pass, answer);
    }

    /// Whether whole sweeps can be dealt, or could be again at a cost that so many tasks are worth.
    fn can_deal(&mut self, tasks: usize) -> bool {
        if self.careful {
            if tasks < self.len {
                return false;
            }
            // Counts are exact; a sweep begins with whose turn it is.
            self.slots[..self.len].rotate_left(self.at);
            self.at = 0;
            self.settle();
            self.careful = false;
        }
        true
    }

    fn be_careful(&mut self) {
        if !self.careful {
            self.settle();
            self.careful = true;
        }
    }

    /// Deals tasks of one vcore, no more than `room`; returns how many.
    fn deal(&mut self, stage: &Stage<'_>, room: u32, answer: &mut Vec<BoundTask>) -> u32 {
        let (mut pending, mut left) = (draw(stage), room);
        while self.len > 0 && left > 0 && !pending.is_done() {
            let turn = &self.slots[self.at..self.len];
            let (first, length) = pending.run(u32::try_from(turn.len()).unwrap_or(u32::MAX).min(left));
            let tasks = first..first + length;
            answer.extend(tasks.zip(turn).map(|(task, slot)| BoundTask::new(TaskId(task), slot.executor)));
            left -= length;
            self.at += length as usize;
            if self.at == self.len {
                self.at = 0;
                self.sweeps += 1;
                if self.sweeps == self.lowest {
                    self.settle();
                }
            }
        }
        room - left
    }

    /// Places each task by itself: mostly whose turn it is has room.
    fn place_each(
        &mut self,
        stage: &Stage<'_>,
        uniform: bool,
        gate: &mut Gate<'_>,
        pass: &Pass<'_>,
        answer: &mut Vec<BoundTask>,
    ) -> ControlFlow<()> {
        let all = gate.room(pass);
        let (mut room, mut at) = (all, self.at);
        let ended = each_pending(stage, |task, demand| {
            if let Some(whose) = self.slots[..self.len].get_mut(at)
                && demand.vcores <= room
                && demand.fits(whose)
                && pass.allows(whose.executor)
            {
                demand.take(whose, 1);
                room -= demand.vcores;
                answer.push(BoundTask::new(task, whose.executor));
                at += 1;
                if at == self.len {
                    at = 0;
                }
                // Only who has nothing left.
                if whose.slots == 0 {
                    at = self.drain_one(at);
                }
                return ControlFlow::Continue(());
            }
            if room == 0 || self.is_exhausted() {
                return ControlFlow::Break(());
            }
            self.at = at;
            let placed = if demand.vcores <= room { self.place(demand, pass) } else { None };
            at = self.at;
            let Some(executor) = placed else {
                self.passed_over += 1;
                let stop = uniform || self.passed_over >= MAX_PASSED_OVER;
                return if stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
            };
            room -= demand.vcores;
            answer.push(BoundTask::new(task, executor));
            ControlFlow::Continue(())
        });
        self.at = at;
        gate.take(pass, all - room);
        ended
    }

    /// Notes that an executor has nothing left; returns whose turn is next, of `at`.
    #[inline(never)]
    fn drain_one(&mut self, at: usize) -> usize {
        self.at = at;
        self.drained += 1;
        if self.drained * 2 > self.len {
            self.settle();
        }
        self.at
    }

    /// Binds a stage that may use few of the executors: takes turns among these alone.
    fn bind_among(&mut self, stage: &Stage<'_>, gate: &mut Gate<'_>, pass: &Pass<'_>, answer: &mut Vec<BoundTask>) {
        self.be_careful();
        let order = (self.at..self.len).chain(0..self.at);
        let places: Vec<usize> = order.filter(|&i| pass.allows(self.slots[i].executor)).collect();
        let mut slots: Vec<AvailableTaskSlots> = places.iter().map(|&i| self.slots[i]).collect();
        let from = answer.len();
        let mut among = Turns { passed_over: self.passed_over, ..Turns::new(&mut slots) };
        among.bind_open(stage, gate, &pass.of_groups(), answer);
        among.be_careful();
        self.passed_over = among.passed_over;
        // Who has something left is still in the game there, in the same order.
        let mut left = among.slots[..among.len].iter().peekable();
        for &place in &places {
            let slot = &mut self.slots[place];
            let had = slot.slots > 0;
            match left.next_if(|l| l.executor == slot.executor) {
                Some(left) => *slot = *left,
                None => slot.slots = 0,
            }
            self.drained += usize::from(had && slot.slots == 0);
        }
        if let Some(last) = answer[from..].last() {
            let served = places.iter().find(|&&place| self.slots[place].executor == last.executor);
            self.at = served.map_or(self.at, |place| (place + 1) % self.len);
        }
        if self.drained * 2 > self.len {
            self.settle();
        }
    }

    /// Places a task on the next executor where it fits.
    #[inline(never)]
    fn place(&mut self, demand: Demand, pass: &Pass<'_>) -> Option<ExecutorId> {
        if pass.allows_all() && self.hints.start(demand) > 0 {
            return None;
        }
        let fits = |s: &AvailableTaskSlots| demand.fits(s) && pass.allows(s.executor);
        let (before, behind) = self.slots[..self.len].split_at(self.at);
        let found = behind.iter().position(fits).map(|i| self.at + i).or_else(|| before.iter().position(fits));
        let Some(position) = found else {
            if pass.allows_all() {
                self.hints.note(demand, usize::MAX);
            }
            return None;
        };
        let slot = &mut self.slots[position];
        demand.take(slot, 1);
        let (executor, drained) = (slot.executor, slot.slots == 0);
        self.at = if position + 1 == self.len { 0 } else { position + 1 };
        if drained {
            self.drain_one(self.at);
        }
        Some(executor)
    }

    /// Makes the counts exact and takes executors with nothing left out of the game. Each removes half of them or ends
    /// a level of the sweeps, so that all of a round's calls together cost no more than its bindings.
    fn settle(&mut self) {
        let (mut kept, mut at, mut lowest) = (0, 0, u32::MAX);
        for i in 0..self.len {
            let mut slot = self.slots[i];
            slot.slots -= self.sweeps + u32::from(!self.careful && i < self.at);
            if slot.slots > 0 {
                lowest = lowest.min(slot.slots);
                at += usize::from(i < self.at);
                self.slots[kept] = slot;
                kept += 1;
            }
        }
        (self.len, self.lowest, self.sweeps, self.drained) = (kept, lowest, 0, 0);
        self.at = if at == kept { 0 } else { at };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_state_is_refused_and_known_state_comes_back() {
        let policy = RoundRobin::default();
        assert_eq!(policy.export_state(), None);
        let state = PolicyState { version: STATE_VERSION, bytes: b"executor-7".to_vec() };
        policy.import_state(&state).unwrap();
        assert_eq!(policy.export_state(), Some(state));
        assert!(policy.import_state(&PolicyState { version: 2, bytes: vec![] }).is_err());
        assert!(policy.import_state(&PolicyState { version: 1, bytes: vec![0xff] }).is_err());
    }
}
