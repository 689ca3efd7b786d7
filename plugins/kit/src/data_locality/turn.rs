//! One round under way: a stage's turn.

use policy_plugin_api::prelude::*;

use super::assign::{Assigner, NONE, Offer};
use super::budget::{Budgets, Level, key_of};
use super::config::{DataLocalityConfig, LEAST_WAIT_US};
use super::index::{Index, Indexes, Pending};
use super::kept::{Kept, NOWHERE};
use super::racks::Racks;
use super::view::{Held, View};
use crate::demand::{Demand, Hints};
use crate::first_fit::FirstFit;
use crate::gate::{Gate, Pass};
use crate::pending::MAX_PASSED_OVER;

/// Pending tasks that are looked at one by one in any round, over all stages; four for each that can be bound on top.
const WALK: u64 = 4_096;

/// Of a stage that is not looked at in full, this many tasks at the front are: tasks that failed and are back stand
/// there.
const FRONT: usize = 64;

/// Free executors that are looked at in any round, once for each indexed stage; four times all of them on top.
const LOOKS: usize = 65_536;

/// Of more tasks than this, those of different demand are taken in order and not by bytes.
const MAX_SORTED: usize = 65_536;

/// One round under way.
pub(super) struct AtWork<'s, 'k> {
    /// The free executors. They lag behind the answer: see [`AtWork::settle`].
    executors: FirstFit<'s>,
    pub(super) answer: Vec<BoundTask>,
    /// So many rows of the answer have been taken off `executors`; the others took `owed` each.
    settled: usize,
    owed: Demand,
    /// Vcores that are free, the answer taken off.
    free_vcores: u64,
    wait_us: u64,
    rack_wait_us: u64,
    network_mib_per_s: u64,
    view: View,
    /// By uid: where an executor stands among the free ones, and its number in this round.
    seat_of: &'k [u32],
    executor_of: &'k [ExecutorId],
    budgets: &'k mut Budgets,
    indexes: &'k mut Indexes,
    racks: &'k mut Racks,
    assigner: &'k mut Assigner,
    tasks: &'k mut Vec<u32>,
    homeless: &'k mut Vec<u32>,
    jobs: RunningJobs<'k>,
    walk_left: u64,
    looks_left: usize,
    passed_over: u32,
}

/// A stage's turn.
struct Turn<'a, 'p> {
    stage: Stage<'a>,
    held: Held<'a>,
    pass: &'p Pass<'a>,
    /// What each task takes, where it is the same for all.
    uniform: Option<Demand>,
    level: Level,
    /// For searches under the stage's mask, where it has one.
    hints: Option<Hints>,
}

impl Turn<'_, '_> {
    fn demand(&self, task: u32) -> Demand {
        self.uniform.unwrap_or_else(|| Demand::of_task(&self.stage, task))
    }
}

/// The free executors, as a stage's tasks see them; places are uids.
struct Local<'x, 'a, 'p> {
    turn: &'x Turn<'a, 'p>,
    slots: &'x [AvailableTaskSlots],
    seat_of: &'x [u32],
    demand: Demand,
}

impl Offer for Local<'_, '_, '_> {
    fn room(&self, place: usize) -> u32 {
        let Some(slot) = self.slots.get(self.seat_of[place] as usize) else { return 0 };
        if self.turn.pass.allows(slot.executor) { self.demand.times(slot) } else { 0 }
    }

    #[inline]
    fn holders(&self, task: u32) -> impl Iterator<Item = (usize, u64)> {
        let places = self.seat_of.len();
        self.turn.held.counted(task, self.turn.level == Level::Node).filter(move |&(place, _)| place < places)
    }

    #[inline(always)]
    fn first(&self, task: u32) -> Option<(usize, u64)> {
        self.turn.held.first(task).filter(|&(place, _)| place < self.seat_of.len())
    }
}

