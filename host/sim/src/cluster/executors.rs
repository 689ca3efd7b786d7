//! The executors: which are there, and what is free on them. Knows no jobs.

use std::sync::Arc;

use policy_host::round::{
    Clock, ExecutorId, ExecutorRows, ExecutorSpec, ExecutorUid, Roster, Round, RoundBuilder, UidTable,
};

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
    /// Position in the roster by index; `u32::MAX` for those that are gone.
    place: Vec<u32>,
    /// What rounds say of those that are there.
    rows: ExecutorRows,
    roster: Arc<Roster>,
    uids: UidTable,
    accounts_memory: bool,
    free_total: u64,
    alive_vcores: u64,
}

impl Executors {
    pub(super) fn new(specs: &[ExecutorSpec]) -> Self {
        let mut specs = specs.to_vec();
        specs.sort_by(|a, b| a.name.cmp(&b.name));
        let mut uids = UidTable::default();
        let roster = Roster::new(&specs, &mut uids);
        let total = specs.iter().map(|e| u64::from(e.vcores)).sum();
        let mut this = Self {
            speeds: specs.iter().map(|e| decimal(e.speed)).collect(),
            alive: vec![true; specs.len()],
            free_vcores: specs.iter().map(|e| e.vcores).collect(),
            free_memory_mib: specs.iter().map(|e| e.memory_mib).collect(),
            running: vec![0; specs.len()],
            listed: (0..specs.len() as u32).collect(),
            place: (0..specs.len() as u32).collect(),
            rows: ExecutorRows::default(),
            accounts_memory: specs.iter().any(|e| e.memory_mib > 0),
            free_total: total,
            alive_vcores: total,
            roster,
            uids,
            specs,
        };
        this.refill();
        this
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

    /// The index of what a round calls `id`.
    pub(super) fn at(&self, id: ExecutorId) -> Option<u32> {
        self.listed.get(id.index()).copied()
    }

    pub(super) fn speed(&self, index: u32) -> f64 {
        self.speeds[index as usize]
    }

    /// Whether two executors are known to stand in one rack. A number that is not of the cluster stands in none.
    pub(super) fn same_rack(&self, a: u32, b: u32) -> bool {
        let rack = |i: u32| self.specs.get(i as usize).and_then(|e| e.rack.as_deref());
        rack(a).is_some() && rack(a) == rack(b)
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
        self.update_row(i);
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
        self.update_row(i);
    }

    /// Updates the row of rounds of an executor that is there.
    #[inline]
    fn update_row(&mut self, i: usize) {
        self.rows.set(self.place[i] as usize, self.free_vcores[i], self.free_memory_mib[i], self.running[i]);
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
        self.place.fill(u32::MAX);
        self.listed.iter().enumerate().for_each(|(at, &i)| self.place[i as usize] = at as u32);
        self.refill();
    }

    fn refill(&mut self) {
        fn of<T: Copy>(column: &[T], listed: &[u32]) -> Vec<T> {
            listed.iter().map(|&i| column[i as usize]).collect()
        }
        let memory = if self.accounts_memory { of(&self.free_memory_mib, &self.listed) } else { Vec::new() };
        self.rows.reset(&of(&self.free_vcores, &self.listed), &memory, &of(&self.running, &self.listed));
    }

    /// Closes a round whose jobs are in the builder.
    pub(super) fn close(&mut self, round: &mut RoundBuilder, clock: Clock) -> Arc<Round> {
        round.finish_with(&mut self.rows, &self.roster, clock)
    }
}

/// The number as it was written: 0.1, not 0.10000000149, so that times come out round.
pub(crate) fn decimal(speed: f32) -> f64 {
    speed.to_string().parse().unwrap_or(f64::from(speed))
}
