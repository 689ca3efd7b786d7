//! A few executors that scored well for earlier tasks of the round.

/// How many are kept.
const KEPT: usize = 16;

/// See the module. What they scored is old news; who is offered is asked about again.
#[derive(Debug, Default)]
pub(super) struct Best {
    /// (what it scored, its position), the best last.
    entries: Vec<(f32, u32)>,
}

impl Best {
    /// Takes out the best.
    #[inline]
    pub(super) fn take(&mut self) -> Option<u32> {
        self.entries.pop().map(|(_, position)| position)
    }

    /// Remembers an executor, if it is among the best so far.
    #[inline]
    pub(super) fn offer(&mut self, score: f32, position: u32) {
        if self.entries.len() == KEPT && score <= self.entries[0].0 {
            return;
        }
        if let Some(known) = self.entries.iter().position(|(_, known)| *known == position) {
            self.entries.remove(known);
        } else if self.entries.len() == KEPT {
            self.entries.remove(0);
        }
        let at = self.entries.partition_point(|(kept, _)| *kept <= score);
        self.entries.insert(at, (score, position));
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
}
