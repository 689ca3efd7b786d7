//! Records what a scheduler saw as a workload file: jobs, stages and tasks with their durations and inputs, and where
//! each task ran. `policy-host evaluate --workload FILE` replays it.
//!
//! ```text
//! Ballista's job state ── a job ended ──► row ──► journal thread ──► FILE.part ── finish ──► FILE
//! Ballista's cluster state ── a round placed tasks ──► what was free, until the job ends
//! ```
//! Nothing that Ballista waits for is written to disk: rows go through a bounded queue to a thread of their own.

mod error;
mod journal;
mod placed;
mod recorder;
mod rows;
mod run;
mod states;

pub use error::RecordError;
pub use journal::{Recording, finish};
pub use recorder::Recorder;

/// The network speed of a recording that is given none, MiB/s: the default of the format.
pub const DEFAULT_NETWORK_MIB_PER_S: u64 = 1000;
