//! Which of some tasks go to which of their holders, so that many bytes are local.
//!
//! First the plain way: in order, each to its best holder with room. Where that is provably close to the best possible
//! (many tasks have their best holder), it stands. Else tasks bid for holders: the auction algorithm (Bertsekas, Annals
//! of Operations Research 14, 1988). A task that could go elsewhere almost as well bids little, and gives way to one
//! that could not. A bid raises the price by at least 1/20 of what the task gains, so that the outcome has at least
//! 20/21 of the local bytes of the best assignment of these tasks, unless bids run out. An upper bound for the best is
//! what all tasks would have at their best holders; the plain way stands if it comes within 5 % of that, 10 % for many
//! tasks.
//!
//! A place is where a holder stands, by a number that is the same for all stages of a round. What room there is at each
//! place lies in one dense column and is kept from one stage to the next: most tasks cost one look at it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The place of a task that goes to none of its holders.
pub(super) const NONE: u32 = u32::MAX;

/// One part in so many of a task's gain is the least by which it raises a price.
const STEPS: u64 = 20;

/// Of more tasks than this, the plain way will do if it has 90 % of the best possible; of fewer, 95 %.
const LARGE: usize = 16_384;

/// Bytes are counted in units so fine that 1/[`STEPS`] of one byte counts, up to this many bytes.
const MAX_BYTES: u64 = 1 << 50;
const UNITS: u64 = 1 << 8;

/// Bids that any number of tasks has.
const BIDS: usize = 32_768;

/// Room that was not asked for yet.
const UNKNOWN: u32 = u32::MAX;
/// No room, and none at the start of the call either.
const CLOSED: u32 = u32::MAX - 1;
/// The most room a place can have: no executor has that many vcores.
const MOST: u32 = u32::MAX - 2;

/// The bids that hold at one place, lowest first: (price, position of the task).
type Held = BinaryHeap<Reverse<(u64, u32)>>;

/// Rooms and buffers, kept from one stage to the next.
#[derive(Debug, Default)]
pub(super) struct Assigner {
    /// By place: how many tasks it still takes; 0 where this call took all it had.
    rooms: Vec<u32>,
    /// Places whose room is known.
    known: Vec<u32>,
    /// Places where this call took the last there was.
    emptied: Vec<u32>,
    /// Where each task goes, by position; the result.
    choice: Vec<u32>,
    held: Vec<Held>,
    /// By place: what it takes to get in; 0 while there is room.
    prices: Vec<u64>,
    /// Places with bids.
    bidden: Vec<u32>,
    queue: Vec<u32>,
    rivals: Vec<u32>,
}

/// What is on offer: how many tasks fit at a place, and a task's holders, largest first. All places are below the number
/// that the assigner is told; a holder with no place comes as one without room, or not at all.
pub(super) trait Offer {
    fn room(&self, place: usize) -> u32;
    fn holders(&self, task: u32) -> impl Iterator<Item = (usize, u64)>;
    /// The first of the holders, if it is at hand.
    fn first(&self, task: u32) -> Option<(usize, u64)>;
}

impl Assigner {
    /// Assigns at most `most` of the tasks; returns a place for each, or [`NONE`]. What they take is gone for the next
    /// call, until [`Assigner::forget`].
    pub(super) fn assign(&mut self, tasks: &[u32], places: usize, most: usize, offer: &impl Offer) -> &[u32] {
        self.rooms.resize(places.max(self.rooms.len()), UNKNOWN);
        let (got, missed) = self.in_order(tasks, offer);
        let enough = if tasks.len() > LARGE { 90 } else { 95 };
        if got * 100 < (got + missed) * enough {
            for &place in self.choice.iter().filter(|&&place| place != NONE) {
                self.rooms[place as usize] += 1;
            }
            self.emptied.clear();
            std::mem::swap(&mut self.choice, &mut self.rivals);
            if self.auction(tasks, places, offer) < got {
                std::mem::swap(&mut self.choice, &mut self.rivals);
            }
            for &place in self.choice.iter().filter(|&&place| place != NONE) {
                take(&mut self.rooms, &mut self.emptied, place as usize);
            }
        }
        self.keep(tasks, most, offer);
        for place in self.emptied.drain(..) {
            let room = &mut self.rooms[place as usize];
            *room = if *room == 0 { CLOSED } else { *room };
        }
        &self.choice
    }

    /// Forgets what room there is: to be called when others took something, or tasks of another demand come.
    pub(super) fn forget(&mut self) {
        for place in self.known.drain(..) {
            self.rooms[place as usize] = UNKNOWN;
        }
    }

