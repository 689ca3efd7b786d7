//! The free executors of a round, how stretched each is, and the draw of a few of them.

use policy_plugin_api::prelude::*;

use super::load::InFlight;
use super::slowness::Slowness;
use crate::demand::Demand;
use crate::gate::Pass;
use crate::pending::draw;

/// One executor with something free. As small as can be: draws are random, and all seats should lie in a near cache.
#[derive(Clone, Copy, Debug)]
struct Seat {
    /// Busy vcores over capacity.
    occupancy: f32,
    /// What one vcore adds to the occupancy.
    per_vcore: f32,
    /// By what factor tasks take longer here.
    slowness: f32,
    free_vcores: u32,
}

/// What of a seat is looked at only for some tasks, and when it is taken.
#[derive(Clone, Copy, Debug)]
struct Particulars {
    free_memory_mib: i64,
    /// One over the memory of the executor, in MiB.
    per_mib: f32,
    executor: ExecutorId,
}

impl Seat {
    /// How stretched a task would be that takes so many vcores; infinite where it has no room.
    #[inline(always)]
    fn stretch(&self, vcores: u32, as_f32: f32, scarcity: f32) -> f32 {
        let stretch = self.slowness * (1.0 + self.occupancy + self.per_vcore * as_f32 + scarcity);
        if self.free_vcores >= vcores { stretch } else { f32::INFINITY }
    }

    /// How scarce here is what a task asks for: one less the alignment of Tetris (Grandl et al., SIGCOMM 2014, section
    /// 3.2), the dot product of demand and free resources as shares of capacity, over the sum of the demand's shares,
    /// so that it lies between 0 and 1 whatever the size of the task.
    #[inline(always)]
    fn scarcity(&self, more: &Particulars, (vcores, memory_mib): (f32, f32)) -> f32 {
        let (vcores, memory) = (vcores * self.per_vcore, memory_mib * more.per_mib);
        let free_vcores = self.free_vcores as f32 * self.per_vcore;
        let free_memory = more.free_memory_mib as f32 * more.per_mib;
        (1.0 - (vcores * free_vcores + memory * free_memory) / (vcores + memory)).max(0.0)
    }

    #[inline(always)]
    fn take(&mut self, vcores: u32, as_f32: f32) {
        self.free_vcores -= vcores;
        self.occupancy += self.per_vcore * as_f32;
    }
}

/// The seats of a round, in the order of its slots; kept for their memory.
#[derive(Debug, Default)]
pub(super) struct Seats {
    seats: Vec<Seat>,
    particulars: Vec<Particulars>,
    /// Those with something free, in no particular order.
    everyone: Vec<u32>,
}

impl Seats {
    /// Seats the executors with something free.
    pub(super) fn seat(
        &mut self,
        slots: &[AvailableTaskSlots],
        jobs: &RunningJobs<'_>,
        in_flight: &InFlight,
        slowness: &Slowness,
        forget_us: u64,
    ) {
        let executors = jobs.executors();
        let seat = |slot: &AvailableTaskSlots| {
            let executor = executors.get(slot.executor);
            let capacity = executor.vcores().max(1);
            let held = capacity.saturating_sub(slot.slots) as f32;
            let busy = in_flight.busy_vcores(executor.uid().0).map_or(held, |busy| busy.max(held));
            let per_vcore = 1.0 / capacity as f32;
            Seat {
                occupancy: busy * per_vcore,
                per_vcore,
                slowness: slowness.of(&executor, forget_us),
                free_vcores: slot.slots,
            }
        };
        let particulars = |slot: &AvailableTaskSlots| {
            let memory_mib = executors.get(slot.executor).memory_mib().max(slot.memory_mib).max(1);
            let free_memory_mib = i64::try_from(slot.memory_mib).unwrap_or(i64::MAX);
            Particulars { free_memory_mib, per_mib: 1.0 / memory_mib as f32, executor: slot.executor }
        };
        self.particulars.clear();
        self.particulars.extend(slots.iter().map(particulars));
        self.seats.clear();
        self.seats.extend(slots.iter().map(seat));
        self.everyone.clear();
        self.everyone.extend((0u32..).zip(slots).filter(|(_, slot)| slot.slots > 0).map(|(at, _)| at));
    }

