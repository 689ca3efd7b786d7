//! The filter: one cap over all stages of a tenant, at what its quota leaves.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use policy_plugin_api::prelude::*;
use schemars::JsonSchema;
use serde::Deserialize;

/// The knobs of [`TenantQuota`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TenantQuotaConfig {
    /// Vcores that a tenant may hold at once, by the tenant's name.
    pub quotas: BTreeMap<String, u64>,
    /// The same for every tenant that has no quota of its own; without cap where left out.
    pub default: Option<u64>,
}

/// Caps what a tenant holds at once, over all its jobs: what runs and what a round adds.
///
/// A tenant above its quota (its quota was lowered, say) gets nothing until enough of its tasks have ended; nothing is
/// taken from it. Deterministic, without state. Cost: O(tenants + stages) a round; no limits are set in a round where
/// no quota can bind.
#[derive(Debug)]
pub struct TenantQuota {
    config: TenantQuotaConfig,
}

impl FromConfig for TenantQuota {
    const NAME: &'static str = "tenant-quota";
    type Config = TenantQuotaConfig;

    fn from_config(config: TenantQuotaConfig) -> Result<Self> {
        Ok(Self { config })
    }
}

impl TaskFilter for TenantQuota {
    fn filter(&self, slots: &[AvailableTaskSlots], running_jobs: &RunningJobs<'_>, limits: &mut Limits) -> Result<()> {
        let free: u64 = slots.iter().map(|slot| u64::from(slot.slots)).sum();
        let caps: Vec<Option<u32>> = running_jobs.tenants().map(|tenant| self.cap(&tenant, free)).collect();
        if caps.iter().all(Option::is_none) {
            return Ok(());
        }
        let mut stages = vec![Vec::new(); caps.len()];
        for job in running_jobs.jobs() {
            if let Some(stages) = stages.get_mut(job.tenant().id().index()) {
                stages.extend(job.stages().map(|stage| stage.id()));
            }
        }
        for (cap, stages) in caps.into_iter().zip(stages) {
            if let Some(cap) = cap {
                limits.cap_vcores(stages, cap);
            }
        }
        Ok(())
    }
}

impl TenantQuota {
    /// What the tenant may still take; `None` where that is no less than all that is free.
    fn cap(&self, tenant: &Tenant<'_>, free: u64) -> Option<u32> {
        let quota = self.config.quotas.get(tenant.name()).copied().or(self.config.default)?;
        let left = quota.saturating_sub(tenant.vcores_in_use());
        (left < free).then(|| u32::try_from(left).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy_kit::{Bias, RoundRobin};
    use policy_testkit::TestRound;
    use policy_testkit::spec::{job, round, stage};

    policy_testkit::filter_conformance!(
        TenantQuota,
        defaults = "{}",
        some = r#"{"quotas": {"team-0": 4, "tenant-1": 2}, "default": 9}"#,
        nothing_for_nobody = r#"{"default": 0}"#,
    );

    fn filter(config: &str) -> TenantQuota {
        TenantQuota::from_config(policy_plugin_api::config::parse(config).unwrap()).unwrap()
    }

    /// Two tenants with two jobs each, twelve free vcores; `a` holds five already.
    fn cluster() -> TestRound {
        let job = |name: &str, tenant: &str| job(name).tenant(tenant).stage(stage(4)).stage(stage(4));
        let jobs = [job("a1", "a"), job("b1", "b"), job("a2", "a"), job("b2", "b")];
        jobs.into_iter().fold(round().executors(3, 4).tenant("a", 5, 0), |round, job| round.job(job)).build()
    }

    /// Vcores that `a` and `b` get.
    fn got(config: &str) -> (usize, usize) {
        let round = cluster().filtered(&filter(config)).unwrap();
        let rows = round.answer(&Bias);
        assert_eq!(rows.len(), round.answer(&RoundRobin::default()).len(), "whatever the policy");
        let of = |tenant: char| rows.iter().filter(|row| row.0.starts_with(tenant)).count();
        (of('a'), of('b'))
    }

    #[test]
    fn a_quota_caps_what_runs_and_what_a_round_adds() {
        assert_eq!(got(r#"{"quotas": {"a": 8}}"#), (3, 9), "five run, three more");
        assert_eq!(got(r#"{"quotas": {"a": 5}}"#), (0, 12));
        assert_eq!(got(r#"{"quotas": {"a": 2}}"#), (0, 12), "above its quota: nothing new, nothing taken");
        assert_eq!(got(r#"{"quotas": {"a": 8}, "default": 2}"#), (3, 2), "vcores stay free");
        assert_eq!(got(r#"{"quotas": {"nobody": 0}}"#), got("{}"));
    }

    #[test]
    fn quotas_that_cannot_bind_set_no_limits() {
        let limits = cluster().ask_filter(&filter(r#"{"default": 17}"#)).unwrap();
        assert!(limits.is_unrestricted());
    }

    #[test]
    fn a_config_that_is_no_quota_is_refused() {
        for config in [r#"{"quotas": {"a": -1}}"#, r#"{"quotas": {"a": "8"}}"#, r#"{"quota": {}}"#] {
            assert!(policy_plugin_api::config::parse::<TenantQuotaConfig>(config).is_err(), "{config}");
        }
    }
}
