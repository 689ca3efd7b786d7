//! Which of some tasks go to which of their holders, so that many bytes are local.
//!
//! First the plain way: in order, each to its best holder with room. Where that is provably close to the best possible
//! (many tasks have their best holder), it stands. Else tasks bid for holders: the auction algorithm (Bertsekas, Annals
//! of Operations Research 14, 1988). A task that could go elsewhere almost as well bids little, and gives way to one
//! that could not. A bid raises the price by at least 1/20 of what the task gains, so that the outcome has at least
//! 20/21 of the local bytes of the best assignment of these tasks, unless bids run out. An upper bound for the best is
//! what all tasks would have at their best holders; the plain way stands if it comes within 5 % of that, 10 % for many
//! tasks.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The seat of a task that goes to none of its holders.
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

/// How many tasks a seat took at the start, and how many it still takes.
#[derive(Clone, Copy, Debug)]
struct Room {
    start: u32,
    left: u32,
}

/// Not asked for yet.
const UNKNOWN: Room = Room { start: u32::MAX, left: u32::MAX };

/// The bids that hold at one seat, lowest first: (price, position of the task).
type Held = BinaryHeap<Reverse<(u64, u32)>>;

/// Buffers, kept from one stage to the next.
#[derive(Debug, Default)]
pub(super) struct Assigner {
    rooms: Vec<Room>,
    touched: Vec<u32>,
    /// Where each task goes, by position; the result.
    choice: Vec<u32>,
    held: Vec<Held>,
    /// By seat: what it takes to get in; 0 while there is room.
    prices: Vec<u64>,
    queue: Vec<u32>,
    rivals: Vec<u32>,
}

/// What is on offer: how many tasks fit at a seat, and a task's holders that are seated, largest first.
pub(super) trait Offer {
    fn room(&self, seat: usize) -> u32;
    fn holders(&self, task: u32) -> impl Iterator<Item = (usize, u64)>;
}

impl Assigner {
    /// Assigns at most `most` of the tasks; returns a seat for each, or [`NONE`].
    pub(super) fn assign(&mut self, tasks: &[u32], seats: usize, most: usize, offer: &impl Offer) -> &mut Vec<u32> {
        self.rooms.resize(seats.max(self.rooms.len()), UNKNOWN);
        let (got, ideal) = self.in_order(tasks, offer);
        let enough = if tasks.len() > LARGE { 90 } else { 95 };
        if got * 100 < ideal * enough {
            std::mem::swap(&mut self.choice, &mut self.rivals);
            if self.auction(tasks, seats, offer) < got {
                std::mem::swap(&mut self.choice, &mut self.rivals);
            }
        }
        for seat in self.touched.drain(..) {
            self.rooms[seat as usize] = UNKNOWN;
        }
        self.keep(tasks, most, offer);
        &mut self.choice
    }

    /// Takes a result back, for the memory.
    pub(super) fn recycle(&mut self, choice: Vec<u32>) -> &mut Vec<u32> {
        self.choice = choice;
        &mut self.choice
    }

    #[inline]
    fn room(&mut self, seat: usize, offer: &impl Offer) -> &mut Room {
        let room = &mut self.rooms[seat];
        if room.start == u32::MAX {
            // No executor has that many vcores.
            let start = offer.room(seat).min(u32::MAX - 1);
            *room = Room { start, left: start };
            self.touched.push(seat as u32);
        }
        room
    }

    /// Returns the local bytes, and what they would be if each task had its best holder that has room at all.
    fn in_order(&mut self, tasks: &[u32], offer: &impl Offer) -> (u128, u128) {
        let (mut got, mut ideal) = (0u128, 0u128);
        self.choice.clear();
        self.choice.reserve(tasks.len());
        for &task in tasks {
            let (mut chosen, mut best) = (NONE, 0);
            for (seat, bytes) in offer.holders(task) {
                let room = self.room(seat, offer);
                if room.start > 0 {
                    best = best.max(bytes);
                    if room.left > 0 {
                        room.left -= 1;
                        got += u128::from(bytes);
                        chosen = seat as u32;
                        break;
                    }
                }
            }
            ideal += u128::from(best);
            self.choice.push(chosen);
        }
        (got, ideal)
    }

