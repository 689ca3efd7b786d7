//! One round of scoring and picking: candidates are collected for a batch of tasks, scored in one call, and each task
//! takes the best that still has room.

use policy_plugin_api::round::Stage;
use policy_plugin_api::{
    AvailableTaskSlots, BoundTask, Candidates, ExecutorId, ExecutorUid, PolicyError, RunningJobs, TaskId,
};

use super::alive::{Alive, mix};
use super::best::Best;
use super::judge::{Judge, ScoreFault};
use crate::demand::Demand;
use crate::gate::{Gate, Pass};
use crate::pending::MAX_PASSED_OVER;

/// Tasks that are scored in one call: enough to make the call cheap, few enough that what they see is not stale.
const BATCH: usize = 16;
/// Holders of a task's bytes that are candidates: those of most bytes.
const HOLDERS: usize = 3;
/// Kinds of demand remembered as fitting nowhere.
const UNFIT: usize = 16;

/// The columns of one call.
#[derive(Debug, Default)]
struct Batch {
    tasks: Vec<u32>,
    demands: Vec<Demand>,
    row_offsets: Vec<u32>,
    /// Executors with what they have free, and their positions. What lies behind the last of `row_offsets` is room.
    rows: Vec<AvailableTaskSlots>,
    positions: Vec<u32>,
}

/// The candidates of the task that is being collected.
struct Open<'b> {
    rows: &'b mut [AvailableTaskSlots],
    positions: &'b mut [u32],
    len: usize,
}

impl Batch {
    fn clear(&mut self) {
        self.tasks.clear();
        self.demands.clear();
        self.row_offsets.clear();
        self.row_offsets.push(0);
    }

    fn rows_used(&self) -> usize {
        self.row_offsets.last().map_or(0, |&n| n as usize)
    }

    /// Starts the next task, of at most so many candidates.
    #[inline]
    fn open(&mut self, most: usize) -> Open<'_> {
        let (from, to) = (self.rows_used(), self.rows_used() + most);
        if self.rows.len() < to {
            self.rows.resize(to, AvailableTaskSlots { executor: ExecutorId(0), slots: 0, memory_mib: 0 });
            self.positions.resize(to, 0);
        }
        Open { rows: &mut self.rows[from..to], positions: &mut self.positions[from..to], len: 0 }
    }

    #[inline]
    fn close(&mut self, task: u32, demand: Demand, candidates: usize) {
        self.tasks.push(task);
        self.demands.push(demand);
        self.row_offsets.push((self.rows_used() + candidates) as u32);
    }
}

impl Open<'_> {
    /// Adds a candidate if it counts. Written in any case: whether it counts is hard to predict.
    #[inline(always)]
    fn add(&mut self, position: u32, slot: &AvailableTaskSlots, counts: bool) {
        self.rows[self.len] = *slot;
        self.positions[self.len] = position;
        self.len += usize::from(counts);
    }

    #[inline(always)]
    fn is_new(&self, position: u32) -> bool {
        self.positions[..self.len].iter().all(|&known| known != position)
    }
}

/// See the module.
pub(super) struct Binder<'a, 's, 'w, F> {
    index_by_uid: &'a [u32],
    alive: Alive<'s>,
    judge: Judge<'w, F>,
    /// Candidates drawn for each task; 0 for all.
    drawn: usize,
    seed: u64,
    best: Best,
    passed_over: u32,
    /// Demands that fit nowhere, whoever asks; and those that fit nowhere for this stage.
    unfit: Vec<Demand>,
    unfit_here: Vec<Demand>,
    batch: Batch,
    /// Tasks whose candidates were all taken by others of their batch.
    again: Vec<u32>,
}

