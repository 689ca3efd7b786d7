//! A consistent-hash ring (Karger et al., STOC 1997), kept across rounds.
//!
//! An executor has points on the ring in proportion to its capacity; a key belongs to the executor of the first point at
//! or behind its hash. Points depend on the executor's name and capacity only, by a fixed hash, so that the ring is the
//! same in every process and version. When the roster changes, only points of executors that changed are made anew.

use policy_plugin_api::assemble::key_hash;
use policy_plugin_api::round::Executors;

/// The most points an executor of the largest class can be given: bounds memory at 16 bytes a point.
pub const MAX_POINTS: u32 = 1_000;

/// At most this many bits of a hash select an entry of the prefix index (16 MiB).
const MAX_PREFIX_BITS: u32 = 22;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Point {
    hash: u64,
    uid: u32,
}

/// The ring.
#[derive(Clone, Debug, Default)]
pub struct Ring {
    points: Vec<Point>,
    /// For each prefix of a hash, the first point with that prefix or a later one.
    starts: Vec<u32>,
    shift: u32,
    /// The roster that the ring was made for.
    uids: Vec<u32>,
    vcores: Vec<u32>,
    /// Points each executor has, by uid.
    points_of: Vec<u32>,
}

impl Ring {
    /// Brings the ring up to date with the roster; `points` is what an executor of the largest class gets (at least;
    /// up to twice as many). Returns whether anything had to be done.
    ///
    /// Weights are relative to the largest power of two within the largest capacity: a pure function of the roster that
    /// changes only when the largest class of machines does, so that no other change moves keys of unconcerned
    /// executors. Cost when nothing changed: a comparison of two columns; else O(points) copies and the sorting of the
    /// new points only.
    pub fn update(&mut self, executors: &Executors<'_>, points: u32) -> bool {
        if self.uids == executors.uids() && self.vcores == executors.vcores() {
            return false;
        }
        let largest = executors.vcores().iter().copied().max().unwrap_or(1).max(1);
        let reference = 1u64 << largest.ilog2();
        let wanted_of = |vcores: u32| {
            let wanted = (u64::from(vcores) * u64::from(points)).div_ceil(reference).max(1);
            u32::try_from(wanted).unwrap_or(u32::MAX)
        };
        let known = executors.uids().iter().copied().max().map_or(0, |uid| uid as usize + 1);
        let mut wanted = vec![0; known.max(self.points_of.len())];
        self.points_of.resize(wanted.len(), 0);
        let mut added = Vec::new();
        for executor in executors.iter() {
            let (uid, count) = (executor.uid().0, wanted_of(executor.vcores()));
            wanted[uid as usize] = count;
            if self.points_of[uid as usize] != count {
                let name = key_hash(executor.name());
                added.extend((1..=u64::from(count)).map(|i| Point { hash: point(name, i), uid }));
            }
        }
        added.sort_unstable_by_key(|p| (p.hash, p.uid));
        let (kept, before) = (std::mem::take(&mut self.points), &self.points_of);
        let kept = kept.into_iter().filter(|p| wanted[p.uid as usize] == before[p.uid as usize]);
        self.points = merge(kept, added);
        self.points_of = wanted;
        self.uids = executors.uids().to_vec();
        self.vcores = executors.vcores().to_vec();
        self.index();
        true
    }

    /// The number of points.
    #[must_use]
    pub fn len(&self) -> usize {
        self.points.len()
    }

    /// Whether there is no point.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// The uids of executors from a key's place on, once around. The first is the key's home; an executor comes as
    /// often as it has points.
    #[inline]
    pub fn from(&self, key: u64) -> impl Iterator<Item = u32> + '_ {
        let (before, behind) = self.points.split_at(self.find(key));
        behind.iter().chain(before).map(|p| p.uid)
    }

    #[inline]
    fn find(&self, key: u64) -> usize {
        let Some(&start) = self.starts.get((key >> self.shift) as usize) else { return 0 };
        let start = start as usize;
        start + self.points[start..].iter().take_while(|p| p.hash < key).count()
    }

    fn index(&mut self) {
        let bits = self.points.len().next_power_of_two().ilog2().clamp(1, MAX_PREFIX_BITS);
        self.shift = 64 - bits;
        self.starts.clear();
        self.starts.reserve_exact(1 << bits);
        let mut at = 0;
        for prefix in 0..1u64 << bits {
            while self.points.get(at).is_some_and(|p| p.hash >> self.shift < prefix) {
                at += 1;
            }
            self.starts.push(u32::try_from(at).unwrap_or(u32::MAX));
        }
    }
}

/// Point `i` of an executor: the SplitMix64 sequence (Steele, Lea, Flood, OOPSLA 2014) seeded with the hash of its name.
fn point(name: u64, i: u64) -> u64 {
    let mut z = name.wrapping_add(i.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn merge(kept: impl Iterator<Item = Point>, added: Vec<Point>) -> Vec<Point> {
    let mut kept = kept.peekable();
    let mut merged = Vec::with_capacity(kept.size_hint().1.unwrap_or(0) + added.len());
    for new in added {
        while let Some(old) = kept.next_if(|old| (old.hash, old.uid) < (new.hash, new.uid)) {
            merged.push(old);
        }
        merged.push(new);
    }
    merged.extend(kept);
    merged
}
