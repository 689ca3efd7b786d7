//! `resource-aware`: the least stretched of a few executors drawn at random, by load, speed, labels and free memory.
//!
//! Power of d choices (Mitzenmacher, IEEE TPDS 12(10), 2001) on two signals, as Prequal has it (Wydrowski et al.,
//! arXiv 2312.10172): how much an executor has under way, and how long tasks take there. What stands where: here the
//! knobs and the rule; `load` reported load and what has been bound since; `slowness` what durations tell about an
//! executor; `seats` the free executors of a round and the draw; `labels` rules about labels.

mod labels;
mod load;
mod seats;
mod slowness;

use std::sync::{Mutex, MutexGuard, PoisonError};

use policy_plugin_api::prelude::*;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::demand::Demand;
use crate::gate::Gate;
use crate::pending::walk;

pub use labels::{LabelRule, MAX_RULES, MAX_WEIGHT_PERCENT, Matching};
pub use slowness::STATE_VERSION;

use labels::{Groups, check_rules};
use load::InFlight;
use seats::{Room, Seats, Table};
use slowness::Slowness;

/// The largest [`choices`](ResourceAwareConfig::choices).
pub const MAX_CHOICES: u32 = 64;
/// The largest [`report_ms`](ResourceAwareConfig::report_ms): an hour.
pub const MAX_REPORT_MS: u64 = 3_600_000;
/// The largest [`forget_ms`](ResourceAwareConfig::forget_ms): a day.
pub const MAX_FORGET_MS: u64 = 86_400_000;
/// The largest [`packing_percent`](ResourceAwareConfig::packing_percent).
pub const MAX_PACKING_PERCENT: u32 = 1_000;

/// The knobs of [`ResourceAware`].
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ResourceAwareConfig {
    /// Executors looked at for a task, 1 to 64, default 4. One is random placement; more find better executors and take
    /// longer. With as many as there are executors with something free, all of them are looked at.
    pub choices: u32,
    /// Milliseconds after which a reported load that has not changed counts as reported anew, at most an hour, default
    /// 60000. No less than the interval of the reports: until then, what was bound since the report is added to it. 0
    /// takes every report as it is.
    pub report_ms: u64,
    /// Milliseconds in which what durations showed about an executor loses half of its weight, at most a day, default
    /// 120000. 0 leaves durations out of account.
    pub forget_ms: u64,
    /// What scarcity of the memory and vcores that a task asks for weighs, in percent of what load weighs, at most
    /// 1000, default 100. Only for tasks that ask for memory. 0 leaves it out of account.
    pub packing_percent: u32,
    /// Which jobs require or prefer which labels; of several rules that fit a job, the first counts. At most 64.
    pub rules: Vec<LabelRule>,
}

impl Default for ResourceAwareConfig {
    fn default() -> Self {
        Self { choices: 4, report_ms: 60_000, forget_ms: 120_000, packing_percent: 100, rules: Vec::new() }
    }
}

/// The least stretched of a few executors drawn at random.
///
/// For executors that differ in speed, in memory, in hardware, or in what else they are busy with. Vcores, memory,
/// limits of filters and required labels always hold; among the executors drawn that satisfy them, the task goes to the
/// one with the least `slowness x (1 + occupancy + scarcity)`, where occupancy is the load once the task is there over
/// the capacity. Work conserving, but for tasks whose required labels are on no free executor. Deterministic: randomness
/// comes from the round's seed and number. Keeps what durations showed about executors, and hands it over. Cost:
/// O(executors) a round, where load is reported, else O(executors with something free); O(choices) a task.
#[derive(Debug)]
pub struct ResourceAware {
    config: ResourceAwareConfig,
    kept: Mutex<Kept>,
}

/// What outlives a round.
#[derive(Debug, Default)]
struct Kept {
    in_flight: InFlight,
    slowness: Slowness,
    seats: Seats,
}

impl ResourceAware {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FromConfig for ResourceAware {
    const NAME: &'static str = "resource-aware";
    type Config = ResourceAwareConfig;

    fn from_config(config: ResourceAwareConfig) -> Result<Self> {
        let within = |name: &str, value: u64, least: u64, most: u64| match (least..=most).contains(&value) {
            true => Ok(()),
            false => Err(PolicyError::invalid_config(format!("{name} is {value}: {least} to {most}"))),
        };
        within("choices", config.choices.into(), 1, MAX_CHOICES.into())?;
        within("report_ms", config.report_ms, 0, MAX_REPORT_MS)?;
        within("forget_ms", config.forget_ms, 0, MAX_FORGET_MS)?;
        within("packing_percent", config.packing_percent.into(), 0, MAX_PACKING_PERCENT.into())?;
        check_rules(&config.rules)?;
        Ok(Self { config, kept: Mutex::default() })
    }
}

#[async_trait]
impl DistributionPolicy for ResourceAware {
    async fn bind_tasks(
        &self,
        slots: &mut [AvailableTaskSlots],
        running_jobs: &RunningJobs<'_>,
    ) -> Result<Vec<BoundTask>> {
        let mut kept = self.kept();
        let Kept { in_flight, slowness, seats } = &mut *kept;
        in_flight.update(running_jobs, self.config.report_ms * 1_000);
        slowness.meet(running_jobs);
        seats.seat(slots, running_jobs, in_flight, slowness, self.config.forget_ms * 1_000);
        let mut answer = Vec::with_capacity(running_jobs.bindable());
        let mut gate = Gate::new(running_jobs);
        let mut at_work = AtWork {
            executors: running_jobs.executors(),
            table: Table::new(seats, running_jobs, self.config.choices, self.config.packing_percent),
            groups: Groups::new(&self.config.rules),
        };
        for stage in running_jobs.stages() {
            if at_work.table.is_exhausted() {
                break;
            }
            at_work.bind(&stage, &mut gate, &mut answer);
        }
        in_flight.bound(running_jobs, slots, seats.taken(slots), answer.len());
        Ok(answer)
    }

    fn observe(&self, observations: &Observations<'_>) {
        let Kept { in_flight, slowness, .. } = &mut *self.kept();
        for one in observations.iter() {
            in_flight.observe(&one);
            if self.config.forget_ms > 0 && one.kind == ObservationKind::Finished {
                slowness.finished(&one, self.config.forget_ms * 1_000);
            }
        }
    }

    fn export_state(&self) -> Option<PolicyState> {
        self.kept().slowness.export()
    }

    fn import_state(&self, state: &PolicyState) -> Result<()> {
        self.kept().slowness.import(state)
    }
}

/// One round under way.
struct AtWork<'c, 't, 'r> {
    executors: Executors<'r>,
    table: Table<'t>,
    groups: Groups<'c>,
}

impl AtWork<'_, '_, '_> {
    fn bind(&mut self, stage: &Stage<'_>, gate: &mut Gate<'_>, answer: &mut Vec<BoundTask>) {
        let job = stage.job();
        let table = &mut self.table;
        let rule = self.groups.of_job(&job);
        if rule.is_none() && gate.is_open() && Demand::of_stage(stage) == Some(Demand::UNIT) {
            return table.deal(stage, answer);
        }
        let group = rule.map(|rule| self.groups.group(rule, table.executors(), &self.executors));
        let pass = gate.pass(stage.id());
        // What is known about the executors of this stage does not hold for another's.
        let mut own = (!pass.allows_all() || group.is_some()).then(Room::default);
        let mut passed_over = table.passed_over;
        walk(stage, gate, &pass, &mut passed_over, answer, |_, demand| table.place(demand, &pass, group, own.as_mut()));
        table.passed_over = passed_over;
    }
}
