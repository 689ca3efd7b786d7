//! The executors that have something free, drawn from at random and counted down.

use policy_plugin_api::{AvailableTaskSlots, ExecutorId};

use crate::demand::Demand;

const GONE: u32 = u32::MAX;

/// See the module. Executors are named by their position in the slots of the round.
#[derive(Debug)]
pub(super) struct Alive<'s> {
    slots: &'s mut [AvailableTaskSlots],
    alive: Vec<u32>,
    /// Where each position stands in `alive`.
    at: Vec<u32>,
    random: u64,
}

impl<'s> Alive<'s> {
    pub(super) fn new(slots: &'s mut [AvailableTaskSlots], seed: u64) -> Self {
        let alive: Vec<u32> = (0..slots.len() as u32).collect();
        // Mixed: seeds of rounds that follow each other may be near each other.
        Self { at: alive.clone(), alive, slots, random: mix(seed) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.alive.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.alive.len()
    }

    pub(super) fn positions(&self) -> &[u32] {
        &self.alive
    }

    #[inline]
    pub(super) fn slot(&self, position: u32) -> &AvailableTaskSlots {
        &self.slots[position as usize]
    }

    /// The position of an executor that still has something free.
    pub(super) fn position(&self, executor: ExecutorId) -> Option<u32> {
        // Where every executor has something free, they stand at their own number.
        let own = executor.index();
        let position = match self.slots.get(own) {
            Some(slot) if slot.executor == executor => own,
            _ => self.slots.binary_search_by_key(&executor, |slot| slot.executor).ok()?,
        };
        (self.at[position] != GONE).then_some(position as u32)
    }

    /// One of them, each as likely as the next. There must be one.
    #[inline]
    pub(super) fn draw(&mut self) -> u32 {
        // wyrand (Wang Yi): one multiplication a number.
        self.random = self.random.wrapping_add(0xa076_1d64_78bd_642f);
        let product = u128::from(self.random) * u128::from(self.random ^ 0xe703_7ed1_a0b4_28db);
        let number = (product >> 64) as u64 ^ product as u64;
        self.alive[((u128::from(number) * self.alive.len() as u128) >> 64) as usize]
    }

    /// Takes one task off.
    #[inline]
    pub(super) fn take(&mut self, position: u32, demand: Demand) -> ExecutorId {
        let slot = &mut self.slots[position as usize];
        demand.take(slot, 1);
        let executor = slot.executor;
        if slot.slots == 0 {
            let at = std::mem::replace(&mut self.at[position as usize], GONE);
            self.alive.swap_remove(at as usize);
            if let Some(&moved) = self.alive.get(at as usize) {
                self.at[moved as usize] = at;
            }
        }
        executor
    }
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
#[inline]
pub(super) fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}
