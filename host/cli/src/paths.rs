//! Paths that a command keeps: made absolute while it reads its arguments, because a plugin may change the working
//! directory of the process.

use std::path::PathBuf;

use clap::builder::{PathBufValueParser, TypedValueParser};

/// Reads a path of the command line as an absolute one. Links stay as they are.
pub(crate) fn absolute() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(std::path::absolute)
}
