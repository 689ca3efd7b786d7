//! Fills executors in a given order, one after another: the whole of bias, and what other policies do with tasks that
//! their own rule says nothing about.

use policy_plugin_api::round::Stage;
use policy_plugin_api::{AvailableTaskSlots, BoundTask, ExecutorId};

use crate::demand::{Demand, Hints};
use crate::gate::{Gate, Pass};
use crate::pending::{draw, walk};

/// The executors of a round in the order in which they are filled, counted down as tasks are bound.
#[derive(Debug)]
pub struct FirstFit<'s> {
    slots: &'s mut [AvailableTaskSlots],
    /// Every executor before this one is used up.
    first: usize,
    hints: Hints,
    passed_over: u32,
}

impl<'s> FirstFit<'s> {
    /// Fills in the order of `slots`.
    #[must_use]
    pub fn new(slots: &'s mut [AvailableTaskSlots]) -> Self {
        Self { slots, first: 0, hints: Hints::default(), passed_over: 0 }
    }

    /// Fills the executor with most free vcores first; of equals, the first by name.
    #[must_use]
    pub fn most_free_first(slots: &'s mut [AvailableTaskSlots]) -> Self {
        slots.sort_unstable_by_key(|s| (std::cmp::Reverse(s.slots), s.executor));
        Self::new(slots)
    }

    /// The executors, in their order, with what they have left.
    #[inline]
    #[must_use]
    pub fn slots(&self) -> &[AvailableTaskSlots] {
        self.slots
    }

    /// Takes one task off the executor at `position`. It must fit.
    #[inline]
    pub fn take(&mut self, position: usize, demand: Demand) -> ExecutorId {
        demand.take(&mut self.slots[position], 1);
        self.slots[position].executor
    }

    /// Whether no executor has anything free.
    #[inline]
    #[must_use]
    pub fn is_exhausted(&mut self) -> bool {
        while self.slots.get(self.first).is_some_and(|s| s.slots == 0) {
            self.first += 1;
        }
        self.first == self.slots.len()
    }

    /// Binds what fits of a stage's pending tasks.
    pub fn bind(&mut self, stage: &Stage<'_>, gate: &mut Gate<'_>, pass: &Pass<'_>, answer: &mut Vec<BoundTask>) {
        match Demand::of_stage(stage) {
            Some(demand) => self.bind_uniform(stage, demand, gate, pass, answer),
            None => {
                let mut passed_over = self.passed_over;
                let mut own = (!pass.allows_all()).then(Hints::default);
                walk(stage, gate, pass, &mut passed_over, answer, |_, demand| self.place(demand, pass, own.as_mut()));
                self.passed_over = passed_over;
            }
        }
    }

    /// Takes one task off the first executor where it fits. `own` replaces the hints of the round for a stage that may
    /// not use every executor.
    pub fn place(&mut self, demand: Demand, pass: &Pass<'_>, own: Option<&mut Hints>) -> Option<ExecutorId> {
        let first = if self.is_exhausted() { return None } else { self.first };
        let hints = own.unwrap_or(&mut self.hints);
        let start = hints.start(demand).max(first);
        let fits = |s: &AvailableTaskSlots| demand.fits(s) && pass.allows(s.executor);
        let found = self.slots.get(start..)?.iter().position(fits).map(|i| start + i);
        hints.note(demand, found.unwrap_or(self.slots.len()));
        found.map(|position| self.take(position, demand))
    }

    fn bind_uniform(
        &mut self,
        stage: &Stage<'_>,
        demand: Demand,
        gate: &mut Gate<'_>,
        pass: &Pass<'_>,
        answer: &mut Vec<BoundTask>,
    ) {
        let room = gate.room(pass) / demand.vcores;
        let mut pending = draw(stage);
        let (mut at, mut bound) = (self.hints.start(demand).max(self.first), 0);
        while bound < room && !pending.is_done() {
            let Some(slot) = self.slots.get_mut(at) else { break };
            let fit = demand.times(slot);
            if fit > 0 && pass.allows(slot.executor) {
                let now = pending.bind(fit.min(room - bound), slot.executor, answer);
                demand.take(slot, now);
                bound += now;
                if now < fit {
                    break;
                }
            }
            at += 1;
        }
        if pass.allows_all() {
            self.hints.note(demand, at);
        }
        gate.take(pass, bound.saturating_mul(demand.vcores));
    }
}
