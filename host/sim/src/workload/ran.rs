//! What a workload file says beside its workload when it was recorded from a real run: where and when each task ran, and
//! what was free when it was placed. Simulations ignore it; `evaluate` compares their figures with it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Workload;

/// A recorded run, in the order of the workload's jobs, stages and tasks.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// What recorded it, where the header says so.
    pub origin: Option<Origin>,
    /// One a job of the workload.
    pub jobs: Vec<RecordedJob>,
}

/// How a job ran.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordedJob {
    /// The job as a whole.
    pub run: JobRun,
    /// By stage and task: how it ran, where that is known.
    pub stages: Vec<Vec<Option<TaskRun>>>,
}

/// Where a recording comes from: `recorded` of the header.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// The program that recorded.
    pub by: String,
    /// When it began to: time 0 of the file, microseconds since 1970.
    #[serde(default)]
    pub began_unix_us: u64,
    /// Jobs that ended otherwise than well, or of which something was unknown: they are not in the file.
    #[serde(default)]
    pub jobs_left_out: u64,
    /// Whether the recorder was cut off: jobs that ended last may be missing.
    #[serde(default)]
    pub cut: bool,
}

/// How a job ran: `ran` of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobRun {
    /// The policy that answered when it ended.
    pub policy: String,
    /// The name that its owner gave it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// When it ended, on the clock of `submit_us`.
    pub end_us: u64,
    /// The rounds that placed its tasks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rounds: Vec<RoundSeen>,
}

/// A round that placed something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoundSeen {
    /// Its number in the run; jobs that were placed together have it in common.
    pub round: u64,
    /// When it was over.
    pub at_us: u64,
    /// Free vcores by executor before it; executors that are not named had none.
    pub free: BTreeMap<String, u32>,
}

/// How a task ran: `ran` of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskRun {
    /// Where.
    pub executor: String,
    /// The number that the scheduler gave it; tasks that ran as one have it in common.
    pub task: u32,
    /// When it was placed; its vcores were taken.
    pub bound_us: u64,
    /// When it began, by the executor's clock.
    pub start_us: u64,
    /// When it ended, by the executor's clock.
    pub end_us: u64,
    /// When the scheduler knew; its vcores were free again.
    pub reported_us: u64,
    /// The round that placed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round: Option<u64>,
}

impl Recorded {
    /// Local bytes and all bytes that the tasks read; of tasks whose run is known.
    #[must_use]
    pub fn local_and_all_bytes(&self, workload: &Workload) -> (u64, u64) {
        let (mut local, mut all) = (0u64, 0u64);
        for (job, recorded) in workload.jobs.iter().zip(&self.jobs) {
            let tasks = job.stages.iter().zip(&recorded.stages).flat_map(|(s, r)| s.tasks.iter().zip(r));
            for (task, run) in tasks {
                let Some(run) = run else { continue };
                for input in &task.inputs {
                    all = all.saturating_add(input.bytes);
                    local = local.saturating_add(if *input.executor == run.executor { input.bytes } else { 0 });
                }
            }
        }
        (local, all)
    }

    /// From the first submission to the last end, microseconds.
    #[must_use]
    pub fn makespan_us(&self, workload: &Workload) -> u64 {
        let first = workload.jobs.first().map_or(0, |j| j.submit_us);
        self.jobs.iter().map(|j| j.run.end_us).max().unwrap_or(first).saturating_sub(first)
    }

    /// Submission to end of each job, microseconds, in the order of the jobs.
    pub fn jcts_us(&self, workload: &Workload) -> impl Iterator<Item = u64> {
        let jobs = workload.jobs.iter().zip(&self.jobs);
        jobs.map(|(job, recorded)| recorded.run.end_us.saturating_sub(job.submit_us))
    }

    /// The policies that answered when jobs ended, each once.
    #[must_use]
    pub fn policies(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.jobs.iter().map(|j| j.run.policy.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}
