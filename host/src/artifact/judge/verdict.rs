//! What the judge found.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::core::text::shown;

/// What the judge found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verdict {
    /// The file.
    pub file: String,
    /// Its SHA-256; empty when it could not be read.
    pub sha256: String,
    /// Whether everything in it does well.
    pub ok: bool,
    /// The stable code of the first thing that does not; `ok` otherwise.
    pub code: String,
    /// Why it was refused.
    pub message: String,
    /// What it exports.
    pub policies: Vec<JudgedPolicy>,
}

/// One export of a judged file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JudgedPolicy {
    /// Its name.
    pub name: String,
    /// `policy`, `filter` or `score`.
    pub kind: String,
    /// Its version.
    pub version: String,
    /// The plugin API version that it was built against.
    pub api_version: String,
    /// The JSON Schema of its config.
    pub config_schema: serde_json::Value,
    /// `ok`, or the stable code of what it did with its default config.
    pub code: String,
}

impl Verdict {
    /// Whether a host would map the file: at least one of its policies does well with its default config.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.ok || self.policies.iter().any(|p| p.code == "ok")
    }

    pub(crate) fn refused(file: &Path, code: &str, message: &str) -> Self {
        let file = file.display().to_string();
        Self { file, code: code.into(), message: shown(message), ..Self::default() }
    }
}
