//! Two sides, measured in turn: what the benches of the kit and of the host show ratios with.
#![allow(dead_code, reason = "each bench uses a part")]

use std::time::{Duration, Instant};

/// What a comparison found.
pub(crate) struct Ratio {
    /// Median of the paired ratios B / A.
    pub(crate) median: f64,
    /// The least of them.
    pub(crate) min: f64,
    /// Bootstrap 95 % interval of the median.
    pub(crate) interval: (f64, f64),
    /// Median time of one call of each side, in nanoseconds.
    pub(crate) nanos: (f64, f64),
    /// The least time of one call of each side, in nanoseconds: what is left when nobody else took the core.
    pub(crate) least: (f64, f64),
    /// Median of the paired differences B - A of one call, in nanoseconds.
    pub(crate) difference: f64,
}

impl Ratio {
    /// Of pairs (A, B) of nanoseconds, each two measured one right after the other.
    pub(crate) fn of(times: &[(f64, f64)]) -> Self {
        let each = |of: fn(&(f64, f64)) -> f64| times.iter().map(of).collect::<Vec<f64>>();
        let ratios = each(|t| t.1 / t.0);
        Self {
            median: median(&ratios),
            min: quantile(&ratios, 0.0),
            interval: bootstrap(&ratios),
            nanos: (median(&each(|t| t.0)), median(&each(|t| t.1))),
            least: (quantile(&each(|t| t.0), 0.0), quantile(&each(|t| t.1), 0.0)),
            difference: median(&each(|t| t.1 - t.0)),
        }
    }

    /// The least time of B by the least time of A.
    pub(crate) fn of_least(&self) -> f64 {
        self.least.1 / self.least.0
    }

    /// The ratio per unit, where one call of B does `a / b` times as much as one call of A.
    pub(crate) fn scaled(self, by: f64) -> Self {
        let interval = (self.interval.0 * by, self.interval.1 * by);
        Self { median: self.median * by, min: self.min * by, interval, ..self }
    }
}

/// The median with its interval, to two digits unless told otherwise; `{:#}` with the least ratio, too.
impl std::fmt::Display for Ratio {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (digits, (low, high)) = (f.precision().unwrap_or(2), self.interval);
        write!(f, "{:.digits$} [{low:.digits$}, {high:.digits$}]", self.median)?;
        if f.alternate() { write!(f, ", min {:.digits$}", self.min) } else { Ok(()) }
    }
}

/// Measures `a` and `b` in blocks of at least `block`, in the order A B B A …, `pairs` pairs. Before each block goes one
/// call that does not count: it brings memory back that the other side gave to the system, and pays for what the other
/// side left to the allocator.
pub(crate) fn compare(pairs: usize, block: Duration, mut a: impl FnMut(), mut b: impl FnMut()) -> Ratio {
    let (calls_a, calls_b) = (calls(&mut a, block), calls(&mut b, block));
    let mut times = Vec::with_capacity(pairs);
    for pair in 0..pairs {
        if pair % 2 == 0 {
            let of_a = time(&mut a, calls_a);
            times.push((of_a, time(&mut b, calls_b)));
        } else {
            let of_b = time(&mut b, calls_b);
            times.push((time(&mut a, calls_a), of_b));
        }
    }
    Ratio::of(&times)
}

/// As [`compare`] in many short blocks, for machines that are busy with other things: the ratio to go by is
/// [`Ratio::of_least`].
pub(crate) fn compare_least(a: impl FnMut(), b: impl FnMut()) -> Ratio {
    compare(201, Duration::from_micros(100), a, b)
}

/// How many calls take at least `block`.
fn calls(call: &mut impl FnMut(), block: Duration) -> u32 {
    call();
    let (mut calls, start) = (0, Instant::now());
    while start.elapsed() < block || calls == 0 {
        call();
        calls += 1;
    }
    calls
}

/// Nanoseconds of one call, after one that does not count.
fn time(call: &mut impl FnMut(), calls: u32) -> f64 {
    call();
    let start = Instant::now();
    (0..calls).for_each(|_| call());
    start.elapsed().as_nanos() as f64 / f64::from(calls)
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
    let mut medians = || median(&values.iter().map(|_| draw()).collect::<Vec<_>>());
    let medians: Vec<f64> = (0..1_000).map(|_| medians()).collect();
    (quantile(&medians, 0.025), quantile(&medians, 0.975))
}
