//! Who shares: tenants, or jobs each for itself. The filling knows parties only.

use policy_plugin_api::prelude::*;
use schemars::JsonSchema;
use serde::Deserialize;

/// Between whom the cluster is shared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Between {
    /// Between tenants; within one, jobs go in the contract's order.
    #[default]
    Tenants,
    /// Between jobs: each with the weight of its tenant, so a tenant with more jobs gets more. Only vcores count.
    Jobs,
}

/// One that shares.
pub(crate) struct Party<'r> {
    pub(crate) name: &'r str,
    /// Whose weight it has.
    pub(crate) tenant: &'r str,
    pub(crate) vcores_in_use: u64,
    pub(crate) memory_mib_in_use: u64,
}

impl Between {
    /// How many share in this round.
    pub(crate) fn count(self, jobs: &RunningJobs<'_>) -> usize {
        match self {
            Self::Tenants => jobs.tenants().len(),
            Self::Jobs => jobs.jobs().len(),
        }
    }

    /// The party with this number, below [`Between::count`].
    pub(crate) fn party<'r>(self, jobs: &RunningJobs<'r>, index: usize) -> Party<'r> {
        match self {
            Self::Tenants => {
                let tenant = jobs.tenant(TenantId(index as u32));
                Party {
                    name: tenant.name(),
                    tenant: tenant.name(),
                    vcores_in_use: tenant.vcores_in_use(),
                    memory_mib_in_use: tenant.memory_mib_in_use(),
                }
            }
            Self::Jobs => {
                let job = jobs.job(JobId(index as u32));
                Party {
                    name: job.name(),
                    tenant: job.tenant().name(),
                    vcores_in_use: u64::from(job.vcores_in_use()),
                    memory_mib_in_use: 0,
                }
            }
        }
    }

    /// The number of the party that a job belongs to.
    pub(crate) fn of(self, job: &Job<'_>) -> usize {
        match self {
            Self::Tenants => job.tenant().id().index(),
            Self::Jobs => job.id().index(),
        }
    }
}
