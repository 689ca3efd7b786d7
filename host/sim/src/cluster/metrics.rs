//! What a run is judged by, collected as it goes. Raw: reports derive their figures from it.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

/// A job that has finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobRecord {
    /// Its index in the workload.
    pub job: u32,
    /// When it came, virtual microseconds.
    pub submit_us: u64,
    /// When its first task started; when it came, if it had no tasks.
    pub first_start_us: u64,
    /// When its last task ended.
    pub finish_us: u64,
    /// Vcore microseconds that its finished tasks held.
    pub vcore_us: u128,
}

/// How long a started task had waited since its stage could run; for a task that was started again, since then too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitRecord {
    /// The job's index in the workload.
    pub job: u32,
    /// The wait, microseconds.
    pub wait_us: u64,
}

/// What a tenant got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TenantRecord {
    /// Tasks that finished.
    pub tasks: u64,
    /// Vcore microseconds that they held.
    pub vcore_us: u128,
}

/// Raw figures of one run, in virtual time.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Finished jobs, in order of their end.
    pub jobs: Vec<JobRecord>,
    /// What each tenant got.
    pub tenants: BTreeMap<String, TenantRecord>,
    /// How long started tasks had waited since their stage could run, microseconds.
    pub queue_wait_us: Histogram<u64>,
    /// The same, task by task, in order of start; only where the cluster was asked to keep them.
    pub waits: Vec<WaitRecord>,
    /// Vcore microseconds of finished tasks.
    pub busy_vcore_us: u128,
    /// Vcore microseconds of attempts that failed or went down with their executor.
    pub wasted_vcore_us: u128,
    /// Vcore microseconds that were there, from the first submission to the last end of a task or loss of an executor.
    pub capacity_vcore_us: u128,
    /// Input bytes that lay on the executor of the task that read them.
    pub local_bytes: u128,
    /// Input bytes that came over the network.
    pub remote_bytes: u128,
    /// When the first job came; `None` when none has.
    pub first_submit_us: Option<u64>,
    /// When the last task ended.
    pub last_finish_us: u64,
    /// Rows of answers that named no task or executor of the round, or an executor without room. None of a validated
    /// answer.
    pub refused_rows: u64,
    /// Attempts that failed or went down with their executor: as many starts more than tasks.
    pub retries: u64,
    /// Jobs in the cluster, summed over time: job microseconds.
    pub job_us: u128,
    /// Jain's index of the vcores that tenants with pending tasks held, averaged over the time in which there were two
    /// such tenants or more; `None` when there never were.
    pub jain_contested: Option<f64>,
    capacity_at_us: u64,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            jobs: Vec::new(),
            tenants: BTreeMap::new(),
            queue_wait_us: histogram(),
            waits: Vec::new(),
            busy_vcore_us: 0,
            wasted_vcore_us: 0,
            capacity_vcore_us: 0,
            local_bytes: 0,
            remote_bytes: 0,
            first_submit_us: None,
            last_finish_us: 0,
            refused_rows: 0,
            retries: 0,
            job_us: 0,
            jain_contested: None,
            capacity_at_us: 0,
        }
    }
}

/// Three significant digits, growing as needed.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new(3).expect("three digits are within the range of the histogram")
}

/// Records a value; unlike `saturating_record`, it grows the histogram, and unlike `record`, it cannot fail: one of three
/// digits that grows holds every value.
pub(crate) fn record(histogram: &mut Histogram<u64>, value: u64) {
    if histogram.record(value).is_err() {
        histogram.saturating_record(value);
    }
}

impl Metrics {
    /// From the first submission to the last end, microseconds.
    #[must_use]
    pub fn makespan_us(&self) -> u64 {
        self.last_finish_us.saturating_sub(self.first_submit_us.unwrap_or(0))
    }

    /// The share of vcore time that finished tasks used, 0 to 1; 0 for an empty run.
    #[must_use]
    pub fn utilisation(&self) -> f64 {
        ratio(self.busy_vcore_us, self.capacity_vcore_us)
    }

    /// The share of input bytes that were read where they lay, 0 to 1; 1 when nothing was read.
    #[must_use]
    pub fn locality_bytes_share(&self) -> f64 {
        match self.local_bytes + self.remote_bytes {
            0 => 1.0,
            all => ratio(self.local_bytes, all),
        }
    }

    /// Jain's index of what the tenants got: 1 when all got the same, 1/n when one got everything (Jain, Chiu, Hawe
    /// 1984). 1 without tenants.
    #[must_use]
    pub fn jain_tenants(&self) -> f64 {
        let got: Vec<f64> = self.tenants.values().map(|t| t.vcore_us as f64).collect();
        let (sum, squares) = got.iter().fold((0.0, 0.0), |(s, q), x| (s + x, q + x * x));
        if squares == 0.0 { 1.0 } else { sum * sum / (got.len() as f64 * squares) }
    }

    /// Counts the vcores that were there since the last call.
    pub(super) fn accrue(&mut self, at_us: u64, alive_vcores: u64) {
        let Some(first) = self.first_submit_us else { return };
        let since = self.capacity_at_us.max(first);
        self.capacity_vcore_us += u128::from(at_us.saturating_sub(since)) * u128::from(alive_vcores);
        self.capacity_at_us = at_us.max(since);
    }
}

fn ratio(part: u128, whole: u128) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_grows_with_what_it_holds() {
        let mut histogram = histogram();
        let values = [3, 1_000_000, 86_400_000_000, u64::MAX];
        values.iter().for_each(|&v| record(&mut histogram, v));
        assert_eq!((histogram.len(), histogram.min(), histogram.max()), (4, 3, u64::MAX));
        assert!(histogram.value_at_quantile(0.5) >= 999_000);
    }

    #[test]
    fn jains_index_has_its_known_answers() {
        for (got, index) in [(vec![1, 1, 1, 0], 0.75), (vec![1, 2, 3, 4], 0.8333), (vec![5, 5], 1.0), (vec![], 1.0)] {
            let mut metrics = Metrics::default();
            for (i, vcore_us) in got.into_iter().enumerate() {
                metrics.tenants.insert(format!("t{i}"), TenantRecord { tasks: 1, vcore_us });
            }
            assert!((metrics.jain_tenants() - index).abs() < 1e-4);
        }
    }
}
