//! One task to each executor in turn.
