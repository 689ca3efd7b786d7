//! The figures of one run.

use std::collections::BTreeMap;

use super::metric::METRICS;
use crate::outcome::{End, Outcome};
use crate::workload::Workload;

/// Feitelson's bound: runs shorter than this count as this long, so that tiny jobs do not rule the mean.
const SLOWDOWN_BOUND_US: f64 = 10_000_000.0;

/// A distribution in five numbers. Percentiles are exact: the smallest value that so many percent do not exceed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The arithmetic mean.
    pub mean: f64,
    /// The median.
    pub p50: f64,
    /// The 95th percentile.
    pub p95: f64,
    /// The 99th percentile.
    pub p99: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// Of nothing.
    pub const NONE: Self = Self { mean: f64::NAN, p50: f64::NAN, p95: f64::NAN, p99: f64::NAN, max: f64::NAN };

    /// Of these values, which it sorts.
    #[must_use]
    pub fn of(values: &mut [f64]) -> Self {
        if values.is_empty() {
            return Self::NONE;
        }
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        values.sort_unstable_by(f64::total_cmp);
        let at = |percent: usize| values[(values.len() * percent).div_ceil(100).max(1) - 1];
        Self { mean, p50: at(50), p95: at(95), p99: at(99), max: values[values.len() - 1] }
    }
}

/// Figures of some of the jobs: a tenant's, or those of one size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Group {
    /// Jobs that finished.
    pub jobs: u64,
    /// Vcore microseconds that their tasks held.
    pub vcore_us: f64,
    /// Submission to end, microseconds.
    pub jct_us: Spread,
    /// Waits of their tasks, microseconds.
    pub queue_wait_us: Spread,
    /// Their bounded slowdowns.
    pub bounded_slowdown: Spread,
}

/// Jobs by the work that they bring, in decades of vcore microseconds at speed 1: bin `n` holds `10^n` to `10^(n+1)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SizeBin(pub u32);

impl SizeBin {
    /// Everything below a millisecond is one bin.
    const LEAST: u32 = 3;

    fn of(vcore_us: u128) -> Self {
        Self(vcore_us.checked_ilog10().unwrap_or(0).max(Self::LEAST - 1))
    }

    /// From (inclusive) and to (exclusive), vcore microseconds.
    #[must_use]
    pub fn range_vcore_us(self) -> (u128, u128) {
        let from = if self.0 < Self::LEAST { 0 } else { 10u128.pow(self.0) };
        (from, 10u128.pow(self.0 + 1))
    }
}

/// The figures of one run.
#[derive(Clone, Debug)]
pub struct RunFigures {
    /// One value for each of [`METRICS`]; NaN where there is none.
    pub values: Vec<f64>,
    /// By tenant.
    pub tenants: BTreeMap<String, Group>,
    /// By size of job.
    pub sizes: BTreeMap<SizeBin, Group>,
}

/// Values of some jobs on their way to a [`Group`].
#[derive(Default)]
struct Collected {
    vcore_us: u128,
    jct_us: Vec<f64>,
    waits_us: Vec<f64>,
    slowdowns: Vec<f64>,
}

impl Collected {
    fn group(mut self) -> Group {
        Group {
            jobs: self.jct_us.len() as u64,
            vcore_us: self.vcore_us as f64,
            jct_us: Spread::of(&mut self.jct_us),
            queue_wait_us: Spread::of(&mut self.waits_us),
            bounded_slowdown: Spread::of(&mut self.slowdowns),
        }
    }
}

impl RunFigures {
    /// The figures of a run whose cluster kept the waits of its tasks.
    ///
    /// `invalid_bindings` are rounds whose answer broke the contract, `fallback_rounds` those that the policy did not
    /// answer itself: the caller counts both.
    #[must_use]
    pub fn of(workload: &Workload, outcome: &Outcome, invalid_bindings: u64, fallback_rounds: u64) -> Self {
        let mut all = Collected::default();
        let mut tenants: BTreeMap<&str, Collected> = BTreeMap::new();
        let mut sizes: BTreeMap<SizeBin, Collected> = BTreeMap::new();
        let bins: Vec<SizeBin> = workload.jobs.iter().map(|j| SizeBin::of(j.work_vcore_us())).collect();
        for record in &outcome.metrics.jobs {
            let job = &workload.jobs[record.job as usize];
            let jct_us = (record.finish_us - record.submit_us) as f64;
            let run_us = (record.finish_us - record.first_start_us) as f64;
            let slowdown = (jct_us / run_us.max(SLOWDOWN_BOUND_US)).max(1.0);
            let (tenant, size) = (tenants.entry(&job.tenant).or_default(), bins[record.job as usize]);
            for to in [&mut all, tenant, sizes.entry(size).or_default()] {
                to.vcore_us += record.vcore_us;
                to.jct_us.push(jct_us);
                to.slowdowns.push(slowdown);
            }
        }
        for wait in &outcome.metrics.waits {
            let job = &workload.jobs[wait.job as usize];
            let (tenant, size) = (tenants.entry(&job.tenant).or_default(), bins[wait.job as usize]);
            for to in [&mut all, tenant, sizes.entry(size).or_default()] {
                to.waits_us.push(wait.wait_us as f64);
            }
        }
        let all = all.group();
        let value = |name: &str| value(name, outcome, &all, invalid_bindings, fallback_rounds);
        Self {
            values: METRICS.iter().map(|m| value(m.name).unwrap_or(f64::NAN)).collect(),
            tenants: tenants.into_iter().map(|(name, c)| (name.to_owned(), c.group())).collect(),
            sizes: sizes.into_iter().map(|(bin, c)| (bin, c.group())).collect(),
        }
    }

