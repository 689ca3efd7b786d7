//! What host and child say to each other: lines of JSON on a channel of its own, which is none of the child's standard
//! streams once it has begun. The shapes are strict, and what the child says carries a nonce that only the host's order
//! gave it. That stops accidents and simple forgeries; a plugin that searches the memory of the process it runs in could
//! find the nonce.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::verdict::Verdict;
use crate::artifact::vet::Staged;
use crate::core::composition::{Composition, Wanted};

/// What the child is to judge.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Order {
    /// To be repeated in everything that the child says.
    pub(crate) nonce: String,
    /// The libraries.
    pub(crate) libraries: Vec<OrderedLibrary>,
    /// What is made of them; without it, everything they export is made with its default config.
    pub(crate) recipe: Option<Composition<OrderedPart>>,
}

/// A library on its way to the child.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OrderedLibrary {
    /// The host's private copy.
    pub(crate) path: PathBuf,
    /// What the user calls it.
    pub(crate) source: PathBuf,
    /// What was hashed; the child refuses other bytes.
    pub(crate) sha256: String,
}

/// A policy, filter or score of a recipe on its way to the child.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OrderedPart {
    pub(crate) wanted: Wanted,
    /// Its place in the list of libraries; none for what is built in.
    pub(crate) library: Option<usize>,
}

/// A line of the child's.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Said {
    pub(crate) nonce: String,
    pub(crate) what: Saying,
}

/// What the child says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) enum Saying {
    /// What it begins to do now: the last one names what hung or crashed.
    Step(String),
    /// What it found.
    Verdict(Verdict),
}

/// A nonce: 128 bits from the system's source of randomness, as text.
pub(crate) fn nonce() -> String {
    // The standard library seeds each of these from that source.
    let random = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", random(), random())
}

impl OrderedLibrary {
    pub(crate) fn new(copy: &Staged, source: PathBuf, sha256: String) -> Self {
        Self { path: copy.path().to_owned(), source, sha256 }
    }
}