    /// Vcores taken off each of the slots, which still say what was free at the start.
    pub(super) fn taken(&self, slots: &[AvailableTaskSlots]) -> impl Iterator<Item = u32> {
        slots.iter().zip(&self.seats).map(|(slot, seat)| slot.slots - seat.free_vcores)
    }
}

/// SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
#[derive(Debug)]
struct SplitMix64(u64);

impl SplitMix64 {
    #[inline(always)]
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A place below `len`, from half of a number: multiplied and shifted (Lemire, ACM TOMACS 29(1), 2019), which is
    /// even to len / 2^32.
    #[inline(always)]
    fn place(half: u64, len: usize) -> usize {
        (((half & 0xffff_ffff) * len as u64) >> 32) as usize
    }
}

/// Says how stretched a task would be at a seat; infinite where it may not go.
trait Rate {
    fn stretch(&self, seat: u32) -> f32;
}

/// A task of one vcore that may go anywhere.
struct OneVcore<'w>(&'w [Seat]);

impl Rate for OneVcore<'_> {
    #[inline(always)]
    fn stretch(&self, seat: u32) -> f32 {
        self.0[seat as usize].stretch(1, 1.0, 0.0)
    }
}

/// The best of `choices` members of `pool` drawn at random, with repetition; of all, where there are no more. Gives the
/// place in the pool and the stretch; `None` where none drawn will do.
#[inline(always)]
fn best(pool: &[u32], choices: u32, random: &mut SplitMix64, rate: &impl Rate) -> Option<(usize, f32)> {
    let mut found = (0, f32::INFINITY);
    let (all, mut halves) = (pool.len() <= choices as usize, 0);
    let looks = if all { pool.len() as u32 } else { choices };
    for look in 0..looks {
        // One random number gives two places.
        halves = if look % 2 == 0 { random.next() } else { halves >> 32 };
        let at = if all { look as usize } else { SplitMix64::place(halves, pool.len()) };
        let stretch = rate.stretch(pool[at]);
        // Which of two random executors is better is a coin toss: select, do not branch.
        let better = stretch < found.1;
        found = (std::hint::select_unpredictable(better, at, found.0), found.1.min(stretch));
    }
    (found.1 < f32::INFINITY).then_some(found)
}

/// The executors that a rule about labels is about.
#[derive(Debug)]
pub(super) struct Group {
    /// Those with the labels required; `None`, where none is.
    required: Option<Vec<u32>>,
    /// Those of them with the labels preferred.
    preferred: Vec<u32>,
    /// The same as a bit set of seats.
    is_preferred: Vec<u64>,
    /// What a stretch is multiplied with: of the others, of those preferred.
    factors: [f32; 2],
}

impl Group {
    /// Sorts the executors by what they are to a rule.
    pub(super) fn new<'a>(
        seats: impl Iterator<Item = (u32, Executor<'a>)>,
        required: Option<&dyn Fn(&Executor<'a>) -> bool>,
        preferred: &dyn Fn(&Executor<'a>) -> bool,
        weight_percent: u32,
    ) -> Self {
        let (required_seats, preferred_seats) = (required.map(|_| Vec::new()), Vec::new());
        let factors = [1.0 + weight_percent as f32 / 100.0, 1.0];
        let mut group =
            Self { required: required_seats, preferred: preferred_seats, is_preferred: Vec::new(), factors };
        for (seat, executor) in seats {
            let is_required = required.is_none_or(|required| required(&executor));
            let is_preferred = is_required && preferred(&executor);
            if let Some(required) = group.required.as_mut().filter(|_| is_required) {
                required.push(seat);
            }
            if is_preferred {
                group.preferred.push(seat);
            }
            if seat % 64 == 0 {
                group.is_preferred.push(0);
            }
            group.is_preferred[seat as usize / 64] |= u64::from(is_preferred) << (seat % 64);
        }
        group
    }

    #[inline(always)]
    fn factor(&self, seat: u32) -> f32 {
        // Read from a table: chosen between, it would be a branch, and one that nobody can predict.
        self.factors[((self.is_preferred[seat as usize / 64] >> (seat % 64)) & 1) as usize]
    }
}

/// What is known about where demands fit. Within a round what is free only shrinks: what did not fit will not fit.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// Demands that fit nowhere; neither does what asks for as much.
    refused: Vec<Demand>,
    /// The last demand that was hard to place, and the seats that had room for it: of all, and of those preferred.
    narrow: [Option<(Demand, Vec<u32>)>; 2],
}

impl Room {
    /// Demands remembered; of further ones, only those that ask for less than one of these.
    const KINDS: usize = 16;

