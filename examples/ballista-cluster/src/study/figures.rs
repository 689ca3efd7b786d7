//! Figures of each policy from samples and recordings.

use std::collections::BTreeMap;

use policy_sim::evaluate::{Interval, interval, mean};
use policy_sim::workload::{Recorded, Workload};
use serde_json::{Value, json};

use super::bound::{self, Bytes};
use super::{Candidate, Sample, Study};

/// A policy.
pub(super) struct Row {
    pub(super) label: String,
    /// By query.
    pub(super) queries: BTreeMap<usize, Query>,
}

/// A query under a policy.
#[derive(Clone, Default)]
pub(super) struct Query {
    /// By pass over the queries.
    pub(super) runs: BTreeMap<usize, Bytes>,
    /// Client's times, by repeat.
    pub(super) ms: Vec<f64>,
}

impl Query {
    /// Over all passes.
    pub(super) fn bytes(&self) -> Bytes {
        sum(self.runs.values())
    }

    /// How much larger a share is read locally than in the other's run of the same pass, in points: the mean of the
    /// pairs, and its 95 % interval where there is one.
    pub(super) fn points_over(&self, other: &Self) -> (f64, Option<Interval>) {
        let share = |bytes: &Bytes| percent(bytes.local, bytes.all);
        let pairs = self.runs.iter().filter_map(|(pass, own)| Some(share(own) - share(other.runs.get(pass)?)));
        let points: Vec<f64> = pairs.collect();
        (mean(&points), interval(&points))
    }
}

fn sum<'b>(bytes: impl Iterator<Item = &'b Bytes>) -> Bytes {
    bytes.fold(Bytes::default(), |mut sum, &more| {
        sum += more;
        sum
    })
}

/// Jobs of a recording that a candidate ran: query, repeat (warm-up counts), and where they stand.
pub(super) fn jobs_of<'r>(
    candidate: &Candidate,
    recorded: &'r Recorded,
) -> impl Iterator<Item = (usize, usize, usize)> + use<'r> {
    let middle = format!(" {} ", candidate.label.replace('\'', ""));
    recorded.jobs.iter().enumerate().filter_map(move |(at, job)| {
        let (query, pass) = job.run.name.split_once(middle.as_str())?;
        Some((query.strip_prefix('Q')?.parse().ok()?, pass.parse().ok()?, at))
    })
}

pub(super) fn rows(
    study: &Study,
    candidates: &[Candidate],
    samples: &[Sample],
    recordings: &[(Workload, Recorded)],
) -> Vec<Row> {
    let mut rows = Vec::new();
    for (number, candidate) in candidates.iter().enumerate() {
        let mut queries: BTreeMap<usize, Query> = BTreeMap::new();
        let (workload, recorded) = &recordings[candidate.at];
        let mut unbounded = 0;
        for (query, pass, at) in jobs_of(candidate, recorded) {
            if pass >= study.warm_up {
                // None where an executor was lost: what was free is not known then.
                match bound::bytes(&workload.jobs[at], &recorded.jobs[at]) {
                    Some(bytes) => *queries.entry(query).or_default().runs.entry(pass).or_default() += bytes,
                    None => unbounded += 1,
                }
            }
        }
        if unbounded > 0 {
            println!("{}: {unbounded} jobs are not in the bytes, their rounds are not known", candidate.label);
        }
        let mut own: Vec<&Sample> = samples.iter().filter(|s| s.candidate == number).collect();
        own.sort_by_key(|s| s.repeat);
        for sample in own {
            queries.entry(sample.query).or_default().ms.push(sample.ms);
        }
        rows.push(Row { label: candidate.label.clone(), queries });
    }
    rows
}

impl Row {
    pub(super) fn bytes(&self) -> Bytes {
        sum(self.queries.values().flat_map(|q| q.runs.values()))
    }

    /// Sum over queries of the median time, milliseconds.
    pub(super) fn total_ms(&self) -> f64 {
        self.queries.values().map(|q| median(&q.ms)).sum()
    }

    pub(super) fn json(&self) -> Value {
        let bytes = |b: Bytes| json!({ "local": b.local, "bound": b.bound, "unlimited": b.unlimited, "all": b.all });
        let query = |(number, q): (&usize, &Query)| {
            let runs: Vec<Value> = q.runs.values().map(|&run| bytes(run)).collect();
            json!({ "query": number, "ms": q.ms, "bytes": bytes(q.bytes()), "runs": runs })
        };
        json!({
            "policy": self.label,
            "bytes": bytes(self.bytes()),
            "total_of_medians_ms": self.total_ms(),
            "queries": self.queries.iter().map(query).collect::<Vec<_>>(),
        })
    }

    /// Times over another row's, pair by pair (same query, same repeat): the geometric mean, and its 95 % interval.
    pub(super) fn ratio_to(&self, other: &Self) -> (f64, f64, f64) {
        let mut logs = Vec::new();
        for (number, query) in &self.queries {
            let theirs = other.queries.get(number).map_or(&[][..], |q| &q.ms);
            logs.extend(query.ms.iter().zip(theirs).map(|(a, b)| (a / b).ln()));
        }
        let (low, high) = interval(&logs).unwrap_or((f64::NAN, f64::NAN));
        (mean(&logs).exp(), low.exp(), high.exp())
    }
}

pub(super) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

/// Part of a whole in percent; of nothing, all.
pub(super) fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 100.0 } else { 100.0 * part as f64 / whole as f64 }
}
