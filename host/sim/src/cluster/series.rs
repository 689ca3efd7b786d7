//! What a run looked like over time, in bounded memory: means over equal stretches of virtual time, and which task ran where. Raw
//! material for drawings; no figure is derived from it.
//!
//! The number of stretches is bounded; when time outgrows them, two become one, so that sums stay exact however long the
//! run is. What is kept depends on virtual time only: the same run gives the same series.

use crate::limits::{MAX_SERIES_BUCKETS, MAX_SERIES_OUTAGES, MAX_SERIES_ROWS, MAX_SERIES_SPANS, MAX_SERIES_TENANTS};
use crate::workload::Workload;

/// A run over time. Values of a bucket are means over its stretch of time (the last one's over what the run had of it).
#[derive(Clone, Debug, Default)]
pub struct Series {
    /// Where the first bucket begins: the first submission, virtual microseconds.
    pub start_us: u64,
    /// Where the run ended.
    pub end_us: u64,
    /// Length of a bucket.
    pub bucket_us: u64,
    /// Vcores that tasks held.
    pub busy_vcores: Vec<f64>,
    /// Vcores of executors that were there.
    pub alive_vcores: Vec<f64>,
    /// Tasks that could have started, had there been room.
    pub pending_tasks: Vec<f64>,
    /// Jain's index over tenants with pending tasks; NaN where fewer than two of them competed.
    pub jain: Vec<f64>,
    /// The tenants with most work, that first.
    pub tenants: Vec<TenantSeries>,
    /// Tenants beyond those.
    pub tenants_left_out: usize,
    /// Executors in the order of the workload; neighbours together where there are many.
    pub rows: Vec<ExecutorRow>,
    /// Length of a bucket of the rows.
    pub row_bucket_us: u64,
    /// Every attempt to run a task, in order of its end; `None` where there were more than the limit.
    pub spans: Option<Vec<Span>>,
    /// Times without an executor, as far as the limit goes.
    pub outages: Vec<Gap>,
}

/// A tenant over time.
#[derive(Clone, Debug)]
pub struct TenantSeries {
    /// Its name.
    pub name: String,
    /// Its dominant share (Ghodsi et al. 2011): the larger one of its shares of all vcores and of all memory, 0 to 1.
    pub dominant_share: Vec<f64>,
}

/// One executor, or several neighbours.
#[derive(Clone, Debug)]
pub struct ExecutorRow {
    /// Places in the workload's list: first (inclusive) and last (exclusive).
    pub executors: std::ops::Range<u32>,
    /// Vcores of all of them.
    pub vcores: u64,
    /// Vcores that tasks held, by bucket of [`Series::row_bucket_us`].
    pub busy_vcores: Vec<f64>,
}

/// One attempt to run a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The executor's place in the workload's list.
    pub executor: u32,
    /// The tenant's place in [`Series::tenants`]; `None` for one beyond those.
    pub tenant: Option<u32>,
    /// Vcores that it held.
    pub vcores: u32,
    /// From when, virtual microseconds.
    pub start_us: u64,
    /// Until when.
    pub end_us: u64,
    /// Whether it failed or lost its executor.
    pub broken: bool,
}

/// An executor that was not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The executor's place in the workload's list.
    pub executor: u32,
    /// From when.
    pub from_us: u64,
    /// Until when; the end of the run, if it did not come back.
    pub to_us: u64,
}

/// What holds between two changes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Level {
    pub(super) busy_vcores: u64,
    pub(super) alive_vcores: u64,
    pub(super) pending_tasks: u64,
    pub(super) jain: Option<f64>,
}

/// Sums over time of several fields, in buckets of one length that doubles as time goes on.
#[derive(Debug)]
struct Buckets {
    start_us: u64,
    bucket_us: u64,
    most: usize,
    fields: usize,
    sums: Vec<f64>,
}

impl Buckets {
    fn new(start_us: u64, most: usize, fields: usize) -> Self {
        Self { start_us, bucket_us: 1, most, fields, sums: Vec::new() }
    }

    fn add(&mut self, field: usize, from_us: u64, to_us: u64, value: f64) {
        let from_us = from_us.max(self.start_us);
        if to_us <= from_us {
            return;
        }
        self.reach(to_us);
        let mut at_us = from_us;
        while at_us < to_us {
            let bucket = (at_us - self.start_us) / self.bucket_us;
            let end_us = to_us.min(self.start_us + (bucket + 1) * self.bucket_us);
            self.sums[bucket as usize * self.fields + field] += value * (end_us - at_us) as f64;
            at_us = end_us;
        }
    }

