//! The files of the state directory: what they say, and when they are written.

pub(crate) mod account;
pub(crate) mod directory;
pub(crate) mod files;
pub(crate) mod last_good;
pub(crate) mod published;
pub(crate) mod receipt;
pub(crate) mod trying;
