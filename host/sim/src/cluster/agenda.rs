//! What is going to happen when: arrivals, ends of tasks, executors lost and back. Knows times, not consequences.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// What happens to an executor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// It goes away; its running tasks are pending again.
    Lost,
    /// It comes back, empty.
    Joined,
}

/// A planned happening to an executor. Losing one that is gone, or joining one that is there, does nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// When, in virtual microseconds.
    pub at_us: u64,
    /// The executor's name.
    pub executor: String,
    /// What happens.
    pub kind: FaultKind,
}

/// The next thing due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// The run number `seq` in place `slot` ends.
    End { slot: u32, seq: u64 },
    /// The planned happening to an executor.
    Fault { executor: u32, kind: FaultKind },
    /// The job with this index comes.
    Arrival { job: u32 },
}

/// All that is due. Ends of one instant come before faults, faults before arrivals; within these, in the order in which
/// tasks were started, faults planned and jobs listed.
#[derive(Debug)]
pub(super) struct Agenda {
    ends: BinaryHeap<Reverse<(u64, u64, u32)>>,
    faults: Vec<(u64, u32, FaultKind)>,
    next_fault: usize,
    arrivals: Vec<u64>,
    next_arrival: usize,
}

impl Agenda {
    /// `arrivals` by job, ascending.
    pub(super) fn new(arrivals: Vec<u64>, mut faults: Vec<(u64, u32, FaultKind)>) -> Self {
        faults.sort_by_key(|f| f.0);
        Self { ends: BinaryHeap::new(), faults, next_fault: 0, arrivals, next_arrival: 0 }
    }

    pub(super) fn end_at(&mut self, at_us: u64, seq: u64, slot: u32) {
        self.ends.push(Reverse((at_us, seq, slot)));
    }

    /// When something is due next.
    pub(super) fn next_us(&self) -> Option<u64> {
        let end = self.ends.peek().map(|e| e.0.0);
        let fault = self.faults.get(self.next_fault).map(|f| f.0);
        let arrival = self.arrivals.get(self.next_arrival).copied();
        [end, fault, arrival].into_iter().flatten().min()
    }

    /// Takes the next thing due up to and including `to_us`, with its time.
    pub(super) fn pop(&mut self, to_us: u64) -> Option<(u64, Due)> {
        let at = self.next_us().filter(|&at| at <= to_us)?;
        if let Some(&Reverse((end, seq, slot))) = self.ends.peek()
            && end == at
        {
            self.ends.pop();
            return Some((at, Due::End { slot, seq }));
        }
        if let Some(&(fault, executor, kind)) = self.faults.get(self.next_fault)
            && fault == at
        {
            self.next_fault += 1;
            return Some((at, Due::Fault { executor, kind }));
        }
        self.next_arrival += 1;
        Some((at, Due::Arrival { job: self.next_arrival as u32 - 1 }))
    }

    /// Whether every job has come.
    pub(super) fn all_arrived(&self) -> bool {
        self.next_arrival == self.arrivals.len()
    }
}
