//! `consistent-hash`: tasks that read the same data go to the same executor, within bounds.
//!
//! A task's key has a home on a ring of executors ([`crate::ring`]); it goes there, or, when that executor is full or
//! has more than its bounded share, to the next one on the ring that is not. Consistent hashing with bounded loads:
//! Mirrokni, Thorup, Zadimoghaddam, arXiv 1608.01350; the knob is that of HAProxy's `hash-balance-factor`.

use std::sync::{Mutex, PoisonError};

use policy_plugin_api::key_hash;
use policy_plugin_api::prelude::*;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::demand::{Demand, Hints};
use crate::first_fit::FirstFit;
use crate::gate::{Gate, Pass};
use crate::pending::walk;
use crate::ring::{MAX_POINTS, Ring};

/// Points of the ring that are tried for one task. A task that has found no room by then is far from home wherever it
/// goes, and goes to the executor with most free vcores that is within its bound.
pub const MAX_PROBES: usize = 256;

/// The knobs of [`ConsistentHash`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ConsistentHashConfig {
    /// The most load an executor may have, in percent of its fair share by capacity; 0 for no bound, else at least 100.
    /// Lower balances better, higher keeps more tasks at home.
    pub balance_factor_percent: u32,
    /// Points on the ring for the largest executors (down to half of it, when their capacity is no power of two), 1 to
    /// 1000; smaller executors get fewer, in proportion. More points spread keys more evenly (relative deviation
    /// 1/sqrt(points)) and take 16 bytes each.
    pub points: u32,
}

impl Default for ConsistentHashConfig {
    fn default() -> Self {
        Self { balance_factor_percent: 125, points: 100 }
    }
}

/// Tasks of one key to one executor, with bounded loads.
///
/// For caches on executors: a key keeps its executor when others come and go. Tasks without key go as under `bias`.
/// Deterministic, and the same in every process: keys and names are hashed, never numbers. Work conserving. The share
/// of an executor counts what it already runs. Cost: O(executors) a round and one look-up a task (about 45 ns with
/// 10,000 executors); the ring is kept and brought up to date when the roster changes.
#[derive(Debug)]
pub struct ConsistentHash {
    config: ConsistentHashConfig,
    kept: Mutex<Kept>,
}

/// What outlives a round: the ring, and memory.
#[derive(Debug, Default)]
struct Kept {
    ring: Ring,
    /// Where an executor stands among the free ones of the round, by uid; `NOWHERE` or `GONE` for the others.
    seat_of: Vec<u32>,
    /// Vcores up to the executor's bound, by seat.
    bounds: Vec<u32>,
}

/// Where fewer tasks can be bound than are pending: so many tasks at the front for each that can be, and so many more,
/// are asked for their homes before any task goes elsewhere.
const HOME_WINDOW: (usize, usize) = (8, 512);

/// Keys whose places on the ring are fetched ahead: about as many as a core can have under way.
const WARM_KEYS: usize = 32;

/// The seat of an executor with nothing free.
const NOWHERE: u32 = u32::MAX;
/// The seat of an executor that is not in the roster.
const GONE: u32 = u32::MAX - 1;

impl FromConfig for ConsistentHash {
    const NAME: &'static str = "consistent-hash";
    const OBSERVES: bool = false;
    type Config = ConsistentHashConfig;

    fn from_config(config: ConsistentHashConfig) -> Result<Self> {
        if (1..100).contains(&config.balance_factor_percent) {
            return Err(PolicyError::invalid_config(format!(
                "balance_factor_percent is {}: less than a fair share for each leaves tasks without executor; \
                 0 or at least 100",
                config.balance_factor_percent
            )));
        }
        if !(1..=MAX_POINTS).contains(&config.points) {
            let points = config.points;
            return Err(PolicyError::invalid_config(format!("points is {points}: 1 to {MAX_POINTS}")));
        }
        Ok(Self { config, kept: Mutex::default() })
    }
}

#[async_trait]
impl DistributionPolicy for ConsistentHash {
    async fn bind_tasks(
        &self,
        slots: &mut [AvailableTaskSlots],
        running_jobs: &RunningJobs<'_>,
    ) -> Result<Vec<BoundTask>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut answer = Vec::with_capacity(running_jobs.bindable());
        let mut gate = Gate::new(running_jobs);
        let executors = FirstFit::most_free_first(slots, usize::MAX);
        if let Some(keyed) = keyed_vcores(running_jobs) {
            kept.ring.update(&running_jobs.executors(), self.config.points);
            kept.seat(running_jobs, &executors, keyed, self.config.balance_factor_percent);
        }
        let Kept { ring, seat_of, bounds } = &mut *kept;
        let (hints, passed_over, most) = (Hints::default(), 0, running_jobs.bindable());
        let mut hashed = Hashed { executors, ring, seat_of, bounds, hints, passed_over, most, at_home: Vec::new() };
        for stage in running_jobs.stages() {
            if hashed.executors.is_exhausted() {
                break;
            }
            let pass = gate.pass(stage.id());
            if stage.has_keys() {
                hashed.bind(&stage, &mut gate, &pass, &mut answer);
            } else {
                hashed.executors.bind(&stage, &mut gate, &pass, &mut answer);
            }
        }
        Ok(answer)
    }
}

