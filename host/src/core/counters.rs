//! What rounds count and receipts say.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts since the host started.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Rounds asked.
    pub(crate) rounds: Counter,
    /// Rounds that the fallback bound.
    pub(crate) fallback_rounds: Counter,
    /// Rounds in which nothing could be bound.
    pub(crate) empty_rounds: Counter,
    /// Rounds whose caller dropped its `bind` before it had an answer.
    pub(crate) dropped_rounds: Counter,
    /// Observations that went because no round took them in time.
    pub(crate) dropped_observations: Counter,
}

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Adds to it; returns what it was before.
    #[inline]
    pub(crate) fn add(&self, n: u64) -> u64 {
        self.0.fetch_add(n, Ordering::AcqRel)
    }

    /// What it is now.
    #[inline]
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