    fn has_none(&self, demand: Demand) -> bool {
        self.refused.iter().any(|r| r.vcores <= demand.vcores && r.memory_mib <= demand.memory_mib)
    }

    fn refuse(&mut self, demand: Demand) {
        self.refused.retain(|r| r.vcores < demand.vcores || r.memory_mib < demand.memory_mib);
        if self.refused.len() < Self::KINDS {
            self.refused.push(demand);
        }
    }
}

/// One round under way, as far as executors are concerned.
pub(super) struct Table<'t> {
    kept: &'t mut Seats,
    random: SplitMix64,
    choices: u32,
    packing: f32,
    room: Room,
    pub(super) passed_over: u32,
}

impl<'t> Table<'t> {
    /// A task has `choices` executors drawn for it; scarcity weighs `packing_percent` of what load weighs.
    pub(super) fn new(kept: &'t mut Seats, jobs: &RunningJobs<'_>, choices: u32, packing_percent: u32) -> Self {
        // An embedder that seeds every round alike must not have the same executors drawn every round.
        let random = SplitMix64(jobs.seed() ^ jobs.number().wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let packing = packing_percent as f32 / 100.0;
        Self { kept, random, choices, packing, room: Room::default(), passed_over: 0 }
    }

    /// The executors with something free at the start of the round, by seat.
    pub(super) fn executors(&self) -> impl Iterator<Item = ExecutorId> {
        self.kept.particulars.iter().map(|one| one.executor)
    }

    /// Whether no executor has anything free.
    pub(super) fn is_exhausted(&mut self) -> bool {
        let Seats { seats, everyone, .. } = &mut *self.kept;
        while everyone.last().is_some_and(|&seat| seats[seat as usize].free_vcores == 0) {
            everyone.pop();
        }
        everyone.is_empty()
    }

    /// Binds a stage of one-vcore tasks without memory, limits or rules.
    pub(super) fn deal(&mut self, stage: &Stage<'_>, answer: &mut Vec<BoundTask>) {
        // Loops of a known length are faster.
        match self.choices {
            2 => self.deal_among(2, stage, answer),
            4 => self.deal_among(4, stage, answer),
            choices => self.deal_among(choices, stage, answer),
        }
    }

    #[inline(always)]
    fn deal_among(&mut self, choices: u32, stage: &Stage<'_>, answer: &mut Vec<BoundTask>) {
        let Seats { seats, particulars, everyone } = &mut *self.kept;
        let mut pending = draw(stage);
        while !pending.is_done() && !everyone.is_empty() {
            let (first, length) = pending.run(u32::MAX);
            for task in first..first + length {
                let found = best(everyone, choices, &mut self.random, &OneVcore(seats)).map(|(at, _)| at);
                let Some(at) = found.or_else(|| next_free(seats, everyone)) else { return };
                let number = everyone[at] as usize;
                let seat = &mut seats[number];
                seat.take(1, 1.0);
                if seat.free_vcores == 0 {
                    everyone.swap_remove(at);
                }
                answer.push(BoundTask::new(TaskId(task), particulars[number].executor));
            }
        }
    }

    /// Takes one task off the best executor drawn where it fits; of all, if it fits on none that was drawn. `own`
    /// replaces the round's knowledge of what fits nowhere, for a stage that may not use every executor.
    pub(super) fn place(
        &mut self,
        demand: Demand,
        pass: &Pass<'_>,
        group: Option<&Group>,
        own: Option<&mut Room>,
    ) -> Option<ExecutorId> {
        let room = own.unwrap_or(&mut self.room);
        if room.has_none(demand) {
            return None;
        }
        let Seats { seats, particulars, everyone } = &mut *self.kept;
        let preferred = group.map_or(&[][..], |group| &group.preferred);
        let packing = if demand.memory_mib > 0 { self.packing } else { 0.0 };
        let wanted = Wanted {
            seats,
            particulars,
            group,
            pass: (!pass.allows_all()).then_some(pass),
            demand: (demand.vcores, i64::from(demand.memory_mib)),
            as_f32: (demand.vcores as f32, demand.memory_mib as f32),
            packing,
        };
        let all = group.and_then(|group| group.required.as_ref()).unwrap_or(everyone);
        let [of_all, of_preferred] = &mut room.narrow;
        let (choices, random) = (self.choices, &mut self.random);
        let preferred = from(preferred, demand, of_preferred, choices, random, &wanted);
        // Nobody else is looked at for long while there is room where it is preferred.
        let found = match best(all, choices, random, &wanted).map(|(at, stretch)| (all[at], stretch)) {
            Some(other) => Some(preferred.filter(|preferred| preferred.1 <= other.1).unwrap_or(other)),
            None => preferred.or_else(|| from(all, demand, of_all, choices, random, &wanted)),
        };
        let Some((seat, _)) = found else {
            room.refuse(demand);
            return None;
        };
        seats[seat as usize].take(demand.vcores, demand.vcores as f32);
        let particulars = &mut particulars[seat as usize];
        particulars.free_memory_mib -= i64::from(demand.memory_mib);
        Some(particulars.executor)
    }
}

/// What a task asks of an executor.
struct Wanted<'w> {
    seats: &'w [Seat],
    particulars: &'w [Particulars],
    group: Option<&'w Group>,
    pass: Option<&'w Pass<'w>>,
    /// Vcores, and memory in MiB.
    demand: (u32, i64),
    as_f32: (f32, f32),
    packing: f32,
}

