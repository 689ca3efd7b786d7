//! The files of the state directory: what they hold, and when they are written.

pub mod receipt;
