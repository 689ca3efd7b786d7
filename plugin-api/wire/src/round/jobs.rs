//! Tenants and jobs as a round shows them.

use super::{RunningJobs, Stage, StageColumns};
use crate::block::{BlockView, ragged};
use crate::columns::round;
use crate::ids::{JobId, StageId, TenantId};

/// One tenant.
#[derive(Clone, Copy, Debug)]
pub struct Tenant<'a> {
    pub(super) round: BlockView<'a>,
    pub(super) id: TenantId,
}

impl<'a> Tenant<'a> {
    /// Its number in this round.
    #[must_use]
    pub fn id(&self) -> TenantId {
        self.id
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'a str {
        self.round.string(round::TENANT_OFFSETS, round::TENANT_BYTES, self.id.index())
    }

    /// Vcores that its running tasks hold, over all its jobs, pending or not.
    #[must_use]
    pub fn vcores_in_use(&self) -> u64 {
        self.round.column::<u64>(round::TENANT_VCORES_IN_USE).get(self.id.index()).copied().unwrap_or(0)
    }

    /// Memory in MiB that its running tasks hold.
    #[must_use]
    pub fn memory_mib_in_use(&self) -> u64 {
        self.round.column::<u64>(round::TENANT_MEMORY_MIB_IN_USE).get(self.id.index()).copied().unwrap_or(0)
    }
}

/// One job.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    pub(super) jobs: RunningJobs<'a>,
    pub(super) id: JobId,
}

impl<'a> Job<'a> {
    /// Its number in this round.
    #[must_use]
    pub fn id(&self) -> JobId {
        self.id
    }

    /// The embedder's lasting number of the job; the same in every round and in observations.
    #[must_use]
    pub fn key(&self) -> u64 {
        self.jobs.round.column::<u64>(round::JOB_KEY).get(self.id.index()).copied().unwrap_or(u64::MAX)
    }

    /// The embedder's name for the job.
    #[must_use]
    pub fn name(&self) -> &'a str {
        self.jobs.round.string(round::JOB_ID_OFFSETS, round::JOB_ID_BYTES, self.id.index())
    }

    /// Its tenant.
    #[must_use]
    pub fn tenant(&self) -> Tenant<'a> {
        let t = self.jobs.round.column::<u32>(round::JOB_TENANT).get(self.id.index()).copied().unwrap_or(u32::MAX);
        self.jobs.tenant(TenantId(t))
    }

    /// Its priority; higher goes first.
    #[must_use]
    pub fn priority(&self) -> i32 {
        self.jobs.round.column::<i32>(round::JOB_PRIORITY).get(self.id.index()).copied().unwrap_or(0)
    }

    /// When it was submitted, in microseconds on the clock of [`RunningJobs::now_us`].
    #[must_use]
    pub fn submit_us(&self) -> u64 {
        self.jobs.round.column::<u64>(round::JOB_SUBMIT_US).get(self.id.index()).copied().unwrap_or(0)
    }

    /// Vcores that its running tasks hold.
    #[must_use]
    pub fn vcores_in_use(&self) -> u32 {
        self.jobs.round.column::<u32>(round::JOB_VCORES_IN_USE).get(self.id.index()).copied().unwrap_or(0)
    }

    /// The numbers of its stages with pending tasks in this round. Costs less than [`Job::stages`].
    pub fn stage_ids(&self) -> impl ExactSizeIterator<Item = StageId> + use<'a> {
        ragged(self.jobs.round.column(round::JOB_STAGES), self.id.index()).map(StageId::from_index)
    }

    /// Its stages with pending tasks, by number.
    pub fn stages(&self) -> impl ExactSizeIterator<Item = Stage<'a>> + use<'a> {
        let (jobs, columns) = (self.jobs, StageColumns::of(&self.jobs));
        self.stage_ids().map(move |id| columns.stage(&jobs, id))
    }
}