impl Rate for Wanted<'_> {
    #[inline(always)]
    fn stretch(&self, number: u32) -> f32 {
        let (seat, more) = (&self.seats[number as usize], &self.particulars[number as usize]);
        let scarcity = if self.packing > 0.0 { self.packing * seat.scarcity(more, self.as_f32) } else { 0.0 };
        let factor = self.group.map_or(1.0, |group| group.factor(number));
        let stretch = seat.stretch(self.demand.0, self.as_f32.0, scarcity) * factor;
        let may = more.free_memory_mib >= self.demand.1 && self.pass.is_none_or(|pass| pass.allows(more.executor));
        if may { stretch } else { f32::INFINITY }
    }
}

/// The place of an executor with something free; those without, which the way through [`Table::place`] leaves behind,
/// go.
#[cold]
fn next_free(seats: &[Seat], everyone: &mut Vec<u32>) -> Option<usize> {
    everyone.retain(|&seat| seats[seat as usize].free_vcores > 0);
    let stretch = |at: &usize| OneVcore(seats).stretch(everyone[*at]);
    (0..everyone.len()).min_by(|a, b| stretch(a).total_cmp(&stretch(b)))
}

/// The best of a few members drawn from the pool; where none of them will do, of the first few that will. Where those
/// were hard to find, `narrow` keeps all that will do for the next time.
#[inline]
fn from(
    pool: &[u32],
    demand: Demand,
    narrow: &mut Option<(Demand, Vec<u32>)>,
    choices: u32,
    random: &mut SplitMix64,
    wanted: &Wanted<'_>,
) -> Option<(u32, f32)> {
    let pool = narrow.as_ref().filter(|narrow| narrow.0 == demand).map_or(pool, |narrow| &narrow.1);
    if let Some((at, stretch)) = best(pool, choices, random, wanted) {
        return Some((pool[at], stretch));
    }
    if pool.is_empty() {
        return None;
    }
    let start = SplitMix64::place(random.next(), pool.len());
    let (found, looked_at) = search(pool, start, choices, wanted);
    if looked_at > pool.len() / 2 {
        let fitting = pool.iter().copied().filter(|&seat| wanted.stretch(seat) < f32::INFINITY).collect();
        *narrow = Some((demand, fitting));
    }
    found
}

/// The best of the first few members of a pool that will do, from a place on; and how many were looked at.
#[cold]
fn search(pool: &[u32], start: usize, choices: u32, rate: &impl Rate) -> (Option<(u32, f32)>, usize) {
    let (before, behind) = pool.split_at(start.min(pool.len()));
    let (mut found, mut fitting, mut looked_at) = ((0, f32::INFINITY), 0, 0);
    for &seat in behind.iter().chain(before) {
        let stretch = rate.stretch(seat);
        looked_at += 1;
        if stretch < f32::INFINITY {
            fitting += 1;
            if stretch < found.1 {
                found = (seat, stretch);
            }
            if fitting == choices {
                break;
            }
        }
    }
    ((fitting > 0).then_some(found), looked_at)
}