/// The listed runs of pending tasks, ascending.
fn runs<'a>(stage: &Stage<'a>) -> impl Iterator<Item = std::ops::Range<u32>> + use<'a> {
    let end = stage.task_count();
    stage.pending_runs().map(move |(first, length)| first..first.saturating_add(length).min(end))
}

/// The listed pending tasks, ascending.
fn pending<'a>(stage: &Stage<'a>) -> impl Iterator<Item = u32> + use<'a> {
    runs(stage).flatten()
}

impl<'s, 'k> AtWork<'s, 'k> {
    pub(super) fn new(
        config: &DataLocalityConfig,
        jobs: &RunningJobs<'k>,
        executors: FirstFit<'s>,
        kept: &'k mut Kept,
    ) -> Self {
        kept.seat(jobs, &executors);
        let Kept { budgets, indexes, racks, assigner, seat_of, executor_of, tasks, homeless } = kept;
        assigner.forget();
        let view = View { holders: config.holders as usize, min_share_percent: config.min_share_percent };
        let rack_wait_ms = if racks.are_known() { config.rack_wait_ms } else { 0 };
        let bindable = jobs.bindable();
        Self {
            looks_left: LOOKS + 4 * executors.slots().len(),
            free_vcores: executors.slots().iter().map(|slot| u64::from(slot.slots)).sum(),
            executors,
            answer: Vec::with_capacity(bindable),
            settled: 0,
            owed: Demand::UNIT,
            wait_us: u64::from(config.wait_ms) * 1_000,
            rack_wait_us: u64::from(rack_wait_ms) * 1_000,
            network_mib_per_s: u64::from(config.network_mib_per_s),
            view,
            seat_of,
            executor_of,
            budgets,
            indexes,
            racks,
            assigner,
            tasks,
            homeless,
            jobs: *jobs,
            walk_left: WALK + 4 * bindable as u64,
            passed_over: 0,
        }
    }

    /// Whether no executor has anything free.
    pub(super) fn is_exhausted(&self) -> bool {
        self.free_vcores == 0
    }

    /// Takes off the executors what the answer has bound at holders. Stage after stage of tasks that all find a holder
    /// needs the rooms of the assigner only, a small column; the slots are brought up to date when somebody reads them.
    fn settle(&mut self) {
        let uids = self.jobs.executors().uids();
        for row in &self.answer[self.settled..] {
            let seat = self.seat_of[uids[row.executor.index()] as usize];
            self.executors.take(seat as usize, self.owed);
        }
        self.settled = self.answer.len();
        self.assigner.forget();
    }

    /// Binds what it can of a stage without holders.
    pub(super) fn bind_plain(&mut self, stage: &Stage<'_>, gate: &mut Gate<'_>, pass: &Pass<'_>) {
        self.settle();
        self.executors.bind(stage, gate, pass, &mut self.answer);
        let first = stage.first_task().0;
        let taken = |row: &BoundTask| u64::from(stage.vcores_of(row.task.0 - first));
        self.free_vcores -= self.answer[self.settled..].iter().map(taken).sum::<u64>();
        self.settled = self.answer.len();
    }

