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
mod seen;

use std::path::Path;

use policy_host::record::{Ending, Entry, Reader};
use serde::Serialize;

use super::{ClusterDefaults, Place, Workload, WorkloadError};
use crate::limits::MAX_TASKS;
use seen::Seen;

/// What a recording gave, and what it lacked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Reconstruction {
    /// Rounds that it has.
    pub rounds: u64,
    /// Rounds that it should have between its first and its last, and has not.
    pub rounds_missed: u64,
    /// Where it was cut, in bytes from its beginning; `None` where it ends well.
    pub cut_at_byte: Option<u64>,
    /// It ended at its limit, with rounds to come.
    pub at_its_limit: bool,
    /// Jobs that were in flight when it began: only what was left of them is there.
    pub jobs_in_flight_at_start: u64,
    /// Tasks of the workload.
    pub tasks: u64,
    /// Of these, tasks whose duration was not observed: they have the median of their stage or job.
    pub tasks_with_median_duration: u64,
    /// Tasks left out: they had ended, or ran already, before the recording first saw their stage.
    pub tasks_left_out_done: u64,
    /// Tasks left out: pending, but no task of their job ended in the recording.
    pub tasks_left_out_unknown: u64,
    /// Tasks that ran shorter than moving their input should have taken: they have duration 0.
    pub durations_below_transfer: u64,
    /// Stages whose dependencies were inferred from when stages ended.
    pub stages_with_inferred_dependencies: u64,
    /// Stages that became runnable later than their job, for no reason that was recorded: they wait for nothing.
    pub stages_without_known_cause: u64,
    /// Observations of tasks whose stage no round lists: they ran when recording began, or in rounds that are missing.
    pub observations_unmatched: u64,
    /// Pins to executors that were never listed: dropped.
    pub pins_dropped: u64,
    /// Whether the network is assumed, because the recording names none.
    pub network_assumed: bool,
}

impl Reconstruction {
    /// What was lacking, as sentences; none for a recording that has everything.
    #[must_use]
    pub fn lacks(&self) -> Vec<String> {
        let mut told = Vec::new();
        let mut tell = |count: u64, text: &str| {
            if count > 0 {
                told.push(format!("{count} {text}"));
            }
        };
        tell(self.rounds_missed, "rounds are missing: recording could not keep up");
        tell(
            self.jobs_in_flight_at_start,
            "jobs were in flight when recording began: what was left of them comes then",
        );
        tell(
            self.tasks_with_median_duration,
            "tasks never ended in the recording: they get the median of their stage or job",
        );
        tell(
            self.tasks_left_out_done,
            "tasks are left out: they had ended, or ran already, before the recording saw their stage",
        );
        tell(self.tasks_left_out_unknown, "tasks are left out: no task of their job ended in the recording");
        tell(
            self.durations_below_transfer,
            "tasks ran shorter than moving their input should take: they get duration 0",
        );
        tell(self.stages_with_inferred_dependencies, "stages have dependencies inferred from when others ended");
        tell(
            self.stages_without_known_cause,
            "stages became runnable late for no recorded reason: they wait for nothing",
        );
        tell(self.observations_unmatched, "observations are of stages that no recorded round lists");
        tell(self.pins_dropped, "pins to executors that were never there are dropped");
        if let Some(at) = self.cut_at_byte {
            told.push(format!("the recording is cut at byte {at}: what it had to say after that is missing"));
        }
        if self.at_its_limit {
            told.push("recording stopped at its limit: what came later is missing".to_owned());
        }
        if self.network_assumed {
            told.push("the recording names no network: the default is assumed".to_owned());
        }
        told
    }
}

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