/// Vcores that tasks with keys can take in this round, no more than are free; `None` where no stage has keys. Tasks of
/// mixed stages count as one vcore.
fn keyed_vcores(jobs: &RunningJobs<'_>) -> Option<u64> {
    let free: u64 = jobs.executors().free_vcores().iter().map(|&v| u64::from(v)).sum();
    let mut keyed = None;
    for stage in jobs.stages().filter(|stage| stage.has_keys()) {
        let vcores = u64::from(stage.pending_count()) * u64::from(stage.uniform_vcores().unwrap_or(1));
        let sum = keyed.unwrap_or(0) + vcores;
        keyed = Some(sum.min(free));
        if sum >= free {
            break;
        }
    }
    keyed
}

impl Kept {
    /// Seats the free executors of the round and computes their bounds: `ceil(factor * m * w / W)` with m the vcores in
    /// use once this round is bound, w the capacity of the executor and W that of all, less what it has in use.
    fn seat(&mut self, jobs: &RunningJobs<'_>, free: &FirstFit<'_>, keyed: u64, factor_percent: u32) {
        let executors = jobs.executors();
        self.seat_of.clear();
        self.seat_of.resize(self.ring.known_uids(), GONE);
        executors.uids().iter().for_each(|&uid| self.seat_of[uid as usize] = NOWHERE);
        let weights = || executors.vcores().iter().map(|&v| u128::from(v.max(1)));
        let all: u128 = weights().sum::<u128>().max(1);
        let used = |vcores: u32, free: u32| u64::from(vcores.saturating_sub(free));
        let in_use: u64 = executors.vcores().iter().zip(executors.free_vcores()).map(|(&v, &f)| used(v, f)).sum();
        let load = u128::from(in_use + keyed) * u128::from(factor_percent);
        self.bounds.clear();
        for (seat, slot) in free.slots().iter().enumerate() {
            let executor = executors.get(slot.executor);
            self.seat_of[executor.uid().index()] = seat as u32;
            let bound = (load * u128::from(executor.vcores().max(1))).div_ceil(all * 100);
            let own = u128::from(used(executor.vcores(), executor.free_vcores()));
            let left = if factor_percent == 0 { u128::MAX } else { bound.saturating_sub(own) };
            self.bounds.push(u32::try_from(left).unwrap_or(u32::MAX));
        }
    }
}

/// One round under way.
struct Hashed<'s, 'k> {
    executors: FirstFit<'s>,
    ring: &'k Ring,
    seat_of: &'k [u32],
    bounds: &'k mut [u32],
    /// For searches among executors within their bounds.
    hints: Hints,
    passed_over: u32,
    /// Tasks that the round can bind, at most.
    most: usize,
    /// Which of the first pending tasks of the stage went home ahead of the others.
    at_home: Vec<bool>,
}

/// The keys of a stage's tasks, fetched a little ahead.
struct Keys<'a> {
    hashes: &'a [u64],
    keyless: u64,
    warm: usize,
}

impl Keys<'_> {
    /// The key of task `index`, where it has one; to be asked with rising indices.
    #[inline]
    fn next(&mut self, ring: &Ring, index: u32) -> Option<u64> {
        let at = index as usize;
        if at >= self.warm {
            self.warm = self.hashes.len().min(at + WARM_KEYS);
            ring.warm(self.hashes.get(at..self.warm).unwrap_or(&[]));
        }
        self.hashes.get(at).copied().filter(|&key| key != self.keyless)
    }
}

/// The listed pending tasks, ascending.
fn pending<'a>(stage: &Stage<'a>) -> impl Iterator<Item = u32> + use<'a> {
    stage.pending_runs().flat_map(|(first, length)| first..first.saturating_add(length))
}

impl Hashed<'_, '_> {
    fn bind(&mut self, stage: &Stage<'_>, gate: &mut Gate<'_>, pass: &Pass<'_>, answer: &mut Vec<BoundTask>) {
        let mut keys = Keys { hashes: stage.key_hashes(), keyless: key_hash(""), warm: 0 };
        let mut own = (!pass.allows_all()).then(|| (Hints::default(), Hints::default()));
        let most = self.most - answer.len();
        if let Some(demand) = Demand::of_stage(stage).filter(|_| most < stage.pending_count() as usize) {
            self.bind_homes(stage, demand, gate, pass, most, answer);
            return self.bind_others(stage, demand, gate, pass, own.as_mut(), answer);
        }
        let mut passed_over = self.passed_over;
        walk(stage, gate, pass, &mut passed_over, answer, |index, demand| {
            let key = keys.next(self.ring, index);
            self.place(key, demand, pass, own.as_mut())
        });
        self.passed_over = passed_over;
    }

