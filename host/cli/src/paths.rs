//! Paths that a command keeps: made absolute while it reads its arguments, because a plugin may change the working
//! directory of the process.

use std::path::PathBuf;

use clap::Args;
use clap::builder::{PathBufValueParser, TypedValueParser};

/// Reads a path of the command line as an absolute one. Links stay as they are.
pub(crate) fn absolute() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(std::path::absolute)
}

/// Where the plugins and the host's own files are.
#[derive(Clone, Debug, Args)]
pub(crate) struct Place {
    /// The plugin directory: libraries and active.json.
    #[arg(long, value_name = "DIR", value_parser = absolute())]
    pub(crate) plugins: PathBuf,
    /// The host's own files (staged copies, receipt); for a plugin directory that is read-only.
    #[arg(
        long,
        value_name = "DIR",
        value_parser = absolute(),
        help = "The host's own files [default: <plugins>/.policy-host]"
    )]
    pub(crate) state_dir: Option<PathBuf>,
}
