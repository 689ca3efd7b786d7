//! A consistent-hash ring (Karger et al., STOC 1997), kept across rounds.
//!
//! An executor has points on the ring in proportion to its capacity; a key belongs to the executor of the first point
//! at or behind its hash. Points depend on the executor's name and capacity only, by a fixed hash, so that the ring is
//! the same in every process and version. When the roster changes, only points of executors that changed are made anew;
//! the points of executors that left stay, passed over, until they are a quarter of the ring: most come back.

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
    /// By uid, how many points the executor has on the ring, and whether it is in the roster.
    members: Vec<(u32, bool)>,
}

impl Ring {
    /// Brings the ring up to date with the roster; `points` is what an executor gets whose capacity is the smallest
    /// power of two that none exceeds. Returns whether anything had to be done.
    ///
    /// That reference is a pure function of the roster and changes only when the largest class of machines does, so
    /// that no other change moves keys of unconcerned executors. Cost when nothing changed: a comparison of two
    /// columns; when executors only left or came back: O(executors); else O(points) moves and the sorting of the new
    /// points.
    pub fn update(&mut self, executors: &Executors<'_>, points: u32) -> bool {
        if self.uids == executors.uids() && self.vcores == executors.vcores() {
            return false;
        }
        let largest = executors.vcores().iter().copied().max().unwrap_or(1).max(1);
        let reference = u64::from(largest).next_power_of_two();
        let wanted = |vcores: u32| (u64::from(vcores) * u64::from(points)).div_ceil(reference).max(1) as u32;
        let known = executors.uids().iter().max().map_or(0, |&uid| uid as usize + 1);
        self.members.resize(known.max(self.members.len()), (0, false));
        self.members.iter_mut().for_each(|member| member.1 = false);
        let expected = if self.points.is_empty() { executors.len() * points as usize } else { 0 };
        let (mut added, mut stale, mut in_roster) = (Vec::with_capacity(expected), Vec::new(), 0);
        for executor in executors.iter() {
            let (uid, count) = (executor.uid().0, wanted(executor.vcores()));
            let member = &mut self.members[uid as usize];
            if member.0 != count {
                let name = key_hash(executor.name());
                added.extend((1..=u64::from(count)).map(|i| Point { hash: point(name, i), uid }));
                stale.extend((member.0 > 0).then_some(uid));
            }
            *member = (count, true);
            in_roster += count as usize;
        }
        let left = self.points.len() + added.len() - in_roster;
        if !stale.is_empty() || left * 4 > in_roster {
            stale.sort_unstable();
            let members = &self.members;
            self.points.retain(|p| members[p.uid as usize].1 && stale.binary_search(&p.uid).is_err());
            self.members.iter_mut().filter(|member| !member.1).for_each(|member| member.0 = 0);
            self.insert(added);
            self.index();
        } else if !added.is_empty() {
            self.insert(added);
            self.index();
        }
        self.uids = executors.uids().to_vec();
        self.vcores = executors.vcores().to_vec();
        true
    }

    /// Inserts points in place, from the back.
    fn insert(&mut self, mut added: Vec<Point>) {
        added.sort_unstable_by_key(|p| (p.hash, p.uid));
        if self.points.is_empty() {
            self.points = added;
            return;
        }
        let mut end = self.points.len();
        self.points.extend_from_slice(&added);
        while let Some(new) = added.pop() {
            let at = self.points[..end].partition_point(|p| (p.hash, p.uid) < (new.hash, new.uid));
            let behind = added.len() + 1;
            self.points.copy_within(at..end, at + behind);
            self.points[at + added.len()] = new;
            end = at;
        }
    }

    /// One more than the largest uid on the ring or in the roster.
    #[must_use]
    pub fn known_uids(&self) -> usize {
        self.members.len()
    }

    /// The number of points, those of executors that left included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.points.len()
    }

    /// Whether there is no point.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// The uids of executors from a key's place on, once around; an executor comes as often as it has points. The first
    /// that is in the roster is the key's home: executors that left come, too.
    #[inline]
    pub fn from(&self, key: u64) -> impl Iterator<Item = u32> + '_ {
        let (before, behind) = self.points.split_at(self.find(key));
        behind.iter().chain(before).map(|p| p.uid)
    }

    /// Brings the places of some keys into the cache, all at once: looked up one after another, each look-up would wait
    /// for memory on its own. A hint; changes nothing.
    #[inline]
    pub fn warm(&self, keys: &[u64]) {
        let starts = keys.iter().map(|key| self.starts.get((key >> self.shift) as usize).copied().unwrap_or(0));
        let touched = starts.filter_map(|start| self.points.get(start as usize)).fold(0, |sum, p| sum ^ p.hash);
        std::hint::black_box(touched);
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

/// Point `i` of an executor: the SplitMix64 sequence (Steele, Lea, Flood, OOPSLA 2014) seeded with the hash of its
/// name.
fn point(name: u64, i: u64) -> u64 {
    let mut z = name.wrapping_add(i.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
