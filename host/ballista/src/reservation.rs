//! Pull mode: Ballista asks for one executor at a time, a policy plans for all of them. What it gives to executors that
//! have not asked yet is kept for them here, for a while. Nothing of it is taken out of Ballista's queues: a kept
//! partition is pending like any other, only not shown to the policy again.

use std::collections::HashSet;
use std::time::Instant;

use ballista_core::JobId;
use policy_host::round::ExecutorUid;

use crate::apply::{Share, StageShares};
use crate::limits::RESERVED_FOR;

#[derive(Default)]
pub(crate) struct Reservations {
    kept: Vec<Kept>,
}

struct Kept {
    shares: StageShares,
    until: Instant,
}

impl Kept {
    fn share(&self) -> &Share {
        &self.shares.shares[0]
    }

    fn vcores(&self) -> u32 {
        if self.shares.stage.collapse { 1 } else { self.share().partitions.len() as u32 }
    }
}

impl Reservations {
    /// Keeps a stage's partitions for the executors that they were given to.
    pub(crate) fn keep(&mut self, shares: StageShares, now: Instant) {
        for share in shares.shares {
            let stage = shares.stage.clone();
            let shares = StageShares { stage, shares: vec![share], run: None };
            self.kept.push(Kept { shares, until: now + RESERVED_FOR });
        }
    }

    /// What is kept for an executor.
    pub(crate) fn take(&mut self, executor: ExecutorUid) -> Vec<StageShares> {
        let mine = |k: &mut Kept| k.share().executor == executor;
        self.kept.extract_if(.., mine).map(|k| k.shares).collect()
    }

    /// Gives up what was not fetched in time, and names the executors.
    pub(crate) fn expire(&mut self, now: Instant) -> HashSet<ExecutorUid> {
        self.kept.extract_if(.., |k| k.until <= now).map(|k| k.share().executor).collect()
    }

    /// Vcores kept for each executor.
    pub(crate) fn vcores(&self) -> impl Iterator<Item = (ExecutorUid, u32)> {
        self.kept.iter().map(|k| (k.share().executor, k.vcores()))
    }

    /// The partitions of a stage that are kept, ascending; of a collapse stage, one if all of it is.
    pub(crate) fn of_stage(&self, job: &JobId, stage_id: usize, attempt: usize) -> Vec<u32> {
        let of = |k: &&Kept| {
            let stage = &k.shares.stage;
            stage.stage_id == stage_id && stage.attempt == attempt && stage.job == *job
        };
        let partitions = self.kept.iter().filter(of).flat_map(|k| &k.share().partitions);
        let mut partitions: Vec<u32> = partitions.map(|&p| p as u32).collect();
        partitions.sort_unstable();
        partitions
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }
}
