//! The filter: one cap over all stages of a tenant, at what its quota leaves, or its burst where nobody is behind.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use policy_plugin_api::prelude::*;
use schemars::JsonSchema;
use serde::Deserialize;

/// The knobs of [`TenantQuota`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TenantQuotaConfig {
    /// Vcores that a tenant may hold at once, by the tenant's name: a number, or an object with `vcores` and
    /// `burst_vcores`. Default: none.
    pub quotas: BTreeMap<String, Quota>,
    /// The same for every tenant that has no quota of its own; without cap where left out.
    pub default: Option<Quota>,
}

/// What one tenant may hold at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(from = "Given")]
#[schemars(with = "Given")]
pub struct Quota {
    /// Vcores that it may always hold; 0 stops it.
    pub vcores: u64,
    /// Vcores that it may hold while no other tenant below its own quota has pending tasks; no less than `vcores`.
    pub burst_vcores: u64,
}

/// A quota as it may stand in the config.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged, expecting = "a quota is a number of vcores, or an object with `vcores` and `burst_vcores`")]
enum Given {
    /// Vcores, without burst.
    Vcores(u64),
    /// Vcores with burst.
    Burst(Burst),
}

/// A quota with burst.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Burst {
    /// Vcores that the tenant may always hold; 0 stops it, but for bursts.
    vcores: u64,
    /// Vcores that it may hold while no other tenant below its own quota has pending tasks; no less than `vcores`.
    /// Default: `vcores`.
    burst_vcores: Option<u64>,
}

impl From<Given> for Quota {
    fn from(given: Given) -> Self {
        let (vcores, burst_vcores) = match given {
            Given::Vcores(vcores) => (vcores, None),
            Given::Burst(Burst { vcores, burst_vcores }) => (vcores, burst_vcores),
        };
        Self { vcores, burst_vcores: burst_vcores.unwrap_or(vcores) }
    }
}

/// Caps what a tenant holds at once, over all its jobs: what runs and what a round adds.
///
/// A tenant above its cap (its quota was lowered, or its burst is over) gets nothing until enough of its tasks have
/// ended; nothing is taken from it. Deterministic, without state. Cost: O(tenants + stages) a round; no limits are set
/// in a round where no quota can bind.
#[derive(Debug)]
pub struct TenantQuota {
    config: TenantQuotaConfig,
    /// Whether any quota has a burst.
    bursts: bool,
}

impl FromConfig for TenantQuota {
    const NAME: &'static str = "tenant-quota";
    const OBSERVES: bool = false;
    type Config = TenantQuotaConfig;

    fn from_config(config: TenantQuotaConfig) -> Result<Self> {
        let named = config.quotas.iter().map(|(tenant, quota)| (format!("quotas[{tenant:?}]"), quota));
        for (field, Quota { vcores, burst_vcores }) in named.chain(config.default.iter().map(|q| ("default".into(), q)))
        {
            if burst_vcores < vcores {
                let message = format!("{field}.burst_vcores is {burst_vcores}, must be no less than vcores, {vcores}");
                return Err(PolicyError::invalid_config(message));
            }
        }
        let bursts = config.quotas.values().chain(&config.default).any(|quota| quota.burst_vcores > quota.vcores);
        Ok(Self { config, bursts })
    }
}