    /// How many tasks a place still takes; `None` where that was none at the start of the call.
    #[inline]
    fn left(&mut self, place: usize, offer: &impl Offer) -> Option<u32> {
        let room = &mut self.rooms[place];
        if *room == UNKNOWN {
            *room = Some(offer.room(place).min(MOST)).filter(|&room| room > 0).unwrap_or(CLOSED);
            self.known.push(place as u32);
        }
        (*room != CLOSED).then_some(*room)
    }

    /// Returns the local bytes, and how many more they would be if each task had its best holder that has room at all.
    fn in_order(&mut self, tasks: &[u32], offer: &impl Offer) -> (u128, u128) {
        let (mut got, mut missed) = (0u128, 0u128);
        let mut choice = std::mem::take(&mut self.choice);
        choice.clear();
        choice.extend(tasks.iter().map(|&task| {
            let has_room = |&(place, _): &(usize, u64)| self.rooms[place].wrapping_sub(1) < MOST;
            if let Some((place, bytes)) = offer.first(task).filter(has_room) {
                take(&mut self.rooms, &mut self.emptied, place);
                got += u128::from(bytes);
                return place as u32;
            }
            let (place, bytes, best) = self.next_best(task, offer);
            got += u128::from(bytes);
            missed += u128::from(best - bytes);
            place
        }));
        self.choice = choice;
        (got, missed)
    }

    /// Takes the first holder with room: its place, its bytes, and the most bytes at a holder with room at all.
    #[inline(never)]
    fn next_best(&mut self, task: u32, offer: &impl Offer) -> (u32, u64, u64) {
        let mut best = 0;
        for (place, bytes) in offer.holders(task) {
            let Some(left) = self.left(place, offer) else { continue };
            best = best.max(bytes);
            if left > 0 {
                take(&mut self.rooms, &mut self.emptied, place);
                return (place as u32, bytes, best);
            }
        }
        (NONE, 0, best)
    }

    /// Returns the local bytes. Takes nothing yet.
    fn auction(&mut self, tasks: &[u32], places: usize, offer: &impl Offer) -> u128 {
        self.held.resize_with(places.max(self.held.len()), Held::new);
        self.prices.resize(places.max(self.prices.len()), 0);
        self.choice.clear();
        self.choice.resize(tasks.len(), NONE);
        self.queue.clear();
        self.queue.extend((0..tasks.len() as u32).rev());
        let mut bids = BIDS + 2 * tasks.len();
        while let Some(at) = self.queue.pop() {
            let Some((place, bid)) = self.best_bid(tasks[at as usize], bids == 0, offer) else { continue };
            bids = bids.saturating_sub(1);
            let (room, held) = (self.rooms[place], &mut self.held[place]);
            if held.is_empty() {
                self.bidden.push(place as u32);
            }
            if held.len() == room as usize {
                self.queue.extend(held.pop().map(|Reverse((_, loser))| loser));
            }
            held.push(Reverse((bid, at)));
            if held.len() == room as usize {
                self.prices[place] = held.peek().map_or(0, |Reverse((lowest, _))| *lowest);
            }
        }
        for place in self.bidden.drain(..) {
            self.prices[place as usize] = 0;
            for Reverse((_, at)) in self.held[place as usize].drain() {
                self.choice[at as usize] = place;
            }
        }
        let bytes = |(&task, &place): (&u32, &u32)| u128::from(bytes_at(task, place, offer));
        tasks.iter().zip(&self.choice).map(bytes).sum()
    }

    /// The place where a task gains most after prices, and its bid there: up to what makes the second best as good.
    /// Where bids have run out, only places that still have room.
    #[inline]
    fn best_bid(&mut self, task: u32, only_free: bool, offer: &impl Offer) -> Option<(usize, u64)> {
        let (mut best, mut second) = (None, 0);
        for (place, bytes) in offer.holders(task) {
            if self.left(place, offer).is_none() {
                continue;
            }
            let price = self.prices[place];
            let value = bytes.min(MAX_BYTES) * UNITS;
            let net = value.saturating_sub(price);
            if net == 0 || (only_free && price > 0) {
                continue;
            }
            match best {
                Some((_, most, _)) if net <= most => second = second.max(net),
                _ => {
                    second = best.map_or(0, |(_, most, _)| most);
                    best = Some((place, net, value));
                }
            }
        }
        best.map(|(place, _, value)| (place, value - second + value / STEPS))
    }

