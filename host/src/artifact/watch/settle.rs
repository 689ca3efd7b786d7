//! When is a file worth reading? A pure state machine: signals and the time in, names that are due out.
//!
//! A file renamed into place is whole: it is due at once. A file written in place is due a quiet period after it was
//! closed; one that nobody has closed yet (or on a platform that does not say) after a longer one, and each further
//! write starts the wait again. A file that never comes to rest is reported as such, once, and stays watched.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// What was seen of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    /// Renamed into place, or seen through a swapped symbolic link.
    Arrived,
    /// Closed after writing.
    Closed,
    /// Created, written, or its metadata changed; or found different by a rescan.
    Written,
    /// Removed or renamed away.
    Removed,
}

/// What to do about a name now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Look at it.
    Look,
    /// It has kept changing for too long: say so. It will be due again once it is still.
    KeepsChanging,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    first: Instant,
    last: Instant,
    due: Instant,
    said: bool,
}

/// The times of the machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// After a close.
    pub(super) quiet: Duration,
    /// After a write that no close has followed.
    pub(super) unclosed: Duration,
    /// Until a file counts as one that keeps changing.
    pub(super) limit: Duration,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Settle<K> {
    times: Times,
    waiting: HashMap<K, Waiting>,
}

impl<K: Clone + Eq + Hash + Ord> Settle<K> {
    pub(super) fn new(times: Times) -> Self {
        Self { times, waiting: HashMap::new() }
    }

    /// Takes a signal that is seen `now`; the change behind it happened at `happened`.
    pub(super) fn signal(&mut self, name: K, signal: Signal, now: Instant, happened: Instant) {
        let wait = match signal {
            Signal::Arrived => Duration::ZERO,
            Signal::Closed | Signal::Removed => self.times.quiet,
            Signal::Written => self.times.unclosed,
        };
        let entry = self.waiting.entry(name).or_insert(Waiting { first: now, last: happened, due: now, said: false });
        entry.last = happened;
        entry.due = now + wait;
    }

    /// Whether a name waits.
    pub(super) fn is_waiting(&self, name: &K) -> bool {
        self.waiting.contains_key(name)
    }

    /// When to ask again.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.waiting.values().map(|w| if w.said { w.due } else { w.due.min(w.first + self.times.limit) }).min()
    }

    /// The names that are due, each with the time of its last change; in the order of those times.
    pub(super) fn due(&mut self, now: Instant) -> Vec<(K, Due, Instant)> {
        let mut due = Vec::new();
        let limit = self.times.limit;
        self.waiting.retain(|name, w| {
            if w.due <= now {
                due.push((name.clone(), Due::Look, w.last));
                return false;
            }
            if !w.said && w.first + limit <= now {
                w.said = true;
                due.push((name.clone(), Due::KeepsChanging, w.last));
            }
            true
        });
        due.sort_by(|a, b| (a.2, &a.0).cmp(&(b.2, &b.0)));
        due
    }
}

#[cfg(test)]
mod tests {
    use super::Signal::{Arrived, Closed, Removed, Written};
    use super::*;

    const TIMES: Times = Times {
        quiet: Duration::from_millis(25),
        unclosed: Duration::from_millis(400),
        limit: Duration::from_millis(5_000),
    };

    /// Signals at their times in ms, and what is due at which time (asked at every ms).
    fn run(signals: &[(u64, Signal)], until: u64) -> Vec<(u64, Due)> {
        let start = Instant::now();
        let mut settle = Settle::new(TIMES);
        let mut out = Vec::new();
        for ms in 0..=until {
            let now = start + Duration::from_millis(ms);
            for (_, signal) in signals.iter().filter(|(at, _)| *at == ms) {
                settle.signal("x", *signal, now, now);
            }
            out.extend(settle.due(now).into_iter().map(|(_, due, _)| (ms, due)));
        }
        out
    }

    #[test]
    fn files_are_due_when_they_are_whole() {
        let look = |ms| vec![(ms, Due::Look)];
        for (title, signals, expected) in [
            ("a rename is due at once", vec![(10, Arrived)], look(10)),
            ("a close waits for quiet", vec![(10, Written), (12, Closed)], look(37)),
            ("two closes in a row are one", vec![(10, Closed), (20, Closed)], look(45)),
            ("cp: create, writes, close", vec![(0, Written), (5, Written), (90, Written), (91, Closed)], look(116)),
            ("a write without close waits longer", vec![(10, Written)], look(410)),
            ("removed and recreated is one look", vec![(10, Removed), (20, Written), (22, Closed)], look(47)),
            ("a write during the wait starts it again", vec![(10, Closed), (30, Written), (31, Closed)], look(56)),
            ("a rename over a half-written file is due at once", vec![(10, Written), (20, Arrived)], look(20)),
        ] {
            assert_eq!(run(&signals, 1_000), expected, "{title}");
        }
    }

    #[test]
    fn a_file_that_keeps_changing_is_told_once_and_seen_when_it_rests() {
        let writes: Vec<_> = (0..80).map(|i| (i * 100, Written)).collect();
        assert_eq!(run(&writes, 9_000), [(5_000, Due::KeepsChanging), (8_300, Due::Look)]);
    }

    #[test]
    fn the_next_time_to_ask_is_known() {
        let start = Instant::now();
        let mut settle = Settle::new(TIMES);
        assert_eq!(settle.next_due(), None);
        settle.signal("a", Written, start, start);
        settle.signal("b", Closed, start, start);
        assert_eq!(settle.next_due(), Some(start + TIMES.quiet));
        assert_eq!(settle.due(start + TIMES.quiet).len(), 1);
        assert_eq!(settle.next_due(), Some(start + TIMES.unclosed));
        assert!(settle.is_waiting(&"a") && !settle.is_waiting(&"b"));
    }
}
