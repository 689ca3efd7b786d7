//! A few executors that scored well for earlier tasks of the round.

/// How many are kept.
const KEPT: usize = 16;

/// See the module. What they scored is old news; who is offered is asked about again.
#[derive(Debug, Default)]
pub(super) struct Best {
    /// Each what it scored, in the high half, and its position: the best last, of equals the latest. Scores are not
    /// negative, so that their bits are in their order.
    entries: [u64; KEPT],
    len: usize,
}

impl Best {
    /// Takes out the best.
    #[inline]
    pub(super) fn take(&mut self) -> Option<u32> {
        self.len = self.len.checked_sub(1)?;
        Some(self.entries[self.len] as u32)
    }

    /// Remembers an executor, if it is among the best so far.
    #[inline]
    pub(super) fn offer(&mut self, score: f32, position: u32) {
        let score = score.to_bits();
        if self.len == KEPT && score <= (self.entries[0] >> 32) as u32 {
            return;
        }
        let known = self.entries[..self.len].iter().position(|&entry| entry as u32 == position);
        // The place that becomes free: its own, that of the worst, or the next behind all.
        let free = known.unwrap_or(if self.len == KEPT { 0 } else { self.len });
        self.len = self.len.max(free + 1);
        let new = u64::from(score) << 32 | u64::from(position);
        let mut at = free;
        while at + 1 < self.len && (self.entries[at + 1] >> 32) as u32 <= score {
            self.entries[at] = self.entries[at + 1];
            at += 1;
        }
        while at > 0 && (self.entries[at - 1] >> 32) as u32 > score {
            self.entries[at] = self.entries[at - 1];
            at -= 1;
        }
        self.entries[at] = new;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_are_kept_once_each_and_the_best_of_all_comes_first() {
        let mut best = Best::default();
        (0..100u32).for_each(|position| best.offer((position * 37 % 100) as f32, position));
        // Its first score, 11, was not among them.
        best.offer(99.5, 3);
        let first = best.take();
        let then: Vec<u32> = std::iter::from_fn(|| best.take()).map(|position| position * 37 % 100).collect();
        assert_eq!((first, then), (Some(3), (85..100).rev().collect()));
    }

    #[test]
    fn of_equals_the_latest_comes_first_and_a_new_score_replaces_the_old() {
        let mut best = Best::default();
        for (score, position) in [(5.0, 1), (7.0, 2), (5.0, 3), (5.0, 1), (6.0, 2)] {
            best.offer(score, position);
        }
        assert_eq!(std::iter::from_fn(|| best.take()).collect::<Vec<_>>(), [2, 1, 3]);
    }
}
