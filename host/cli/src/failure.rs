//! How a command fails: a stable code and a sentence.

use std::fmt::Display;

/// A refusal or failure, as it is told on standard error.
#[derive(Debug)]
pub(crate) struct Failure {
    code: String,
    message: String,
    /// Told already, by facts on standard output.
    told: bool,
}

impl Failure {
    pub(crate) fn new(code: impl Into<String>, message: impl Display) -> Self {
        Self { code: code.into(), message: message.to_string(), told: false }
    }

    /// Everything has been said on standard output or error.
    pub(crate) fn told() -> Self {
        Self { code: String::new(), message: String::new(), told: true }
    }

    /// Adds a sentence: what was done about it.
    pub(crate) fn and(mut self, sentence: impl Display) -> Self {
        self.message = format!("{}; {sentence}", self.message);
        self
    }

    pub(crate) fn code(&self) -> &str {
        &self.code
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn tell(&self) {
        if !self.told {
            eprintln!("error[{}]: {}", self.code, self.message);
        }
    }
}

impl From<policy_host::StartError> for Failure {
    fn from(error: policy_host::StartError) -> Self {
        Self::new(error.code(), error)
    }
}

impl From<policy_host::record::RecordingError> for Failure {
    fn from(error: policy_host::record::RecordingError) -> Self {
        Self::new(error.code(), error)
    }
}

impl From<policy_sim::workload::WorkloadError> for Failure {
    fn from(error: policy_sim::workload::WorkloadError) -> Self {
        Self::new(error.code(), error)
    }
}

/// Prints a value as JSON on standard output. A closed pipe is not an error.
pub(crate) fn print_json(value: &impl serde::Serialize) {
    use std::io::Write;
    if let Ok(text) = serde_json::to_string_pretty(value) {
        let _ = writeln!(std::io::stdout(), "{text}");
    }
}

/// Prints a line of facts on standard output. A closed pipe is not an error.
#[macro_export]
macro_rules! say {
    ($($arg:tt)*) => {{
        use std::io::Write;
        let _ = writeln!(std::io::stdout(), $($arg)*);
    }};
}
