//! Which candidate replays the rounds of which recorded generation.

use std::collections::BTreeMap;

use policy_host::record::RecordedGeneration;
use serde_json::{Map, Value, json};

use super::contents::Contents;
use crate::commands::evaluate::candidate::Candidate;

/// The candidates, and which of them replays the rounds of each generation.
pub(super) struct Assignment {
    pub(super) candidates: Vec<Candidate>,
    /// The candidate of each generation; `None` where the first stands for all.
    of: Option<BTreeMap<u64, usize>>,
}

impl Assignment {
    /// The first for every generation.
    pub(super) fn one(candidates: Vec<Candidate>) -> Self {
        Self { candidates, of: None }
    }

    /// Every generation by the candidate that was made of it.
    pub(super) fn itself(candidates: Vec<Candidate>, contents: &Contents) -> Self {
        let find = |about: &RecordedGeneration| {
            let alike = |c: &&Candidate| lasting(&parse(&c.activation)) == lasting(&about.activation);
            let exactly = candidates.iter().position(|c| same(c, about));
            exactly.or_else(|| candidates.iter().position(|c| alike(&c)))
        };
        let made = contents.generations.values().filter(|made| made.is_replayable());
        let of = made.filter_map(|made| Some((made.about.generation, find(&made.about)?))).collect();
        Self { candidates, of: Some(of) }
    }

    pub(super) fn of(&self, generation: &RecordedGeneration) -> Option<usize> {
        match &self.of {
            None => Some(0),
            Some(of) => of.get(&generation.generation).copied(),
        }
    }

    /// Notes on generations whose library is another one today, or which cannot be replayed.
    pub(super) fn differing_libraries(&self, contents: &Contents) -> Vec<String> {
        let mut notes = Vec::new();
        for made in contents.generations.values() {
            let about = &made.about;
            let (policy, generation) = (&about.policy, about.generation);
            match self.of(about) {
                None => notes.push(format!("{policy} (generation {generation}) is the embedder's own: not replayed")),
                Some(at) if !same(&self.candidates[at], about) => notes.push(format!(
                    "{policy} (generation {generation}): the plugin directory has another library than the one recorded"
                )),
                Some(_) => {}
            }
        }
        notes
    }

    /// The candidates to simulate: the policy that answered most rounds, then the given one.
    pub(super) fn simulated(&self, contents: &Contents) -> Option<Vec<Candidate>> {
        match (&self.of, self.candidates.as_slice()) {
            (None, [own, recorded]) if !contents.is_dump() => {
                match lasting(&parse(&own.activation)) == lasting(&parse(&recorded.activation)) {
                    true => Some(vec![own.clone()]),
                    false => Some(vec![recorded.clone(), own.clone()]),
                }
            }
            (None, [own]) if !contents.is_dump() => Some(vec![own.clone()]),
            _ => None,
        }
    }

    pub(super) fn about(&self, at: usize) -> Value {
        let c = &self.candidates[at];
        json!({
            "policy": c.policy, "label": c.label, "version": c.version, "library": c.library, "sha256": c.sha256,
            "spec": parse(&c.activation),
        })
    }
}

pub(super) fn parse(activation: &str) -> Value {
    serde_json::from_str(activation).unwrap_or_default()
}

/// The part of an activation that decides placements, with defaults filled in.
fn lasting(activation: &Value) -> Value {
    let bare = |part: &Value| {
        let mut part = part.as_object().cloned().unwrap_or_default();
        if part.get("config").is_some_and(|c| c.is_null() || c.as_object().is_some_and(Map::is_empty)) {
            part.remove("config");
        }
        part
    };
    let mut all = bare(activation);
    ["lane", "deadline_ms", "shadow"].iter().for_each(|key| drop(all.remove(*key)));
    all.entry("fallback").or_insert_with(|| policy_host::BuiltIn::default().name().into());
    for (list, weight) in [("filters", false), ("scores", true)] {
        let parts = all.remove(list).and_then(|v| v.as_array().cloned()).unwrap_or_default();
        let parts: Vec<Value> = parts
            .iter()
            .map(|part| {
                let mut part = bare(part);
                if weight {
                    part.entry("weight").or_insert_with(|| 1.into());
                }
                part.into()
            })
            .collect();
        if !parts.is_empty() {
            all.insert(list.into(), parts.into());
        }
    }
    all.into()
}

/// Whether a candidate is what was recorded: the same libraries with the same configs.
pub(super) fn same(candidate: &Candidate, recorded: &RecordedGeneration) -> bool {
    candidate.sha256 == recorded.sha256
        && candidate.parts.iter().eq(recorded.parts.iter().map(|part| &part.sha256))
        && lasting(&parse(&candidate.activation)) == lasting(&recorded.activation)
}
