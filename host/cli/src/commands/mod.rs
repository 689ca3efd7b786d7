//! One file a command.

pub(crate) mod cargo;
pub(crate) mod check;
pub(crate) mod cluster;
pub(crate) mod demo;
pub(crate) mod dev;
pub(crate) mod evaluate;
pub(crate) mod list;
pub(crate) mod new;
pub(crate) mod placement;
pub(crate) mod progress;
pub(crate) mod quarantine;
pub(crate) mod replay;
pub(crate) mod run;
pub(crate) mod run_events;
pub(crate) mod schema;
pub(crate) mod status;
pub(crate) mod switch;

use std::ffi::OsString;
use std::time::Duration;

use policy_host::judge::Judge;

use crate::failure::Failure;

/// This very program as the judge's child.
pub(crate) fn judge(time_limit_s: f64) -> Result<Judge, Failure> {
    let program =
        std::env::current_exe().map_err(|e| Failure::because("judge-failed", "this program cannot be found", &e))?;
    Ok(Judge::new(program, [OsString::from("judge")]).time_limit(Duration::from_secs_f64(time_limit_s)))
}

/// The first characters of a hash, for people.
pub(crate) fn short(sha256: &str) -> &str {
    sha256.get(..12).unwrap_or(sha256)
}
