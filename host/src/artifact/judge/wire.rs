//! What host and child say to each other: lines of JSON on a channel of its own, which is none of the child's standard
//! streams once it has begun. The shapes are strict, and what the child says carries a nonce that only the host's order
//! gave it. That stops accidents and simple forgeries; a plugin that searches the memory of the process it runs in could
//! find the nonce.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Verdict;
use crate::artifact::load::Loaded;
use crate::artifact::vet::Staged;
use crate::control::activation::Wanted;
use crate::control::admit::{Origin, Recipe};

/// What the child is to judge.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Order {
    /// To be repeated in everything that the child says.
    pub(super) nonce: String,
    /// The libraries.
    pub(super) libraries: Vec<OrderedLibrary>,
    /// What is made of them; without it, everything they export is made with its default config.
    pub(super) recipe: Option<OrderedRecipe>,
}

/// A library on its way to the child.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OrderedLibrary {
    /// The host's private copy.
    pub(super) path: PathBuf,
    /// What the user calls it.
    pub(super) source: PathBuf,
    /// What was hashed; the child refuses other bytes.
    pub(super) sha256: String,
}

/// A recipe on its way to the child.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OrderedRecipe {
    pub(super) policy: OrderedPart,
    pub(super) filters: Vec<OrderedPart>,
    /// With their weights.
    pub(super) scores: Vec<(OrderedPart, u32)>,
    pub(super) shadows: Vec<OrderedRecipe>,
}

/// A policy, filter or score of a recipe.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OrderedPart {
    pub(super) name: String,
    pub(super) config: String,
    /// Where the config begins in `active.json`.
    pub(super) place: (u32, u32),
    /// Its place in the list of libraries; none for what is built in.
    pub(super) library: Option<usize>,
}

/// A line of the child's.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Said {
    pub(super) nonce: String,
    pub(super) what: Saying,
}

/// What the child says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) enum Saying {
    /// What it begins to do now: the last one names what hung or crashed.
    Step(String),
    /// What it found.
    Verdict(Verdict),
}

/// A nonce: 128 bits from the system's source of randomness, as text.
pub(super) fn nonce() -> String {
    // The standard library seeds each of these from that source.
    let random = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", random(), random())
}

impl OrderedLibrary {
    pub(super) fn new(copy: &Staged, source: PathBuf, sha256: String) -> Self {
        Self { path: copy.path().to_owned(), source, sha256 }
    }
}

impl Order {
    /// The order to judge a recipe with its shadows.
    pub(super) fn of_recipe(recipe: &Recipe) -> Self {
        let mut libraries: Vec<Arc<Loaded>> = Vec::new();
        for loaded in recipe.libraries() {
            if !libraries.iter().any(|known| known.digest() == loaded.digest()) {
                libraries.push(Arc::clone(loaded));
            }
        }
        let recipe = OrderedRecipe::new(recipe, &libraries);
        let ordered = |l: &Arc<Loaded>| OrderedLibrary::new(l.copy(), l.file_name().into(), l.digest().to_string());
        Self { nonce: nonce(), libraries: libraries.iter().map(ordered).collect(), recipe: Some(recipe) }
    }
}

impl OrderedRecipe {
    fn new(recipe: &Recipe, libraries: &[Arc<Loaded>]) -> Self {
        let part = |wanted: &Wanted, loaded: Option<&Arc<Loaded>>| OrderedPart {
            name: wanted.name.clone(),
            config: wanted.config.clone(),
            place: wanted.place,
            library: loaded.and_then(|l| libraries.iter().position(|known| known.digest() == l.digest())),
        };
        let (policy, origin) = &recipe.policy;
        let loaded = if let Origin::Library(loaded) = origin { Some(loaded) } else { None };
        Self {
            policy: part(policy, loaded),
            filters: recipe.filters.iter().map(|(wanted, loaded)| part(wanted, Some(loaded))).collect(),
            scores: recipe.scores.iter().map(|(w, weight, loaded)| (part(w, Some(loaded)), *weight)).collect(),
            shadows: recipe.shadows.iter().map(|shadow| Self::new(shadow, libraries)).collect(),
        }
    }

    /// The recipe again, over the child's libraries; `None` where it does not fit them.
    pub(super) fn over(&self, libraries: &[Arc<Loaded>]) -> Option<Recipe> {
        let library = |part: &OrderedPart| libraries.get(part.library?).cloned();
        let origin = match (self.policy.library, self.scores.is_empty()) {
            (Some(_), _) => Origin::Library(library(&self.policy)?),
            (None, false) => Origin::Composite,
            (None, true) => Origin::BuiltIn(self.policy.name.parse().ok()?),
        };
        let filters = self.filters.iter().map(|part| Some((part.wanted(), library(part)?)));
        let scores = self.scores.iter().map(|(part, weight)| Some((part.wanted(), *weight, library(part)?)));
        let shadows = self.shadows.iter().map(|shadow| shadow.over(libraries));
        Some(Recipe {
            policy: (self.policy.wanted(), origin),
            filters: filters.collect::<Option<_>>()?,
            scores: scores.collect::<Option<_>>()?,
            shadows: shadows.collect::<Option<_>>()?,
            generation: 0,
        })
    }
}

impl OrderedPart {
    fn wanted(&self) -> Wanted {
        Wanted { name: self.name.clone(), config: self.config.clone(), place: self.place }
    }
}
