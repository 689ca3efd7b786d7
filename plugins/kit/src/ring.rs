//! A consistent-hash ring (Karger et al., STOC 1997), kept across rounds.
//!
//! An executor has points on the ring in proportion to its capacity; a key belongs to the executor of the first point
//! at or behind its hash. Points depend on the executor's name and capacity only, by a fixed hash, so that the ring is
//! the same in every process and version. When the roster changes, only points of executors that changed are made anew;
//! the points of executors that left stay, passed over, until they are a quarter of the ring: most come back.

use policy_plugin_api::key_hash;
use policy_plugin_api::round::Executors;

/// The most points an executor of the largest class can be given: bounds memory at 16 bytes a point.
pub const MAX_POINTS: u32 = 1_000;

/// At most this many bits of a hash select an entry of the prefix index (16 MiB).
const MAX_PREFIX_BITS: u32 = 22;

/// About so many points make a chunk: what one new point moves.
const CHUNK_POINTS: usize = 1_024;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Point {
    hash: u64,
    uid: u32,
}

/// The uid of a gap.
const GAP: u32 = u32::MAX;

/// The ring.
#[derive(Clone, Debug, Default)]
pub struct Ring {
    /// The points by hash, in chunks: chunk `i` of 2^b has those whose hash begins with the b bits of `i`. Behind the
    /// points of a chunk are some gaps, with the largest hash of the chunk, so that a new point moves one chunk only.
    points: Vec<Point>,
    /// Where each chunk begins, and behind the last its end.
    chunks: Vec<usize>,
    /// For each prefix of a hash, the first point with that prefix or a later one.
    starts: Vec<u32>,
    /// How many bits select a chunk, and how many more a prefix.
    chunk_bits: u32,
    sub_bits: u32,
    /// Points without gaps.
    len: usize,
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
    /// columns; when executors only left or came back: O(executors); when some are new: on top, about a thousand points
    /// moved for each new one; when all are new: O(points).
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
        let expected = if self.is_empty() { executors.len() * points as usize } else { 0 };
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
        let left = self.len + added.len() - in_roster;
        if !stale.is_empty() || left * 4 > in_roster {
            stale.sort_unstable();
            self.remove(&stale);
        }
        if added.len() * 4 > self.len {
            self.build(added);
        } else {
            self.insert(added);
        }
        self.uids = executors.uids().to_vec();
        self.vcores = executors.vcores().to_vec();
        true
    }

    /// Removes the points of executors that left, and of those in `stale`.
    fn remove(&mut self, stale: &[u32]) {
        for chunk in 0..self.chunks.len().saturating_sub(1) {
            let (from, to, gap) = (self.chunks[chunk], self.chunks[chunk + 1], self.gap(chunk));
            let mut kept = from;
            for at in from..self.end(chunk) {
                let point = self.points[at];
                if self.members[point.uid as usize].1 && stale.binary_search(&point.uid).is_err() {
                    self.points[kept] = point;
                    kept += 1;
                }
            }
            let removed = self.end(chunk) - kept;
            self.points[kept..to].fill(gap);
            if removed > 0 {
                self.len -= removed;
                self.index(chunk);
            }
        }
        self.members.iter_mut().filter(|member| !member.1).for_each(|member| member.0 = 0);
    }

    /// Makes the ring anew, with some more points: dealt out by the bits of their hashes, first to chunks, then within a
    /// chunk, which fits into a core's cache.
    fn build(&mut self, mut new: Vec<Point>) {
        new.extend(self.points.iter().filter(|p| p.uid != GAP));
        self.len = new.len();
        self.chunk_bits = (new.len() / CHUNK_POINTS).next_power_of_two().ilog2().min(MAX_PREFIX_BITS - 1);
        let bits = new.len().next_power_of_two().ilog2().clamp(self.chunk_bits + 1, MAX_PREFIX_BITS);
        self.sub_bits = bits - self.chunk_bits;
        self.starts.clear();
        self.starts.resize(1 << bits, 0);
        let mut at = vec![0; 1 << self.chunk_bits];
        new.iter().for_each(|p| at[self.prefix(p.hash) >> self.sub_bits] += 1);
        self.chunks.clear();
        let mut end = 0;
        for count in &mut at {
            self.chunks.push(end);
            let points = std::mem::replace(count, end);
            end += points + points / 16 + 4;
        }
        self.chunks.push(end);
        self.points.clear();
        self.points.resize(end, Point { hash: 0, uid: GAP });
        for point in &new {
            let at = &mut at[self.prefix(point.hash) >> self.sub_bits];
            self.points[*at] = *point;
            *at += 1;
        }
        for (chunk, end) in at.into_iter().enumerate() {
            let (to, gap) = (self.chunks[chunk + 1], self.gap(chunk));
            self.points[end..to].fill(gap);
            self.sort(chunk, end, &mut new);
        }
    }

    /// Sorts a chunk with points up to `end` and makes its part of the prefix index.
    fn sort(&mut self, chunk: usize, end: usize, buffer: &mut Vec<Point>) {
        let (from, prefixes) = (self.chunks[chunk], self.prefixes(chunk));
        buffer.clear();
        buffer.extend_from_slice(&self.points[from..end]);
        for p in &*buffer {
            let prefix = self.prefix(p.hash);
            self.starts[prefix] += 1;
        }
        let mut sum = from as u32;
        for start in &mut self.starts[prefixes.clone()] {
            sum += std::mem::replace(start, sum);
        }
        for p in &*buffer {
            let prefix = self.prefix(p.hash);
            self.points[self.starts[prefix] as usize] = *p;
            self.starts[prefix] += 1;
        }
        // Each start has moved to the end of its prefix, which is the start of the next.
        self.starts.copy_within(prefixes.start..prefixes.end - 1, prefixes.start + 1);
        self.starts[prefixes.start] = from as u32;
        // Points of one prefix are few, and may be in any order yet.
        let points = &mut self.points[from..end];
        for i in 1..points.len() {
            let mut at = i;
            while at > 0 && (points[at].hash, points[at].uid) < (points[at - 1].hash, points[at - 1].uid) {
                points.swap(at, at - 1);
                at -= 1;
            }
        }
    }

    /// Inserts a few points into gaps; makes the ring anew where there is none.
    fn insert(&mut self, mut added: Vec<Point>) {
        let mut touched: Vec<usize> = Vec::with_capacity(added.len());
        while let Some(&new) = added.last() {
            let chunk = self.prefix(new.hash) >> self.sub_bits;
            let (from, end) = (self.chunks[chunk], self.end(chunk));
            if end == self.chunks[chunk + 1] {
                return self.build(added);
            }
            let before = self.points[from..end].partition_point(|p| (p.hash, p.uid) < (new.hash, new.uid));
            self.points.copy_within(from + before..end, from + before + 1);
            self.points[from + before] = new;
            self.len += 1;
            touched.push(chunk);
            added.pop();
        }
        touched.sort_unstable();
        touched.dedup();
        touched.into_iter().for_each(|chunk| self.index(chunk));
    }

    /// Where the points of a chunk end and its gaps begin.
    fn end(&self, chunk: usize) -> usize {
        let (from, to) = (self.chunks[chunk], self.chunks[chunk + 1]);
        from + self.points[from..to].partition_point(|p| p.uid != GAP)
    }

    fn gap(&self, chunk: usize) -> Point {
        let last = (self.prefixes(chunk).end as u64 - 1) << (64 - self.chunk_bits - self.sub_bits);
        Point { hash: last | (u64::MAX >> (self.chunk_bits + self.sub_bits)), uid: GAP }
    }

    fn prefixes(&self, chunk: usize) -> std::ops::Range<usize> {
        chunk << self.sub_bits..(chunk + 1) << self.sub_bits
    }

    /// The first bits of a hash: those of its chunk and those within.
    #[inline]
    fn prefix(&self, hash: u64) -> usize {
        // Without points there are no bits, and no shift by 64.
        (hash >> 1 >> (63 - self.chunk_bits - self.sub_bits)) as usize
    }

    /// Makes a chunk's part of the prefix index anew.
    fn index(&mut self, chunk: usize) {
        let mut at = self.chunks[chunk];
        for prefix in self.prefixes(chunk) {
            while at < self.chunks[chunk + 1] && self.prefix(self.points[at].hash) < prefix {
                at += 1;
            }
            self.starts[prefix] = at as u32;
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
        self.len
    }

    /// Whether there is no point.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The uids of executors from a key's place on, once around; an executor comes as often as it has points. The first
    /// that is in the roster is the key's home: executors that left come, too.
    #[inline]
    pub fn from(&self, key: u64) -> impl Iterator<Item = u32> + '_ {
        let (before, behind) = self.points.split_at(self.find(key));
        behind.iter().chain(before).map(|p| p.uid).filter(|&uid| uid != GAP)
    }

    /// Brings the places of some keys into the cache, all at once: looked up one after another, each look-up would wait
    /// for memory on its own. A hint; changes nothing.
    #[inline]
    pub fn warm(&self, keys: &[u64]) {
        let starts = keys.iter().map(|&key| self.starts.get(self.prefix(key)).copied().unwrap_or(0));
        let touched = starts.filter_map(|start| self.points.get(start as usize)).fold(0, |sum, p| sum ^ p.hash);
        std::hint::black_box(touched);
    }

    #[inline]
    fn find(&self, key: u64) -> usize {
        let Some(&start) = self.starts.get(self.prefix(key)) else { return 0 };
        let start = start as usize;
        start + self.points[start..].iter().take_while(|p| p.hash < key).count()
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