impl TaskFilter for TenantQuota {
    fn filter(&self, slots: &[AvailableTaskSlots], running_jobs: &RunningJobs<'_>, limits: &mut Limits) -> Result<()> {
        let free: u64 = slots.iter().map(|slot| u64::from(slot.slots)).sum();
        let below = if self.bursts { self.below_quota(running_jobs) } else { Vec::new() };
        let below_count = below.iter().filter(|&&below| below).count();
        let caps: Vec<Option<u32>> = running_jobs
            .tenants()
            .map(|tenant| {
                let itself = below.get(tenant.id().index()).is_some_and(|&below| below);
                let alone = self.bursts && below_count == usize::from(itself);
                self.cap(&tenant, alone, free)
            })
            .collect();
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
    fn quota(&self, tenant: &Tenant<'_>) -> Option<Quota> {
        self.config.quotas.get(tenant.name()).copied().or(self.config.default)
    }

    /// By tenant: whether it has pending tasks and holds less than its quota.
    fn below_quota(&self, jobs: &RunningJobs<'_>) -> Vec<bool> {
        let holds_less = |tenant: Tenant<'_>| self.quota(&tenant).is_some_and(|q| tenant.vcores_in_use() < q.vcores);
        let mut below: Vec<(bool, bool)> = jobs.tenants().map(|tenant| (holds_less(tenant), false)).collect();
        for job in jobs.jobs() {
            if let Some((true, pending @ false)) = below.get_mut(job.tenant().id().index()) {
                *pending = job.stages().any(|stage| stage.pending_count() > 0);
            }
        }
        below.into_iter().map(|(less, pending)| less && pending).collect()
    }

    /// What the tenant may still take, in a burst or not; `None` where that is no less than all that is free.
    fn cap(&self, tenant: &Tenant<'_>, burst: bool, free: u64) -> Option<u32> {
        let quota = self.quota(tenant)?;
        let most = if burst { quota.burst_vcores } else { quota.vcores };
        let left = most.saturating_sub(tenant.vcores_in_use());
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
        bursts =
            r#"{"quotas": {"team-0": {"vcores": 2, "burst_vcores": 9}}, "default": {"vcores": 1, "burst_vcores": 3}}"#,
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

    /// What tenants get who hold so much and have so many one-vcore tasks pending, of 20 vcores free.
    fn shared(config: &str, tenants: &[(&str, u64, usize)]) -> Vec<usize> {
        let spec = tenants.iter().fold(round().executors(2, 10), |round, &(name, held, pending)| {
            round.tenant(name, held, 0).job(job(name).tenant(name).stage(stage(pending)))
        });
        let rows = spec.build().filtered(&filter(config)).unwrap().answer(&Bias);
        tenants.iter().map(|tenant| rows.iter().filter(|row| row.0 == tenant.0).count()).collect()
    }

    const BURSTS: &str = r#"{"quotas": {"a": {"vcores": 8, "burst_vcores": 16}, "b": 4, "c": {"vcores": 4}}}"#;

    #[test]
    fn a_tenant_bursts_only_while_nobody_below_its_quota_waits() {
        for (tenants, got, why) in [
            (&[("a", 8, 99)][..], &[8][..], "alone, from its quota to its burst"),
            (&[("a", 3, 99)], &[13], "what it lacks itself does not count"),
            (&[("a", 16, 99)], &[0], "its burst is a cap"),
            (&[("a", 20, 99)], &[0], "nothing is taken"),
            (&[("a", 8, 99), ("b", 3, 1)], &[0, 1], "b is below its quota and waits"),
            (&[("a", 3, 99), ("b", 3, 99)], &[5, 1], "both are: to their quotas"),
            (&[("a", 8, 99), ("b", 4, 99)], &[8, 0], "b waits, but has its quota"),
            (&[("a", 8, 99), ("b", 9, 99)], &[8, 0], "or more"),
            (&[("a", 8, 99), ("b", 0, 0)], &[8, 0], "b has nothing to run"),
            (&[("a", 8, 99), ("other", 0, 2)], &[8, 2], "who has no quota is not below it"),
            (&[("a", 10, 99), ("c", 0, 1)], &[0, 1], "a burst ends; c has no burst"),
            (&[("c", 4, 99)], &[0], "burst_vcores left out: none"),
        ] {
            assert_eq!(shared(BURSTS, tenants), got, "{tenants:?}: {why}");
        }
    }

    #[test]
    fn the_default_may_burst_and_zero_lives_on_what_is_left() {
        let config =
            r#"{"default": {"vcores": 2, "burst_vcores": 6}, "quotas": {"guest": {"vcores": 0, "burst_vcores": 5}}}"#;
        assert_eq!(shared(config, &[("x", 2, 99), ("y", 2, 99)]), [4, 4]);
        assert_eq!(shared(config, &[("x", 2, 99), ("y", 1, 99)]), [0, 5], "x waits for y, which lacks one of its two");
        assert_eq!(shared(config, &[("guest", 0, 99)]), [5]);
        assert_eq!(shared(config, &[("guest", 0, 99), ("x", 1, 1)]), [0, 1]);
    }

    #[test]
    fn no_round_takes_a_tenant_above_its_burst_or_above_its_quota_while_others_wait() {
        // Held, pending and free in every combination that is small.
        let config = r#"{"quotas": {"a": {"vcores": 2, "burst_vcores": 4}, "b": {"vcores": 3, "burst_vcores": 5}}}"#;
        let quotas = [(2, 4), (3, 5)];
        let mut bursts = 0;
        for case in 0..7u64 * 7 * 4 * 4 {
            let held = [case % 7, case / 7 % 7];
            let pending = [case / 49 % 4 * 2, case / 196 * 2];
            let got = shared(config, &[("a", held[0], pending[0] as usize), ("b", held[1], pending[1] as usize)]);
            for (i, other) in [(0, 1), (1, 0)] {
                let (quota, burst): (u64, u64) = quotas[i];
                let most = match held[other] < quotas[other].0 && pending[other] > 0 {
                    true => quota,
                    false => burst,
                };
                assert_eq!(got[i] as u64, pending[i].min(most.saturating_sub(held[i])), "{held:?} {pending:?}");
                bursts += usize::from(held[i] + got[i] as u64 > quota && got[i] > 0);
            }
        }
        assert!(bursts > 100, "{bursts}");
    }

    #[test]
    fn quotas_are_numbers_or_objects() {
        let parse = |config: &str| policy_plugin_api::config::parse::<TenantQuotaConfig>(config);
        let of = |vcores, burst_vcores| Some(Quota { vcores, burst_vcores });
        assert_eq!(parse(r#"{"default": 8}"#).unwrap().default, of(8, 8));
        assert_eq!(parse(r#"{"default": {"vcores": 8}}"#).unwrap().default, of(8, 8));
        assert_eq!(parse(r#"{"default": {"vcores": 8, "burst_vcores": 16}}"#).unwrap().default, of(8, 16));
        let low = TenantQuota::from_config(parse(r#"{"quotas": {"a": {"vcores": 8, "burst_vcores": 7}}}"#).unwrap());
        let message = low.expect_err("below the quota").to_string();
        assert!(message.contains(r#"quotas["a"].burst_vcores is 7, must be no less than vcores, 8"#), "{message}");
        let schema = policy_plugin_api::config::schema::<TenantQuotaConfig>();
        assert!(schema.contains("burst_vcores") && schema.contains("anyOf"), "{schema}");
    }

    const NO_VCORES: &str = r#"{"quotas": {"a": {"burst_vcores": 8}}}"#;
    const TYPO: &str = r#"{"quotas": {"a": {"vcores": 8, "burst": 16}}}"#;

    #[test]
    fn a_config_that_is_no_quota_is_refused() {
        for config in [r#"{"quotas": {"a": -1}}"#, r#"{"quotas": {"a": "8"}}"#, r#"{"quota": {}}"#, NO_VCORES, TYPO] {
            assert!(policy_plugin_api::config::parse::<TenantQuotaConfig>(config).is_err(), "{config}");
        }
    }
}
