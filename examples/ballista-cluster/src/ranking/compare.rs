//! Two rankings of the same policies: one measured, one simulated.

use policy_sim::evaluate::{Interval, interval, mean};

use super::Times;

/// One measure, by policy; the first policy is what the others are compared with.
pub(super) struct Comparison {
    pub(super) name: &'static str,
    pub(super) rows: Vec<Row>,
    /// Of pairs of policies that the measurement tells apart: how many there are, and how many the simulation puts in
    /// the same order.
    pub(super) told_apart: (usize, usize),
    /// Kendall's tau-a over all pairs: 1 for the same order, -1 for the reverse (Kendall 1938).
    pub(super) tau: f64,
}

/// A policy. Differences are paired by run, as a share of the first policy's value.
pub(super) struct Row {
    pub(super) measured_ms: f64,
    pub(super) simulated_ms: f64,
    pub(super) measured_over_first: (f64, Option<Interval>),
    pub(super) simulated_over_first: f64,
}

impl Comparison {
    /// `measured` and `simulated`: by policy, then by run.
    pub(super) fn new(
        name: &'static str,
        of: fn(&Times) -> &[f64],
        measured: &[Vec<Times>],
        simulated: &[Vec<Times>],
    ) -> Self {
        let values = |all: &[Vec<Times>]| -> Vec<Vec<f64>> {
            all.iter().map(|runs| runs.iter().map(|run| mean(of(run))).collect()).collect()
        };
        let (measured, simulated) = (values(measured), values(simulated));
        let share = |all: &[Vec<f64>], at: usize| -> Vec<f64> {
            all[at].iter().zip(&all[0]).map(|(own, first)| own / first - 1.0).collect()
        };
        let row = |at: usize| {
            let over_first = share(&measured, at);
            Row {
                measured_ms: mean(&measured[at]),
                simulated_ms: mean(&simulated[at]),
                measured_over_first: (mean(&over_first), interval(&over_first)),
                simulated_over_first: mean(&share(&simulated, at)),
            }
        };
        let rows: Vec<Row> = (0..measured.len()).map(row).collect();
        let (mut told_apart, mut agreement, mut pairs) = ((0, 0), 0.0, 0.0);
        for a in 0..rows.len() {
            for b in a + 1..rows.len() {
                let gaps: Vec<f64> = measured[a].iter().zip(&measured[b]).map(|(a, b)| a - b).collect();
                let (was, would) = (mean(&gaps), rows[a].simulated_ms - rows[b].simulated_ms);
                pairs += 1.0;
                agreement += sign(was) * sign(would);
                if interval(&gaps).is_some_and(|(low, high)| low > 0.0 || high < 0.0) {
                    told_apart.0 += 1;
                    told_apart.1 += usize::from(sign(was) * sign(would) > 0.0);
                }
            }
        }
        Self { name, rows, told_apart, tau: agreement / pairs }
    }
}

fn sign(value: f64) -> f64 {
    if value == 0.0 { 0.0 } else { value.signum() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(values: &[&[f64]]) -> Vec<Vec<Times>> {
        let times = |&ms: &f64| Times { all: vec![ms], ..Times::default() };
        values.iter().map(|runs| runs.iter().map(times).collect()).collect()
    }

    #[test]
    fn rankings_are_compared_pair_by_pair() {
        let measured = runs(&[&[10.0, 12.0, 11.0], &[5.0, 7.0, 6.0], &[10.5, 11.0, 11.5]]);
        // The second before the first, as measured; the third before both, which is not.
        let simulated = runs(&[&[9.0, 9.0, 9.0], &[6.0, 6.0, 6.0], &[5.0, 5.0, 5.0]]);
        let found = Comparison::new("all", |times| &times.all, &measured, &simulated);
        // First and third are not told apart by three runs.
        assert_eq!(found.told_apart, (2, 1));
        assert!(
            (found.rows[1].measured_over_first.0 - -0.4566).abs() < 1e-3,
            "{}",
            found.rows[1].measured_over_first.0
        );
        assert!((found.rows[1].simulated_over_first - -1.0 / 3.0).abs() < 1e-9);
        // First and second agree, second and third do not, and of first and third the means are equal.
        assert!(found.tau.abs() < 1e-9, "{}", found.tau);
    }
}
