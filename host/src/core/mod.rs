//! What every plane stands on: plain values, limits, text, events, threads. Knows nothing of options, control or files.

pub(crate) mod built_in;
pub(crate) mod composition;
pub(crate) mod counters;
pub(crate) mod decided;
pub(crate) mod digest;
pub mod event;
pub(crate) mod events;
pub(crate) mod feedback;
pub mod foreign;
pub(crate) mod guard;
pub(crate) mod info;
pub mod limits;
pub(crate) mod shown;
pub(crate) mod sync;
pub(crate) mod taken;
pub(crate) mod tape;
pub mod text;
pub(crate) mod threads;
pub(crate) mod wake;
