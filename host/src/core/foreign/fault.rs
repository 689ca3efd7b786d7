//! Why a plugin gave no answer: what a fault says, where it arose and in which call.

use std::fmt;

use policy_plugin_api::abi::raw::{RawFault, fault, step};

use crate::core::text::{shown, shown_within};

/// So much of a message stands before the place of its panic: lists and logs show its beginning.
const MAX_BEFORE_PLACE_BYTES: usize = 2_000;
/// Longest file name of a place.
const MAX_FILE_BYTES: usize = 512;

/// Why a plugin gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyFault {
    /// The policy has no say in this round.
    #[error("declined: {0}")]
    Declined(String),
    /// The policy returned an error.
    #[error("{0}")]
    Failed(String),
    /// The config does not fit; line and column (from 1) in the config text, 0 where unknown.
    #[error("{message}")]
    InvalidConfig {
        /// What is wrong.
        message: String,
        /// Line, from 1.
        line: u32,
        /// Column, from 1.
        column: u32,
    },
    /// Plugin code panicked; the panic was caught in the plugin.
    #[error("panicked{}: {}", said(step), with_place(message, place.as_ref()))]
    Panicked {
        /// What the panic says.
        message: String,
        /// Where it happened, if the plugin's panic hook has seen it.
        place: Option<Place>,
        /// In which call: `construct`, `bind`, `observe`, `export`, `import`, `filter`, `score`, `drop` or `describe`; empty
        /// where this version does not know it.
        step: &'static str,
    },
    /// Host and plugin did not understand each other.
    #[error("broken protocol: {0}")]
    Protocol(String),
}

/// Where a panic happened, in the sources of the plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The source file, from its package on.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1.
    pub column: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// The name of a step.
fn step_of(raw: u32) -> &'static str {
    match raw {
        step::CONSTRUCT => "construct",
        step::BIND => "bind",
        step::OBSERVE => "observe",
        step::EXPORT => "export",
        step::IMPORT => "import",
        step::FILTER => "filter",
        step::SCORE => "score",
        step::DROP => "drop",
        step::DESCRIBE => "describe",
        _ => "",
    }
}

/// A step is named where the code of the fault, or the sentence around it, leaves open which call it was.
fn said(step: &str) -> &'static str {
    match step {
        "observe" => " in observe",
        "export" => " in export_state",
        "import" => " in import_state",
        _ => "",
    }
}

impl PolicyFault {
    /// A panic without a known place.
    pub(crate) fn panicked(message: String) -> Self {
        Self::Panicked { message, place: None, step: "" }
    }
}

impl From<&RawFault> for PolicyFault {
    fn from(raw: &RawFault) -> Self {
        // What is cut off is not copied: the text may be as long as memory is.
        let message = shown(raw.message.as_bytes());
        match raw.kind {
            fault::DECLINED => Self::Declined(message),
            fault::FAILED => Self::Failed(message),
            fault::INVALID_CONFIG => Self::InvalidConfig { message, line: raw.line, column: raw.column },
            fault::PANICKED => {
                let file = shown_within(raw.file.as_bytes(), MAX_FILE_BYTES);
                let place = (!file.is_empty()).then_some(Place { file, line: raw.line, column: raw.column });
                Self::Panicked { message, place, step: step_of(raw.step) }
            }
            _ => Self::Protocol(message),
        }
    }
}

impl From<RawFault> for PolicyFault {
    fn from(raw: RawFault) -> Self {
        Self::from(&raw)
    }
}

/// A message with its place at the end of its first line, which is what lists and logs show. Line breaks have been escaped.
fn with_place(message: &str, place: Option<&Place>) -> String {
    let Some(place) = place else { return message.to_owned() };
    let (first, rest) = message.split_at(message.find("\\n").unwrap_or(message.len()));
    format!("{} (at {place}){rest}", shown_within(first, MAX_BEFORE_PLACE_BYTES))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_stands_on_the_first_line() {
        let raw = RawFault {
            file: "src/lib.rs".into(),
            line: 7,
            column: 9,
            ..RawFault::new(fault::PANICKED, step::BIND, "left is not right\n  left: 1")
        };
        let told = |raw: &RawFault| PolicyFault::from(raw).to_string();
        assert_eq!(told(&raw), "panicked: left is not right (at src/lib.rs:7:9)\\n  left: 1");
        assert_eq!(
            told(&RawFault { step: step::IMPORT, message: "no".into(), ..raw.clone() }),
            "panicked in import_state: no (at src/lib.rs:7:9)"
        );
        assert_eq!(told(&RawFault::new(fault::PANICKED, step::BIND, "no place")), "panicked: no place");
        let long = told(&RawFault { message: "ü".repeat(3_000).into(), ..raw });
        assert!(long.ends_with("ü… (cut) (at src/lib.rs:7:9)") && long.len() < 2_100, "{long}");
    }

    #[test]
    fn a_fault_of_a_later_version_is_a_broken_protocol() {
        let fault = PolicyFault::from(RawFault::new(99, 99, "who knows"));
        assert_eq!(fault, PolicyFault::Protocol("who knows".to_owned()));
        assert_eq!(step_of(99), "");
    }
}
