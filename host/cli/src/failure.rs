//! How a command fails: a stable code and a sentence, or wrong usage.

use std::error::Error;
use std::fmt::Display;
use std::io::Write;

use policy_host::text::{chain, shown, shown_within};

/// The exit code of what was refused or failed.
pub(crate) const FAILED: u8 = 1;

/// Longest sentence that is printed, in bytes: a message of the host with what the command has to add.
const MAX_SENTENCE_BYTES: usize = 16 * 1024;

/// A refusal or failure, as it is printed on standard error.
#[derive(Debug)]
pub(crate) struct Failure {
    code: String,
    message: String,
    /// Further lines.
    more: Vec<String>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// To be printed.
    Failed,
    /// Wrong usage that only all options together show.
    Usage,
    /// Printed already.
    Printed,
}

impl Failure {
    /// A failure without a cause; for one with a cause, see [`Failure::of`] and [`Failure::because`].
    pub(crate) fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), more: Vec::new(), kind: Kind::Failed }
    }

    /// An error with all its causes.
    pub(crate) fn of(code: impl Into<String>, error: &dyn Error) -> Self {
        Self::new(code, chain(error))
    }

    /// What failed, then the error with all its causes.
    pub(crate) fn because(code: impl Into<String>, what: impl Display, error: &dyn Error) -> Self {
        Self::new(code, format!("{what}: {}", chain(error)))
    }

    /// Several sentences, a line each.
    pub(crate) fn lines(code: &str, sentences: Vec<String>) -> Self {
        let mut sentences = sentences.into_iter();
        let first = sentences.next().unwrap_or_default();
        Self { more: sentences.collect(), ..Self::new(code, first) }
    }

    /// Wrong usage: exit 2, as for what the command line alone shows to be wrong.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { kind: Kind::Usage, ..Self::new("usage", message) }
    }

    /// Everything has been said on standard output or error.
    pub(crate) fn printed() -> Self {
        Self { kind: Kind::Printed, ..Self::new("", "") }
    }

    /// Adds a sentence: what was done about it.
    pub(crate) fn and(mut self, sentence: impl Display) -> Self {
        self.message = format!("{}; {sentence}", self.message);
        self
    }

    pub(crate) fn code(&self) -> &str {
        &self.code
    }

    /// With what the process ends.
    pub(crate) fn exit_code(&self) -> u8 {
        if matches!(self.kind, Kind::Usage) { 2 } else { FAILED }
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// Prints it on standard error. Line breaks in a message are escaped.
    pub(crate) fn print(&self) {
        let first = shown_within(&self.message, MAX_SENTENCE_BYTES);
        match self.kind {
            Kind::Printed => return,
            Kind::Usage => complain(&format!("error: {first}")),
            Kind::Failed => complain(&format!("error[{}]: {first}", shown(&self.code))),
        }
        self.more.iter().for_each(|line| complain(&shown_within(line, MAX_SENTENCE_BYTES)));
    }
}

/// Writes a line to standard error; a standard error that cannot be written is no reason to panic.
pub(crate) fn complain(line: &str) {
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

impl From<policy_host::StartError> for Failure {
    fn from(error: policy_host::StartError) -> Self {
        Self::of(error.code(), &error)
    }
}

impl From<policy_host::record::RecordingError> for Failure {
    fn from(error: policy_host::record::RecordingError) -> Self {
        Self::of(error.code(), &error)
    }
}

impl From<policy_sim::workload::WorkloadError> for Failure {
    fn from(error: policy_sim::workload::WorkloadError) -> Self {
        Self::of(error.code(), &error)
    }
}