    /// Returns the local bytes.
    fn auction(&mut self, tasks: &[u32], seats: usize, offer: &impl Offer) -> u128 {
        self.held.resize_with(seats.max(self.held.len()), Held::new);
        self.prices.clear();
        self.prices.resize(seats, 0);
        self.choice.clear();
        self.choice.resize(tasks.len(), NONE);
        self.queue.clear();
        self.queue.extend((0..tasks.len() as u32).rev());
        let mut bids = BIDS + 2 * tasks.len();
        while let Some(at) = self.queue.pop() {
            let Some((seat, bid)) = self.best_bid(tasks[at as usize], bids == 0, offer) else { continue };
            bids = bids.saturating_sub(1);
            let (room, held) = (self.rooms[seat], &mut self.held[seat]);
            if held.len() == room.start as usize {
                self.queue.extend(held.pop().map(|Reverse((_, loser))| loser));
            }
            held.push(Reverse((bid, at)));
            if held.len() == room.start as usize {
                self.prices[seat] = held.peek().map_or(0, |Reverse((lowest, _))| *lowest);
            }
        }
        for &seat in &self.touched {
            for Reverse((_, at)) in self.held[seat as usize].drain() {
                self.choice[at as usize] = seat;
            }
        }
        let bytes = |(&task, &seat): (&u32, &u32)| u128::from(bytes_at(task, seat, offer));
        tasks.iter().zip(&self.choice).map(bytes).sum()
    }

    /// The seat where a task gains most after prices, and its bid there: up to what makes the second best as good.
    /// Where bids have run out, only seats that still have room.
    #[inline]
    fn best_bid(&mut self, task: u32, only_free: bool, offer: &impl Offer) -> Option<(usize, u64)> {
        let (mut best, mut second) = (None, 0);
        for (seat, bytes) in offer.holders(task) {
            let (start, price) = (self.room(seat, offer).start, self.prices[seat]);
            let value = bytes.min(MAX_BYTES) * UNITS;
            let net = value.saturating_sub(price);
            if start == 0 || net == 0 || (only_free && price > 0) {
                continue;
            }
            match best {
                Some((_, most, _)) if net <= most => second = second.max(net),
                _ => {
                    second = best.map_or(0, |(_, most, _)| most);
                    best = Some((seat, net, value));
                }
            }
        }
        best.map(|(seat, _, value)| (seat, value - second + value / STEPS))
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
            by_bytes[most..].iter().for_each(|&(_, at)| self.choice[at] = NONE);
        }
    }
}

fn bytes_at(task: u32, seat: u32, offer: &impl Offer) -> u64 {
    if seat == NONE {
        return 0;
    }
    offer.holders(task).find(|&(at, _)| at == seat as usize).map_or(0, |(_, bytes)| bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Table {
        rooms: Vec<u32>,
        holders: Vec<Vec<(usize, u64)>>,
    }

    impl Offer for Table {
        fn room(&self, seat: usize) -> u32 {
            self.rooms[seat]
        }

        fn holders(&self, task: u32) -> impl Iterator<Item = (usize, u64)> {
            self.holders[task as usize].iter().copied()
        }
    }

    fn assigned(rooms: &[u32], holders: &[&[(usize, u64)]], most: usize) -> Vec<u32> {
        let table = Table { rooms: rooms.to_vec(), holders: holders.iter().map(|h| h.to_vec()).collect() };
        let tasks: Vec<u32> = (0..holders.len() as u32).collect();
        let mut assigner = Assigner::default();
        let first = assigner.assign(&tasks, rooms.len(), most, &table).clone();
        assert_eq!(&first, assigner.assign(&tasks, rooms.len(), most, &table), "buffers leave no trace");
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
    fn the_largest_numbers_do_no_harm() {
        let huge: [&[(usize, u64)]; 3] = [&[(0, u64::MAX)], &[(0, u64::MAX), (1, u64::MAX)], &[(1, 1)]];
        let got = assigned(&[1, 1], &huge, 9);
        assert_eq!(got, [0, 1, NONE]);
    }
}
