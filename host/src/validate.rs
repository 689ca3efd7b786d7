//! The only way from a proposal to a [`Plan`]: through the contract.

use std::cell::RefCell;
use std::sync::Arc;

use policy_plugin_api::BoundTask;
use policy_plugin_api::abi::{Proposal, RawBlock};
use policy_plugin_api::assemble::Round;
use policy_plugin_api::block::Block;
use policy_plugin_api::contract::{Checker, Violation};

use crate::lane::limited_view;
use crate::slot::ActiveInfo;

/// A legal answer to a round: what the embedder applies. There is no other way to get bindings out of the host.
#[derive(Debug)]
pub struct Plan {
    round: Arc<Round>,
    rows: Option<Arc<Proposal>>,
    answered_by: Arc<ActiveInfo>,
    fallback: Option<FallbackReason>,
}

/// Why a round was not answered by the policy in service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FallbackReason {
    /// The stable code.
    pub code: &'static str,
    /// What happened.
    pub message: String,
}

impl Plan {
    /// The bindings, each a pending task of the round on an executor with room. All of them may be applied.
    #[inline]
    #[must_use]
    pub fn bindings(&self) -> &[BoundTask] {
        self.rows.as_ref().map_or(&[], |rows| rows.rows())
    }

    /// The answer itself, to be looked at by others.
    pub(crate) fn proposal(&self) -> Option<&Arc<Proposal>> {
        self.rows.as_ref()
    }

    /// The round that was asked about: what the indices refer to.
    #[must_use]
    pub fn round(&self) -> &Arc<Round> {
        &self.round
    }

    /// The generation that was asked. With [`Plan::fallback`], the bindings are not its own.
    #[must_use]
    pub fn answered_by(&self) -> &Arc<ActiveInfo> {
        &self.answered_by
    }

    /// Set when the fallback bound this round, and why.
    #[must_use]
    pub fn fallback(&self) -> Option<&FallbackReason> {
        self.fallback.as_ref()
    }

    /// The name of the policy whose bindings these are.
    #[must_use]
    pub fn policy(&self) -> &str {
        match self.fallback {
            None => &self.answered_by.policy,
            Some(_) => self.answered_by.fallback.name(),
        }
    }

    pub(crate) fn empty(round: &Arc<Round>, answered_by: &Arc<ActiveInfo>, fallback: Option<FallbackReason>) -> Self {
        Self { round: Arc::clone(round), rows: None, answered_by: Arc::clone(answered_by), fallback }
    }
}

/// A proposal that broke the contract.
#[derive(Debug)]
pub(crate) struct Rejected {
    pub(crate) violation: Violation,
    pub(crate) proposal: Proposal,
}

/// Checks a proposal against its round and the limits of the filters; a legal one becomes a plan.
pub(crate) fn validate(
    proposal: Proposal,
    round: &Arc<Round>,
    limits: Option<&Block>,
    answered_by: &Arc<ActiveInfo>,
    fallback: Option<FallbackReason>,
) -> Result<Plan, Rejected> {
    if let Err(violation) = check(round, limits, proposal.rows()) {
        return Err(Rejected { violation, proposal });
    }
    Ok(Plan {
        round: Arc::clone(round),
        rows: Some(Arc::new(proposal)),
        answered_by: Arc::clone(answered_by),
        fallback,
    })
}

/// The contract, with scratch memory that each thread keeps.
pub(crate) fn check(round: &Round, limits: Option<&Block>, rows: &[BoundTask]) -> Result<(), Violation> {
    thread_local! {
        static CHECKER: RefCell<Checker> = RefCell::new(Checker::new());
    }
    if rows.is_empty() {
        return Ok(());
    }
    let stages = round.stage_refs();
    let stages: &[RawBlock<'_>] = &stages;
    let view = limited_view(round, stages, limits);
    CHECKER.with_borrow_mut(|checker| checker.check(&view, rows))
}
