//! Means and their intervals. Student's t comes from a kept crate.

use statrs::distribution::{ContinuousCDF, StudentsT};

/// A 95 % confidence interval: lower and upper end.
pub type Interval = (f64, f64);

/// The arithmetic mean; NaN of nothing.
#[must_use]
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The 95 % confidence interval of the mean of independent values, by Student's t (two-sided). `None` for fewer than
/// two values, or when one of them is not a number.
#[must_use]
pub fn interval(values: &[f64]) -> Option<Interval> {
    let n = values.len() as f64;
    if values.len() < 2 || values.iter().any(|v| !v.is_finite()) {
        return None;
    }
    let middle = mean(values);
    let variance = values.iter().map(|v| (v - middle) * (v - middle)).sum::<f64>() / (n - 1.0);
    let t = StudentsT::new(0.0, 1.0, n - 1.0).ok()?.inverse_cdf(0.975);
    let half = t * (variance / n).sqrt();
    Some((middle - half, middle + half))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_those_of_the_tables() {
        // t(0.975) for 1, 4 and 9 degrees of freedom: 12.7062, 2.7764, 2.2622.
        for (n, t) in [(2usize, 12.7062), (5, 2.7764), (10, 2.2622)] {
            let values: Vec<f64> = (0..n).map(|i| i as f64).collect();
            let (low, high) = interval(&values).unwrap();
            let middle = mean(&values);
            let deviation = (values.iter().map(|v| (v - middle).powi(2)).sum::<f64>() / (n as f64 - 1.0)).sqrt();
            assert!(((high - low) / 2.0 / (deviation / (n as f64).sqrt()) - t).abs() < 1e-3, "{n}");
            assert!((f64::midpoint(low, high) - middle).abs() < 1e-9);
        }
        assert_eq!(interval(&[3.0]), None);
        assert_eq!(interval(&[3.0, f64::NAN]), None);
        assert_eq!(interval(&[3.0, 3.0, 3.0]), Some((3.0, 3.0)));
    }
}
