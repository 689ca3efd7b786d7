//! Two sides, measured in turn.

use std::time::{Duration, Instant};

/// What a comparison found.
pub(crate) struct Ratio {
    /// Median of the paired ratios B / A.
    pub(crate) median: f64,
    /// Bootstrap 95 % interval of the median.
    pub(crate) interval: (f64, f64),
    /// Median time of one call, each side, nanoseconds.
    pub(crate) nanos: (f64, f64),
    /// Median of the paired differences B - A of one call, nanoseconds.
    pub(crate) difference: f64,
}

impl std::fmt::Display for Ratio {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (low, high) = self.interval;
        write!(f, "{:.3} [{low:.3}, {high:.3}]  ({:.0} ns against {:.0} ns)", self.median, self.nanos.1, self.nanos.0)
    }
}

/// Measures `a` and `b` in blocks of at least `block`, in the order A B B A …, `pairs` pairs.
pub(crate) fn compare(pairs: usize, block: Duration, mut a: impl FnMut(), mut b: impl FnMut()) -> Ratio {
    let calls = |f: &mut dyn FnMut()| {
        let (mut n, start) = (0u32, Instant::now());
        while start.elapsed() < block || n == 0 {
            f();
            n += 1;
        }
        n
    };
    let (na, nb) = (calls(&mut a), calls(&mut b));
    let time = |f: &mut dyn FnMut(), n: u32| {
        let start = Instant::now();
        (0..n).for_each(|_| f());
        start.elapsed().as_nanos() as f64 / f64::from(n)
    };
    let mut times = Vec::with_capacity(pairs);
    for pair in 0..pairs {
        if pair % 2 == 0 {
            let ta = time(&mut a, na);
            times.push((ta, time(&mut b, nb)));
        } else {
            let tb = time(&mut b, nb);
            times.push((time(&mut a, na), tb));
        }
    }
    let ratios: Vec<f64> = times.iter().map(|(a, b)| b / a).collect();
    Ratio {
        median: median(&ratios),
        interval: bootstrap(&ratios),
        nanos: (median_of(&times, |t| t.0), median_of(&times, |t| t.1)),
        difference: median_of(&times, |t| t.1 - t.0),
    }
}

fn median_of<T>(values: &[T], of: impl Fn(&T) -> f64) -> f64 {
    median(&values.iter().map(of).collect::<Vec<_>>())
}

pub(crate) fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

pub(crate) fn quantile(values: &[f64], q: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[((sorted.len() - 1) as f64 * q).round() as usize]
}

fn bootstrap(values: &[f64]) -> (f64, f64) {
    let mut state = 1u64;
    let mut draw = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        values[(state >> 33) as usize % values.len()]
    };
    let medians: Vec<f64> = (0..1_000).map(|_| median(&values.iter().map(|_| draw()).collect::<Vec<_>>())).collect();
    (quantile(&medians, 0.025), quantile(&medians, 0.975))
}
