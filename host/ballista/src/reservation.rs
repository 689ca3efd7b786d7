//! Reservations, in pull mode: Ballista asks for one executor at a time, a policy plans for all of them. What it gives to
//! executors that have not asked yet is reserved for them here, for [`RESERVED_FOR`]. Nothing of it is taken out of
//! Ballista's queues: a reserved partition is pending like any other, but rounds do not list it.

use std::collections::HashSet;
use std::time::Instant;

use ballista_core::JobId;
use policy_host::round::ExecutorUid;

use crate::decision::{Share, StageDecision};
use crate::limits::RESERVED_FOR;

#[derive(Default)]
pub(crate) struct Reservations {
    kept: Vec<Kept>,
}

struct Kept {
    /// Of one share.
    decision: StageDecision,
    until: Instant,
}

impl Kept {
    fn share(&self) -> &Share {
        &self.decision.shares[0]
    }

    fn vcores(&self) -> u32 {
        self.decision.vcores(self.share())
    }
}

impl Reservations {
    /// Keeps a stage's partitions for the executors that they were given to.
    pub(crate) fn keep(&mut self, decision: StageDecision, now: Instant) {
        for share in decision.shares {
            let decision = StageDecision { stage: decision.stage.clone(), shares: vec![share], run: None };
            self.kept.push(Kept { decision, until: now + RESERVED_FOR });
        }
    }

    /// What is kept for an executor.
    pub(crate) fn take(&mut self, executor: ExecutorUid) -> Vec<StageDecision> {
        let mine = |k: &mut Kept| k.share().executor == executor;
        self.kept.extract_if(.., mine).map(|k| k.decision).collect()
    }

    /// Drops what was not fetched in time, and returns its executors.
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
            let stage = &k.decision.stage;
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
