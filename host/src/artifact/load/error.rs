//! Why a vetted library could not be loaded.

use std::path::PathBuf;

use policy_plugin_api::abi::{API_MAJOR, API_MINOR};

use crate::core::limits::MAX_LIBRARIES;

/// Why a vetted library could not be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The system's loader refuses it.
    #[error("{file}: the loader refuses it")]
    Loader {
        /// The user's file.
        file: PathBuf,
        /// What the loader says, with its own words in the source behind it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The header of the root module is not ours.
    #[error("{file}: its root module has another header: {message}")]
    Header {
        /// The user's file.
        file: PathBuf,
        /// Both sides' values.
        message: String,
    },
    /// A type that crosses the boundary is laid out differently.
    #[error(
        "{file}: a type that crosses the boundary is laid out differently: {message}; rebuild it against policy-plugin-api {API_MAJOR}.{API_MINOR}, unchanged, which this host has"
    )]
    Layout {
        /// The user's file.
        file: PathBuf,
        /// The first type that differs, with both sides' values.
        message: String,
    },
    /// The header says that layouts need not be checked.
    #[error(
        "{file}: its header {symbol} leaves out the layout of what crosses the boundary (CheckTypeLayout::No), so this host cannot compare it with its own; export it with policy_plugin_api::export_policy!, which puts the layout in"
    )]
    Unchecked {
        /// The user's file.
        file: PathBuf,
        /// The header's symbol.
        symbol: &'static str,
    },
    /// The plugin's own start-up failed.
    #[error("{file}: its root module failed: {message}")]
    RootModule {
        /// The user's file.
        file: PathBuf,
        /// What it says.
        message: String,
    },
    /// The plugin describes itself wrongly.
    #[error("{file}: describes itself wrongly: {message}")]
    Description {
        /// The user's file.
        file: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// The limit of mapped libraries is reached.
    #[error(
        "{file}: {MAX_LIBRARIES} libraries have been mapped in this process, which never unloads; restart the host"
    )]
    TooMany {
        /// The user's file.
        file: PathBuf,
    },
}

impl LoadError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Loader { .. } => "loader-refused",
            Self::Header { .. } | Self::Layout { .. } | Self::Unchecked { .. } => "abi-mismatch",
            Self::RootModule { .. } => "root-module-failed",
            Self::Description { .. } => "bad-description",
            Self::TooMany { .. } => "too-many-libraries",
        }
    }
}
