//! The executors: who is there, what is free. Knows no jobs.

use std::sync::Arc;

use policy_plugin_api::assemble::{ExecutorSpec, Roster, RoundBuilder, UidTable};
use policy_plugin_api::{ExecutorId, ExecutorUid};

/// All executors, there or not, by name; an executor's index is its lasting number ([`ExecutorUid`]).
#[derive(Debug)]
pub(super) struct Executors {
    specs: Vec<ExecutorSpec>,
    speeds: Vec<f64>,
    alive: Vec<bool>,
    free_vcores: Vec<u32>,
    free_memory_mib: Vec<u64>,
    running: Vec<u32>,
    /// Index by position in the roster, which holds those that are there.
    listed: Vec<u32>,
    roster: Arc<Roster>,
    uids: UidTable,
    accounts_memory: bool,
    free_total: u64,
    alive_vcores: u64,
    scratch: (Vec<u32>, Vec<u64>, Vec<u32>),
}

impl Executors {
    pub(super) fn new(specs: &[ExecutorSpec]) -> Self {
        let mut specs = specs.to_vec();
        specs.sort_by(|a, b| a.name.cmp(&b.name));
        let mut uids = UidTable::default();
        let roster = Roster::new(&specs, &mut uids);
        let total = specs.iter().map(|e| u64::from(e.vcores)).sum();
        Self {
            speeds: specs.iter().map(|e| decimal(e.speed)).collect(),
            alive: vec![true; specs.len()],
            free_vcores: specs.iter().map(|e| e.vcores).collect(),
            free_memory_mib: specs.iter().map(|e| e.memory_mib).collect(),
            running: vec![0; specs.len()],
            listed: (0..specs.len() as u32).collect(),
            accounts_memory: specs.iter().any(|e| e.memory_mib > 0),
            free_total: total,
            alive_vcores: total,
            scratch: Default::default(),
            roster,
            uids,
            specs,
        }
    }

    pub(super) fn find(&self, name: &str) -> Option<u32> {
        self.specs.binary_search_by(|e| e.name.as_str().cmp(name)).ok().map(|i| i as u32)
    }

    pub(super) fn name(&self, index: u32) -> &str {
        self.specs.get(index as usize).map_or("", |e| &e.name)
    }

    /// The lasting number of a name, of the cluster or outside of it.
    pub(super) fn uid(&mut self, name: &str) -> ExecutorUid {
        self.uids.uid(name)
    }

    pub(super) fn roster(&self) -> &Arc<Roster> {
        &self.roster
    }

    /// The index of what a round calls `id`.
    pub(super) fn at(&self, id: ExecutorId) -> Option<u32> {
        self.listed.get(id.index()).copied()
    }

    pub(super) fn speed(&self, index: u32) -> f64 {
        self.speeds[index as usize]
    }

    pub(super) fn accounts_memory(&self) -> bool {
        self.accounts_memory
    }

    /// Free vcores of all that are there.
    pub(super) fn free_total(&self) -> u64 {
        self.free_total
    }

    /// Vcores of all that are there, free or not.
    pub(super) fn alive_vcores(&self) -> u64 {
        self.alive_vcores
    }

    /// Takes vcores and memory of an executor; `false`, and nothing taken, when it has not as much.
    pub(super) fn take(&mut self, index: u32, vcores: u32, memory_mib: u32) -> bool {
        let i = index as usize;
        let memory = u64::from(memory_mib);
        if !self.alive[i] || self.free_vcores[i] < vcores || self.free_memory_mib[i] < memory {
            return false;
        }
        self.free_vcores[i] -= vcores;
        self.free_memory_mib[i] -= memory;
        self.running[i] += 1;
        self.free_total -= u64::from(vcores);
        true
    }

    /// Gives back what [`take`](Self::take) took.
    pub(super) fn give_back(&mut self, index: u32, vcores: u32, memory_mib: u32) {
        let i = index as usize;
        self.free_vcores[i] += vcores;
        self.free_memory_mib[i] += u64::from(memory_mib);
        self.running[i] -= 1;
        self.free_total += u64::from(vcores);
        debug_assert!(self.free_vcores[i] <= self.specs[i].vcores, "more given back than taken");
    }

    /// The executor goes away; everything taken of it must have been given back. `false` when it was not there.
    pub(super) fn lose(&mut self, index: u32) -> bool {
        let i = index as usize;
        debug_assert_eq!(self.running[i], 0, "its tasks go first");
        if !std::mem::replace(&mut self.alive[i], false) {
            return false;
        }
        self.free_total -= u64::from(self.free_vcores[i]);
        self.alive_vcores -= u64::from(self.specs[i].vcores);
        self.relist();
        true
    }

    /// The executor comes back, empty. `false` when it was there.
    pub(super) fn join(&mut self, index: u32) -> bool {
        let i = index as usize;
        if std::mem::replace(&mut self.alive[i], true) {
            return false;
        }
        self.free_total += u64::from(self.free_vcores[i]);
        self.alive_vcores += u64::from(self.specs[i].vcores);
        self.relist();
        true
    }

    pub(super) fn is_alive(&self, index: u32) -> bool {
        self.alive[index as usize]
    }

    fn relist(&mut self) {
        self.listed = (0..self.specs.len() as u32).filter(|&i| self.alive[i as usize]).collect();
        let specs: Vec<_> = self.listed.iter().map(|&i| self.specs[i as usize].clone()).collect();
        self.roster = Roster::new(&specs, &mut self.uids);
    }

    /// Fills in a round's executor rows.
    pub(super) fn fill(&mut self, round: &mut RoundBuilder) {
        if self.listed.len() == self.specs.len() {
            round.free_vcores(&self.free_vcores).running_tasks(&self.running);
            if self.accounts_memory {
                round.free_memory_mib(&self.free_memory_mib);
            }
            return;
        }
        let (vcores, memory, running) = &mut self.scratch;
        vcores.clear();
        memory.clear();
        running.clear();
        for &i in &self.listed {
            vcores.push(self.free_vcores[i as usize]);
            memory.push(self.free_memory_mib[i as usize]);
            running.push(self.running[i as usize]);
        }
        round.free_vcores(vcores).running_tasks(running);
        if self.accounts_memory {
            round.free_memory_mib(memory);
        }
    }
}

/// The number as it was written: 0.1, not 0.10000000149, so that times come out round.
fn decimal(speed: f32) -> f64 {
    speed.to_string().parse().unwrap_or(f64::from(speed))
}
