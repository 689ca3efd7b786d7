//! `data-locality`: tasks go where their bytes are, and wait a little for it.
//!
//! Delay scheduling (Zaharia, Borthakur, Sen Sarma, Elmeleegy, Shenker, Stoica, EuroSys 2010) with a budget of waiting
//! time a stage that nothing refills (`budget`). Which task goes to which of its holders is settled for all tasks of
//! a stage together (`assign`); where many more tasks wait than slots are free, an `index` kept across rounds tells
//! which tasks concern the free executors.

mod assign;
mod budget;
mod config;
mod index;
mod kept;
mod racks;
mod turn;
mod view;

use std::sync::{Mutex, MutexGuard, PoisonError};

use policy_plugin_api::prelude::*;

use crate::first_fit::FirstFit;
use crate::gate::Gate;
use kept::Kept;
use turn::AtWork;

pub use budget::{FORGET_AFTER_US, MAX_STAGES, STATE_VERSION};
pub use config::{DataLocalityConfig, LEAST_WAIT_US, MAX_HOLDERS, MAX_WAIT_MS};
pub use index::WINDOW_TASKS;

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
