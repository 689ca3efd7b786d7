//! A few executors that scored well for earlier tasks of the round.

/// How many are kept.
const KEPT: usize = 16;

/// See the module. What they scored is old news; who is offered is asked about again.
#[derive(Debug, Default)]
pub(super) struct Best {
    /// (what it scored, its position), in no order.
    entries: Vec<(f32, u32)>,
    /// The least of them, once there are [`KEPT`].
    least: f32,
}

impl Best {
    /// Takes out the best.
    pub(super) fn take(&mut self) -> Option<u32> {
        let best = (0..self.entries.len()).max_by(|&a, &b| self.entries[a].0.total_cmp(&self.entries[b].0))?;
        Some(self.entries.swap_remove(best).1)
    }

    /// Remembers an executor, if it is among the best so far.
    #[inline]
    pub(super) fn offer(&mut self, score: f32, position: u32) {
        if self.entries.len() == KEPT && score <= self.least {
            return;
        }
        self.keep(score, position);
    }

    fn keep(&mut self, score: f32, position: u32) {
        if let Some(known) = self.entries.iter_mut().find(|(_, known)| *known == position) {
            known.0 = score;
        } else if self.entries.len() < KEPT {
            self.entries.push((score, position));
        } else if let Some(least) = self.entries.iter_mut().min_by(|a, b| a.0.total_cmp(&b.0)) {
            *least = (score, position);
        }
        self.least = self.entries.iter().map(|(score, _)| *score).fold(f32::INFINITY, f32::min);
    }
}
