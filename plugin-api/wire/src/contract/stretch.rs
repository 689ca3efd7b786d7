//! Rows that run in step, and the bits of consecutive tasks.

use crate::binding::BoundTask;

/// Rows that run in step: consecutive tasks, on one executor or on consecutive ones. Policies that fill or deal out
/// answer in such stretches, and they are cheap to check together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stretch {
    pub(super) first: BoundTask,
    pub(super) rows: usize,
    pub(super) one_executor: bool,
}

impl Stretch {
    /// Shorter ones are checked row by row.
    pub(super) const WORTH_IT: usize = 4;

    /// From one row to the next of a stretch on one executor, and of one over consecutive executors.
    const SAME: u64 = 1;
    const NEXT: u64 = 1 | 1 << 32;

    /// The step of the stretch that begins at `row`; `None` where fewer than [`Stretch::WORTH_IT`] rows run in step.
    #[inline]
    pub(super) fn begins(answer: &[BoundTask], row: usize) -> Option<u64> {
        let head: &[BoundTask; Self::WORTH_IT] = answer.get(row..)?.first_chunk()?;
        let step = word(&head[1]).wrapping_sub(word(&head[0]));
        if step != Self::SAME && step != Self::NEXT {
            return None;
        }
        head.windows(2).all(|w| word(&w[1]).wrapping_sub(word(&w[0])) == step).then_some(step)
    }

    /// The stretch that begins at `row`, measured; `None` as of [`Stretch::begins`].
    #[inline]
    pub(super) fn at(answer: &[BoundTask], row: usize) -> Option<Self> {
        let step = Self::begins(answer, row)?;
        let rest = &answer[row..];
        let mut rows = Self::WORTH_IT;
        // In blocks, so that the compiler compares many at once.
        const BLOCK: usize = 16;
        while let Some(block) = rest.get(rows - 1..rows + BLOCK) {
            let in_step =
                block.windows(2).fold(true, |so_far, w| so_far & (word(&w[1]).wrapping_sub(word(&w[0])) == step));
            if !in_step {
                break;
            }
            rows += BLOCK;
        }
        while rest.get(rows).is_some_and(|b| word(b).wrapping_sub(word(&rest[rows - 1])) == step) {
            rows += 1;
        }
        Some(Self { first: rest[0], rows, one_executor: step == Self::SAME })
    }
}

/// A row as one number: what a step adds to.
#[inline]
fn word(row: &BoundTask) -> u64 {
    u64::from(row.task.0) | u64::from(row.executor.0) << 32
}

/// The words that hold `rows` bits from bit `first` on, each with the mask of those bits.
#[inline]
pub(super) fn words_of(first: usize, rows: usize) -> impl Iterator<Item = (usize, u64)> {
    let end = first + rows;
    (first / 64..end.div_ceil(64)).map(move |word| {
        let from = first.saturating_sub(word * 64).min(64);
        let to = (end - word * 64).min(64);
        let mask = if to - from == 64 { u64::MAX } else { ((1u64 << (to - from)) - 1) << from };
        (word, mask)
    })
}

/// Marks tasks as bound; refuses, without a trace, when one of them is already.
#[inline]
pub(super) fn claim(bound: &mut [u64], first: usize, rows: usize) -> bool {
    if words_of(first, rows).any(|(word, mask)| bound[word] & mask != 0) {
        return false;
    }
    words_of(first, rows).for_each(|(word, mask)| bound[word] |= mask);
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{ExecutorId, TaskId};

    #[test]
    fn claims_are_exact() {
        for (first, rows) in [(0, 1), (0, 64), (0, 65), (63, 2), (5, 59), (5, 60), (1, 300), (128, 64), (70, 1)] {
            let mut bound = vec![0u64; 8];
            assert!(claim(&mut bound, first, rows));
            let marked: Vec<usize> = (0..512).filter(|i| bound[i / 64] >> (i % 64) & 1 == 1).collect();
            assert_eq!(marked, (first..first + rows).collect::<Vec<_>>());
            let before = bound.clone();
            assert!(!claim(&mut bound, first + rows - 1, 3), "one of them is bound");
            assert_eq!(bound, before, "without a trace");
        }
    }

    #[test]
    fn stretches_are_found() {
        let rows = |pairs: &[(u32, u32)]| -> Vec<BoundTask> {
            pairs.iter().map(|&(t, e)| BoundTask::new(TaskId(t), ExecutorId(e))).collect()
        };
        let fill: Vec<(u32, u32)> = (0..40).map(|t| (t, 7)).chain([(40, 8)]).collect();
        let deal: Vec<(u32, u32)> = (0..40).map(|t| (t, t)).chain([(40, 0)]).collect();
        for (answer, expected) in [
            (rows(&fill), Some((40, true))),
            (rows(&deal), Some((40, false))),
            (rows(&fill[..4]), Some((4, true))),
            (rows(&fill[..3]), None),
            (rows(&[(3, 1), (4, 1), (5, 1), (7, 1), (8, 1)]), None),
            (rows(&[(3, 1), (5, 1), (7, 1), (9, 1)]), None),
            (rows(&[(3, 1), (4, 2), (5, 1), (6, 2)]), None),
        ] {
            let found = Stretch::at(&answer, 0).map(|s| (s.rows, s.one_executor));
            assert_eq!(found, expected, "{answer:?}");
        }
    }
}
