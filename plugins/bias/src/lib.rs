//! Packs the executor with most free slots first.
