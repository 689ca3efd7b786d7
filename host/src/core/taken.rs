//! A round as it is handed to the recorder, or kept to show a fault: references only.

use std::sync::Arc;

use policy_wire::assemble::Round;
use policy_wire::block::Block;

use crate::core::decided::Decided;
use crate::core::foreign::Proposal;
use crate::core::guard::Fault;
use crate::core::info::ActiveInfo;

/// A generation, with how many rounds it had answered before.
#[derive(Debug)]
pub(crate) struct GenerationOf {
    pub(crate) info: Arc<ActiveInfo>,
    pub(crate) rounds_before: u64,
}

/// A round with what was answered.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) round: Arc<Round>,
    pub(crate) generation: GenerationOf,
    /// The observations that were delivered before it.
    pub(crate) observations: Option<Arc<Block>>,
    pub(crate) limits: Decided,
    /// What was bound.
    pub(crate) rows: Option<Arc<Proposal>>,
    /// The policy's own answer, where it broke the contract.
    pub(crate) rejected: Option<Arc<Proposal>>,
    pub(crate) fault: Option<Fault>,
    pub(crate) took_us: u64,
}

impl Taken {
    /// What it keeps in memory, about.
    pub(crate) fn bytes(&self) -> usize {
        let block = |b: Option<&Block>| b.map_or(0, |b| 8 * b.words().len());
        let rows = |p: &Option<Arc<Proposal>>| p.as_ref().map_or(0, |p| size_of_val(p.rows()));
        let blocks = block(self.observations.as_deref()) + block(self.limits.block());
        8 * self.round.body().words().len() + blocks + rows(&self.rows) + rows(&self.rejected)
    }
}

/// A round that the guard did not let pass.
#[derive(Debug)]
pub(crate) struct Dump(pub(crate) Box<Taken>);
