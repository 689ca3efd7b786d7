//! Where a granted task goes: executors filled one after another, or served in turn.

use policy_plugin_api::{AvailableTaskSlots, ExecutorId};

use policy_kit::demand::{Demand, Hints};
use policy_kit::first_fit::FirstFit;
use policy_kit::gate::Pass;

/// Executors that a round may step over while it looks for the next one in turn, for each task it may bind and for each
/// executor. Once they are used up, the rest of the round is placed first fit, which never looks at one twice in vain.
const STEPS_A_TASK: u64 = 16;
const STEPS_AN_EXECUTOR: u64 = 4;

/// The executors of a round.
#[derive(Debug)]
pub(crate) struct Placing<'s> {
    executors: FirstFit<'s>,
    ring: Option<Ring>,
}

/// Whose turn it is.
#[derive(Debug)]
struct Ring {
    at: usize,
    steps_left: u64,
    hints: Hints,
}

impl<'s> Placing<'s> {
    /// The executor with most free vcores first.
    pub(crate) fn pack(slots: &'s mut [AvailableTaskSlots], tasks: usize) -> Self {
        Self { executors: FirstFit::most_free_first(slots, tasks), ring: None }
    }

    /// One task each, in the order of `slots`.
    pub(crate) fn spread(slots: &'s mut [AvailableTaskSlots], tasks: usize) -> Self {
        let steps_left = tasks as u64 * STEPS_A_TASK + slots.len() as u64 * STEPS_AN_EXECUTOR;
        Self { executors: FirstFit::new(slots), ring: Some(Ring { at: 0, steps_left, hints: Hints::default() }) }
    }

    /// Whether no executor has anything free.
    #[inline]
    pub(crate) fn is_exhausted(&mut self) -> bool {
        self.executors.is_exhausted()
    }

    /// Takes one task off an executor; `None` when it fits nowhere. `own` are the hints of a stage that may not use
    /// every executor.
    #[inline]
    pub(crate) fn place(&mut self, demand: Demand, pass: &Pass<'_>, own: Option<&mut Hints>) -> Option<ExecutorId> {
        match &mut self.ring {
            Some(ring) if ring.steps_left > 0 => ring.place(&mut self.executors, demand, pass, own),
            _ => self.executors.place(demand, pass, own),
        }
    }
}

impl Ring {
    fn place(
        &mut self,
        executors: &mut FirstFit<'_>,
        demand: Demand,
        pass: &Pass<'_>,
        own: Option<&mut Hints>,
    ) -> Option<ExecutorId> {
        let slots = executors.slots();
        let hints = own.unwrap_or(&mut self.hints);
        if hints.start(demand) >= slots.len() {
            return None;
        }
        let fits = |slot: &AvailableTaskSlots| demand.fits(slot) && pass.allows(slot.executor);
        let (before, behind) = slots.split_at(self.at);
        let found = match behind.iter().position(fits) {
            Some(steps) => Some((self.at + steps, steps)),
            None => before.iter().position(fits).map(|position| (position, behind.len() + position)),
        };
        let Some((position, steps)) = found else {
            self.steps_left = self.steps_left.saturating_sub(slots.len() as u64);
            hints.note(demand, slots.len());
            return None;
        };
        self.steps_left = self.steps_left.saturating_sub(steps as u64);
        self.at = if position + 1 == slots.len() { 0 } else { position + 1 };
        Some(executors.take(position, demand))
    }
}
