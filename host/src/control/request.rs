//! What somebody asks the host for, and the answer.

use std::time::Instant;

use crate::control::activation::Activation;
use crate::core::event::Cause;
use crate::state::last_good::Pins;

/// A change that was refused: what was active stays active.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Refusal {
    /// The stable code.
    pub code: &'static str,
    /// File, place, reason and what to do.
    pub message: String,
}

impl Refusal {
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// A caller that waits for the answer to its request. It is neither copied nor cloned, so that it gets one answer.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct ReplyTo(pub(crate) u64);

/// A request for an activation.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) activation: Activation,
    pub(crate) cause: Cause,
    /// The file that it comes from.
    pub(crate) file: String,
    pub(crate) caused_at: Instant,
    pub(crate) active_file_sha256: String,
    /// An embedder named it just now: that lifts a quarantine.
    pub(crate) explicit: bool,
    /// Until when a name that nobody gives yet is waited for; set at the first look.
    pub(crate) patience: Option<Instant>,
    pub(crate) reply: Option<ReplyTo>,
    /// Names that mean fixed bytes here; `None` where they mean what the files of the directory give.
    pub(crate) pins: Option<Pins>,
    /// What is said once it has answered, where that is not plain.
    pub(crate) because: Option<String>,
}

impl Request {
    pub(crate) fn new(activation: Activation, cause: Cause, file: &str, caused_at: Instant) -> Self {
        Self {
            activation,
            cause,
            file: file.to_owned(),
            caused_at,
            active_file_sha256: String::new(),
            explicit: false,
            patience: None,
            reply: None,
            pins: None,
            because: None,
        }
    }
}
