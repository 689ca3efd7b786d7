//! What a task takes of an executor, and how often that fits.

use policy_plugin_api::round::{AvailableTaskSlots, Stage};

/// What one task takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Demand {
    /// Vcores; at least one.
    pub vcores: u32,
    /// Memory in MiB.
    pub memory_mib: u32,
}

impl Demand {
    /// One vcore, no memory: what tasks take unless the round says otherwise.
    pub const UNIT: Self = Self { vcores: 1, memory_mib: 0 };

    /// What each task of a stage takes, where it is the same for all.
    #[inline]
    #[must_use]
    pub fn of_stage(stage: &Stage<'_>) -> Option<Self> {
        Some(Self { vcores: stage.uniform_vcores()?, memory_mib: stage.uniform_memory_mib()? })
    }

    /// What task `index` of a stage takes.
    #[inline]
    #[must_use]
    pub fn of_task(stage: &Stage<'_>, index: u32) -> Self {
        Self { vcores: stage.vcores_of(index), memory_mib: stage.memory_mib_of(index) }
    }

    /// Whether the task fits.
    #[inline]
    #[must_use]
    pub fn fits(self, slot: &AvailableTaskSlots) -> bool {
        slot.slots >= self.vcores && slot.memory_mib >= u64::from(self.memory_mib)
    }

    /// How many such tasks fit.
    #[inline]
    #[must_use]
    pub fn times(self, slot: &AvailableTaskSlots) -> u32 {
        let by_vcores = if self.vcores <= 1 { slot.slots } else { slot.slots / self.vcores };
        match slot.memory_mib.checked_div(u64::from(self.memory_mib)) {
            None => by_vcores,
            Some(by_memory) => u32::try_from(by_memory).map_or(by_vcores, |m| m.min(by_vcores)),
        }
    }

    /// Takes `times` tasks off what is free; no more than fit.
    #[inline]
    pub fn take(self, slot: &mut AvailableTaskSlots, times: u32) {
        debug_assert!(times <= self.times(slot), "{times} x {self:?} of {slot:?}");
        slot.slots -= self.vcores * times;
        slot.memory_mib -= u64::from(self.memory_mib) * u64::from(times);
    }
}

/// Remembers, for a few kinds of demand, up to where a search has found nothing.
///
/// Within a round what is free only shrinks, so a search in a fixed order may start where the last one for the same
/// demand stopped. Direct mapped: a clash of two kinds costs a longer search, never a wrong answer.
#[derive(Clone, Debug)]
pub struct Hints {
    entries: [(Demand, u32); Self::KINDS],
}

impl Default for Hints {
    fn default() -> Self {
        Self { entries: [(Demand::UNIT, 0); Self::KINDS] }
    }
}

impl Hints {
    /// How many kinds of demand are remembered at once.
    const KINDS: usize = 64;

    fn at(demand: Demand) -> usize {
        // Demands are mostly multiples of something: the upper bits of a product tell them apart, the lower do not.
        let mixed = demand.vcores.wrapping_mul(0x9e37_79b1) ^ demand.memory_mib.wrapping_mul(0x85eb_ca77);
        (mixed >> (u32::BITS - Self::KINDS.ilog2())) as usize
    }

    /// Before this position, nothing fits.
    #[inline]
    #[must_use]
    pub fn start(&self, demand: Demand) -> usize {
        match self.entries[Self::at(demand)] {
            (known, position) if known == demand => position as usize,
            _ => 0,
        }
    }

    /// Notes that nothing fits before `position`.
    #[inline]
    pub fn note(&mut self, demand: Demand, position: usize) {
        self.entries[Self::at(demand)] = (demand, u32::try_from(position).unwrap_or(u32::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy_plugin_api::ExecutorId;

    #[test]
    fn memory_and_vcores_both_bound_how_often_a_task_fits() {
        let slot = |slots, memory_mib| AvailableTaskSlots { executor: ExecutorId(0), slots, memory_mib };
        let demand = |vcores, memory_mib| Demand { vcores, memory_mib };
        for (demand, free, times) in [
            (Demand::UNIT, slot(7, 0), 7),
            (demand(2, 0), slot(7, 0), 3),
            (demand(1, 100), slot(7, 250), 2),
            (demand(2, 10), slot(3, 1_000), 1),
            (demand(8, 0), slot(7, 0), 0),
            (demand(1, 1), slot(7, u64::MAX), 7),
        ] {
            assert_eq!((demand.times(&free), demand.fits(&free)), (times, times > 0), "{demand:?} of {free:?}");
        }
    }

    #[test]
    fn a_hint_holds_for_its_own_demand_only() {
        let mut hints = Hints::default();
        let (two, mut others) =
            (Demand { vcores: 2, memory_mib: 0 }, (3..).map(|vcores| Demand { vcores, memory_mib: 0 }));
        let clash = others.find(|&other| Hints::at(other) == Hints::at(two)).expect("there are few places");
        hints.note(two, 9);
        assert_eq!((hints.start(two), hints.start(clash), hints.start(Demand::UNIT)), (9, 0, 0));
        hints.note(clash, 4);
        assert_eq!((hints.start(two), hints.start(clash)), (0, 4));
    }

    #[test]
    fn multiples_of_something_have_places_of_their_own() {
        let demands = (1..=4).flat_map(|vcores| (1..=4).map(move |m| Demand { vcores, memory_mib: 1_024 * m }));
        let places: std::collections::BTreeSet<usize> = demands.map(Hints::at).collect();
        assert!(places.len() >= 12, "{places:?}");
    }
}