    /// Of more than `most` assigned tasks, keeps those with most local bytes.
    fn keep(&mut self, tasks: &[u32], most: usize, offer: &impl Offer) {
        if most >= tasks.len() {
            return;
        }
        let assigned = |&at: &usize| self.choice[at] != NONE;
        let mut by_bytes: Vec<(Reverse<u64>, usize)> = (0..tasks.len())
            .filter(assigned)
            .map(|at| (Reverse(bytes_at(tasks[at], self.choice[at], offer)), at))
            .collect();
        if by_bytes.len() > most {
            by_bytes.select_nth_unstable(most);
            for &(_, at) in &by_bytes[most..] {
                let place = std::mem::replace(&mut self.choice[at], NONE);
                self.rooms[place as usize] += 1;
            }
        }
    }
}

/// Takes one task off the room of a place that has some.
#[inline(always)]
fn take(rooms: &mut [u32], emptied: &mut Vec<u32>, place: usize) {
    rooms[place] -= 1;
    if rooms[place] == 0 {
        emptied.push(place as u32);
    }
}

fn bytes_at(task: u32, place: u32, offer: &impl Offer) -> u64 {
    if place == NONE {
        return 0;
    }
    offer.holders(task).find(|&(at, _)| at == place as usize).map_or(0, |(_, bytes)| bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Table {
        rooms: Vec<u32>,
        holders: Vec<Vec<(usize, u64)>>,
    }

    impl Offer for Table {
        fn room(&self, place: usize) -> u32 {
            self.rooms[place]
        }

        fn holders(&self, task: u32) -> impl Iterator<Item = (usize, u64)> {
            self.holders[task as usize].iter().copied()
        }

        fn first(&self, task: u32) -> Option<(usize, u64)> {
            self.holders(task).next()
        }
    }

    fn assigned(rooms: &[u32], holders: &[&[(usize, u64)]], most: usize) -> Vec<u32> {
        let table = Table { rooms: rooms.to_vec(), holders: holders.iter().map(|h| h.to_vec()).collect() };
        let tasks: Vec<u32> = (0..holders.len() as u32).collect();
        let mut assigner = Assigner::default();
        let first = assigner.assign(&tasks, rooms.len(), most, &table).to_vec();
        assigner.forget();
        assert_eq!(first, assigner.assign(&tasks, rooms.len(), most, &table), "buffers leave no trace");
        first
    }

    #[test]
    fn who_can_go_elsewhere_gives_way() {
        // In order, the first would take seat 0 and leave nothing to the second.
        assert_eq!(assigned(&[1, 1], &[&[(0, 100), (1, 99)], &[(0, 90)]], 9), [1, 0]);
        // A chain: each gives way to the next.
        let chain: [&[(usize, u64)]; 3] = [&[(0, 50), (1, 49)], &[(1, 50), (2, 49)], &[(1, 60)]];
        assert_eq!(assigned(&[1, 1, 1], &chain, 9), [0, 2, 1]);
    }

    #[test]
    fn scarce_room_goes_to_those_with_most_bytes() {
        let few: [&[(usize, u64)]; 4] = [&[(0, 1)], &[(0, 9)], &[(0, 5)], &[(0, 7)]];
        assert_eq!(assigned(&[2], &few, 9), [NONE, 0, NONE, 0]);
        assert_eq!(assigned(&[4], &few, 2), [NONE, 0, NONE, 0], "and so does what a cap leaves");
        assert_eq!(assigned(&[0], &few, 9), [NONE; 4]);
    }

    #[test]
    fn what_one_call_took_is_gone_for_the_next() {
        let table = Table { rooms: vec![2, 1], holders: vec![vec![(0, 9), (1, 5)], vec![(0, 9)], vec![(0, 9)]] };
        let mut assigner = Assigner::default();
        assert_eq!(assigner.assign(&[0, 1], 2, 1, &table), [0, NONE], "the cap gives back what it does not keep");
        assert_eq!(assigner.assign(&[0, 1, 2], 2, 9, &table), [1, 0, NONE]);
        assert_eq!(assigner.assign(&[0, 1, 2], 2, 9, &table), [NONE; 3]);
        assigner.forget();
        assert_eq!(assigner.assign(&[1, 2], 2, 9, &table), [0, 0]);
    }

    #[test]
    fn the_largest_numbers_do_no_harm() {
        let huge: [&[(usize, u64)]; 3] = [&[(0, u64::MAX)], &[(0, u64::MAX), (1, u64::MAX)], &[(1, 1)]];
        let got = assigned(&[1, 1], &huge, 9);
        assert_eq!(got, [0, 1, NONE]);
    }
}
