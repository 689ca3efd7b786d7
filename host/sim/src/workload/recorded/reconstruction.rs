//! What a workload made of a recording lacks, and what was inferred for it.

use serde::Serialize;

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
        let mut sentences = Vec::new();
        let mut add = |count: u64, text: &str| {
            if count > 0 {
                sentences.push(format!("{count} {text}"));
            }
        };
        add(self.rounds_missed, "rounds are missing: recording could not keep up");
        add(self.jobs_in_flight_at_start, "jobs were in flight when recording began: what was left of them comes then");
        add(
            self.tasks_with_median_duration,
            "tasks never ended in the recording: they get the median of their stage or job",
        );
        add(
            self.tasks_left_out_done,
            "tasks are left out: they had ended, or ran already, before the recording saw their stage",
        );
        add(self.tasks_left_out_unknown, "tasks are left out: no task of their job ended in the recording");
        add(
            self.durations_below_transfer,
            "tasks ran shorter than moving their input should take: they get duration 0",
        );
        add(self.stages_with_inferred_dependencies, "stages have dependencies inferred from when others ended");
        add(
            self.stages_without_known_cause,
            "stages became runnable late for no recorded reason: they wait for nothing",
        );
        add(self.observations_unmatched, "observations are of stages that no recorded round lists");
        add(self.pins_dropped, "pins to executors that were never there are dropped");
        if let Some(at) = self.cut_at_byte {
            sentences.push(format!("the recording is cut at byte {at}: what it had to say after that is missing"));
        }
        if self.at_its_limit {
            sentences.push("recording stopped at its limit: what came later is missing".to_owned());
        }
        if self.network_assumed {
            sentences.push("the recording names no network: the default is assumed".to_owned());
        }
        sentences
    }
}
