//! Binders for tests: an honest one, and some that break every rule.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use policy_host::round::{AvailableTaskSlots, BoundTask, ExecutorId, Observation, Round, TaskId};
use policy_sim::{Answer, Binder};

/// An answer of any of these binders.
#[derive(Debug)]
pub(crate) struct Rows {
    pub(crate) rows: Vec<BoundTask>,
    pub(crate) policy: &'static str,
    pub(crate) fallback: bool,
}

impl Answer for Rows {
    fn rows(&self) -> &[BoundTask] {
        &self.rows
    }

    fn policy(&self) -> &str {
        self.policy
    }

    fn fallback(&self) -> bool {
        self.fallback
    }
}

/// The tasks in order, each to the first executor that has room for it.
pub(crate) fn first_fit(round: &Round) -> Vec<BoundTask> {
    let stages = round.stage_refs();
    let jobs = round.view(&stages);
    let mut slots: Vec<AvailableTaskSlots> = Vec::new();
    jobs.available_slots(&mut slots);
    let mut rows = Vec::with_capacity(jobs.bindable());
    // All executors before this one are full.
    let mut first = 0;
    for task in jobs.stages().flat_map(|s| s.pending()) {
        let fits = |s: &AvailableTaskSlots| s.slots >= task.vcores() && s.memory_mib >= u64::from(task.memory_mib());
        if let Some(slot) = slots[first..].iter_mut().find(|s| fits(s)) {
            slot.slots -= task.vcores();
            slot.memory_mib -= u64::from(task.memory_mib());
            rows.push(BoundTask::new(task.id(), slot.executor));
        }
        while slots.get(first).is_some_and(|s| s.slots == 0) {
            first += 1;
        }
        if first == slots.len() {
            break;
        }
    }
    rows
}

/// First fit, and a record of what it was told.
#[derive(Debug, Default)]
pub(crate) struct FirstFit {
    pub(crate) observed: Mutex<Vec<Observation>>,
}

impl Binder for FirstFit {
    type Answer = Rows;

    async fn bind(&self, round: Arc<Round>) -> Rows {
        Rows { rows: first_fit(&round), policy: "first-fit", fallback: false }
    }

    fn observe(&self, batch: Vec<Observation>) {
        assert!(!batch.is_empty());
        self.observed.lock().unwrap().extend(batch);
    }
}

/// Binds nothing until it is opened; then first fit.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    pub(crate) open: AtomicBool,
    pub(crate) rounds: AtomicU64,
}

impl Binder for Gate {
    type Answer = Rows;

    async fn bind(&self, round: Arc<Round>) -> Rows {
        self.rounds.fetch_add(1, Ordering::Relaxed);
        let open = self.open.load(Ordering::Relaxed);
        let rows = if open { first_fit(&round) } else { Vec::new() };
        Rows { rows, policy: if open { "open" } else { "shut" }, fallback: !open }
    }

    fn observe(&self, _: Vec<Observation>) {}
}

/// How a [`Hostile`] binder breaks the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Vice {
    /// Every row twice, and some rows of the last round again.
    Duplicates,
    /// Leaves out half of what it could bind.
    Loses,
    /// Numbers out of the blue.
    Random,
    /// Everything to one executor.
    Overbooks,
}

/// An answer that no validator has seen.
#[derive(Debug)]
pub(crate) struct Hostile {
    pub(crate) vice: Vice,
    pub(crate) last: Mutex<Vec<BoundTask>>,
}

impl Hostile {
    pub(crate) fn new(vice: Vice) -> Self {
        Self { vice, last: Mutex::default() }
    }
}

impl Binder for Hostile {
    type Answer = Rows;

    async fn bind(&self, round: Arc<Round>) -> Rows {
        let honest = first_fit(&round);
        let seed = round.clock().seed;
        let mut last = self.last.lock().unwrap();
        let rows = match self.vice {
            Vice::Duplicates => honest.iter().flat_map(|&r| [r, r]).chain(last.iter().copied()).collect(),
            Vice::Loses => honest.iter().copied().skip((seed % 2) as usize).step_by(2).collect(),
            Vice::Random => (0..8)
                .map(|i| {
                    let x = seed.rotate_left(i * 7);
                    BoundTask::new(TaskId((x % 40) as u32), ExecutorId((x >> 32) as u32 % 6))
                })
                .chain(honest.iter().copied())
                .collect(),
            Vice::Overbooks => {
                (0..40).map(|i| BoundTask::new(TaskId(i), ExecutorId(0))).chain(honest.clone()).collect()
            }
        };
        *last = honest;
        Rows { rows, policy: "hostile", fallback: false }
    }

    fn observe(&self, _: Vec<Observation>) {}
}
