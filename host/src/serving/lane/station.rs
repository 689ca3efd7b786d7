//! Where the calls of one policy meet: its turns under a lock that nobody holds while plugin code runs, and what others
//! read of them without it.

use std::fmt;
use std::sync::PoisonError;
use std::time::Instant;

use crate::core::sync::{AtomicBool, AtomicUsize, Condvar, Mutex, MutexGuard, Ordering};
use crate::core::threads::Seat;
use crate::core::wake::Wake;

use super::turns::{Job, Place, Ticket, Turns};

/// See the module.
pub(super) struct Station<J> {
    inside: Mutex<Inside<J>>,
    /// A copy of [`Turns::is_held_up`].
    held_up: AtomicBool,
    /// A copy of [`Turns::waiting`].
    waiting: AtomicUsize,
    /// Wakes the thread that carries jobs out.
    wake: Condvar,
    control: Wake,
}

struct Inside<J> {
    turns: Turns<J>,
    /// The thread that is in the call at hand, where that is not the caller's.
    seat: Option<Seat>,
    /// Whether the thread that carries jobs out sleeps, and has not been woken yet.
    asleep: bool,
}

impl<J: Job> Station<J> {
    pub(super) fn new(turns: Turns<J>, control: Wake) -> Self {
        let (held_up, waiting) = (AtomicBool::new(false), AtomicUsize::new(0));
        let inside = Mutex::new(Inside { turns, seat: None, asleep: false });
        Self { inside, held_up, waiting, wake: Condvar::new(), control }
    }

    /// Changes the turns, and does what follows from it.
    pub(super) fn with<T>(&self, change: impl FnOnce(&mut Turns<J>) -> T) -> T {
        let mut inside = self.lock();
        let turns = &mut inside.turns;
        let before = turns.written_off;
        let done = change(turns);
        self.publish(turns);
        if inside.turns.written_off > before
            && let Some(seat) = inside.seat.take()
        {
            seat.write_off();
        }
        let turns = &mut inside.turns;
        let (nudge, dropped) = (std::mem::take(&mut turns.nudge), std::mem::take(&mut turns.dropped));
        let wake = turns.wants_thread() && std::mem::take(&mut inside.asleep);
        drop(inside);
        drop(dropped);
        if wake {
            self.wake.notify_one();
        }
        if nudge {
            self.control.wake();
        }
        done
    }

    /// The thread of `instance`, or of its export. If that was given up meanwhile, so is the thread.
    pub(super) fn seat(&self, instance: u64, seat: Seat) {
        let mut inside = self.lock();
        match inside.turns.instance() == instance {
            true => inside.seat = Some(seat),
            false => seat.write_off(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inside<J>> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, turns: &Turns<J>) {
        self.held_up.store(turns.is_held_up(), Ordering::Release);
        self.waiting.store(turns.waiting(), Ordering::Release);
    }

    /// Whether rounds had better go elsewhere. Costs an atomic load.
    pub(super) fn is_held_up(&self) -> bool {
        self.held_up.load(Ordering::Acquire)
    }

    /// Whether jobs wait. Costs an atomic load.
    pub(super) fn has_jobs(&self) -> bool {
        self.waiting.load(Ordering::Acquire) > 0
    }

    /// The next job for `instance`; waits for it. `None` when there will be none.
    pub(super) fn next(&self, instance: u64) -> Option<(Ticket, J)> {
        let mut inside = self.lock();
        loop {
            inside.asleep = false;
            if inside.turns.instance() != instance || inside.turns.is_closed() {
                return None;
            }
            if let Some(begun) = inside.turns.begin(Instant::now()) {
                self.publish(&inside.turns);
                return Some(begun);
            }
            inside.asleep = true;
            inside = self.wake.wait(inside).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A call of `instance` has returned; `false` when its thread was written off meanwhile, and is back after all.
    pub(super) fn finish(&self, instance: u64) -> bool {
        self.with(|turns| turns.finish(instance, Instant::now()))
    }

    /// A job's caller, until it has its answer.
    pub(super) fn caller(&self, ticket: Ticket, asked: Instant) -> Caller<'_, J> {
        Caller { station: self, ticket, asked, answered: false }
    }
}

impl<J> fmt::Debug for Station<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Station").field("held_up", &self.held_up).finish_non_exhaustive()
    }
}

/// A caller that waits for its job. Dropped before that is done, it hands the job over: one that has not begun is taken
/// back, one that has is looked after by the control task.
pub(super) struct Caller<'a, J: Job> {
    station: &'a Station<J>,
    ticket: Ticket,
    asked: Instant,
    answered: bool,
}

impl<J: Job> Caller<'_, J> {
    pub(super) fn place(&self) -> Place {
        self.station.with(|turns| turns.place(self.ticket, self.asked, Instant::now()))
    }

    pub(super) fn ticket(&self) -> Ticket {
        self.ticket
    }

    /// It has its answer: there is nothing to hand over.
    pub(super) fn answered(&mut self) {
        self.answered = true;
    }

    /// Leaves, unless it has its answer.
    pub(super) fn leave(&mut self) {
        if !std::mem::replace(&mut self.answered, true) {
            self.station.with(|turns| turns.leave(self.ticket));
        }
    }
}

impl<J: Job> Drop for Caller<'_, J> {
    fn drop(&mut self) {
        self.leave();
    }
}
