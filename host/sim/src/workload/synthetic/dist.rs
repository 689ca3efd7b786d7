//! Distributions as one writes them in a SPEC: shape, then its numbers, joined by colons.

use rand::{Rng, RngExt};
use rand_distr::{Distribution, Exp, LogNormal, Pareto};

/// What a number counts: which unit suffixes it may have. Values are kept in the smallest unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Plain numbers.
    Count,
    /// Microseconds; `us`, `ms`, `s`, `m`, plain is `us`.
    Time,
    /// Bytes; `B`, `KiB`, `MiB`, `GiB`, plain is bytes.
    Bytes,
}

impl Unit {
    fn factors(self) -> &'static [(&'static str, f64)] {
        match self {
            Self::Count => &[],
            Self::Time => &[("us", 1.0), ("ms", 1e3), ("s", 1e6), ("m", 60e6)],
            Self::Bytes => &[("KiB", 1024.0), ("MiB", 1_048_576.0), ("GiB", 1_073_741_824.0), ("B", 1.0)],
        }
    }

    /// Reads one number with an optional suffix.
    ///
    /// # Errors
    /// When it is not a finite number from 0 with a suffix of this unit.
    pub fn parse(self, text: &str) -> Result<f64, String> {
        let split = |&(suffix, factor): &(&str, f64)| text.strip_suffix(suffix).map(|number| (number, factor));
        // The first suffix that leaves a number: `50ms` also ends in `s`.
        let (value, factor) = self
            .factors()
            .iter()
            .filter_map(split)
            .find_map(|(number, factor)| number.parse::<f64>().ok().map(|n| (n, factor)))
            .or_else(|| text.parse::<f64>().ok().map(|n| (n, 1.0)))
            .ok_or_else(|| format!("`{text}` is not a number with a unit ({})", self.names()))?;
        match value.is_finite() && value >= 0.0 {
            true => Ok(value * factor),
            false => Err(format!("`{text}` is not a finite number from 0")),
        }
    }

    fn names(self) -> String {
        match self {
            Self::Count => "none".to_owned(),
            _ => self.factors().iter().map(|f| f.0).collect::<Vec<_>>().join(", "),
        }
    }
}

/// A distribution of numbers from 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Dist {
    /// `X` or `fixed:X`.
    Fixed(f64),
    /// `uniform:LEAST:MOST`.
    Uniform(f64, f64),
    /// `exp:MEAN`.
    Exp(f64),
    /// `lognormal:MEDIAN:SIGMA`, sigma of the logarithm.
    LogNormal(f64, f64),
    /// `pareto:LEAST:ALPHA`; heavy-tailed, without a finite mean up to alpha 1.
    Pareto(f64, f64),
}

impl Dist {
    /// Reads a distribution whose values have this unit.
    ///
    /// # Errors
    /// When the shape is unknown, or its numbers are not of the right count, unit or range.
    pub fn parse(text: &str, unit: Unit) -> Result<Self, String> {
        let parts: Vec<&str> = text.split(':').collect();
        let plain = |text: &str| match Unit::Count.parse(text)? {
            n if n > 0.0 => Ok(n),
            _ => Err(format!("`{text}` must be above 0")),
        };
        match parts.as_slice() {
            ["fixed", x] | [x] => Ok(Self::Fixed(unit.parse(x)?)),
            ["uniform", least, most] => match (unit.parse(least)?, unit.parse(most)?) {
                (least, most) if least <= most => Ok(Self::Uniform(least, most)),
                _ => Err(format!("`{text}`: the least is above the most")),
            },
            ["exp", mean] => Ok(Self::Exp(unit.parse(mean)?)),
            ["lognormal", median, sigma] => Ok(Self::LogNormal(unit.parse(median)?, plain(sigma)?)),
            ["pareto", least, alpha] => Ok(Self::Pareto(unit.parse(least)?, plain(alpha)?)),
            _ => Err(format!(
                "`{text}` is not X, uniform:LEAST:MOST, exp:MEAN, lognormal:MEDIAN:SIGMA or pareto:LEAST:ALPHA"
            )),
        }
    }

    /// Draws a value, rounded and kept within `least..=most`.
    pub fn draw(&self, rng: &mut impl Rng, least: u64, most: u64) -> u64 {
        let value = match *self {
            Self::Fixed(x) => x,
            Self::Uniform(least, most) => least + (most - least) * rng.random::<f64>(),
            Self::Exp(mean) => mean * Exp::new(1.0).map_or(0.0, |d| d.sample(rng)),
            Self::LogNormal(median, sigma) => median * LogNormal::new(0.0, sigma).map_or(0.0, |d| d.sample(rng)),
            Self::Pareto(low, alpha) => low * Pareto::new(1.0, alpha).map_or(0.0, |d| d.sample(rng)),
        };
        // A cast of a float saturates, so that an endless tail ends at `most`.
        (value.round() as u64).clamp(least, most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn numbers_carry_units() {
        let cases =
            [("50ms", Unit::Time, 50e3), ("2s", Unit::Time, 2e6), ("7", Unit::Time, 7.0), ("3us", Unit::Time, 3.0)];
        for (text, unit, value) in cases {
            assert_eq!(unit.parse(text), Ok(value), "{text}");
        }
        assert_eq!(Unit::Bytes.parse("1.5KiB"), Ok(1536.0));
        assert_eq!(Unit::Bytes.parse("12B"), Ok(12.0));
        assert!(Unit::Count.parse("5s").is_err());
        assert!(Unit::Time.parse("-5s").is_err());
        assert!(Unit::Time.parse("inf").is_err());
    }

    #[test]
    fn shapes_have_the_means_that_their_parameters_say() {
        let cases = [
            ("100", 100.0, 0.001),
            ("uniform:50:150", 100.0, 0.02),
            ("exp:100", 100.0, 0.02),
            ("lognormal:100:0.5", 100.0 * f64::exp(0.125), 0.02),
            ("pareto:100:3", 150.0, 0.02),
        ];
        for (text, mean, tolerance) in cases {
            let dist = Dist::parse(text, Unit::Count).unwrap();
            let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
            let n = 100_000;
            let sum: u64 = (0..n).map(|_| dist.draw(&mut rng, 0, u64::MAX)).sum();
            let found = sum as f64 / f64::from(n);
            assert!((found / mean - 1.0).abs() < tolerance, "{text}: {found} against {mean}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "lognormal:5", "pareto:1:0", "uniform:5:1", "zeta:1:2", "exp:-1"] {
            assert!(Dist::parse(text, Unit::Count).is_err(), "{text}");
        }
    }
}
