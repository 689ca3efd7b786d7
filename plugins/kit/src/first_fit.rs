//! Fills executors in a given order, one after another: the whole of bias, and what other policies do with tasks that
//! their own rule says nothing about.

use std::ops::ControlFlow;

use policy_plugin_api::round::Stage;
use policy_plugin_api::{AvailableTaskSlots, BoundTask, ExecutorId};

use crate::demand::{Demand, Hints};
use crate::gate::{Gate, Pass};
use crate::pending::{MAX_PASSED_OVER, draw, each_pending};

/// The executors of a round in the order in which they are filled, counted down as tasks are bound.
#[derive(Debug)]
pub struct FirstFit<'s> {
    slots: &'s mut [AvailableTaskSlots],
    /// Up to here the executors are in order; what lies behind is put in order when it is needed.
    ordered: usize,
    /// Every executor before this one is used up.
    first: usize,
    hints: Hints,
    passed_over: u32,
}

/// What an executor has left when there is none.
const NOTHING_FREE: AvailableTaskSlots = AvailableTaskSlots { executor: ExecutorId(u32::MAX), slots: 0, memory_mib: 0 };

fn most_free(slot: &AvailableTaskSlots) -> (std::cmp::Reverse<u32>, ExecutorId) {
    (std::cmp::Reverse(slot.slots), slot.executor)
}

impl<'s> FirstFit<'s> {
    /// Fills in the order of `slots`.
    #[must_use]
    pub fn new(slots: &'s mut [AvailableTaskSlots]) -> Self {
        Self { ordered: slots.len(), slots, first: 0, hints: Hints::default(), passed_over: 0 }
    }

    /// Fills the executor with most free vcores first; of equals, the first by name. Where few `tasks` meet many
    /// executors, only as many executors are sorted as the tasks are likely to need.
    #[must_use]
    pub fn most_free_first(slots: &'s mut [AvailableTaskSlots], tasks: usize) -> Self {
        let likely = tasks.max(64);
        if likely < slots.len() / 4 {
            slots.select_nth_unstable_by_key(likely, most_free);
            slots[..likely].sort_unstable_by_key(most_free);
            return Self { ordered: likely, ..Self::new(slots) };
        }
        slots.sort_unstable_by_key(most_free);
        Self::new(slots)
    }

    /// The executors with what they have left; in order and at positions that stay, once [`FirstFit::order_all`] was
    /// called.
    #[inline]
    #[must_use]
    pub fn slots(&self) -> &[AvailableTaskSlots] {
        self.slots
    }

    /// Puts all executors in order; returns whether they were not before.
    pub fn order_all(&mut self) -> bool {
        let rest = &mut self.slots[self.ordered..];
        rest.sort_unstable_by_key(most_free);
        self.ordered += rest.len();
        !rest.is_empty()
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
                let _ = self.bind_mixed(stage, gate, pass, answer);
            }
        }
    }

    /// Takes one task off the first executor where it fits. `own` replaces the hints of the round for a stage that may
    /// not use every executor.
    pub fn place(&mut self, demand: Demand, pass: &Pass<'_>, own: Option<&mut Hints>) -> Option<ExecutorId> {
        if self.is_exhausted() {
            return None;
        }
        self.place_from(self.first, demand, pass, own)
    }

    /// As [`FirstFit::place`], where the task fits on no executor before `start`.
    #[inline(never)]
    fn place_from(
        &mut self,
        start: usize,
        demand: Demand,
        pass: &Pass<'_>,
        own: Option<&mut Hints>,
    ) -> Option<ExecutorId> {
        let known = own.as_deref().unwrap_or(&self.hints).start(demand);
        let found = self.find(known.max(start), demand, pass);
        own.unwrap_or(&mut self.hints).note(demand, found.unwrap_or(self.slots.len()));
        found.map(|position| self.take(position, demand))
    }

    fn find(&mut self, start: usize, demand: Demand, pass: &Pass<'_>) -> Option<usize> {
        let fits = |s: &AvailableTaskSlots| demand.fits(s) && pass.allows(s.executor);
        let found = self.slots.get(start..self.ordered).and_then(|slots| slots.iter().position(fits));
        if let Some(position) = found {
            return Some(start + position);
        }
        let start = start.max(self.ordered);
        if !self.order_all() {
            return None;
        }
        self.slots[start..].iter().position(fits).map(|position| start + position)
    }

    /// Most tasks go to the executor that is being filled; for the others, what is known of their kind says where to look.
    fn bind_mixed(
        &mut self,
        stage: &Stage<'_>,
        gate: &mut Gate<'_>,
        pass: &Pass<'_>,
        answer: &mut Vec<BoundTask>,
    ) -> ControlFlow<()> {
        let all = gate.room(pass);
        let (mut room, mut own) = (all, (!pass.allows_all()).then(Hints::default));
        let mut at = self.open_from(self.first, pass);
        let mut free = self.slots.get(at).copied().unwrap_or(NOTHING_FREE);
        let ended = each_pending(stage, |task, demand| {
            if demand.vcores <= room && demand.fits(&free) {
                demand.take(&mut free, 1);
                room -= demand.vcores;
                answer.push(BoundTask::new(task, free.executor));
                if free.slots == 0 {
                    self.slots[at] = free;
                    at = self.open_from(at, pass);
                    free = self.slots.get(at).copied().unwrap_or(NOTHING_FREE);
                }
                return ControlFlow::Continue(());
            }
            let Some(slot) = self.slots.get_mut(at).filter(|_| room > 0) else { return ControlFlow::Break(()) };
            *slot = free;
            let fits = demand.vcores <= room;
            let behind = if fits { self.place_from(at + 1, demand, pass, own.as_mut()) } else { None };
            let Some(executor) = behind else { return self.pass_over() };
            room -= demand.vcores;
            answer.push(BoundTask::new(task, executor));
            ControlFlow::Continue(())
        });
        if let Some(slot) = self.slots.get_mut(at) {
            *slot = free;
        }
        gate.take(pass, all - room);
        ended
    }

    /// Counts a task that fits nowhere.
    fn pass_over(&mut self) -> ControlFlow<()> {
        self.passed_over += 1;
        if self.passed_over >= MAX_PASSED_OVER { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// The first executor from `position` on that has something free and is allowed.
    #[inline(never)]
    fn open_from(&mut self, position: usize, pass: &Pass<'_>) -> usize {
        self.find(position, Demand::UNIT, pass).unwrap_or(self.slots.len())
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
            if at == self.ordered && !self.order_all() {
                break;
            }
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
