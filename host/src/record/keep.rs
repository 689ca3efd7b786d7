//! What is written once: parts that rounds share get a number, by address first, by content second.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use xxhash_rust::xxh3::xxh3_128;

/// Entries after which dead ones are looked for.
const LEAST_SWEEP: usize = 1_024;

/// Numbers of shared parts.
pub(super) struct Kept<T> {
    /// A weak reference keeps the address from being given to another part.
    by_address: HashMap<usize, (u64, Weak<T>)>,
    by_content: HashMap<u128, u64>,
    sweep_at: usize,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self { by_address: HashMap::new(), by_content: HashMap::new(), sweep_at: LEAST_SWEEP }
    }
}

impl<T> Kept<T> {
    /// The number of a part, and whether it is new: then it is to be written.
    pub(super) fn number(&mut self, part: &Arc<T>, content: impl FnOnce(&T) -> &[u8]) -> (u64, bool) {
        let address = Arc::as_ptr(part).addr();
        if let Some((number, _)) = self.by_address.get(&address) {
            return (*number, false);
        }
        if self.by_address.len() >= self.sweep_at {
            self.by_address.retain(|_, (_, part)| part.strong_count() > 0);
            self.sweep_at = (self.by_address.len() * 2).max(LEAST_SWEEP);
        }
        let next = self.by_content.len() as u64;
        let number = *self.by_content.entry(xxh3_128(content(part))).or_insert(next);
        self.by_address.insert(address, (number, Arc::downgrade(part)));
        (number, number == next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_new_once_whatever_its_address() {
        let mut kept = Kept::default();
        let mut number = |part: &Arc<Vec<u8>>| kept.number(part, |part| part);
        let (a, b, twin) = (Arc::new(vec![1, 2]), Arc::new(vec![3]), Arc::new(vec![1, 2]));
        assert_eq!([number(&a), number(&b), number(&a), number(&twin)], [(0, true), (1, true), (0, false), (0, false)]);
        // Parts come and go at the same addresses; every content keeps its number.
        for i in 0..10_000u32 {
            let (number, new) = number(&Arc::new(i.to_le_bytes().to_vec()));
            assert_eq!((number, new), (u64::from(i) + 2, true));
        }
        assert!(kept.by_address.len() <= 2 * LEAST_SWEEP, "dead addresses are forgotten");
    }
}
