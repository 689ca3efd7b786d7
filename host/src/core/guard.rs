//! What a fault costs: pure rules; times are inputs.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use policy_plugin_api::score::MAX_SCORE;
use policy_wire::contract::Violation;

use crate::core::composition::Kind;
use crate::core::foreign::PolicyFault;
use crate::core::limits::{GUARD_MISSES, GUARD_RESTARTS, GUARD_WINDOW};
use crate::core::text::chain;

/// What takes a generation out of service, besides the faults that do so at once (an illegal answer, a panic, an error,
/// a crash, a broken protocol): `"guard"` in `active.json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guard {
    /// The missed deadline that takes it out of service is the one with this number in the window; 1 for the first.
    pub misses: u32,
    /// The same for restarts of a worker process. No lane of today restarts anything: it is kept, and has no effect yet.
    pub restarts: u32,
    /// How long a missed deadline or a restart counts.
    pub window: Duration,
}

impl Default for Guard {
    fn default() -> Self {
        Self { misses: GUARD_MISSES, restarts: GUARD_RESTARTS, window: GUARD_WINDOW }
    }
}

/// The missed deadlines of one generation that still count.
#[derive(Debug)]
pub(crate) struct Strikes {
    guard: Guard,
    /// When they were, oldest first; at most as many as the guard allows.
    missed: VecDeque<Instant>,
    /// All that ever counted.
    total: u64,
}

/// What one missed deadline costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Strike {
    /// How many there are in the window, with this one.
    pub(crate) count: u32,
    /// The number that takes the generation out of service.
    pub(crate) allowed: u32,
    /// How long each of them counts.
    pub(crate) window: Duration,
}

impl Strike {
    pub(crate) fn ejects(self) -> bool {
        self.count >= self.allowed
    }
}

impl std::fmt::Display for Strike {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "missed deadline {} of {} in {} s", self.count, self.allowed, self.window.as_secs())
    }
}

impl Strikes {
    pub(crate) fn new(guard: Guard) -> Self {
        Self { guard, missed: VecDeque::new(), total: 0 }
    }

    /// A deadline was missed at `now`, and it counts.
    pub(crate) fn miss(&mut self, now: Instant) -> Strike {
        self.forget(now);
        self.missed.push_back(now);
        self.total += 1;
        let count = u32::try_from(self.missed.len()).unwrap_or(u32::MAX);
        if self.missed.len() > self.guard.misses as usize {
            self.missed.pop_front();
        }
        Strike { count, allowed: self.guard.misses, window: self.guard.window }
    }

    /// How many counted ever, and how many of them do at `now`.
    pub(crate) fn counts(&mut self, now: Instant) -> (u64, u64) {
        self.forget(now);
        (self.total, self.missed.len() as u64)
    }

    fn forget(&mut self, now: Instant) {
        while self.missed.front().is_some_and(|at| now.saturating_duration_since(*at) >= self.guard.window) {
            self.missed.pop_front();
        }
    }
}

/// Why a round has no legal answer from its policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The stable code.
    pub(crate) code: &'static str,
    /// The filter or score at fault (kind, name), or `None` for the policy.
    pub(crate) part: Option<(Kind, String)>,
    /// What happened.
    pub(crate) message: String,
    /// Whether the generation stays in service: a declined round, or a missed deadline within what the guard allows.
    forgiven: bool,
}

impl Fault {
    pub(crate) fn of_policy(fault: &PolicyFault) -> Self {
        let code = match fault {
            PolicyFault::Declined(_) => "declined",
            PolicyFault::Panicked { .. } => "policy-panicked",
            PolicyFault::Protocol(_) => "broken-protocol",
            _ => "policy-error",
        };
        let forgiven = matches!(fault, PolicyFault::Declined(_));
        Self { code, part: None, message: chain(fault), forgiven }
    }

    pub(crate) fn of_filter(name: &str, fault: &PolicyFault) -> Self {
        let code = match fault {
            PolicyFault::Panicked { .. } => "filter-panicked",
            PolicyFault::Protocol(_) => "filter-bad-limits",
            _ => "filter-error",
        };
        Self::of_part(Kind::Filter, name, code, chain(fault))
    }

    pub(crate) fn of_score(name: &str, fault: &PolicyFault) -> Self {
        let code = match fault {
            PolicyFault::Panicked { .. } => "score-panicked",
            PolicyFault::Protocol(_) => "broken-protocol",
            _ => "score-error",
        };
        Self::of_part(Kind::Score, name, code, chain(fault))
    }

    pub(crate) fn bad_limits(what: &str) -> Self {
        Self { code: "filter-bad-limits", part: None, message: format!("limits: {what}"), forgiven: false }
    }

    pub(crate) fn score_out_of_range(name: &str, value: f32) -> Self {
        let message = format!("a score of {value}; scores are between 0 and {MAX_SCORE}");
        Self::of_part(Kind::Score, name, "score-out-of-range", message)
    }

