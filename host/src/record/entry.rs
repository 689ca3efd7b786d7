//! What a recording is made of, as a reader gets it.

use std::sync::Arc;

use policy_wire::BoundTask;
use policy_wire::assemble::Round;
use policy_wire::block::Block;

use super::RecordedGeneration;

/// One thing that was recorded.
#[derive(Clone, Debug)]
pub enum Entry {
    /// A generation, before the first round that it answered.
    Generation(Arc<RecordedGeneration>),
    /// A round.
    Round(Box<RecordedRound>),
    /// What happened after the last round: no policy has seen it.
    Observed(Block),
    /// So many rounds are missing here: recording could not keep up.
    Missed(u64),
}

/// One round as it was asked and answered.
#[derive(Clone, Debug)]
pub struct RecordedRound {
    /// The round: everything that the policy saw.
    pub round: Arc<Round>,
    /// Who was asked.
    pub generation: Arc<RecordedGeneration>,
    /// What was delivered to it before.
    pub observations: Option<Block>,
    /// The limits that its filters set; `None` for none.
    pub limits: Option<Block>,
    /// The filters came to no decision: nothing was bound.
    pub undecided: bool,
    /// What was bound: by the fallback, where there is a fault.
    pub rows: Vec<BoundTask>,
    /// The policy's own answer, where it broke the contract.
    pub rejected: Option<Vec<BoundTask>>,
    /// Why the policy's answer does not count.
    pub fault: Option<RecordedFault>,
    /// What the policy and the filters took, in microseconds of wall time.
    pub took_us: u64,
}

/// Why the answer of a policy did not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedFault {
    /// The stable code.
    pub code: String,
    /// Kind and name of the filter or score at fault; empty for the policy.
    pub part: (String, String),
    /// What happened.
    pub message: String,
}