    fn reach(&mut self, to_us: u64) {
        let length_us = to_us - self.start_us;
        while length_us.div_ceil(self.bucket_us) > self.most as u64 {
            self.bucket_us *= 2;
            let (fields, buckets) = (self.fields, self.sums.len() / self.fields.max(1));
            for bucket in 0..buckets {
                for field in 0..fields {
                    let value = std::mem::take(&mut self.sums[bucket * fields + field]);
                    self.sums[bucket / 2 * fields + field] += value;
                }
            }
            self.sums.truncate(buckets.div_ceil(2) * fields);
        }
        let needed = length_us.div_ceil(self.bucket_us) as usize * self.fields;
        if self.sums.len() < needed {
            self.sums.resize(needed, 0.0);
        }
    }

    fn sums(&self, field: usize) -> impl Iterator<Item = f64> {
        self.sums.iter().skip(field).step_by(self.fields.max(1)).copied()
    }

    /// Means of a field up to `end_us`.
    fn means(&self, field: usize, end_us: u64) -> Vec<f64> {
        let from = |i: usize| self.start_us + i as u64 * self.bucket_us;
        self.sums(field).enumerate().map(|(i, sum)| sum / (end_us.min(from(i + 1)) - from(i)) as f64).collect()
    }
}

const BUSY: usize = 0;
const ALIVE: usize = 1;
const PENDING: usize = 2;
const JAIN: usize = 3;
const CONTESTED: usize = 4;
const TENANTS: usize = 5;

/// Samples a cluster. The cluster calls it before each change.
#[derive(Debug)]
pub(super) struct Sampler {
    at_us: u64,
    over_time: Buckets,
    /// Names of the tenants that are followed, and their places in the cluster.
    followed: Vec<(String, u32)>,
    /// By the cluster's number of a tenant.
    place_of: Vec<Option<u32>>,
    capacity_vcores: f64,
    capacity_memory_mib: f64,
    rows: Buckets,
    ranges: Vec<(std::ops::Range<u32>, u64)>,
    /// Vcores held in a row, and since when.
    held: Vec<(u64, u64)>,
    /// Place in the workload's list by the cluster's index of an executor.
    listed: Vec<u32>,
    executors_per_row: u32,
    spans: Option<Vec<Span>>,
    away_since: Vec<Option<u64>>,
    outages: Vec<Gap>,
}

impl Sampler {
    /// `tenant_of` is by job, `find` gives the cluster's index of an executor.
    pub(super) fn new(
        workload: &Workload,
        tenants: &[&str],
        tenant_of: &[u32],
        find: impl Fn(&str) -> Option<u32>,
    ) -> Self {
        let start_us = workload.jobs.first().map_or(0, |j| j.submit_us);
        let mut work = vec![0u128; tenants.len()];
        workload.jobs.iter().zip(tenant_of).for_each(|(job, &t)| work[t as usize] += job.work_vcore_us());
        let mut order: Vec<u32> = (0..tenants.len() as u32).collect();
        order.sort_by_key(|&t| (std::cmp::Reverse(work[t as usize]), tenants[t as usize]));
        order.truncate(MAX_SERIES_TENANTS);
        let mut place_of = vec![None; tenants.len()];
        order.iter().enumerate().for_each(|(place, &t)| place_of[t as usize] = Some(place as u32));
        let executors = &workload.header.executors;
        let per_row = executors.len().div_ceil(MAX_SERIES_ROWS).max(1);
        let mut listed = vec![0; executors.len()];
        for (place, executor) in executors.iter().enumerate() {
            if let Some(index) = find(&executor.name) {
                listed[index as usize] = place as u32;
            }
        }
        let ranges: Vec<_> = executors
            .chunks(per_row)
            .enumerate()
            .map(|(row, some)| {
                let first = (row * per_row) as u32;
                (first..first + some.len() as u32, some.iter().map(|e| u64::from(e.vcores)).sum())
            })
            .collect();
        Self {
            at_us: start_us,
            over_time: Buckets::new(start_us, MAX_SERIES_BUCKETS, TENANTS + order.len()),
            followed: order.iter().map(|&t| (tenants[t as usize].to_owned(), t)).collect(),
            place_of,
            capacity_vcores: executors.iter().map(|e| f64::from(e.vcores)).sum(),
            capacity_memory_mib: executors.iter().map(|e| e.memory_mib as f64).sum(),
            rows: Buckets::new(start_us, MAX_SERIES_BUCKETS / 2, ranges.len()),
            held: vec![(0, start_us); ranges.len()],
            ranges,
            listed,
            executors_per_row: per_row as u32,
            spans: Some(Vec::new()),
            away_since: vec![None; executors.len()],
            outages: Vec::new(),
        }
    }

    /// Whether no time passes up to `at_us`: then there is nothing to sample.
    pub(super) fn is_at(&self, at_us: u64) -> bool {
        at_us <= self.at_us
    }