    pub(crate) fn of_violation(violation: &Violation) -> Self {
        Self::ejecting(violation.code(), chain(violation))
    }

    /// A missed deadline. `strike` is `None` for one that does not count.
    pub(crate) fn deadline(deadline: Duration, strike: Option<Strike>) -> Self {
        let ms = deadline.as_millis();
        let message = match strike {
            Some(strike) => format!("no answer within {ms} ms ({strike})"),
            None => format!("no answer within {ms} ms (not counted: this process itself was held up for longer)"),
        };
        let forgiven = strike.is_none_or(|strike| !strike.ejects());
        Self { code: "deadline-exceeded", part: None, message, forgiven }
    }

    pub(crate) fn thread_gone() -> Self {
        Self::ejecting("lane-lost", "the policy's thread is gone".into())
    }

    /// No policy took the round: others were still in their calls.
    pub(crate) fn busy() -> Self {
        let message = "no policy was free to take the round in time".to_owned();
        Self { code: "lane-busy", part: None, message, forgiven: true }
    }

    /// The caller dropped its `bind`: nobody is at fault.
    pub(crate) fn dropped() -> Self {
        let message = "the caller dropped this round before its answer came".to_owned();
        Self { code: "round-dropped", part: None, message, forgiven: true }
    }

    /// A fault that takes the generation out of service at once.
    pub(crate) fn ejecting(code: &'static str, message: String) -> Self {
        Self { code, part: None, message, forgiven: false }
    }

    fn of_part(kind: Kind, name: &str, code: &'static str, message: String) -> Self {
        Self { code, part: Some((kind, name.to_owned())), message, forgiven: false }
    }

    /// Whether the generation is taken out of service.
    pub(crate) fn ejects(&self) -> bool {
        !self.forgiven
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_policy_does_wrong_in_a_round_ejects_at_once_and_declining_never() {
        for (fault, code, ejects) in [
            (PolicyFault::Declined("no view".into()), "declined", false),
            (PolicyFault::Failed("broken".into()), "policy-error", true),
            (PolicyFault::panicked("index".into()), "policy-panicked", true),
            (PolicyFault::Protocol("block".into()), "broken-protocol", true),
        ] {
            let fault = Fault::of_policy(&fault);
            assert_eq!((fault.code, fault.ejects()), (code, ejects));
        }
        let filter = Fault::of_filter("quota", &PolicyFault::Declined("?".into()));
        assert!(filter.ejects(), "a filter that declines lets nothing through: it cannot stay");
    }

    #[test]
    fn missed_deadlines_eject_when_there_are_enough_of_them_in_the_window() {
        let guard = |misses, window_s| Guard { misses, window: Duration::from_secs(window_s), ..Guard::default() };
        // Seconds of the misses, and the counts that they make; the last count that reaches `misses` ejects.
        for (guard, misses, counts, ejects) in [
            (Guard::default(), vec![0, 1, 2], vec![1, 2, 3], vec![false, false, true]),
            (Guard::default(), vec![0, 1, 59], vec![1, 2, 3], vec![false, false, true]),
            (Guard::default(), vec![0, 1, 60], vec![1, 2, 2], vec![false, false, false]),
            (Guard::default(), vec![0, 60, 120, 180], vec![1, 1, 1, 1], vec![false; 4]),
            (Guard::default(), vec![0, 30, 61, 62], vec![1, 2, 2, 3], vec![false, false, false, true]),
            (guard(1, 60), vec![0], vec![1], vec![true]),
            (guard(2, 1), vec![0, 1, 1], vec![1, 1, 2], vec![false, false, true]),
        ] {
            let start = Instant::now();
            let mut strikes = Strikes::new(guard);
            let made: Vec<Strike> = misses.iter().map(|s| strikes.miss(start + Duration::from_secs(*s))).collect();
            assert_eq!(made.iter().map(|s| s.count).collect::<Vec<_>>(), counts, "{guard:?} {misses:?}");
            assert_eq!(made.iter().map(|s| s.ejects()).collect::<Vec<_>>(), ejects, "{guard:?} {misses:?}");
            assert_eq!(strikes.total, misses.len() as u64);
        }
    }

    #[test]
    fn a_miss_says_which_it_is_of_how_many() {
        let strike = Strike { count: 1, allowed: 3, window: Duration::from_secs(60) };
        let fault = Fault::deadline(Duration::from_millis(50), Some(strike));
        assert_eq!(fault.message, "no answer within 50 ms (missed deadline 1 of 3 in 60 s)");
        assert!(!fault.ejects() && Fault::deadline(Duration::ZERO, Some(Strike { count: 3, ..strike })).ejects());
        assert!(!Fault::deadline(Duration::ZERO, None).ejects(), "what does not count does not eject");
    }
}
