//! Distributions in a bounded number of points, for drawing: of one run, and of several together.

use hdrhistogram::Histogram;

use super::bound::least_jct_us;
use crate::outcome::Outcome;
use crate::workload::Workload;

/// A distribution: values in ascending order, each standing for as many of the values that it was made of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Curve {
    points: Vec<(f64, f64)>,
}

impl Curve {
    /// Of these values, which it sorts: all of them where there are no more than `most`, else as many of even rank. The
    /// smallest and the largest are always there.
    #[must_use]
    pub fn of(values: &mut [f64], most: usize) -> Self {
        values.sort_unstable_by(f64::total_cmp);
        Self::thinned(values.iter().map(|&v| (v, 1.0)), values.len() as f64, most)
    }

    /// Of several: what all of their values together are like.
    #[must_use]
    pub fn merged<'a>(curves: impl IntoIterator<Item = &'a Self>, most: usize) -> Self {
        let mut all: Vec<(f64, f64)> = curves.into_iter().flat_map(|c| c.points.iter().copied()).collect();
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        let whole = all.iter().map(|p| p.1).sum();
        Self::thinned(all.into_iter(), whole, most)
    }

    /// Of what a histogram counted, to its precision.
    #[must_use]
    pub fn of_histogram(histogram: &Histogram<u64>, most: usize) -> Self {
        let values = histogram.iter_recorded();
        let values = values.map(|v| (v.value_iterated_to() as f64, v.count_since_last_iteration() as f64));
        Self::thinned(values, histogram.len() as f64, most)
    }

    fn thinned(values: impl Iterator<Item = (f64, f64)>, whole: f64, most: usize) -> Self {
        let step = whole / most.max(1) as f64;
        let mut points: Vec<(f64, f64)> = Vec::new();
        let (mut seen, mut steps) = (0.0, 0.0);
        for (value, weight) in values {
            seen += weight;
            let reached = (seen / step + 1e-9).floor();
            if points.is_empty() || reached > steps {
                steps = reached;
                points.push((value, seen));
            }
        }
        let mut before = 0.0;
        for point in &mut points {
            let until = point.1;
            point.1 -= before;
            before = until;
        }
        Self { points }
    }

    /// How many values it was made of.
    #[must_use]
    pub fn count(&self) -> f64 {
        self.points.iter().map(|p| p.1).sum()
    }

    /// Whether it was made of nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// Each value with the share of all values that do not exceed it.
    pub fn shares(&self) -> impl Iterator<Item = (f64, f64)> {
        let whole = self.count();
        self.points.iter().scan(0.0, move |seen, &(value, weight)| {
            *seen += weight;
            Some((value, *seen / whole))
        })
    }

    /// The smallest value that a share of all values does not exceed; NaN of nothing.
    #[must_use]
    pub fn quantile(&self, share: f64) -> f64 {
        let last = self.points.last().map_or(f64::NAN, |p| p.0);
        self.shares().find(|&(_, s)| s >= share - 1e-12).map_or(last, |(value, _)| value)
    }
}

/// Completion times of the jobs of a run, microseconds.
#[must_use]
pub fn jct_curve(outcome: &Outcome, most: usize) -> Curve {
    let mut jct_us: Vec<f64> = outcome.metrics.jobs.iter().map(|j| (j.finish_us - j.submit_us) as f64).collect();
    Curve::of(&mut jct_us, most)
}

/// What no policy can beat, job by job: see [`lower_bound`](super::lower_bound).
#[must_use]
pub fn least_jct_curve(workload: &Workload, most: usize) -> Curve {
    Curve::of(&mut least_jct_us(workload), most)
}

/// Whether any task reads anything: where none does, locality means nothing.
#[must_use]
pub fn reads_inputs(workload: &Workload) -> bool {
    workload.jobs.iter().flat_map(|j| &j.stages).flat_map(|s| &s.tasks).any(|t| !t.inputs.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinned_curves_keep_ranks_and_ends() {
        let mut few = [3.0, 1.0, 2.0];
        let curve = Curve::of(&mut few, 8);
        assert_eq!(curve.shares().map(|(v, _)| v).collect::<Vec<_>>(), [1.0, 2.0, 3.0]);
        assert_eq!((curve.quantile(0.5), curve.quantile(1.0), curve.count()), (2.0, 3.0, 3.0));
        let mut many: Vec<f64> = (1..=10_000).map(f64::from).collect();
        let curve = Curve::of(&mut many, 100);
        assert!(curve.shares().count() <= 101);
        assert_eq!((curve.quantile(0.0), curve.quantile(0.5), curve.quantile(1.0)), (1.0, 5_000.0, 10_000.0));
        let both = Curve::merged([&curve, &Curve::of(&mut [20_000.0], 4)], 50);
        assert_eq!((both.count(), both.quantile(1.0)), (10_001.0, 20_000.0));
        assert!(both.shares().all(|(v, s)| (s - v / 10_000.0).abs() < 0.03 || v == 20_000.0));
        assert!(Curve::default().is_empty() && Curve::default().quantile(0.5).is_nan());
    }
}
