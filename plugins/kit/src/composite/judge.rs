//! Asks the scores about candidates, and adds up what they say.

use policy_plugin_api::prelude::*;
use policy_plugin_api::score::MAX_SCORE;

/// Why a round has no answer.
#[derive(Clone, Debug, PartialEq)]
pub enum ScoreFault<E> {
    /// The score at this place of the list failed.
    Failed {
        /// Its place.
        score: usize,
        /// What it said.
        error: E,
    },
    /// The score at this place wrote what is not between 0 and 100.
    OutOfRange {
        /// Its place.
        score: usize,
        /// What it wrote.
        value: f32,
    },
}

/// Asks the scores and adds them up.
pub(super) struct Judge<'w, F> {
    weights: &'w [u32],
    score: F,
    /// The weighted sum of each row.
    sums: Vec<f32>,
    /// What one score wrote.
    own: Vec<f32>,
}

impl<'w, F> Judge<'w, F> {
    pub(super) fn new(weights: &'w [u32], score: F) -> Self {
        Self { weights, score, sums: Vec::new(), own: Vec::new() }
    }
}

impl<F, E> Judge<'_, F>
where
    F: FnMut(usize, &Candidates<'_>, &mut [f32]) -> std::result::Result<(), E>,
{
    pub(super) fn sum(&mut self, candidates: &Candidates<'_>) -> std::result::Result<&[f32], ScoreFault<E>> {
        let rows = candidates.rows().len();
        self.sums.clear();
        self.sums.resize(rows, 0.0);
        self.own.resize(rows, 0.0);
        for (place, &weight) in self.weights.iter().enumerate().filter(|&(_, &weight)| weight > 0) {
            self.own.fill(0.0);
            (self.score)(place, candidates, &mut self.own)
                .map_err(|error| ScoreFault::Failed { score: place, error })?;
            // Added up before it is known whether all are legal: one pass without branches.
            let (mut illegal, weight) = (0, weight as f32);
            for (sum, own) in self.sums.iter_mut().zip(&self.own) {
                illegal |= u32::from(!(0.0..=MAX_SCORE).contains(own));
                *sum += own * weight;
            }
            if illegal > 0 {
                let value = self.own.iter().copied().find(|own| !(0.0..=MAX_SCORE).contains(own)).unwrap_or(f32::NAN);
                return Err(ScoreFault::OutOfRange { score: place, value });
            }
        }
        Ok(&self.sums)
    }
}
