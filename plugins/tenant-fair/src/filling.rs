//! Progressive filling: a heap of tenants (parties, where jobs share for themselves) by share, granted task by task, or run by run where that is the same.
//!
//! The heap's keys are lower bounds: a tenant's key only grows, so an entry that has fallen behind is put right when it
//! comes to the top. Stages are looked into when their tenant is first at the top, so a round that can bind little
//! looks into little.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use policy_plugin_api::prelude::*;

use crate::account::{Entry, NONE, Scratch};
use crate::party::Between;
use crate::placing::Placing;
use crate::turns::Turns;
use crate::weights::Weights;
use policy_kit::demand::{Demand, Hints};
use policy_kit::gate::{Gate, Pass};
use policy_kit::pending::{Draw, MAX_PASSED_OVER};

/// What one tenant may pass over even where many share [`MAX_PASSED_OVER`].
const LEAST_PASSED_OVER: u32 = 16;
/// A task for which every executor was looked at in vain counts as so many passed over.
const SEARCH: u32 = 16;

/// A round under way. `I` is the iterator behind [`Draw`], which has no name.
pub(crate) struct Filling<'r, 's, I> {
    jobs: RunningJobs<'r>,
    gate: Gate<'r>,
    placing: Placing<'s>,
    open: fn(&Stage<'r>) -> Draw<I>,
    draws: Vec<Option<Draw<I>>>,
    /// By tenant: hints for its current stage, where that may not use every executor.
    own: Vec<Option<Box<Hints>>>,
    scratch: &'s mut Scratch,
    heap: BinaryHeap<Entry>,
    /// Tenants that hold nothing, by when they are due.
    line: BinaryHeap<Reverse<(u64, u32)>>,
    clock: u64,
    most_passed_over: u32,
    answer: Vec<BoundTask>,
}

impl<'r, 's, I: Iterator<Item = (u32, u32)>> Filling<'r, 's, I> {
    pub(crate) fn new(
        jobs: &RunningJobs<'r>,
        between: Between,
        weights: &Weights,
        turns: &mut Turns,
        scratch: &'s mut Scratch,
        placing: Placing<'s>,
        open: fn(&Stage<'r>) -> Draw<I>,
    ) -> Self {
        turns.begin(jobs, between);
        let gate = Gate::new(jobs);
        let tenants = between.count(jobs);
        scratch.fill(jobs, between, weights, turns);
        let mut entries = std::mem::take(&mut scratch.entries);
        let mut line = std::mem::take(&mut scratch.line);
        let waiting = scratch.accounts.iter().enumerate().filter(|(_, account)| !account.is_done);
        let bindable = jobs.bindable();
        entries.clear();
        line.clear();
        let free_vcores: u64 = jobs.executors().free_vcores().iter().map(|&free| u64::from(free)).sum();
        for (tenant, account) in waiting {
            entries.push(Entry::new(account.share_with(0), account, tenant));
            if account.vcores == 0 && account.due() <= turns.clock().saturating_add(free_vcores) {
                line.push(Reverse((account.due(), tenant as u32)));
            }
        }
        Self {
            jobs: *jobs,
            own: if gate.is_open() { Vec::new() } else { (0..tenants).map(|_| None).collect() },
            gate,
            placing,
            open,
            draws: (0..tenants).map(|_| None).collect(),
            scratch,
            heap: entries.into(),
            line: line.into(),
            clock: turns.clock(),
            most_passed_over: (MAX_PASSED_OVER / (tenants as u32).max(1)).max(LEAST_PASSED_OVER),
            answer: Vec::with_capacity(bindable),
        }
    }

    /// Grants until nothing is free, or nothing that waits fits.
    pub(crate) fn run(&mut self) {
        while !self.placing.is_exhausted() {
            // At most every other grant goes to the line, so that no number of small tenants stops the others.
            if let Some(tenant) = self.due() {
                self.grant_one(tenant);
                if self.placing.is_exhausted() {
                    return;
                }
            }
            let Some(&top) = self.heap.peek() else { return };
            self.serve(top);
        }
    }

    /// Ends the round; the buffers go back.
    pub(crate) fn finish(self, turns: &mut Turns) -> Vec<BoundTask> {
        turns.end(self.clock, self.scratch.accounts.iter().map(|account| account.last_served));
        self.scratch.entries = self.heap.into_vec();
        self.scratch.line = self.line.into_vec();
        self.answer
    }

    /// Serves the tenant at the top of the heap, or puts its entry right.
    fn serve(&mut self, top: Entry) {
        let tenant = top.tenant();
        if !self.is_ready(tenant) {
            self.heap.pop();
            return;
        }
        let account = &self.scratch.accounts[tenant];
        let current = Entry::new(account.share_with(1), account, tenant);
        if current != top {
            self.replace_top(current);
            return;
        }
        // The children of the root: one of them is the next tenant's entry, a lower bound of its share.
        let second = self.heap.as_slice().get(1..3.min(self.heap.len())).and_then(|children| children.iter().max());
        let mut most = account.run_below(second.map_or(f64::INFINITY, Entry::share), u32::MAX);
        if let Some(&Reverse((due, _))) = self.line.peek() {
            let until_due = due.saturating_sub(self.clock) / u64::from(account.demand.vcores);
            most = most.min(u32::try_from(until_due).unwrap_or(u32::MAX).saturating_add(1));
        }
        self.grant(tenant, most);
        if self.is_ready(tenant) {
            let account = &self.scratch.accounts[tenant];
            self.replace_top(Entry::new(account.share_with(1), account, tenant));
        } else {
            self.heap.pop();
        }
    }

    fn replace_top(&mut self, entry: Entry) {
        if let Some(mut top) = self.heap.peek_mut() {
            *top = entry;
        }
    }

    /// The first in the line that holds nothing and has waited its time.
    fn due(&mut self) -> Option<usize> {
        loop {
            let &Reverse((due, tenant)) = self.line.peek()?;
            if due > self.clock {
                return None;
            }
            self.line.pop();
            let index = tenant as usize;
            if self.scratch.accounts[index].vcores > 0 || !self.is_ready(index) {
                continue;
            }
            // Only now its task is known, and how long that is worth waiting for.
            match self.scratch.accounts[index].due() {
                exact if exact > self.clock => self.line.push(Reverse((exact, tenant))),
                _ => return Some(index),
            }
        }
    }

    /// Grants one task to a tenant of the line, if any of its tasks fits. Its entry in the heap stays a lower bound.
    fn grant_one(&mut self, tenant: usize) {
        while self.is_ready(tenant) && self.grant(tenant, 1) == 0 {}
    }

    /// Whether the tenant has a next task; looks for it where that is not known.
    #[inline]
    fn is_ready(&mut self, tenant: usize) -> bool {
        if !self.scratch.accounts[tenant].is_open {
            self.open_stage(tenant);
        }
        !self.scratch.accounts[tenant].is_done
    }

    /// Grants up to `most` of the tenant's next tasks, all of one stage; where the next one fits nowhere, goes on to the
    /// one behind it. Returns how many were granted.
    fn grant(&mut self, tenant: usize, most: u32) -> u32 {
        let account = &mut self.scratch.accounts[tenant];
        let Some(draw) = &mut self.draws[tenant] else { return 0 };
        let demand = account.demand;
        let (pass, room) = if self.gate.is_open() {
            (Pass::default(), u32::MAX)
        } else {
            let pass = self.gate.pass(StageId(account.stage - 1));
            let room = self.gate.room(&pass);
            (pass, room)
        };
        let mut own = self.own.get_mut(tenant).and_then(Option::as_deref_mut);
        let (mut granted, mut stopped) = (0, demand.vcores > room);
        match account.head {
            None => {
                let most = most.min(room / demand.vcores);
                while granted < most && !draw.is_done() {
                    let Some(executor) = self.placing.place(demand, &pass, own.as_deref_mut()) else {
                        stopped = true;
                        break;
                    };
                    granted += draw.bind(1, executor, &mut self.answer);
                }
            }
            Some(head) if !stopped => match self.placing.place(demand, &pass, own) {
                Some(executor) => {
                    self.answer.push(BoundTask::new(head, executor));
                    granted = 1;
                }
                None => account.passed_over += SEARCH,
            },
            Some(_) => account.passed_over += 1,
        }
        if granted > 0 {
            let vcores = demand.vcores.saturating_mul(granted);
            account.vcores = account.vcores.saturating_add(u64::from(vcores));
            let memory_mib = u64::from(demand.memory_mib) * u64::from(granted);
            account.memory_mib = account.memory_mib.saturating_add(memory_mib);
            self.clock += u64::from(vcores);
            account.last_served = self.clock;
            self.gate.take(&pass, vcores);
        }
        let gives_up = account.passed_over >= self.most_passed_over && granted == 0;
        match account.head {
            None if stopped || draw.is_done() => account.is_open = false,
            None => {}
            Some(_) if gives_up => account.is_open = false,
            Some(_) => self.draw_head(tenant),
        }
        granted
    }

    /// Draws the next task of a stage whose tasks differ.
    fn draw_head(&mut self, tenant: usize) {
        let account = &mut self.scratch.accounts[tenant];
        let Some(draw) = self.draws[tenant].as_mut().filter(|draw| !draw.is_done()) else {
            account.is_open = false;
            return;
        };
        let (task, _) = draw.run(1);
        let stage = self.jobs.stage(StageId(account.stage - 1));
        account.head = Some(TaskId(task));
        account.demand = Demand::of_task(&stage, task - stage.first_task().0);
    }

    /// Goes on to the tenant's next stage that may bind anything.
    fn open_stage(&mut self, tenant: usize) {
        loop {
            let account = &mut self.scratch.accounts[tenant];
            if account.stage == account.stages_end {
                if account.job == NONE {
                    account.is_done = true;
                    account.is_open = true;
                    return;
                }
                let mut stages = self.jobs.job(JobId(account.job)).stages();
                account.job = self.scratch.next_job[account.job as usize];
                let count = stages.len() as u32;
                if let Some(first) = stages.next() {
                    (account.stage, account.stages_end) = (first.id().0, first.id().0 + count);
                }
                continue;
            }
            let stage = self.jobs.stage(StageId(account.stage));
            account.stage += 1;
            let draw = (self.open)(&stage);
            if draw.is_done() {
                continue;
            }
            if !self.gate.is_open() {
                let pass = self.gate.pass(stage.id());
                if self.gate.room(&pass) == 0 {
                    continue;
                }
                self.own[tenant] = (!pass.allows_all()).then(Box::default);
            }
            self.draws[tenant] = Some(draw);
            account.is_open = true;
            account.head = None;
            match Demand::of_stage(&stage) {
                Some(demand) => account.demand = demand,
                None => self.draw_head(tenant),
            }
            return;
        }
    }
}
