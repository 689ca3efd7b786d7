//! Numbers as the report writes them.

use policy_sim::evaluate::{Interval, SizeBin};

/// The unit in which so many microseconds are a number of few digits.
pub(super) fn unit_of(us: f64) -> (f64, &'static str) {
    match us {
        x if x < 1e3 => (1.0, "µs"),
        x if x < 1e6 => (1e3, "ms"),
        x if x < 600e6 => (1e6, "s"),
        x if x < 36_000e6 => (60e6, "min"),
        _ => (3600e6, "h"),
    }
}

/// A number of so many digits, as people write it.
pub(super) fn signed(value: f64, digits: usize) -> String {
    format!("{value:.digits$}").replace('-', "−")
}

/// A difference in percent, as people write it.
pub(super) fn percent(value: f64) -> String {
    let text = format!("{value:+.1}");
    if matches!(text.as_str(), "-0.0" | "+0.0") { "0.0".to_owned() } else { text.replace('-', "−") }
}

/// Whether the seeds differ at all: an interval without length says nothing about chance.
pub(super) fn varies((low, high): Interval) -> bool {
    high - low > 1e-9 * f64::max(low.abs(), high.abs())
}

/// The ends of a size of jobs, as powers of ten.
pub(super) fn size_name(bin: SizeBin) -> String {
    let (from, to) = bin.range_vcore_us();
    let shown = |us: u128| match us {
        us if us < 1_000_000 => format!("{} ms", us / 1_000),
        us => format!("{} s", us / 1_000_000),
    };
    if from == 0 { format!("below {}", shown(to)) } else { format!("{} – {}", shown(from), shown(to)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_have_one_digit_and_a_real_minus() {
        assert_eq!([percent(-12.34), percent(-0.01), percent(3.0)], ["−12.3", "0.0", "+3.0"]);
    }
}
