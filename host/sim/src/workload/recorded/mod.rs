//! A workload out of a recording of a host (`policy-host run --record FILE`): the jobs and tasks that came by, with the
//! times that were observed.
//!
//! - *Executors* are all that were ever listed. Those that were lost, came back or came later have outages to match.
//! - *Jobs* come when they were submitted, counted from the first. Of a job that was in flight when recording began,
//!   what was left is submitted then.
//! - *Tasks* run for what was observed, less what moving their input took, times the speed of their executor. A task that
//!   was pending and never ended in the recording gets the median of its stage, or else of its job; where there is none,
//!   it is left out. Tasks that ended before the recording began are left out.
//! - *Dependencies* are not recorded. A stage that became runnable after its job came is taken to wait for those stages
//!   of the job whose last task ended in that moment; where none did, for all that had ended by then.
//! - *The network* is the one that the recording names, else the default.
//!
//! [`Reconstruction`] counts everything that was not simply read.

mod rebuild;
mod reconstruction;
mod seen;

use std::path::Path;

use policy_host::record::{Ending, Entry, Reader};

use super::{ClusterDefaults, Place, Workload, WorkloadError};
use crate::limits::MAX_TASKS;
pub use reconstruction::Reconstruction;
use seen::Seen;

/// Reads a recording as a workload. Of `defaults`, only the network is used, where the recording names none, unless
/// they take the place of its cluster.
///
/// # Errors
/// When the recording cannot be read, is damaged, or holds no task that could be run.
pub fn read(path: &Path, defaults: &ClusterDefaults) -> Result<(Workload, Reconstruction), WorkloadError> {
    let mut reader = Reader::open(path)?;
    let mut seen = Seen::default();
    while let Some(entry) = reader.read_next()? {
        match entry {
            Entry::Round(round) => seen.round(&round),
            Entry::Observed(batch) => seen.observed(&batch),
            Entry::Missed(rounds) => seen.missed += rounds,
            _ => {}
        }
    }
    if seen.tasks > MAX_TASKS {
        let (found, range) = (seen.tasks.to_string(), format!("0 to {MAX_TASKS}"));
        let place = Place { source: path.display().to_string(), line: 0, column: 0 };
        return Err(WorkloadError::OutOfRange { place, what: "the number of tasks", found, range });
    }
    let number = |name: &str| reader.header().about.get(name).and_then(serde_json::Value::as_u64);
    let network = rebuild::Network {
        mib_per_s: number("network_mib_per_s").unwrap_or(defaults.cluster.network_mib_per_s),
        rack_mib_per_s: number("rack_mib_per_s"),
    };
    let (mut workload, mut lacks) = rebuild::workload(seen, network);
    lacks.network_assumed = number("network_mib_per_s").is_none();
    match reader.ending() {
        Some(Ending::Cut { at }) => lacks.cut_at_byte = Some(at),
        Some(Ending::Limit) => lacks.at_its_limit = true,
        _ => {}
    }
    if defaults.instead {
        workload.header = defaults.cluster.clone();
    }
    workload.validate(&path.display().to_string())?;
    Ok((workload, lacks))
}
