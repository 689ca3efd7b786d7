//! `data-locality`: tasks go where their bytes are, and wait a little for it.
//!
//! Delay scheduling (Zaharia, Borthakur, Sen Sarma, Elmeleegy, Shenker, Stoica, EuroSys 2010) with a budget of waiting
//! time a stage that nothing refills (`budget`). Which task goes to which of its holders is settled for all tasks of
//! a stage together (`assign`); where many more tasks wait than slots are free, an `index` kept across rounds tells
//! which tasks concern the free executors.

mod assign;
mod budget;
mod index;
mod racks;
mod turn;
mod view;

use std::sync::{Mutex, MutexGuard, PoisonError};

use policy_plugin_api::prelude::*;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::first_fit::FirstFit;
use crate::gate::Gate;
use assign::Assigner;
use budget::Budgets;
pub use budget::{FORGET_AFTER_US, MAX_STAGES, STATE_VERSION};
use index::Indexes;
pub use index::WINDOW_TASKS;
use racks::Racks;
use turn::AtWork;

/// The seat of an executor that has nothing free.
const NOWHERE: u32 = u32::MAX;

/// The most that `wait_ms` and `rack_wait_ms` can be: an hour.
pub const MAX_WAIT_MS: u32 = 3_600_000;

/// What is fetched faster than this is not waited for, microseconds: rounds are not closer together.
pub const LEAST_WAIT_US: u64 = 10_000;

/// The most that `holders` can be.
pub const MAX_HOLDERS: u32 = 16;

/// The knobs of [`DataLocality`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DataLocalityConfig {
    /// How long a stage may leave slots alone, in all its life, to get its tasks to executors that hold their data;
    /// milliseconds, 0 to 3,600,000, default 300. 0: never.
    pub wait_ms: u32,
    /// How long it may then leave slots alone that are not in a rack with such an executor; milliseconds, 0 to
    /// 3,600,000, default 100. Without meaning where no executor has a rack.
    pub rack_wait_ms: u32,
    /// How many holders of a task count, largest first; 1 to 16, default 3.
    pub holders: u32,
    /// A holder is worth waiting for if it has at least this share of the bytes that all holders of the task have;
    /// percent, 0 to 100, default 20.
    pub min_share_percent: u32,
    /// What a task reads from elsewhere at, MiB/s; default 1,000. A stage waits no longer than one of its tasks takes to
    /// fetch what its largest holder has, and not at all for less than 10 ms of that. 0: bytes do not matter.
    pub network_mib_per_s: u32,
}

impl Default for DataLocalityConfig {
    fn default() -> Self {
        Self { wait_ms: 300, rack_wait_ms: 100, holders: 3, min_share_percent: 20, network_mib_per_s: 1_000 }
    }
}

/// Tasks to the executors that hold their data.
///
/// Within its budget of waiting time, a stage leaves slots alone that are far from its data; then its tasks go to the
/// rack of their data, at last anywhere, always to a holder where one is free. Tasks without known data never wait and
/// go as under `bias`. The host asks again when something changes; a round in which stages wait binds fewer tasks than
/// it could. Deterministic for the same sequence of rounds. Keeps the time that stages waited, and hands it over.
/// Cost: O(executors + stages + bindings) a round.
#[derive(Debug)]
pub struct DataLocality {
    config: DataLocalityConfig,
    kept: Mutex<Kept>,
}

/// What outlives a round.
#[derive(Debug, Default)]
struct Kept {
    budgets: Budgets,
    indexes: Indexes,
    racks: Racks,
    assigner: Assigner,
    /// Where an executor stands among the free ones of the round, by uid.
    seat_of: Vec<u32>,
    /// The number of a free executor in the round, by uid.
    executor_of: Vec<ExecutorId>,
    /// Tasks of the turn under way, and those of them that found no holder.
    tasks: Vec<u32>,
    homeless: Vec<u32>,
}

impl DataLocality {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FromConfig for DataLocality {
    const NAME: &'static str = "data-locality";
    const OBSERVES: bool = false;
    type Config = DataLocalityConfig;

    fn from_config(config: DataLocalityConfig) -> Result<Self> {
        let DataLocalityConfig { wait_ms, rack_wait_ms, holders, min_share_percent, network_mib_per_s: _ } = config;
        for (name, value, allowed) in [
            ("wait_ms", wait_ms, 0..=MAX_WAIT_MS),
            ("rack_wait_ms", rack_wait_ms, 0..=MAX_WAIT_MS),
            ("holders", holders, 1..=MAX_HOLDERS),
            ("min_share_percent", min_share_percent, 0..=100),
        ] {
            if !allowed.contains(&value) {
                let (least, most) = allowed.into_inner();
                return Err(PolicyError::invalid_config(format!("{name} is {value}: {least} to {most}")));
            }
        }
        Ok(Self { config, kept: Mutex::default() })
    }
}

#[async_trait]
impl DistributionPolicy for DataLocality {
    async fn bind_tasks(
        &self,
        slots: &mut [AvailableTaskSlots],
        running_jobs: &RunningJobs<'_>,
    ) -> Result<Vec<BoundTask>> {
        let mut kept = self.kept();
        kept.begin(running_jobs);
        let mut gate = Gate::new(running_jobs);
        let mut at_work =
            AtWork::new(&self.config, running_jobs, FirstFit::most_free_first(slots, usize::MAX), &mut kept);
        for stage in running_jobs.stages() {
            if at_work.is_exhausted() {
                break;
            }
            let pass = gate.pass(stage.id());
            if stage.has_holders() {
                at_work.bind(&stage, &mut gate, &pass);
            } else {
                at_work.bind_plain(&stage, &mut gate, &pass);
            }
        }
        Ok(at_work.answer)
    }

    fn export_state(&self) -> Option<PolicyState> {
        self.kept().budgets.export()
    }

    fn import_state(&self, state: &PolicyState) -> Result<()> {
        self.kept().budgets.import(state)
    }
}

impl Kept {
    fn begin(&mut self, jobs: &RunningJobs<'_>) {
        self.budgets.begin(jobs.now_us());
        self.indexes.begin();
        self.racks.begin(&jobs.executors());
    }

    /// Notes where the free executors of the round stand.
    fn seat(&mut self, jobs: &RunningJobs<'_>, executors: &FirstFit<'_>) {
        let uids = jobs.executors().uids();
        self.seat_of.clear();
        for (seat, slot) in executors.slots().iter().enumerate() {
            let uid = uids[slot.executor.index()] as usize;
            if uid >= self.seat_of.len() {
                self.seat_of.resize(uid + 1, NOWHERE);
                self.executor_of.resize(self.executor_of.len().max(uid + 1), ExecutorId(u32::MAX));
            }
            self.seat_of[uid] = seat as u32;
            self.executor_of[uid] = slot.executor;
        }
    }
}
