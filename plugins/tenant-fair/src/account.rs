//! What each tenant holds, is entitled to, and has pending.

use std::cmp::Reverse;

use policy_plugin_api::prelude::*;

use crate::party::{Between, Party};
use crate::turns::Turns;
use crate::weights::Weights;
use policy_kit::demand::Demand;

/// No job.
pub(crate) const NONE: u32 = u32::MAX;

/// Buffers that are kept from round to round.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    pub(crate) accounts: Vec<Account>,
    pub(crate) next_job: Vec<u32>,
    pub(crate) entries: Vec<Entry>,
    pub(crate) line: Vec<Reverse<(u64, u32)>>,
}

/// A tenant in the heap: lowest share first, then who was served longest ago, then whose first job comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry(Reverse<(u64, u64, u32, u32)>);

impl Entry {
    pub(crate) fn new(share: f64, account: &Account, tenant: usize) -> Self {
        // Of numbers that are not negative, the bits are in order as the numbers are.
        Self(Reverse((share.to_bits(), account.last_served, account.first_job, tenant as u32)))
    }

    pub(crate) fn share(&self) -> f64 {
        f64::from_bits(self.0.0.0)
    }

    pub(crate) fn tenant(&self) -> usize {
        self.0.0.3 as usize
    }
}

/// A tenant: what it holds, and where it stands in its pending tasks.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub(crate) vcores: u64,
    pub(crate) memory_mib: u64,
    /// What its weight is measured against: the cluster's vcores (memory) times its weight.
    pub(crate) vcores_scale: f64,
    pub(crate) memory_scale: f64,
    /// Vcores granted to everyone while a vcore's worth is its own by weight.
    pub(crate) turn: f64,
    pub(crate) last_served: u64,
    pub(crate) first_job: u32,
    pub(crate) last_job: u32,
    pub(crate) job: u32,
    pub(crate) stage: u32,
    pub(crate) stages_end: u32,
    /// What its next task takes. Of a stage whose tasks differ, that task is drawn already: `head`.
    pub(crate) demand: Demand,
    pub(crate) head: Option<TaskId>,
    /// Whether its next task is known.
    pub(crate) is_open: bool,
    pub(crate) is_done: bool,
    pub(crate) passed_over: u32,
}

impl Account {
    fn new(party: &Party<'_>, last_served: u64) -> Self {
        Self {
            vcores: party.vcores_in_use,
            memory_mib: party.memory_mib_in_use,
            vcores_scale: 1.0,
            memory_scale: f64::INFINITY,
            turn: 1.0,
            last_served,
            first_job: NONE,
            last_job: NONE,
            job: NONE,
            stage: 0,
            stages_end: 0,
            demand: Demand::UNIT,
            head: None,
            is_open: false,
            is_done: false,
            passed_over: 0,
        }
    }

    /// The weighted dominant share with `times` more of its next task. Each quotient is rounded once, of whole numbers,
    /// so that equal shares compare equal.
    #[inline]
    pub(crate) fn share_with(&self, times: u32) -> f64 {
        let vcores = self.vcores.saturating_add(u64::from(self.demand.vcores) * u64::from(times));
        let memory_mib = self.memory_mib.saturating_add(u64::from(self.demand.memory_mib) * u64::from(times));
        (vcores as f64 / self.vcores_scale).max(memory_mib as f64 / self.memory_scale)
    }

    /// How many of its next tasks it is granted, at most `most`, before its share with one more reaches `next`; one at
    /// least.
    pub(crate) fn run_below(&self, next: f64, most: u32) -> u32 {
        if most <= 1 || self.share_with(2) >= next {
            return most.min(1);
        }
        let times = |scale: f64, held: u64, each: u32| match each {
            0 => f64::from(most),
            each => (next * scale - held as f64) / f64::from(each),
        };
        let by_vcores = times(self.vcores_scale, self.vcores, self.demand.vcores);
        let by_memory = times(self.memory_scale, self.memory_mib, self.demand.memory_mib);
        // An estimate to within rounding; a cast saturates, and takes what is no number for 0.
        let mut run = (by_vcores.min(by_memory) as u32).clamp(1, most);
        while run > 1 && self.share_with(run) >= next {
            run -= 1;
        }
        run
    }

    /// When a tenant that holds nothing is due: once everyone together was granted what makes its next task its own by
    /// weight.
    pub(crate) fn due(&self) -> u64 {
        let wait_vcores = self.turn * f64::from(self.demand.vcores);
        self.last_served.saturating_add(wait_vcores.ceil() as u64)
    }
}

impl Scratch {
    /// Takes up the round's parties and their jobs.
    pub(crate) fn fill(&mut self, jobs: &RunningJobs<'_>, between: Between, weights: &Weights, turns: &Turns) {
        let executors = jobs.executors();
        let vcores: u64 = executors.vcores().iter().map(|&vcores| u64::from(vcores)).sum();
        let memory_mib = match between == Between::Jobs || executors.free_memory_mib().is_empty() {
            true => 0,
            false => executors.iter().fold(0u64, |sum, executor| sum.saturating_add(executor.memory_mib())),
        };
        self.accounts.clear();
        let parties = (0..between.count(jobs)).map(|at| between.party(jobs, at));
        self.accounts.extend(parties.enumerate().map(|(at, party)| Account::new(&party, turns.last_served(at))));
        self.next_job.clear();
        self.next_job.resize(jobs.jobs().len(), NONE);
        for job in jobs.jobs() {
            let Some(account) = self.accounts.get_mut(between.of(&job)) else { continue };
            let id = job.id().0;
            match self.next_job.get_mut(account.last_job as usize) {
                Some(next) => *next = id,
                None => (account.first_job, account.job) = (id, id),
            }
            account.last_job = id;
        }
        let mut all_weights = 0u64;
        for (at, account) in self.accounts.iter_mut().enumerate() {
            account.is_done = account.first_job == NONE;
            let weight = weights.of(between.party(jobs, at).tenant);
            account.turn = weight as f64;
            all_weights += if account.is_done { 0 } else { weight };
            account.vcores_scale = vcores.max(1) as f64 * weight as f64;
            if memory_mib > 0 {
                account.memory_scale = memory_mib as f64 * weight as f64;
            }
        }
        self.accounts.iter_mut().for_each(|account| account.turn = all_weights as f64 / account.turn);
    }
}