impl<'a, 's, 'w, F, E> Binder<'a, 's, 'w, F>
where
    F: FnMut(usize, &Candidates<'_>, &mut [f32]) -> Result<(), E>,
{
    pub(super) fn new(jobs: &RunningJobs<'a>, alive: Alive<'s>, judge: Judge<'w, F>, drawn: usize) -> Self {
        Self {
            index_by_uid: jobs.executors().index_by_uid(),
            alive,
            judge,
            drawn,
            seed: jobs.seed(),
            best: Best::default(),
            passed_over: 0,
            unfit: Vec::new(),
            unfit_here: Vec::new(),
            batch: Batch::default(),
            again: Vec::new(),
        }
    }

    pub(super) fn is_exhausted(&self) -> bool {
        self.alive.is_empty()
    }

    pub(super) fn bind(
        &mut self,
        stage: &Stage<'_>,
        gate: &mut Gate<'_>,
        pass: &Pass<'_>,
        answer: &mut Vec<BoundTask>,
    ) -> Result<(), ScoreFault<E>> {
        self.unfit_here.clear();
        let mut pending = stage.pending_runs().flat_map(|(first, length)| first..first + length);
        loop {
            // What is drawn must not be used up before its turn comes: small batches when few executors are left.
            let size = if self.drawn == 0 { 1 } else { (self.alive.len() / 16).clamp(1, BATCH) };
            let more = self.collect(stage, &mut pending, size, gate.room(pass), pass);
            self.pick(stage, gate, pass, answer)?;
            while let Some(task) = self.again.pop() {
                self.collect(stage, &mut std::iter::once(task), 1, gate.room(pass), pass);
                self.pick(stage, gate, pass, answer)?;
            }
            if !more {
                return Ok(());
            }
        }
    }

    /// Collects the next tasks of a stage with their candidates; says whether there may be more.
    fn collect(
        &mut self,
        stage: &Stage<'_>,
        pending: &mut impl Iterator<Item = u32>,
        size: usize,
        mut room: u32,
        pass: &Pass<'_>,
    ) -> bool {
        let uniform = Demand::of_stage(stage);
        let holders = stage.has_holders().then(|| stage.holders());
        self.batch.clear();
        while self.batch.tasks.len() < size {
            if room == 0 || self.alive.is_empty() {
                return false;
            }
            let Some(task) = pending.next() else { return false };
            let demand = uniform.unwrap_or_else(|| Demand::of_task(stage, task));
            let held = holders.map_or(&[][..], |holders| holders.of(task).0);
            let found = if demand.vcores <= room { self.candidates(held, demand, pass) } else { 0 };
            if found > 0 {
                self.batch.close(task, demand, found);
                room -= demand.vcores;
                continue;
            }
            self.passed_over += 1;
            if uniform.is_some() || self.passed_over >= MAX_PASSED_OVER {
                return false;
            }
        }
        true
    }

    /// Lists the candidates of one task behind those of the others; says how many there are: none, if it fits nowhere.
    fn candidates(&mut self, held: &[ExecutorUid], demand: Demand, pass: &Pass<'_>) -> usize {
        let covers = |unfit: &Demand| demand.vcores >= unfit.vcores && demand.memory_mib >= unfit.memory_mib;
        if self.unfit.iter().any(covers) || self.unfit_here.iter().any(covers) {
            return 0;
        }
        let fits = |slot: &AvailableTaskSlots| demand.fits(slot) & pass.allows(slot.executor);
        let found = if self.drawn == 0 || self.alive.len() <= self.drawn {
            let mut open = self.batch.open(self.alive.len());
            for &position in self.alive.positions() {
                let slot = self.alive.slot(position);
                open.add(position, slot, fits(slot));
            }
            open.len
        } else {
            self.draw(held, fits)
        };
        if found == 0 {
            let unfit = if pass.allows_all() { &mut self.unfit } else { &mut self.unfit_here };
            if unfit.len() < UNFIT {
                unfit.push(demand);
            }
        }
        found
    }

    /// Some drawn at random, one of the best so far, the holders; where none of those will do, the first that will.
    #[inline(always)]
    fn draw(&mut self, held: &[ExecutorUid], fits: impl Fn(&AvailableTaskSlots) -> bool) -> usize {
        let mut open = self.batch.open(self.drawn + 1 + HOLDERS);
        match self.drawn {
            // A loop of a known length is faster.
            5 => draw_some(5, &mut self.alive, &mut open, &fits),
            drawn => draw_some(drawn, &mut self.alive, &mut open, &fits),
        }
        let alive = &self.alive;
        let mut offer = |position: u32| {
            let slot = alive.slot(position);
            let is_new = open.is_new(position);
            open.add(position, slot, fits(slot) & is_new);
        };
        self.best.take().into_iter().for_each(&mut offer);
        for uid in held.iter().take(HOLDERS) {
            let executor = self.index_by_uid.get(uid.index()).filter(|&&at| at != u32::MAX);
            executor.and_then(|&executor| alive.position(ExecutorId(executor))).into_iter().for_each(&mut offer);
        }
        if open.len == 0 {
            // Bad luck, or nearly full: so that nothing stays free that could be used.
            if let Some(&position) = alive.positions().iter().find(|&&position| fits(alive.slot(position))) {
                open.add(position, alive.slot(position), true);
            }
        }
        open.len
    }

    /// Scores the batch and binds each of its tasks to the best candidate that has room left.
    fn pick(
        &mut self,
        stage: &Stage<'_>,
        gate: &mut Gate<'_>,
        pass: &Pass<'_>,
        answer: &mut Vec<BoundTask>,
    ) -> Result<(), ScoreFault<E>> {
        let Batch { tasks, demands, row_offsets, positions, .. } = &self.batch;
        if tasks.is_empty() {
            return Ok(());
        }
        let rows = &self.batch.rows[..self.batch.rows_used()];
        let candidates = Candidates::new(stage.id(), tasks, row_offsets, rows);
        let candidates = candidates.unwrap_or_else(|e: PolicyError| unreachable!("collected together: {e}"));
        let sums = self.judge.sum(&candidates)?;
        for (i, (&index, &demand)) in tasks.iter().zip(demands).enumerate() {
            let task = TaskId(stage.first_task().0 + index);
            let range = row_offsets[i] as usize..row_offsets[i + 1] as usize;
            let (sums, positions) = (&sums[range.clone()], &positions[range]);
            let lots = mix(self.seed ^ u64::from(task.0));
            let fits = |row: usize| demand.fits(self.alive.slot(positions[row]));
            let (mut row, runner_up) = highest(sums, positions, lots, |_| true);
            if !fits(row) {
                // Others of the batch took what it had.
                (row, _) = highest(sums, positions, lots, fits);
            }
            let chosen = Some((sums[row], positions[row])).filter(|_| fits(row));
            let second = Some((sums[runner_up], positions[runner_up]));
            let Some((_, position)) = chosen else {
                self.again.push(index);
                continue;
            };
            answer.push(BoundTask::new(task, self.alive.take(position, demand)));
            gate.take(pass, demand.vcores);
            if self.drawn > 0 {
                for (sum, position) in chosen.into_iter().chain(second) {
                    if self.alive.slot(position).slots > 0 {
                        self.best.offer(sum, position);
                    }
                }
            }
        }
        Ok(())
    }
}

/// Draws so many executors; those that fit become candidates, each once.
#[inline(always)]
fn draw_some(times: usize, alive: &mut Alive<'_>, open: &mut Open<'_>, fits: &impl Fn(&AvailableTaskSlots) -> bool) {
    for _ in 0..times {
        let position = alive.draw();
        let slot = alive.slot(position);
        let is_new = open.is_new(position);
        open.add(position, slot, fits(slot) & is_new);
    }
}

/// The row of the highest sum among those that count (the first row, if none does), and one that was the highest before
/// it. Ties go by lot. Without branches on the sums, which nobody can predict.
#[inline]
fn highest(sums: &[f32], positions: &[u32], lots: u64, counts: impl Fn(usize) -> bool) -> (usize, usize) {
    let (mut best, mut at, mut before) = (0, 0, 0);
    for (row, (sum, position)) in sums.iter().zip(positions).enumerate() {
        // Sums are not negative: their bits are in their order.
        let lot = (u64::from(*position) ^ lots).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let key = if counts(row) { u64::from(sum.to_bits()) << 32 | lot } else { 0 };
        let wins = key >= best;
        before = if wins { at } else { before };
        at = if wins { row } else { at };
        best = best.max(key);
    }
    (at, before)
}
