//! Racks: who stands where, and who in a rack has something free.

use policy_plugin_api::prelude::*;

use crate::demand::Demand;
use crate::first_fit::FirstFit;
use crate::gate::Pass;

/// The rack of an executor that is in none.
const NO_RACK: u32 = u32::MAX;
/// The rack of an executor that is not in the roster.
const GONE: u32 = u32::MAX - 1;

/// Executors of a rack that are tried for one task.
const MAX_PROBES: usize = 64;

/// The racks of the roster, and the free seats in them.
#[derive(Debug, Default)]
pub(super) struct Racks {
    /// The roster that this was made for.
    uids: Vec<u32>,
    rack_of: Vec<u32>,
    members: Ragged,
    /// The seats of this round, once they are needed.
    seats: Option<Ragged>,
    /// By rack: seats before this one have nothing left.
    first: Vec<usize>,
}

/// Lists by rack, one behind the other.
#[derive(Debug, Default)]
struct Ragged {
    from: Vec<usize>,
    values: Vec<u32>,
}

impl Ragged {
    /// Of (rack, value); the order of values within a rack is kept.
    fn of(racks: usize, rows: impl Iterator<Item = (u32, u32)> + Clone) -> Self {
        let mut from = vec![0; racks + 1];
        rows.clone().filter(|row| (row.0 as usize) < racks).for_each(|row| from[row.0 as usize + 1] += 1);
        (0..racks).for_each(|rack| from[rack + 1] += from[rack]);
        let (mut at, mut values) = (from.clone(), vec![0; from[racks]]);
        for (rack, value) in rows.filter(|row| (row.0 as usize) < racks) {
            values[at[rack as usize]] = value;
            at[rack as usize] += 1;
        }
        Self { from, values }
    }

    fn row(&self, rack: usize) -> &[u32] {
        &self.values[self.from[rack]..self.from[rack + 1]]
    }
}

impl Racks {
    /// A round begins. Costs a comparison, unless executors came or went.
    pub(super) fn begin(&mut self, executors: &Executors<'_>) {
        self.seats = None;
        if self.uids == executors.uids() {
            return;
        }
        self.uids = executors.uids().to_vec();
        let known = self.uids.iter().max().map_or(0, |&uid| uid as usize + 1);
        self.rack_of = vec![GONE; known];
        let mut racks = 0;
        for executor in executors.iter() {
            let rack = executor.rack_number().unwrap_or(NO_RACK);
            racks = racks.max(executor.rack_number().map_or(0, |rack| rack as usize + 1));
            self.rack_of[executor.uid().index()] = rack;
        }
        self.members = Ragged::of(racks, self.uids.iter().map(|&uid| (self.rack_of[uid as usize], uid)));
    }

    /// Whether any executor is in a rack.
    pub(super) fn are_known(&self) -> bool {
        !self.members.values.is_empty()
    }

    /// Whether the executor is in the roster.
    pub(super) fn has(&self, uid: ExecutorUid) -> bool {
        self.rack_of.get(uid.index()).is_some_and(|&rack| rack != GONE)
    }

    /// Takes one task off an executor in the rack of one of `holders`.
    pub(super) fn place(
        &mut self,
        holders: impl Iterator<Item = ExecutorUid>,
        demand: Demand,
        pass: &Pass<'_>,
        executors: &mut FirstFit<'_>,
    ) -> Option<ExecutorId> {
        for uid in holders {
            let rack = self.rack_of.get(uid.index()).map_or(usize::MAX, |&rack| rack as usize);
            let Some(seats) = self.free_in(rack, executors) else { continue };
            let slots = executors.slots();
            let fits =
                |seat: &&u32| demand.fits(&slots[**seat as usize]) && pass.allows(slots[**seat as usize].executor);
            if let Some(&seat) = seats.iter().take(MAX_PROBES).find(fits) {
                return Some(executors.take(seat as usize, demand));
            }
        }
        None
    }

    /// For each rack with something free: its executors, free or not, and how many vcores are free.
    pub(super) fn with_room<'a>(&'a mut self, executors: &FirstFit<'_>) -> impl Iterator<Item = (&'a [u32], u32)> {
        self.seat(executors);
        let (members, slots) = (&self.members, executors.slots());
        let seats = self.seats.as_ref();
        let free = move |rack: usize| -> u32 {
            let free = seats.map_or(&[][..], |seats| seats.row(rack)).iter().map(|&seat| slots[seat as usize].slots);
            free.fold(0, u32::saturating_add)
        };
        let free: Vec<u32> = (0..self.first.len()).map(free).collect();
        free.into_iter().enumerate().filter(|rack| rack.1 > 0).map(|(rack, free)| (members.row(rack), free))
    }

    fn seat(&mut self, executors: &FirstFit<'_>) {
        if self.seats.is_none() {
            let racks = self.members.from.len().saturating_sub(1);
            let rack = |slot: &AvailableTaskSlots| self.rack_of[self.uids[slot.executor.index()] as usize];
            let free = executors.slots().iter().enumerate().filter(|(_, slot)| slot.slots > 0);
            self.seats = Some(Ragged::of(racks, free.map(|(seat, slot)| (rack(slot), seat as u32))));
            self.first.clear();
            self.first.resize(racks, 0);
        }
    }

    /// The seats of a rack from the first that has something left.
    fn free_in(&mut self, rack: usize, executors: &FirstFit<'_>) -> Option<&[u32]> {
        self.seat(executors);
        let first = self.first.get_mut(rack)?;
        let seats = self.seats.as_ref()?.row(rack);
        while seats.get(*first).is_some_and(|&seat| executors.slots()[seat as usize].slots == 0) {
            *first += 1;
        }
        seats.get(*first..)
    }
}
