//! What every plane stands on: plain values, limits, text, threads. Knows nothing of options, control or files.

pub mod event;
pub(crate) mod feedback;
pub(crate) mod guard;
pub mod limits;
pub(crate) mod shown;
pub mod text;
pub(crate) mod threads;
