//! `tenant-fair`: weighted dominant-resource fairness between tenants, or between jobs, by progressive filling.
//!
//! Ghodsi et al., "Dominant Resource Fairness" (NSDI 2011), sections 4 and 4.1, with one decision of its own: among
//! tenants, the one goes first whose share *with* its next task is lowest (the paper's algorithm compares shares without
//! it). Where the paper's example and every fluid limit are concerned the two are equal; with tasks that cannot be
//! divided and weights that differ, only this order keeps each tenant within one task of its share, as the divisor
//! method of Jefferson does for seats. What that order alone would starve (a tenant whose single task is larger than its
//! share) is served from a line of tenants that hold nothing.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use policy_kit::pending::draw;
use policy_plugin_api::prelude::*;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::account::Scratch;
use crate::filling::Filling;
use crate::placing::Placing;
use crate::turns::Turns;
use crate::weights::Weights;

pub use crate::party::Between;
pub use crate::turns::{MAX_REMEMBERED_TENANTS, STATE_VERSION};

/// The lowest weight that a config may give; weights are kept in thousandths.
pub const MIN_WEIGHT: f64 = 0.001;
/// The highest weight that a config may give.
pub const MAX_WEIGHT: f64 = 1_000_000.0;

/// The knobs of [`TenantFair`].
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TenantFairConfig {
    /// Weights by tenant name, a plain number from 0.001 to 1000000, kept in thousandths: a tenant of weight 2 is
    /// entitled to twice the share of one of weight 1. Default: none.
    pub weights: BTreeMap<String, f64>,
    /// The weight of every tenant without one of its own; the same range. Default: 1.
    pub default_weight: f64,
    /// Who shares. Default: `tenants`.
    pub between: Between,
    /// Which executor a granted task goes to. Default: `spread`.
    pub placement: Placement,
}

impl Default for TenantFairConfig {
    fn default() -> Self {
        Self {
            weights: BTreeMap::new(),
            default_weight: 1.0,
            between: Between::default(),
            placement: Placement::default(),
        }
    }
}

/// Which executor a granted task goes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Placement {
    /// The next one in turn that has room, by name: as `round-robin`.
    #[default]
    Spread,
    /// The one with most free vcores at the start of the round until it is full, then the next: as `bias`.
    Pack,
}

/// Weighted dominant-resource fairness over vcores and memory.
///
/// A tenant's share is what it holds (running now, and granted in this round) of the cluster's vcores or of its memory,
/// whichever is more, over its weight. Work conserving; deterministic for the same sequence of rounds. Keeps when each
/// tenant was served last, for ties, and hands it over. Cost: O(executors + jobs + stages in use + bindings x log
/// tenants).
#[derive(Debug)]
pub struct TenantFair {
    weights: Weights,
    between: Between,
    placement: Placement,
    memory: Mutex<Memory>,
}

/// What is kept from round to round: state, and buffers.
#[derive(Debug, Default)]
struct Memory {
    turns: Turns,
    scratch: Scratch,
}

impl TenantFair {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FromConfig for TenantFair {
    const NAME: &'static str = "tenant-fair";
    const OBSERVES: bool = false;
    type Config = TenantFairConfig;

    fn from_config(config: TenantFairConfig) -> Result<Self> {
        let thousandths = |field: &str, weight: f64| {
            if (MIN_WEIGHT..=MAX_WEIGHT).contains(&weight) {
                return Ok((weight * 1_000.0).round() as u64);
            }
            let range = format!("from {MIN_WEIGHT} to {MAX_WEIGHT}");
            Err(PolicyError::invalid_config(format!("{field} is {weight}, must be {range}")))
        };
        let default = thousandths("default_weight", config.default_weight)?;
        let named = config.weights.into_iter().map(|(tenant, weight)| {
            let weight = thousandths(&format!("weights[{tenant:?}]"), weight)?;
            Ok((tenant, weight))
        });
        let weights = Weights { named: named.collect::<Result<_>>()?, default };
        Ok(Self { weights, between: config.between, placement: config.placement, memory: Mutex::default() })
    }
}

#[async_trait]
impl DistributionPolicy for TenantFair {
    async fn bind_tasks(
        &self,
        slots: &mut [AvailableTaskSlots],
        running_jobs: &RunningJobs<'_>,
    ) -> Result<Vec<BoundTask>> {
        let bindable = running_jobs.bindable();
        if bindable == 0 || slots.is_empty() {
            return Ok(Vec::new());
        }
        let Memory { turns, scratch } = &mut *self.memory();
        let placing = match self.placement {
            Placement::Pack => Placing::pack(slots, bindable),
            Placement::Spread => {
                let name = |slot: &AvailableTaskSlots| running_jobs.executors().get(slot.executor).name();
                let behind = slots.partition_point(|slot| name(slot) <= turns.last_executor());
                slots.rotate_left(behind);
                Placing::spread(slots, bindable)
            }
        };
        let mut filling = Filling::new(running_jobs, self.between, &self.weights, turns, scratch, placing, draw);
        filling.run();
        let answer = filling.finish(turns);
        if let (Placement::Spread, Some(last)) = (self.placement, answer.last()) {
            turns.set_last_executor(running_jobs.executors().get(last.executor).name());
        }
        Ok(answer)
    }

    fn export_state(&self) -> Option<PolicyState> {
        self.memory().turns.export()
    }

    fn import_state(&self, state: &PolicyState) -> Result<()> {
        self.memory().turns = Turns::import(state)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    policy_testkit::policy_conformance!(
        TenantFair,
        defaults = "{}",
        between_jobs = r#"{"between": "jobs", "weights": {"team-0": 3}}"#,
        packed = r#"{"placement": "pack"}"#,
        weighted = r#"{"weights": {"team-0": 3, "team-2": 0.5, "nobody": 7}, "default_weight": 0.25}"#,
    );

    fn refused(config: TenantFairConfig) -> String {
        TenantFair::from_config(config).expect_err("out of range").to_string()
    }

    #[test]
    fn weights_out_of_range_are_refused_by_name() {
        let config = TenantFairConfig::default;
        for weight in [0.0, -1.0, 0.000_9, 1_000_001.0, f64::NAN, f64::INFINITY] {
            let message = refused(TenantFairConfig { weights: [("a".to_owned(), weight)].into(), ..config() });
            assert!(message.contains("weights[\"a\"]") && message.contains("from 0.001 to 1000000"), "{message}");
            assert!(refused(TenantFairConfig { default_weight: weight, ..config() }).contains("default_weight"));
        }
        let edges = [("a".to_owned(), MIN_WEIGHT), ("b".to_owned(), MAX_WEIGHT)];
        assert!(TenantFair::from_config(TenantFairConfig { weights: edges.into(), ..config() }).is_ok());
    }
}
