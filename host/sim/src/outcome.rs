//! What a run ends in: counts, latencies, figures, and why it ended.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use crate::cluster::{Metrics, Series, TaskCounts};
use crate::summary::{LatencyUs, PolicyCounts, Refusal, Summary, Swap};

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Every job came and finished.
    WorkloadDone,
    /// The time given for the run has passed.
    TimeUp,
    /// It was asked to stop.
    Stopped,
    /// Tasks are left, but nothing can happen any more: no executor is there, or the policy binds none of them.
    Stalled,
}

/// A run, after its end.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Why it ended.
    pub end: End,
    /// Virtual time at the end, microseconds.
    pub virtual_us: u64,
    /// Rounds asked for.
    pub rounds: u64,
    /// Rounds that the fallback bound.
    pub fallback_rounds: u64,
    /// What became of the tasks, counted task by task.
    pub counts: TaskCounts,
    /// What rounds took, from the question to the answer, in wall nanoseconds.
    pub round_latency_ns: Histogram<u64>,
    /// Rounds answered and tasks started, by policy.
    pub by_policy: BTreeMap<String, PolicyCounts>,
    /// The longest that any task had waited at the end, started or not, in virtual microseconds.
    pub oldest_wait_us: u64,
    /// The figures of the run, in virtual time.
    pub metrics: Metrics,
    /// What it looked like over time, where the cluster was asked to keep it.
    pub series: Option<Series>,
}

impl Outcome {
    /// The summary of the run, with what the host knows about swaps and refusals.
    #[must_use]
    pub fn summary(&self, swaps: Vec<Swap>, refusals: Vec<Refusal>) -> Summary {
        Summary {
            rounds: self.rounds,
            tasks_submitted: self.counts.submitted,
            tasks_completed: self.counts.completed,
            tasks_unfinished: self.counts.unfinished,
            tasks_lost: self.counts.lost,
            tasks_duplicated: self.counts.duplicated,
            fallback_rounds: self.fallback_rounds,
            round_latency_us: LatencyUs::of(&self.round_latency_ns),
            swaps,
            refusals,
            by_policy: self.by_policy.clone(),
            recording: None,
        }
    }
}
