//! A set of task indices as runs of consecutive ones: what of a stage is pending.

use std::collections::BTreeMap;

/// A set of indices, kept as disjoint runs that do not touch. Taking one out or putting one in costs O(log runs).
///
/// Runs are keyed by their end, so that taking from the front of a run, what most policies do, changes a value in place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Runs {
    /// End (exclusive) to start.
    by_end: BTreeMap<u32, u32>,
    len: u32,
}

impl Runs {
    /// Indices `0..count`.
    pub(crate) fn full(count: u32) -> Self {
        let by_end = if count > 0 { BTreeMap::from([(count, 0)]) } else { BTreeMap::new() };
        Self { by_end, len: count }
    }

    /// How many indices there are.
    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn contains(&self, index: u32) -> bool {
        self.run_of(index).is_some()
    }

    /// The runs as (first, length), ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, u32)> {
        self.by_end.iter().map(|(&end, &start)| (start, end - start))
    }

    /// Takes an index out; `false` when it was not there.
    pub(crate) fn remove(&mut self, index: u32) -> bool {
        let Some((start, end)) = self.run_of(index) else { return false };
        self.len -= 1;
        if index + 1 == end {
            self.by_end.remove(&end);
        } else {
            self.by_end.insert(end, index + 1);
        }
        if start < index {
            self.by_end.insert(index, start);
        }
        true
    }

    /// Puts an index in; `false` when it was there.
    pub(crate) fn insert(&mut self, index: u32) -> bool {
        if self.contains(index) {
            return false;
        }
        self.len += 1;
        let start = self.by_end.remove(&index).unwrap_or(index);
        let next = self.by_end.range(index + 1..).next().map(|(&end, &start)| (start, end));
        match next {
            Some((next_start, end)) if next_start == index + 1 => self.by_end.insert(end, start),
            _ => self.by_end.insert(index + 1, start),
        };
        true
    }

    fn run_of(&self, index: u32) -> Option<(u32, u32)> {
        let (&end, &start) = self.by_end.range(index.checked_add(1)?..).next()?;
        (start <= index).then_some((start, end))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn runs_of(set: &BTreeSet<u32>) -> Vec<(u32, u32)> {
        let mut runs: Vec<(u32, u32)> = Vec::new();
        for &i in set {
            match runs.last_mut() {
                Some((first, length)) if *first + *length == i => *length += 1,
                _ => runs.push((i, 1)),
            }
        }
        runs
    }

    proptest! {
        #[test]
        fn behaves_as_a_set_with_the_fewest_runs(
            count in 0u32..40,
            steps in prop::collection::vec((any::<bool>(), 0u32..40), 0..200),
        ) {
            let mut runs = Runs::full(count);
            let mut set: BTreeSet<u32> = (0..count).collect();
            for (put, index) in steps {
                if put {
                    prop_assert_eq!(runs.insert(index), set.insert(index));
                } else {
                    prop_assert_eq!(runs.remove(index), set.remove(&index));
                }
                prop_assert_eq!(runs.iter().collect::<Vec<_>>(), runs_of(&set));
                prop_assert_eq!(runs.len() as usize, set.len());
                prop_assert_eq!(runs.contains(index), set.contains(&index));
            }
        }
    }
}
