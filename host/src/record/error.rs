//! Why a recording cannot be read.

use std::io;
use std::path::PathBuf;

/// Why a recording cannot be read, or no further.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordingError {
    /// The file is not there, or cannot be read.
    #[error("{}: cannot be read", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another kind of file.
    #[error("{}: is not a recording of a policy host; `policy-host run --record FILE` writes them", file.display())]
    NotARecording {
        /// The file.
        file: PathBuf,
    },
    /// Written by a newer host.
    #[error("{}: has format version {found}, this host reads versions up to {known}; read it with a newer host", file.display())]
    Version {
        /// The file.
        file: PathBuf,
        /// What it says it is.
        found: u32,
        /// What would be read.
        known: u32,
    },
    /// Written for another plugin API.
    #[error("{}: has rounds of plugin API {found}, this host has {known}; replay it with a host of that version", file.display())]
    Api {
        /// The file.
        file: PathBuf,
        /// The major version of its rounds.
        found: u32,
        /// The host's.
        known: u32,
    },
    /// Cut before its first frame: nothing can be read.
    #[error("{}: ends at byte {at}, within its header; nothing of it can be read", file.display())]
    Truncated {
        /// The file.
        file: PathBuf,
        /// Where it ends.
        at: u64,
    },
    /// A checksum is wrong, or what it protects makes no sense.
    #[error("{}: is damaged at byte {at}: {what}; what lies before it was read", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// Where the damaged part begins.
        at: u64,
        /// What is wrong.
        what: String,
    },
}

impl RecordingError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "recording-unreadable",
            Self::NotARecording { .. } => "not-a-recording",
            Self::Version { .. } => "recording-version",
            Self::Api { .. } => "recording-api",
            Self::Truncated { .. } => "recording-truncated",
            Self::Damaged { .. } => "recording-damaged",
        }
    }
}