    /// A run of which only some figures are known, by name.
    pub(super) fn known(values: &[(&str, f64)]) -> Self {
        let known = |name: &str| values.iter().find(|v| v.0 == name).map_or(f64::NAN, |v| v.1);
        let values = METRICS.iter().map(|m| known(m.name)).collect();
        Self { values, tenants: BTreeMap::new(), sizes: BTreeMap::new() }
    }
}

fn value(name: &str, outcome: &Outcome, all: &Group, invalid_bindings: u64, fallback_rounds: u64) -> Option<f64> {
    let (metrics, counts) = (&outcome.metrics, &outcome.counts);
    let spread = |spread: &Spread, which: &str| match which {
        "mean" => Some(spread.mean),
        "p50" => Some(spread.p50),
        "p95" => Some(spread.p95),
        "p99" => Some(spread.p99),
        "max" => Some(spread.max),
        _ => None,
    };
    let decision = |quantile: f64| match outcome.round_latency_ns.is_empty() {
        true => None,
        false => Some(outcome.round_latency_ns.value_at_quantile(quantile) as f64 / 1e3),
    };
    Some(match name.split_once('.') {
        Some(("jct_us", which)) => return spread(&all.jct_us, which),
        Some(("queue_wait_us", which)) => return spread(&all.queue_wait_us, which),
        Some(("bounded_slowdown", which)) => return spread(&all.bounded_slowdown, which),
        Some(("decision_us", "p50")) => return decision(0.5),
        Some(("decision_us", "p99")) => return decision(0.99),
        Some(("decision_us", "max")) => return decision(1.0),
        Some(_) => return None,
        None => match name {
            "makespan_us" => metrics.makespan_us() as f64,
            "utilisation" => metrics.utilisation(),
            "locality_bytes_share" => metrics.locality_bytes_share(),
            "jain_tenants" => metrics.jain_tenants(),
            "jain_contested" => return metrics.jain_contested,
            "oldest_wait_us" => outcome.oldest_wait_us as f64,
            "jobs_in_system" => metrics.job_us as f64 / metrics.makespan_us() as f64,
            "busy_vcore_us" => metrics.busy_vcore_us as f64,
            "wasted_vcore_us" => metrics.wasted_vcore_us as f64,
            "invalid_bindings" => invalid_bindings as f64,
            "fallback_rounds" => fallback_rounds as f64,
            "rounds" => outcome.rounds as f64,
            "retries" => metrics.retries as f64,
            "jobs_completed" => metrics.jobs.len() as f64,
            "tasks_completed" => counts.completed as f64,
            "tasks_unfinished" => counts.unfinished as f64,
            "tasks_lost" => counts.lost as f64,
            "tasks_duplicated" => counts.duplicated as f64,
            "stalled_runs" => f64::from(outcome.end == End::Stalled),
            _ => return None,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_the_least_values_that_hold_so_many() {
        let mut values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        let spread = Spread::of(&mut values);
        assert_eq!((spread.p50, spread.p95, spread.p99, spread.max, spread.mean), (50.0, 95.0, 99.0, 100.0, 50.5));
        let spread = Spread::of(&mut [7.0]);
        assert_eq!((spread.p50, spread.p99, spread.mean), (7.0, 7.0, 7.0));
        assert!(Spread::of(&mut []).mean.is_nan());
    }

    #[test]
    fn sizes_are_decades() {
        for (work, from, to) in [
            (0u128, 0u128, 1_000u128),
            (999, 0, 1_000),
            (1_000, 1_000, 10_000),
            (9_999, 1_000, 10_000),
            (5_000_000, 1_000_000, 10_000_000),
        ] {
            assert_eq!(SizeBin::of(work).range_vcore_us(), (from, to), "{work}");
        }
    }
}
