//! Tenants and jobs as a round shows them.

use super::RunningJobs;
use crate::block::{BlockView, ragged};
use crate::columns::round;
use crate::ids::{JobId, StageId, TenantId};

impl<'a> RunningJobs<'a> {
    /// The tenants that have jobs in this round, in no particular order.
    pub fn tenants(&self) -> impl ExactSizeIterator<Item = Tenant<'a>> + use<'a> {
        let round = self.round;
        let n = round.column::<u32>(round::TENANT_OFFSETS).len().saturating_sub(1);
        (0..n).map(move |i| Tenant { round, id: TenantId::from_index(i) })
    }

    /// One tenant.
    #[must_use]
    pub fn tenant(&self, id: TenantId) -> Tenant<'a> {
        Tenant { round: self.round, id }
    }

    /// The jobs that have at least one pending task, in the contract's order.
    pub fn jobs(&self) -> impl ExactSizeIterator<Item = Job<'a>> + use<'a> {
        let this = *self;
        let n = self.round.column::<u64>(round::JOB_KEY).len();
        (0..n).map(move |i| Job { jobs: this, id: JobId::from_index(i) })
    }

    /// One job.
    #[must_use]
    pub fn job(&self, id: JobId) -> Job<'a> {
        Job { jobs: *self, id }
    }
}

/// One tenant.
#[derive(Clone, Copy, Debug)]
pub struct Tenant<'a> {
    round: BlockView<'a>,
    id: TenantId,
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

    /// The numbers of its stages with pending tasks in this round. Costs less than [`Job::stages`](Self::stages).
    pub fn stage_ids(&self) -> impl ExactSizeIterator<Item = StageId> + use<'a> {
        ragged(self.jobs.round.column(round::JOB_STAGES), self.id.index()).map(StageId::from_index)
    }
}
