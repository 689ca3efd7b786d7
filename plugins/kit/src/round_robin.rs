//! `round-robin`: one task to each executor in turn, going on where the last round stopped.
//!
//! As `bind_task_round_robin` of Apache DataFusion Ballista 55 (`ballista/scheduler/src/cluster/mod.rs`) within a
//! round: one task to each executor that has room, then again from the first. It differs in where a round starts.
//! Ballista orders executors by free vcores and starts every round at the first, so that with few tasks a round the
//! same executors are served again and again; here executors go by name, and a round starts behind the executor that
//! was served last.

use std::sync::{Mutex, MutexGuard, PoisonError};

use policy_plugin_api::prelude::*;

use crate::demand::{Demand, Hints};
use crate::gate::{Gate, Pass};
use crate::pending::{draw, walk};

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
/// While tasks take one vcore under no limits, whole sweeps over the executors are dealt without looking at counts: an
/// executor drops out once as many sweeps are done as the least of them had free. From the first stage on that needs
/// more care, each task looks for the next executor where it fits.
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
        if !self.careful && gate.is_open() && Demand::of_stage(stage) == Some(Demand::UNIT) {
            return self.deal(stage, answer);
        }
        if !self.careful {
            self.settle();
            self.careful = true;
        }
        let pass = gate.pass(stage.id());
        let mut passed_over = self.passed_over;
        walk(stage, gate, &pass, &mut passed_over, answer, |_, demand| self.place(demand, &pass));
        self.passed_over = passed_over;
    }

    fn deal(&mut self, stage: &Stage<'_>, answer: &mut Vec<BoundTask>) {
        let mut pending = draw(stage);
        while self.len > 0 && !pending.is_done() {
            let turn = &self.slots[self.at..self.len];
            let (first, length) = pending.run(u32::try_from(turn.len()).unwrap_or(u32::MAX));
            let tasks = first..first + length;
            answer.extend(tasks.zip(turn).map(|(task, slot)| BoundTask::new(TaskId(task), slot.executor)));
            self.at += length as usize;
            if self.at == self.len {
                self.at = 0;
                self.sweeps += 1;
                if self.sweeps == self.lowest {
                    self.settle();
                }
            }
        }
    }

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
        let executor = slot.executor;
        self.drained += usize::from(slot.slots == 0);
        self.at = if position + 1 == self.len { 0 } else { position + 1 };
        if self.drained * 2 > self.len {
            self.settle();
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
