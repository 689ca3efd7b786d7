//! The summary of a run as scripts read it (`--summary`, JSON) and as people do (`Display`). Knows no host: swaps and
//! refusals are the caller's.

use std::collections::BTreeMap;
use std::fmt;

use hdrhistogram::Histogram;
use policy_host::RecordingReceipt;
use policy_host::text::shown;
use serde::{Deserialize, Serialize};

/// The summary of a run. Field names are public interface; fields may be added.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Rounds asked for.
    pub rounds: u64,
    /// Tasks of the jobs that came.
    pub tasks_submitted: u64,
    /// Tasks that finished.
    pub tasks_completed: u64,
    /// Tasks still pending or running when the run was ended.
    pub tasks_unfinished: u64,
    /// Tasks that neither finished nor were anywhere. Anything but 0 is a bug.
    pub tasks_lost: u64,
    /// Tasks that were bound again while they ran or after they had finished. Anything but 0 is a bug.
    pub tasks_duplicated: u64,
    /// Rounds that the fallback bound.
    pub fallback_rounds: u64,
    /// What a round took.
    pub round_latency_us: LatencyUs,
    /// Changes of the active policy.
    pub swaps: Vec<Swap>,
    /// Plugin files and changes that were refused.
    pub refusals: Vec<Refusal>,
    /// What each policy did.
    pub by_policy: BTreeMap<String, PolicyCounts>,
    /// The recording, where the run was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recording: Option<RecordingReceipt>,
}

/// A latency distribution in microseconds; all 0 when nothing was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatencyUs {
    /// The median.
    pub p50: u64,
    /// The 99th percentile.
    pub p99: u64,
    /// The 99.9th percentile.
    pub p999: u64,
    /// The longest.
    pub max: u64,
}

impl LatencyUs {
    /// The percentiles of a histogram of nanoseconds, to three digits, in whole microseconds.
    #[must_use]
    pub fn of(histogram: &Histogram<u64>) -> Self {
        if histogram.is_empty() {
            return Self::default();
        }
        let at = |quantile| histogram.value_at_quantile(quantile) / 1000;
        Self { p50: at(0.5), p99: at(0.99), p999: at(0.999), max: histogram.max() / 1000 }
    }
}

/// A change of the active policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swap {
    /// When the new policy became active, in milliseconds since the start of the run.
    pub at_ms: u64,
    /// The policy before; empty for the first.
    pub from: String,
    /// The policy after.
    pub to: String,
    /// Its generation.
    pub generation: u64,
    /// The hash of its library; empty for a built-in one.
    pub sha256: String,
    /// `active-file`, `new-library`, `rollback` or `api`.
    pub cause: String,
    /// From the file-system event to the first round that the new generation answered, or to its activation if no work
    /// was pending.
    pub latency_us: u64,
}

/// A plugin file or a change that was refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// When, in milliseconds since the start of the run.
    pub at_ms: u64,
    /// The file.
    pub file: String,
    /// The stable code.
    pub code: String,
    /// The reason.
    pub message: String,
}

/// What a policy did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyCounts {
    /// Rounds that it answered.
    pub rounds: u64,
    /// Tasks that it started.
    pub tasks: u64,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "tasks      {} submitted, {} completed, {} unfinished, {} lost, {} duplicated",
            self.tasks_submitted, self.tasks_completed, self.tasks_unfinished, self.tasks_lost, self.tasks_duplicated
        )?;
        writeln!(f, "rounds     {}, of them {} by the fallback", self.rounds, self.fallback_rounds)?;
        let l = &self.round_latency_us;
        writeln!(f, "latency    p50 {} us, p99 {} us, p99.9 {} us, max {} us", l.p50, l.p99, l.p999, l.max)?;
        for (policy, counts) in &self.by_policy {
            writeln!(f, "policy     {policy}: {} rounds, {} tasks", counts.rounds, counts.tasks)?;
        }
        for s in &self.swaps {
            let from = if s.from.is_empty() { "nothing" } else { &s.from };
            writeln!(
                f,
                "swap       at {} ms: {from} -> {} (generation {}, {}, {} us)",
                s.at_ms, s.to, s.generation, s.cause, s.latency_us
            )?;
        }
        for r in &self.refusals {
            // The name of a file may hold anything: one refusal is one line.
            let (file, message) = (shown(&r.file), shown(&r.message));
            writeln!(f, "refused    at {} ms: {file} [{}] {message}", r.at_ms, r.code)?;
        }
        if let Some(r) = &self.recording {
            let not = match (r.rounds_missed, r.rounds_after_stop) {
                (0, 0) => String::new(),
                (missed, 0) => format!(", {missed} missed: recording could not keep up"),
                (missed, after) => format!(", {missed} missed, {after} after it had stopped ({})", r.stopped),
            };
            writeln!(f, "recording  {}: {} rounds in {} bytes{not}", shown(&r.file), r.rounds, r.bytes)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Summary {
        let mut summary = Summary { rounds: 7, tasks_submitted: 3, tasks_completed: 2, ..Summary::default() };
        summary.by_policy.insert("bias".to_owned(), PolicyCounts { rounds: 7, tasks: 2 });
        summary.swaps.push(Swap { at_ms: 5, to: "bias".to_owned(), generation: 2, ..Swap::default() });
        summary.refusals.push(Refusal {
            file: "x.so".to_owned(),
            code: "not-a-library".to_owned(),
            ..Refusal::default()
        });
        summary
    }

    #[test]
    fn the_json_has_the_names_of_the_contract() {
        let value = serde_json::to_value(example()).unwrap();
        let keys = |v: &serde_json::Value| v.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        let mut wanted = vec![
            "rounds",
            "tasks_submitted",
            "tasks_completed",
            "tasks_unfinished",
            "tasks_lost",
            "tasks_duplicated",
            "fallback_rounds",
            "round_latency_us",
            "swaps",
            "refusals",
            "by_policy",
        ];
        wanted.sort_unstable();
        assert_eq!(keys(&value), wanted);
        assert_eq!(keys(&value["round_latency_us"]), ["max", "p50", "p99", "p999"]);
        assert_eq!(keys(&value["swaps"][0]), ["at_ms", "cause", "from", "generation", "latency_us", "sha256", "to"]);
        assert_eq!(keys(&value["refusals"][0]), ["at_ms", "code", "file", "message"]);
        assert_eq!(value["by_policy"]["bias"]["tasks"], 2);
        assert_eq!(serde_json::from_value::<Summary>(value).unwrap(), example());
    }

    #[test]
    fn people_read_every_part() {
        let text = example().to_string();
        for part in ["3 submitted", "7, of them 0", "bias: 7 rounds", "nothing -> bias", "x.so [not-a-library]"] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }

    #[test]
    fn an_empty_histogram_gives_zeros() {
        assert_eq!(LatencyUs::of(&crate::cluster::metrics::histogram()), LatencyUs::default());
    }
}
