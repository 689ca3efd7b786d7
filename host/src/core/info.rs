//! What a generation is: the truth that plans, receipts and recordings say.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::core::built_in::BuiltIn;
use crate::core::composition::{Composition, Weighted};
use crate::core::event::Cause;
use crate::core::guard::Guard;

/// Where a policy runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum LaneKind {
    /// On the caller's task: cheapest, no protection from a call that blocks.
    Inline,
    /// On a thread of the policy's own: past the deadline the round falls back.
    #[default]
    Thread,
}

impl LaneKind {
    /// As it stands in `active.json`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inline => "inline",
            Self::Thread => "thread",
        }
    }
}

/// A policy, filter or score in service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartInfo {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The file name of its library; `(built-in)` or `(embedder)` where it has none.
    pub library: String,
    /// The SHA-256 of its library; empty where it has none.
    pub sha256: String,
    /// Its config as JSON text; empty for none.
    pub config: String,
}

/// What a generation is.
#[derive(Clone, Debug)]
pub struct ActiveInfo {
    /// Its policy, filters, scores and shadows.
    pub composition: Composition<PartInfo>,
    /// Its generation: one number for every instance the host makes, ascending.
    pub generation: u64,
    /// Where it runs.
    pub lane: LaneKind,
    /// The deadline of a round.
    pub deadline: Duration,
    /// What takes it out of service.
    pub guard: Guard,
    /// Binds a round when it cannot.
    pub fallback: BuiltIn,
    /// When it was activated.
    pub since: SystemTime,
    /// Why.
    pub cause: Cause,
    /// SHA-256 of the `active.json` that asked for it; empty when none did.
    pub active_file_sha256: String,
    /// The text that asked for it: an `active.json`, or what an embedder switched to. Empty for what the host started
    /// with.
    pub active_json: Arc<str>,
}

impl ActiveInfo {
    /// The policy's name.
    #[must_use]
    pub fn policy(&self) -> &str {
        &self.composition.policy.name
    }

    /// The policy's version.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.composition.policy.version
    }

    /// The file name of the policy's library; `(built-in)` or `(embedder)` where it has none.
    #[must_use]
    pub fn library(&self) -> &str {
        &self.composition.policy.library
    }

    /// The SHA-256 of the policy's library; empty where it has none.
    #[must_use]
    pub fn sha256(&self) -> &str {
        &self.composition.policy.sha256
    }

    /// Whether both are of the same libraries and configs; their shadows may differ.
    pub(crate) fn is_made_like(&self, other: &Self) -> bool {
        let (own, theirs) = (&self.composition, &other.composition);
        let same_beside = own.filters == theirs.filters && own.scores == theirs.scores;
        own.policy == theirs.policy && same_beside && self.fallback == other.fallback
    }

    /// The `active.json` that makes it again; where it runs and what shadows it is left out.
    #[must_use]
    pub fn activation(&self) -> Value {
        self.composition.active_json(self.fallback)
    }
}

impl PartInfo {
    /// As it stands in `active.json`.
    fn entry(&self) -> Map<String, Value> {
        let mut entry = Map::new();
        entry.insert("policy".into(), self.name.as_str().into());
        if let Ok(config) = serde_json::from_str::<Value>(&self.config) {
            entry.insert("config".into(), config);
        }
        entry
    }
}

impl Composition<PartInfo> {
    /// The `active.json` that makes it again; where it runs and what shadows it is left out.
    pub(crate) fn active_json(&self, fallback: BuiltIn) -> Value {
        let mut all = self.policy.entry();
        if !self.filters.is_empty() {
            all.insert("filters".into(), self.filters.iter().map(PartInfo::entry).collect());
        }
        if !self.scores.is_empty() {
            let score = |score: &Weighted<PartInfo>| {
                let mut entry = score.part.entry();
                entry.insert("weight".into(), score.weight.into());
                entry
            };
            all.insert("scores".into(), self.scores.iter().map(score).collect());
        }
        all.insert("fallback".into(), fallback.name().into());
        all.into()
    }
}