    /// Binds what it can and may of a stage with holders.
    pub(super) fn bind<'a>(&mut self, stage: &Stage<'a>, gate: &mut Gate<'a>, pass: &Pass<'a>) {
        let listed: u64 = stage.pending_runs().map(|(_, length)| u64::from(length)).sum();
        if gate.room(pass) == 0 || listed == 0 {
            return;
        }
        let key = key_of(stage);
        let held = self.view.of(stage);
        let worth_us = self.worth_us(stage, &held);
        let level = self.budgets.level(key, self.wait_us.min(worth_us), self.rack_wait_us.min(worth_us));
        let hints = (!pass.allows_all()).then(Hints::default);
        let mut turn = Turn { stage: *stage, held, pass, uniform: Demand::of_stage(stage), level, hints };
        let (before, mut tasks) = (self.answer.len(), std::mem::take(self.tasks));
        tasks.clear();
        if listed <= self.walk_left {
            self.walk_left -= listed;
            runs(stage).for_each(|run| tasks.extend(run));
            self.place_all(&mut turn, gate, &tasks);
        } else {
            self.bind_part(&mut turn, gate, listed, &mut tasks);
        }
        *self.tasks = tasks;
        self.budgets.seen(key);
        let bound = (self.answer.len() - before) as u64;
        if level != Level::Any && bound < listed && gate.room(pass) > 0 && !self.is_exhausted() {
            self.budgets.wait(key);
        }
    }

    /// How long the stage may wait for what it has to gain: what the first few tasks take to fetch their largest
    /// holder's part, the most of them; 0 where that is too little.
    fn worth_us(&self, stage: &Stage<'_>, held: &Held<'_>) -> u64 {
        if self.network_mib_per_s == 0 {
            return u64::MAX;
        }
        let largest = pending(stage).take(FRONT).filter_map(|task| held.first(task));
        let bytes = largest.map(|(_, bytes)| bytes).max().unwrap_or(0);
        let us = u128::from(bytes) * 1_000_000 / (u128::from(self.network_mib_per_s) << 20);
        u64::try_from(us).ok().filter(|&us| us >= LEAST_WAIT_US).unwrap_or(0)
    }

    /// Places these tasks: at holders, then in their racks, then anywhere, as far as the stage may go.
    fn place_all(&mut self, turn: &mut Turn<'_, '_>, gate: &mut Gate<'_>, tasks: &[u32]) {
        let mut homeless = std::mem::take(self.homeless);
        homeless.clear();
        self.at_holders(turn, gate, tasks, &mut homeless);
        if turn.level >= Level::Rack && self.racks.are_known() {
            self.in_racks(turn, gate, &mut homeless);
        }
        self.anywhere(turn, gate, &homeless);
        *self.homeless = homeless;
    }

    /// Binds tasks at their holders; the others become homeless, in order.
    fn at_holders(&mut self, turn: &Turn<'_, '_>, gate: &mut Gate<'_>, tasks: &[u32], homeless: &mut Vec<u32>) {
        let Some(demand) = turn.uniform else { return self.one_by_one(turn, gate, tasks, homeless) };
        let masked = !turn.pass.allows_all();
        if masked || self.owed != demand {
            self.settle();
            self.owed = demand;
        }
        let most = (gate.room(turn.pass) / demand.vcores) as usize;
        let local = Local { turn, slots: self.executors.slots(), seat_of: self.seat_of, demand };
        let places = self.assigner.assign(tasks, self.seat_of.len(), most, &local);
        let (first, before) = (turn.stage.first_task().0, self.answer.len());
        for (&task, &place) in tasks.iter().zip(places) {
            if place == NONE {
                homeless.push(task);
            } else {
                self.answer.push(BoundTask::new(TaskId(first + task), self.executor_of[place as usize]));
            }
        }
        let taken = (self.answer.len() - before) as u64 * u64::from(demand.vcores);
        self.free_vcores -= taken;
        // No more than fit, so no more than the room of the groups, where they are limited at all.
        gate.take(turn.pass, u32::try_from(taken).unwrap_or(u32::MAX));
        if masked {
            self.settle();
        }
    }

    /// As [`AtWork::at_holders`] for tasks that take different things: those with most local bytes a vcore first.
    fn one_by_one(&mut self, turn: &Turn<'_, '_>, gate: &mut Gate<'_>, tasks: &[u32], homeless: &mut Vec<u32>) {
        self.settle();
        let (stage, seat_of, only_worth) = (&turn.stage, self.seat_of, turn.level == Level::Node);
        let seats = |task| {
            let seat = |place: usize| seat_of.get(place).copied().filter(|&seat| seat != NOWHERE);
            turn.held.counted(task, only_worth).filter_map(move |(place, bytes)| Some((seat(place)? as usize, bytes)))
        };
        let mut order: Vec<(std::cmp::Reverse<u64>, u32)> = Vec::new();
        for (at, &task) in (0..).zip(tasks) {
            let best = seats(task).map(|(_, bytes)| bytes).next();
            let by_vcore = |bytes| bytes / u64::from(stage.vcores_of(task));
            order.extend(best.map(|bytes| (std::cmp::Reverse(by_vcore(bytes)), at)));
        }
        if order.len() <= MAX_SORTED {
            order.sort_unstable();
        }
        let mut placed = vec![false; tasks.len()];
        for (_, at) in order {
            let task = tasks[at as usize];
            let demand = turn.demand(task);
            let slots = self.executors.slots();
            let fits = |&(seat, _): &(usize, u64)| demand.fits(&slots[seat]) && turn.pass.allows(slots[seat].executor);
            if gate.room(turn.pass) >= demand.vcores
                && let Some((seat, _)) = seats(task).find(fits)
            {
                let executor = self.executors.take(seat, demand);
                self.bound(turn, gate, task, demand, executor);
                placed[at as usize] = true;
            }
        }
        homeless.extend(tasks.iter().zip(placed).filter(|row| !row.1).map(|row| row.0));
    }

    /// Notes a task that was taken off an executor; all before it must be settled.
    fn bound(&mut self, turn: &Turn<'_, '_>, gate: &mut Gate<'_>, task: u32, demand: Demand, executor: ExecutorId) {
        gate.take(turn.pass, demand.vcores);
        self.free_vcores -= u64::from(demand.vcores);
        self.answer.push(BoundTask::new(TaskId(turn.stage.first_task().0 + task), executor));
        self.settled = self.answer.len();
    }

    fn in_racks(&mut self, turn: &Turn<'_, '_>, gate: &mut Gate<'_>, homeless: &mut Vec<u32>) {
        if homeless.is_empty() {
            return;
        }
        self.settle();
        homeless.retain(|&task| {
            let demand = turn.demand(task);
            if self.is_exhausted() || gate.room(turn.pass) < demand.vcores {
                return true;
            }
            let holders = turn.held.uids(task, 1).map(|(uid, _)| uid);
            let found = self.racks.place(holders, demand, turn.pass, &mut self.executors);
            if let Some(executor) = found {
                self.bound(turn, gate, task, demand, executor);
            }
            found.is_none()
        });
    }

    /// Tasks that may go anywhere: all of the stage, or those that have nobody to wait for.
    fn anywhere(&mut self, turn: &mut Turn<'_, '_>, gate: &mut Gate<'_>, homeless: &[u32]) {
        for &task in homeless {
            if self.is_exhausted() || gate.room(turn.pass) == 0 || self.passed_over >= MAX_PASSED_OVER {
                return;
            }
            let may = turn.level == Level::Any || !self.has_hope(turn, task);
            if may && !self.place_anywhere(turn, gate, task) && turn.uniform.is_some() {
                return;
            }
        }
    }

    fn place_anywhere(&mut self, turn: &mut Turn<'_, '_>, gate: &mut Gate<'_>, task: u32) -> bool {
        self.settle();
        let demand = turn.demand(task);
        let fits = demand.vcores <= gate.room(turn.pass);
        let found = fits.then(|| self.executors.place(demand, turn.pass, turn.hints.as_mut())).flatten();
        match found {
            Some(executor) => self.bound(turn, gate, task, demand, executor),
            None => self.passed_over += 1,
        }
        found.is_some()
    }

    /// Whether a task has a holder in the roster that is worth waiting for.
    fn has_hope(&self, turn: &Turn<'_, '_>, task: u32) -> bool {
        let worth = turn.held.worth(task);
        worth.waits && turn.held.uids(task, worth.least_bytes).any(|(uid, _)| self.racks.has(uid))
    }

    /// Binds of a stage that has too many pending tasks to look at each.
    fn bind_part(&mut self, turn: &mut Turn<'_, '_>, gate: &mut Gate<'_>, listed: u64, tasks: &mut Vec<u32>) {
        let stage = turn.stage;
        tasks.extend(pending(&stage).take(FRONT));
        let mut indexes = std::mem::take(self.indexes);
        let found = if listed > WALK { indexes.of(&stage, listed as u32, self.view) } else { None };
        match found {
            None => {
                self.place_all(turn, gate, tasks);
                if turn.level == Level::Any {
                    self.fill(turn, gate, pending(&stage).skip(FRONT));
                }
            }
            Some(index) => {
                self.bind_indexed(turn, gate, index, tasks);
                index.unmark(tasks.drain(..));
            }
        }
        *self.indexes = indexes;
    }

    fn bind_indexed(&mut self, turn: &mut Turn<'_, '_>, gate: &mut Gate<'_>, index: &mut Index, tasks: &mut Vec<u32>) {
        for &task in &*tasks {
            index.mark(task);
        }
        let listed = Pending::of(&turn.stage);
        self.gather(turn, gate, index, &listed, tasks);
        self.place_all(turn, gate, tasks);
        let mut done = tasks.len();
        if turn.level >= Level::Rack && self.racks.are_known() && !self.is_exhausted() {
            self.settle();
            for (members, free) in self.racks.with_room(&self.executors) {
                let most = tasks.len().saturating_add(free as usize * 2);
                for &uid in members {
                    let more = most.saturating_sub(tasks.len());
                    if more == 0 {
                        break;
                    }
                    index.gather(uid, more as u32, &listed, tasks);
                }
            }
            self.place_all(turn, gate, &tasks[done..]);
            done = tasks.len();
        }
        if self.is_exhausted() || gate.room(turn.pass) == 0 {
            return;
        }
        self.settle();
        let left: u32 = self.executors.slots().iter().map(|slot| slot.slots).fold(0, u32::saturating_add);
        let most = left.min(gate.room(turn.pass)).saturating_add(FRONT as u32);
        index.gather_homeless(most, &listed, tasks);
        self.place_all(turn, gate, &tasks[done..]);
        if turn.level == Level::Any {
            let rest = pending(&turn.stage).filter(|&task| {
                let fresh = !index.mark(task);
                tasks.extend(fresh.then_some(task));
                fresh
            });
            self.fill(turn, gate, rest);
        }
    }

    /// Adds pending tasks that have data on free executors.
    fn gather(
        &mut self,
        turn: &Turn<'_, '_>,
        gate: &Gate<'_>,
        index: &mut Index,
        listed: &Pending<'_>,
        tasks: &mut Vec<u32>,
    ) {
        self.settle();
        let (slots, uids) = (self.executors.slots(), self.jobs.executors().uids());
        let looks = slots.len().min(self.looks_left);
        self.looks_left -= looks;
        // Where not all can be looked at, each round looks at others.
        let step = self.jobs.number().wrapping_mul(looks as u64) % (slots.len() as u64).max(1);
        let start = if looks < slots.len() { step as usize } else { 0 };
        let least = turn.uniform.unwrap_or(Demand::UNIT);
        let room = gate.room(turn.pass) / least.vcores;
        for slot in slots.iter().cycle().skip(start).take(looks) {
            let times = least.times(slot).min(room);
            if times > 0 && turn.pass.allows(slot.executor) {
                // Twice as many as fit: another holder may take some of them.
                let most = times.saturating_mul(2).saturating_add(4);
                index.gather(uids[slot.executor.index()], most, listed, tasks);
            }
        }
    }

    /// Fills up with these tasks.
    fn fill(&mut self, turn: &mut Turn<'_, '_>, gate: &mut Gate<'_>, mut tasks: impl Iterator<Item = u32>) {
        let pass = turn.pass;
        let more = |this: &mut Self, gate: &Gate<'_>| {
            !this.is_exhausted() && gate.room(pass) > 0 && this.passed_over < MAX_PASSED_OVER
        };
        while more(self, gate)
            && let Some(task) = tasks.next()
        {
            if !self.place_anywhere(turn, gate, task) && turn.uniform.is_some() {
                return;
            }
        }
    }
}
