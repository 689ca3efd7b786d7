//! Why there is no recording.

use std::io;
use std::path::PathBuf;

use ballista_core::error::BallistaError;

/// Why a recording was refused or broke off.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The file is there. It is not overwritten.
    #[error("[recording-exists] {} is there already: name another file, or move it away", file.display())]
    Exists {
        /// The file.
        file: PathBuf,
    },
    /// A scheduler that recorded into the file was cut off.
    #[error(
        "[recording-unfinished] {} is what a scheduler left that was cut off: make a workload file of it with \
         --finish-recording {}, or remove it",
        part.display(),
        file.display()
    )]
    Unfinished {
        /// What was to become a recording.
        file: PathBuf,
        /// What is there.
        part: PathBuf,
    },
    /// Nothing can be written there.
    #[error("[recording-unwritable] {}: {source}", file.display())]
    Unwritable {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is nothing to finish.
    #[error("[recording-missing] there is no {} to make a workload file of: {source}", part.display())]
    Missing {
        /// What is not there.
        part: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What is there was not written by a recorder, or something else wrote into it.
    #[error("[recording-broken] {}:{line}: {reason}", part.display())]
    Broken {
        /// The file.
        part: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },
}

impl RecordError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Exists { .. } => "recording-exists",
            Self::Unfinished { .. } => "recording-unfinished",
            Self::Unwritable { .. } => "recording-unwritable",
            Self::Missing { .. } => "recording-missing",
            Self::Broken { .. } => "recording-broken",
        }
    }
}

impl From<RecordError> for BallistaError {
    fn from(e: RecordError) -> Self {
        Self::Configuration(e.to_string())
    }
}
