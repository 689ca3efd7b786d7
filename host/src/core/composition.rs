//! A composition: a policy with its filters, its scores and its shadows. Spelled once, as a tree; what `active.json` asks
//! for, what is made of it, what answers and what the receipt says are the same tree with other leaves.

use std::convert::Infallible;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The name of the file in which an operator asks for a composition.
pub const ACTIVE_FILE: &str = "active.json";

/// What a library gives a part as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Distributes tasks.
    Policy,
    /// Narrows what a policy may do.
    Filter,
    /// Rates executors for `composite`.
    Score,
}

impl Kind {
    /// As descriptions and receipts spell it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::Filter => "filter",
            Self::Score => "score",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether a part decides, or stands in a shadow and has no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Its answers count.
    Active,
    /// It sees the rounds of the active policy without effect.
    Shadow,
}

/// A policy, filter or score with its config, as an operator asked for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// The name.
    pub name: String,
    /// The config as JSON text; empty for none.
    pub config: String,
    /// Where the config's text begins in `active.json`: line and column, from 1.
    pub place: (u32, u32),
}

impl Wanted {
    /// This name with its default config.
    #[must_use]
    pub fn plain(name: &str) -> Self {
        Self { name: name.to_owned(), config: String::new(), place: (1, 1) }
    }

    /// A place in the config as a place in `active.json`.
    pub(crate) fn locate(&self, line: u32, column: u32) -> (u32, u32) {
        match line {
            0 => self.place,
            1 => (self.place.0, self.place.1 + column.saturating_sub(1)),
            _ => (self.place.0 + line - 1, column),
        }
    }
}

/// A score with its weight.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Weighted<T> {
    /// How much it counts against the other scores.
    pub weight: u32,
    /// The score.
    pub part: T,
}

/// A policy with what stands beside it. `P` is what a policy is made of, `X` a filter or a score.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Composition<P, X = P> {
    /// The policy.
    pub policy: P,
    /// The filters before it, in the order of the file.
    pub filters: Vec<X>,
    /// The scores that `composite` asks, in the order of the file.
    pub scores: Vec<Weighted<X>>,
    /// Candidates that see its rounds without effect. They are given its filters' limits and have none of their own.
    pub shadows: Vec<Self>,
}

impl<P, X> Composition<P, X> {
    /// A policy alone.
    #[must_use]
    pub fn of(policy: P) -> Self {
        Self { policy, filters: Vec::new(), scores: Vec::new(), shadows: Vec::new() }
    }

    /// The same tree with other leaves.
    ///
    /// # Errors
    /// The first error of a leaf, in the order policy, filters, scores, shadows.
    pub fn try_map<'a, Q, Y, E>(
        &'a self,
        policy: &impl Fn(&'a Self) -> Result<Q, E>,
        part: &impl Fn(Kind, &'a X) -> Result<Y, E>,
    ) -> Result<Composition<Q, Y>, E> {
        let score = |s: &'a Weighted<X>| Ok(Weighted { weight: s.weight, part: part(Kind::Score, &s.part)? });
        Ok(Composition {
            policy: policy(self)?,
            filters: self.filters.iter().map(|x| part(Kind::Filter, x)).collect::<Result<_, E>>()?,
            scores: self.scores.iter().map(score).collect::<Result<_, E>>()?,
            shadows: self.shadows.iter().map(|s| s.try_map(policy, part)).collect::<Result<_, E>>()?,
        })
    }

    /// As [`Composition::try_map`], where no leaf fails.
    pub fn map<'a, Q, Y>(
        &'a self,
        policy: &impl Fn(&'a Self) -> Q,
        part: &impl Fn(Kind, &'a X) -> Y,
    ) -> Composition<Q, Y> {
        let mapped = self.try_map(&|of| Ok::<_, Infallible>(policy(of)), &|kind, x| Ok(part(kind, x)));
        mapped.unwrap_or_else(|never| match never {})
    }

    /// The filters and scores of the policy itself.
    pub fn parts(&self) -> impl Iterator<Item = (Kind, &X)> {
        let filters = self.filters.iter().map(|x| (Kind::Filter, x));
        filters.chain(self.scores.iter().map(|s| (Kind::Score, &s.part)))
    }
}

impl<T> Composition<T> {
    /// The policy with its filters and scores, without its shadows.
    pub fn own(&self) -> impl Iterator<Item = (Kind, &T)> {
        std::iter::once((Kind::Policy, &self.policy)).chain(self.parts())
    }

    /// Every leaf of the tree.
    pub fn all(&self) -> impl Iterator<Item = (Role, Kind, &T)> {
        let shadows = self.shadows.iter().flat_map(|s| s.own().map(|(kind, leaf)| (Role::Shadow, kind, leaf)));
        self.own().map(|(kind, leaf)| (Role::Active, kind, leaf)).chain(shadows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Composition<&'static str> {
        let score = |part| Weighted { weight: 2, part };
        let shadow = Composition { scores: vec![score("s2")], ..Composition::of("shadow") };
        Composition { policy: "p", filters: vec!["f1", "f2"], scores: vec![score("s1")], shadows: vec![shadow] }
    }

    #[test]
    fn every_leaf_is_met_once_with_its_kind_and_role() {
        let met: Vec<_> = tree().all().map(|(role, kind, leaf)| (role == Role::Active, kind, *leaf)).collect();
        let (policy, filter, score) = (Kind::Policy, Kind::Filter, Kind::Score);
        let active = [(true, policy, "p"), (true, filter, "f1"), (true, filter, "f2"), (true, score, "s1")];
        assert_eq!(met, [&active[..], &[(false, policy, "shadow"), (false, score, "s2")]].concat());
    }

    #[test]
    fn a_mapped_tree_has_the_same_shape_and_the_first_error_ends_it() {
        let mapped = tree().try_map(&|c| Ok::<_, ()>(c.policy.len()), &|_, x| Ok(x.len())).unwrap();
        assert_eq!(mapped.all().map(|(.., leaf)| *leaf).collect::<Vec<_>>(), [1, 2, 2, 2, 6, 2]);
        assert_eq!(mapped.shadows[0].scores[0].weight, 2);
        let failed = tree().try_map(&|c| if c.policy == "p" { Ok(()) } else { Err(c.policy) }, &|_, _| Ok(()));
        assert_eq!(failed.unwrap_err(), "shadow");
    }
}
