//! The only way from a proposal to a [`Plan`]: through the contract.

use std::cell::RefCell;
use std::sync::Arc;

use policy_wire::BoundTask;
use policy_wire::assemble::Round;
use policy_wire::contract::Checker;

use crate::core::decided::Decided;
use crate::core::foreign::Proposal;
use crate::core::guard::Fault;
use crate::core::info::ActiveInfo;

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
            None => self.answered_by.policy(),
            Some(_) => self.answered_by.fallback.name(),
        }
    }

    pub(crate) fn empty(round: &Arc<Round>, answered_by: &Arc<ActiveInfo>, fallback: Option<FallbackReason>) -> Self {
        Self { round: Arc::clone(round), rows: None, answered_by: Arc::clone(answered_by), fallback }
    }
}

/// A proposal that broke the contract, as far as it is kept to show that.
#[derive(Debug)]
pub(crate) struct Rejected {
    pub(crate) fault: Fault,
    pub(crate) proposal: Proposal,
}

impl Rejected {
    /// An answer may be as long as the plugin likes. Of one that is longer than its round allows, one row more than that
    /// is kept: enough to show the fault, and no longer than the round. The rest goes back to the plugin at once.
    fn new(fault: Fault, proposal: Proposal, round: &Round) -> Self {
        let stages = round.stage_refs();
        let most = round.view(&stages).bindable().saturating_add(1);
        let proposal = match proposal.rows().get(..most) {
            Some(rows) if rows.len() < proposal.rows().len() => Proposal::from(rows.to_vec()),
            _ => proposal,
        };
        Self { fault, proposal }
    }
}

/// Checks a proposal against its round and what the filters decided; a legal one becomes a plan.
pub(crate) fn validate(
    proposal: Proposal,
    round: &Arc<Round>,
    decided: &Decided,
    answered_by: &Arc<ActiveInfo>,
    fallback: Option<FallbackReason>,
) -> Result<Plan, Rejected> {
    if let Err(fault) = check(round, decided, proposal.rows()) {
        return Err(Rejected::new(fault, proposal, round));
    }
    Ok(Plan {
        round: Arc::clone(round),
        rows: Some(Arc::new(proposal)),
        answered_by: Arc::clone(answered_by),
        fallback,
    })
}

/// The contract, with scratch memory that each thread keeps.
pub(crate) fn check(round: &Round, decided: &Decided, rows: &[BoundTask]) -> Result<(), Fault> {
    thread_local! {
        static CHECKER: RefCell<Checker> = RefCell::new(Checker::new());
    }
    if rows.is_empty() {
        return Ok(());
    }
    let stages = round.stage_refs();
    let jobs = decided.view(round, &stages)?;
    let checked = CHECKER.with_borrow_mut(|checker| checker.check(&jobs, rows));
    checked.map_err(|violation| Fault::of_violation(&violation))
}

#[cfg(test)]
mod tests {
    use policy_wire::{ExecutorId, TaskId, canned};

    use super::*;

    #[test]
    fn of_an_answer_that_is_too_long_no_more_is_kept_than_its_round_allows() {
        let (_, round, _) = canned::rounds().into_iter().find(|r| r.0 == "fragmented").expect("a canned round");
        let stages = round.stage_refs();
        let bindable = round.view(&stages).bindable();
        let rows = |n: usize| Proposal::from(vec![BoundTask::new(TaskId(0), ExecutorId(0)); n]);
        for (given, kept) in [(bindable + 1, bindable + 1), (bindable + 2, bindable + 1), (1_000_000, bindable + 1)] {
            let fault = check(&round, &Decided::Unrestricted, rows(given).rows()).expect_err("too long");
            assert_eq!(fault.code, "too-many-rows");
            assert!(fault.message.contains(&given.to_string()), "{}", fault.message);
            let rejected = Rejected::new(fault, rows(given), &round);
            assert_eq!(rejected.proposal.rows().len(), kept);
        }
        let rejected = Rejected::new(Fault::bad_limits(""), rows(2), &round);
        assert_eq!(rejected.proposal.rows().len(), 2);
    }
}