    /// Time passes up to `at_us` while this holds; `in_use` gives vcores and memory in use by a tenant.
    pub(super) fn pass(&mut self, at_us: u64, level: Level, in_use: impl Fn(u32) -> (u64, u64)) {
        let from_us = std::mem::replace(&mut self.at_us, at_us);
        let mut add = |field: usize, value: f64| {
            if value != 0.0 {
                self.over_time.add(field, from_us, at_us, value);
            }
        };
        add(BUSY, level.busy_vcores as f64);
        add(ALIVE, level.alive_vcores as f64);
        add(PENDING, level.pending_tasks as f64);
        if let Some(jain) = level.jain {
            add(JAIN, jain);
            add(CONTESTED, 1.0);
        }
        for (place, &(_, tenant)) in self.followed.iter().enumerate() {
            let (vcores, memory_mib) = in_use(tenant);
            let of = |used: u64, all: f64| if all > 0.0 { used as f64 / all } else { 0.0 };
            let share = f64::max(of(vcores, self.capacity_vcores), of(memory_mib, self.capacity_memory_mib));
            add(TENANTS + place, share);
        }
    }

    /// Vcores of an executor are taken.
    pub(super) fn takes(&mut self, at_us: u64, executor: u32, vcores: u32) {
        let row = self.settle(at_us, executor);
        self.held[row].0 += u64::from(vcores);
    }

    /// An attempt has ended; its vcores are free again.
    pub(super) fn gives_back(&mut self, mut span: Span, tenant: u32) {
        let row = self.settle(span.end_us, span.executor);
        self.held[row].0 -= u64::from(span.vcores);
        span.executor = self.listed[span.executor as usize];
        span.tenant = self.place_of[tenant as usize];
        match &mut self.spans {
            Some(spans) if spans.len() < MAX_SERIES_SPANS => spans.push(span),
            spans => *spans = None,
        }
    }

    fn settle(&mut self, at_us: u64, executor: u32) -> usize {
        let row = (self.listed[executor as usize] / self.executors_per_row) as usize;
        let (vcores, since_us) = self.held[row];
        self.rows.add(row, since_us, at_us, vcores as f64);
        self.held[row].1 = at_us.max(since_us);
        row
    }

    pub(super) fn loses(&mut self, at_us: u64, executor: u32) {
        self.away_since[executor as usize] = Some(at_us);
    }

    pub(super) fn joins(&mut self, at_us: u64, executor: u32) {
        let Some(from_us) = self.away_since[executor as usize].take() else { return };
        if self.outages.len() < MAX_SERIES_OUTAGES {
            self.outages.push(Gap { executor: self.listed[executor as usize], from_us, to_us: at_us });
        }
    }

    /// The series up to `end_us`, up to where time must have passed.
    pub(super) fn finish(mut self, end_us: u64) -> Series {
        let start_us = self.over_time.start_us;
        let end_us = end_us.max(start_us + 1);
        for executor in 0..self.away_since.len() as u32 {
            self.joins(end_us, executor);
        }
        self.over_time.reach(end_us);
        self.rows.reach(end_us);
        for row in 0..self.held.len() {
            let (vcores, since_us) = self.held[row];
            self.rows.add(row, since_us, end_us, vcores as f64);
        }
        let of = |field: usize| self.over_time.means(field, end_us);
        let jain = self.over_time.sums(JAIN).zip(self.over_time.sums(CONTESTED)).map(|(sum, time)| sum / time);
        let tenant = |(place, (name, _)): (usize, &(String, u32))| TenantSeries {
            name: name.clone(),
            dominant_share: of(TENANTS + place),
        };
        let row = |(at, (executors, vcores)): (usize, &(std::ops::Range<u32>, u64))| ExecutorRow {
            executors: executors.clone(),
            vcores: *vcores,
            busy_vcores: self.rows.means(at, end_us),
        };
        Series {
            start_us,
            end_us,
            bucket_us: self.over_time.bucket_us,
            busy_vcores: of(BUSY),
            alive_vcores: of(ALIVE),
            pending_tasks: of(PENDING),
            jain: jain.collect(),
            tenants: self.followed.iter().enumerate().map(tenant).collect(),
            tenants_left_out: self.place_of.len() - self.followed.len(),
            rows: self.ranges.iter().enumerate().map(row).collect(),
            row_bucket_us: self.rows.bucket_us,
            spans: self.spans,
            outages: self.outages,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_stay_exact_however_often_buckets_are_merged() {
        let mut buckets = Buckets::new(100, 4, 2);
        let mut sum = 0.0;
        for (from, to, value) in [(100u64, 101u64, 3.0), (101, 107, 2.0), (150, 1_000, 1.0), (90, 100, 50.0)] {
            buckets.add(1, from, to, value);
            let inside = to.max(100) - from.max(100);
            sum += value * inside as f64;
            assert_eq!(buckets.sums(1).sum::<f64>(), sum, "{from}..{to}");
            assert!(buckets.sums(1).count() <= 4);
        }
        assert_eq!((buckets.bucket_us, buckets.sums(0).sum::<f64>()), (256, 0.0));
        // The last bucket is 868..1000 long, not 256.
        assert_eq!(buckets.means(1, 1_000)[3], 1.0);
    }
}
