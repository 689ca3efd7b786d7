//! What the conformance suite found: stable codes, so that scripts and reviews can refer to them.

use std::fmt;

/// What a policy, filter or score does wrong. The code stays the same in every version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Code {
    /// The name is empty, longer than 63 characters, or has other characters than lower case, digits and `-`.
    BadName,
    /// The config is not accepted, or the constructor fails with it.
    ConfigRefused,
    /// An answer breaks the contract; the message gives the contract's own code.
    IllegalAnswer,
    /// An answer breaks the limits that filters set.
    IgnoresLimits,
    /// A panic in an answer.
    Panics,
    /// An error other than `Declined` in an answer.
    Fails,
    /// An answer's future is not ready, though it has nothing to wait for.
    NeverReady,
    /// Two fresh instances answer the same rounds differently.
    NotDeterministic,
    /// A panic while taking observations.
    PanicsAtObservations,
    /// A panic while exporting or importing state.
    PanicsAtState,
    /// A fresh instance refuses the state that another one exported.
    RefusesOwnState,
    /// What was exported, imported and exported again is not the same.
    LosesState,
    /// State of a version that cannot be known is accepted.
    AcceptsUnknownState,
    /// A filter leaves limits that were made for another round.
    LimitsOfAnotherRound,
    /// A score is not between 0 and 100.
    ScoreOutOfRange,
}

impl Code {
    /// The code as text.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadName => "bad-name",
            Self::ConfigRefused => "config-refused",
            Self::IllegalAnswer => "illegal-answer",
            Self::IgnoresLimits => "ignores-limits",
            Self::Panics => "panics",
            Self::Fails => "fails",
            Self::NeverReady => "never-ready",
            Self::NotDeterministic => "not-deterministic",
            Self::PanicsAtObservations => "panics-at-observations",
            Self::PanicsAtState => "panics-at-state",
            Self::RefusesOwnState => "refuses-own-state",
            Self::LosesState => "loses-state",
            Self::AcceptsUnknownState => "accepts-unknown-state",
            Self::LimitsOfAnotherRound => "limits-of-another-round",
            Self::ScoreOutOfRange => "score-out-of-range",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One thing found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What kind of thing.
    pub code: Code,
    /// In which round: the name of a canned one, or `generated` with the smallest rounds that show it.
    pub place: String,
    /// What happened.
    pub message: String,
}

impl Finding {
    pub(crate) fn new(code: Code, place: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code, place: place.into(), message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} (in {})", self.code, self.message, self.place)
    }
}

/// What the suite found: at most one finding of a code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "a report that nobody looks at proves nothing"]
pub struct Report {
    /// The findings, in the order in which they were made.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Whether nothing was found.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }

    /// The codes found.
    #[must_use]
    pub fn codes(&self) -> Vec<&'static str> {
        self.findings.iter().map(|finding| finding.code.as_str()).collect()
    }

    /// For tests: fails unless the report is clean.
    ///
    /// # Panics
    /// If anything was found, with all of it.
    pub fn assert_clean(&self) {
        assert!(self.is_clean(), "not conformant:\n{self}");
    }

    pub(crate) fn add(&mut self, finding: Finding) {
        if self.findings.iter().all(|known| known.code != finding.code) {
            self.findings.push(finding);
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.findings.iter().try_for_each(|finding| writeln!(f, "- {finding}"))
    }
}