    /// Binds those of the first pending tasks whose homes have room, so that the few free executors go to tasks that
    /// belong there.
    fn bind_homes(
        &mut self,
        stage: &Stage<'_>,
        demand: Demand,
        gate: &mut Gate<'_>,
        pass: &Pass<'_>,
        most: usize,
        answer: &mut Vec<BoundTask>,
    ) {
        let mut keys = Keys { hashes: stage.key_hashes(), keyless: key_hash(""), warm: 0 };
        let window = most.saturating_mul(HOME_WINDOW.0).saturating_add(HOME_WINDOW.1);
        self.at_home.clear();
        for index in pending(stage).take(window) {
            let home = keys.next(self.ring, index).and_then(|key| self.home(key));
            let seat = home.filter(|&seat| gate.room(pass) >= demand.vcores && self.has_room(seat, demand, pass));
            self.at_home.push(seat.is_some());
            if let Some(seat) = seat {
                gate.take(pass, demand.vcores);
                answer.push(BoundTask::new(TaskId(stage.first_task().0 + index), self.take(seat, demand)));
            }
        }
    }

    /// Binds the others in order, as far as something is free.
    fn bind_others(
        &mut self,
        stage: &Stage<'_>,
        demand: Demand,
        gate: &mut Gate<'_>,
        pass: &Pass<'_>,
        mut own: Option<&mut (Hints, Hints)>,
        answer: &mut Vec<BoundTask>,
    ) {
        let mut keys = Keys { hashes: stage.key_hashes(), keyless: key_hash(""), warm: 0 };
        for (at, index) in pending(stage).enumerate() {
            if self.at_home.get(at) == Some(&true) {
                continue;
            }
            if gate.room(pass) < demand.vcores || self.executors.is_exhausted() {
                return;
            }
            let key = keys.next(self.ring, index);
            let Some(executor) = self.place(key, demand, pass, own.as_deref_mut()) else { return };
            gate.take(pass, demand.vcores);
            answer.push(BoundTask::new(TaskId(stage.first_task().0 + index), executor));
        }
    }

    /// Where a task goes: to the first on the ring that has room, or else where most is free.
    #[inline]
    fn place(
        &mut self,
        key: Option<u64>,
        demand: Demand,
        pass: &Pass<'_>,
        own: Option<&mut (Hints, Hints)>,
    ) -> Option<ExecutorId> {
        let (own_within, own_any) = own.map_or((None, None), |(a, b)| (Some(a), Some(b)));
        let on_ring = key.and_then(|key| self.probe(key, demand, pass));
        let found = on_ring.or_else(|| key.and_then(|_| self.within_bounds(demand, pass, own_within)));
        found.or_else(|| self.executors.place(demand, pass, own_any))
    }

    /// The seat of a key's home, where that has anything free.
    fn home(&self, key: u64) -> Option<usize> {
        let mut seats = self.ring.from(key).map(|uid| self.seat_of[uid as usize]);
        seats.find(|&seat| seat != GONE).filter(|&seat| seat != NOWHERE).map(|seat| seat as usize)
    }

    #[inline]
    fn has_room(&self, seat: usize, demand: Demand, pass: &Pass<'_>) -> bool {
        let slot = &self.executors.slots()[seat];
        self.bounds[seat] >= demand.vcores && demand.fits(slot) && pass.allows(slot.executor)
    }

    /// The first executor on the ring, from the key's home on, that has room and is within its bound.
    #[inline]
    fn probe(&mut self, key: u64, demand: Demand, pass: &Pass<'_>) -> Option<ExecutorId> {
        // Only executors of the roster count as tried: how many that left are still on the ring must not matter.
        let seats = self.ring.from(key).map(|uid| self.seat_of[uid as usize]);
        let tried = seats.filter(|&seat| seat != GONE).take(MAX_PROBES);
        let mut seats = tried.filter(|&seat| seat != NOWHERE).map(|seat| seat as usize);
        let found = seats.find(|&seat| self.has_room(seat, demand, pass))?;
        Some(self.take(found, demand))
    }

    /// The first executor, by free vcores at the start of the round, that has room and is within its bound.
    fn within_bounds(&mut self, demand: Demand, pass: &Pass<'_>, own: Option<&mut Hints>) -> Option<ExecutorId> {
        let hints = own.unwrap_or(&mut self.hints);
        let (slots, start) = (self.executors.slots(), hints.start(demand));
        let found = (start..slots.len()).find(|&seat| {
            self.bounds[seat] >= demand.vcores && demand.fits(&slots[seat]) && pass.allows(slots[seat].executor)
        });
        hints.note(demand, found.unwrap_or(slots.len()));
        found.map(|seat| self.take(seat, demand))
    }

    fn take(&mut self, seat: usize, demand: Demand) -> ExecutorId {
        self.bounds[seat] -= demand.vcores;
        self.executors.take(seat, demand)
    }
}
