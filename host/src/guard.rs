//! What a fault costs: pure rules, no state.

use policy_plugin_api::abi::PolicyFault;
use policy_plugin_api::contract::Violation;
use policy_plugin_api::score::MAX_SCORE;

use crate::text::chain;

/// Why a round has no legal answer from its policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The stable code.
    pub(crate) code: &'static str,
    /// The filter or score at fault (kind, name), or `None` for the policy.
    pub(crate) part: Option<(&'static str, String)>,
    /// What happened.
    pub(crate) message: String,
}

impl Fault {
    pub(crate) fn of_policy(fault: &PolicyFault) -> Self {
        let code = match fault {
            PolicyFault::Declined(_) => "declined",
            PolicyFault::Panicked(_) => "policy-panicked",
            PolicyFault::Protocol(_) => "broken-protocol",
            _ => "policy-error",
        };
        Self { code, part: None, message: chain(fault) }
    }

    pub(crate) fn of_filter(name: &str, fault: &PolicyFault) -> Self {
        let code = match fault {
            PolicyFault::Panicked(_) => "filter-panicked",
            PolicyFault::Protocol(_) => "filter-bad-limits",
            _ => "filter-error",
        };
        Self { code, part: Some(("filter", name.to_owned())), message: chain(fault) }
    }

    pub(crate) fn of_score(name: &str, fault: &PolicyFault) -> Self {
        let code = match fault {
            PolicyFault::Panicked(_) => "score-panicked",
            PolicyFault::Protocol(_) => "broken-protocol",
            _ => "score-error",
        };
        Self { code, part: Some(("score", name.to_owned())), message: chain(fault) }
    }

    pub(crate) fn score_out_of_range(name: &str, value: f32) -> Self {
        let message = format!("a score of {value}; scores are between 0 and {MAX_SCORE}");
        Self { code: "score-out-of-range", part: Some(("score", name.to_owned())), message }
    }

    pub(crate) fn of_violation(violation: &Violation) -> Self {
        Self { code: violation.code(), part: None, message: chain(violation) }
    }

    pub(crate) fn deadline(deadline_ms: u64) -> Self {
        let message = format!("no answer within {deadline_ms} ms; its thread is written off");
        Self { code: "deadline-exceeded", part: None, message }
    }

    pub(crate) fn inline_deadline(deadline_ms: u64) -> Self {
        let message = format!("no answer within {deadline_ms} ms; its call is dropped");
        Self { code: "deadline-exceeded", part: None, message }
    }

    pub(crate) fn thread_gone() -> Self {
        Self { code: "lane-lost", part: None, message: "the policy's thread is gone".into() }
    }

    /// Whether the generation is taken out of service: everything but a declined round. One strike is enough, so that
    /// a bad plugin costs one round at most.
    pub(crate) fn ejects(&self) -> bool {
        self.code != "declined"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_declined_round_is_forgiven() {
        for (fault, code, ejects) in [
            (PolicyFault::Declined("no view".into()), "declined", false),
            (PolicyFault::Failed("broken".into()), "policy-error", true),
            (PolicyFault::Panicked("index".into()), "policy-panicked", true),
            (PolicyFault::Protocol("block".into()), "broken-protocol", true),
        ] {
            let fault = Fault::of_policy(&fault);
            assert_eq!((fault.code, fault.ejects()), (code, ejects));
        }
        let filter = Fault::of_filter("quota", &PolicyFault::Declined("?".into()));
        assert!(filter.ejects(), "a filter that declines lets nothing through: it cannot stay");
        assert!(Fault::deadline(50).ejects());
    }
}
