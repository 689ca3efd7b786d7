//! Turns: one policy object is in one call at a time. Who is in it, who waits, and what becomes of a call that is late.
//! Pure: times are inputs, and nothing here waits or runs anything.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::core::guard::{Fault, Guard, Strike, Strikes};
use crate::core::limits::{DEADLINE_RENEWALS, LANE_NEWS, PICKUP_GRACE};

/// A job's number, ascending.
pub(super) type Ticket = u64;

/// What a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Round,
    /// The state is exported; after that the policy is in no call until it is released.
    HandOver,
}

/// A job, which knows what it is and hears when it begins.
pub(super) trait Job {
    fn kind(&self) -> Kind;
    fn begins(&self);
}

/// What happened in a lane, for the control task to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// A call missed its deadline; `None` when that does not count.
    Missed(Option<Strike>),
    /// A late call returned after so long: the generation resumes.
    Returned(Duration),
}

/// Where a job is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Nothing to do before that time.
    Wait(Instant),
    /// It was taken back before it began.
    NotTaken,
    /// It has missed its deadline.
    Late(Fault),
    /// It is done: the answer is on its way.
    Done,
}

#[derive(Debug)]
struct Call {
    ticket: Ticket,
    kind: Kind,
    began: Instant,
    due: Instant,
    /// How often the deadline began anew, because who looked for the answer came too late to judge.
    renewed: u32,
    /// Whether its caller still waits.
    attended: bool,
    /// Of a hand-over: whether the state is exported.
    exported: bool,
    late: Option<Late>,
}

#[derive(Debug)]
struct Late {
    /// When the call is given up for good.
    until: Instant,
    fault: Fault,
}

/// Whether somebody carries jobs out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seat {
    Taken,
    /// The instance was written off; another one may come.
    Vacant,
    Closed,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Turns<J> {
    deadline: Duration,
    /// Whether calls run on a thread that can be written off.
    own_thread: bool,
    waiting: VecDeque<(Ticket, J)>,
    call: Option<Call>,
    seat: Seat,
    tickets: Ticket,
    /// The instance that jobs are for. One that was written off has a number that is not this.
    instance: u64,
    strikes: Strikes,
    /// Late calls that returned in time to resume.
    returned: u64,
    /// A fault that ejects, of a call that nobody waits for.
    eject: Option<Fault>,
    /// The call that was written off last, until its caller has heard.
    abandoned: Option<(Ticket, Fault)>,
    news: VecDeque<News>,
    /// Set when the control task should look.
    pub(super) nudge: bool,
    /// Threads that were written off here, ever.
    pub(super) written_off: u64,
    /// Jobs that were taken back: dropped by whoever holds the lock, after that.
    pub(super) dropped: Vec<J>,
}

impl<J: Job> Turns<J> {
    pub(super) fn new(deadline: Duration, guard: Guard, own_thread: bool) -> Self {
        Self {
            deadline,
            own_thread,
            waiting: VecDeque::new(),
            call: None,
            seat: Seat::Taken,
            tickets: 0,
            instance: 0,
            strikes: Strikes::new(guard),
            returned: 0,
            eject: None,
            abandoned: None,
            news: VecDeque::new(),
            nudge: false,
            written_off: 0,
            dropped: Vec::new(),
        }
    }

    /// Queues a job; gives it back where nobody would begin it soon.
    pub(super) fn submit(&mut self, job: J) -> Result<Ticket, J> {
        if self.is_held_up() {
            return Err(job);
        }
        self.tickets += 1;
        self.waiting.push_back((self.tickets, job));
        Ok(self.tickets)
    }

    /// Begins the next job, if no other is at hand.
    pub(super) fn begin(&mut self, now: Instant) -> Option<(Ticket, J)> {
        if self.call.is_some() || self.seat != Seat::Taken {
            return None;
        }
        let (ticket, job) = self.waiting.pop_front()?;
        self.enter(ticket, job.kind(), now);
        job.begins();
        Some((ticket, job))
    }

    /// Begins a round at once, if no other job is at hand or waits.
    pub(super) fn begin_at_once(&mut self, now: Instant) -> Option<Ticket> {
        if self.call.is_some() || self.seat != Seat::Taken || !self.waiting.is_empty() {
            return None;
        }
        self.tickets += 1;
        self.enter(self.tickets, Kind::Round, now);
        Some(self.tickets)
    }

    fn enter(&mut self, ticket: Ticket, kind: Kind, now: Instant) {
        let due = now + self.deadline;
        self.call =
            Some(Call { ticket, kind, began: now, due, renewed: 0, attended: true, exported: false, late: None });
    }

    /// A call of `instance` has returned; `false` when it was written off meanwhile.
    pub(super) fn finish(&mut self, instance: u64, now: Instant) -> bool {
        if instance != self.instance {
            return false;
        }
        if let Some(call) = self.call.take()
            && call.late.is_some()
            && self.own_thread
            && call.kind == Kind::Round
        {
            self.returned += 1;
            self.tell(News::Returned(now.saturating_duration_since(call.began)));
        }
        true
    }

    /// As [`Turns::finish`], for a call on its caller's task, which ends with the caller: done, dropped, or not begun.
    pub(super) fn end(&mut self, ticket: Ticket) {
        match self.call.take_if(|call| call.ticket == ticket) {
            Some(_) => {}
            None => self.leave(ticket),
        }
    }

    /// The caller of the call at hand has woken up only now.
    pub(super) fn begins_now(&mut self, ticket: Ticket, now: Instant) {
        if let Some(call) = self.call.as_mut().filter(|call| call.ticket == ticket) {
            (call.began, call.due) = (now, now + self.deadline);
        }
    }

    /// The state is exported; `false` when nobody waits for it any more, so that the call is over.
    pub(super) fn exported(&mut self, instance: u64) -> bool {
        match &mut self.call {
            Some(call) if instance == self.instance && call.kind == Kind::HandOver => {
                call.exported = true;
                true
            }
            _ => false,
        }
    }

    /// Ends a hand-over: the one with this ticket, or whichever is under way. With `replaced`, what waits is given back,
    /// for the successor.
    pub(super) fn release(&mut self, ticket: Option<Ticket>, replaced: bool) {
        let is_meant = |call: &&Call| call.kind == Kind::HandOver && ticket.is_none_or(|ticket| call.ticket == ticket);
        match self.call.as_ref().filter(is_meant) {
            Some(call) if call.exported => self.call = None,
            Some(_) => self.write_off(Seat::Vacant),
            None => return,
        }
        if replaced {
            self.give_back();
        }
    }

    /// The caller of a job leaves, with or without its answer. A job that has not begun will not.
    pub(super) fn leave(&mut self, ticket: Ticket) {
        if let Some(at) = self.waiting.iter().position(|(waiting, _)| *waiting == ticket) {
            self.dropped.extend(self.waiting.remove(at).map(|(_, job)| job));
        }
        if let Some(call) = self.call.as_mut().filter(|call| call.ticket == ticket) {
            call.attended = false;
            // Somebody must look after its deadline.
            self.nudge = true;
        }
        if let Some((_, fault)) = self.abandoned.take_if(|(abandoned, _)| *abandoned == ticket) {
            self.report(fault);
        }
    }

    /// A fault that its round could not tell the control task.
    pub(super) fn report(&mut self, fault: Fault) {
        if fault.ejects() && self.eject.is_none() {
            self.eject = Some(fault);
            self.nudge = true;
        }
    }

    /// Where a job is, seen at `now` by its caller, who asked at `asked`.
    pub(super) fn place(&mut self, ticket: Ticket, asked: Instant, now: Instant) -> Place {
        if self.own_thread || self.call.as_ref().is_some_and(|call| call.ticket == ticket) {
            self.look(now);
        }
        if let Some((_, fault)) = self.abandoned.take_if(|(abandoned, _)| *abandoned == ticket) {
            return Place::Late(fault);
        }
        if let Some(call) = self.call.as_ref().filter(|call| call.ticket == ticket) {
            return match &call.late {
                Some(late) => Place::Late(late.fault.clone()),
                None => Place::Wait(call.due),
            };
        }
        if !self.waiting.iter().any(|(waiting, _)| *waiting == ticket) {
            return Place::Done;
        }
        let patience = if self.own_thread { self.deadline + PICKUP_GRACE } else { self.deadline };
        let until = asked + patience;
        if self.is_held_up() || until <= now {
            self.leave(ticket);
            return Place::NotTaken;
        }
        // A call on a thread of its own is judged by whoever waits behind it, too. Begun in a moment, this one would be due
        // a deadline from now.
        let due = self.call.as_ref().map_or(now + self.deadline, |call| call.due);
        Place::Wait(if self.own_thread { due.min(until) } else { until })
    }

    /// Looks at the call at hand; returns when to look again, if somebody must.
    ///
    /// A deadline does not count for whoever looks later after it than it is long: then this process was held up, and
    /// nobody can say what the policy would have done. It begins anew, [`DEADLINE_RENEWALS`] times at most.
    pub(super) fn look(&mut self, now: Instant) -> Option<Instant> {
        let (deadline, own_thread) = (self.deadline, self.own_thread);
        let call = self.call.as_mut()?;
        match &mut call.late {
            None if now < call.due => (!call.attended).then_some(call.due),
            None => {
                let held_up = now.saturating_duration_since(call.due) > deadline;
                if held_up && call.renewed < DEADLINE_RENEWALS {
                    (call.renewed, call.due) = (call.renewed + 1, now + deadline);
                    return (!call.attended).then_some(call.due);
                }
                let counts = call.kind == Kind::Round && !held_up;
                let strike = counts.then(|| self.strikes.miss(now));
                let fault = Fault::deadline(deadline, strike);
                let (ejects, until, kind) = (fault.ejects(), now + deadline, call.kind);
                call.late = Some(Late { until, fault });
                if kind == Kind::Round {
                    self.tell(News::Missed(strike));
                }
                self.nudge = true;
                if own_thread {
                    self.give_back();
                }
                if ejects && own_thread {
                    self.write_off(Seat::Closed);
                    return None;
                }
                (kind == Kind::Round && own_thread).then_some(until)
            }
            Some(_) if call.kind == Kind::HandOver || !own_thread => None,
            Some(late) if now < late.until => Some(late.until),
            Some(late) if now.saturating_duration_since(late.until) > deadline && call.renewed < DEADLINE_RENEWALS => {
                (call.renewed, late.until) = (call.renewed + 1, now + deadline);
                Some(late.until)
            }
            Some(_) => {
                self.write_off(Seat::Vacant);
                None
            }
        }
    }

    /// Gives up the call at hand and the thread that it is on.
    fn write_off(&mut self, seat: Seat) {
        let Some(call) = self.call.take() else { return };
        self.instance += 1;
        self.written_off += 1;
        self.seat = seat;
        self.nudge = true;
        self.give_back();
        if let Some(late) = call.late.filter(|_| call.kind == Kind::Round) {
            match call.attended {
                true => self.abandoned = Some((call.ticket, late.fault)),
                false => self.report(late.fault),
            }
        }
    }

    fn give_back(&mut self) {
        self.dropped.extend(self.waiting.drain(..).map(|(_, job)| job));
    }

    /// No job is begun any more; the call at hand, if there is one, is given up.
    pub(super) fn close(&mut self) {
        self.give_back();
        if self.own_thread || self.call.as_ref().is_some_and(|call| call.kind == Kind::HandOver && !call.exported) {
            self.write_off(Seat::Closed);
        }
        self.seat = Seat::Closed;
    }

    /// Another instance takes the vacant seat; `false` when it is not vacant.
    pub(super) fn install(&mut self) -> bool {
        let vacant = self.is_vacant();
        if vacant {
            self.seat = Seat::Taken;
        }
        vacant
    }

    pub(super) fn is_vacant(&self) -> bool {
        self.seat == Seat::Vacant
    }

    pub(super) fn is_closed(&self) -> bool {
        self.seat == Seat::Closed
    }

    /// Whether a round that came now would wait for a call that is late already, or for nobody.
    pub(super) fn is_held_up(&self) -> bool {
        self.seat != Seat::Taken || self.call.as_ref().is_some_and(|call| call.late.is_some())
    }

    pub(super) fn instance(&self) -> u64 {
        self.instance
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether the thread that carries jobs out has something to do now.
    pub(super) fn wants_thread(&self) -> bool {
        self.seat == Seat::Closed || (self.seat == Seat::Taken && self.call.is_none() && !self.waiting.is_empty())
    }

    /// Whether the call at hand is past its deadline.
    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        self.call.as_ref().is_some_and(|call| call.due <= now)
    }

    /// Missed deadlines that counted ever, those that count now, late calls that returned, instances that were written
    /// off.
    pub(super) fn counts(&mut self, now: Instant) -> [u64; 4] {
        let (total, in_window) = self.strikes.counts(now);
        [total, in_window, self.returned, self.written_off]
    }

    pub(super) fn take_news(&mut self) -> (Vec<News>, Option<Fault>) {
        (self.news.drain(..).collect(), self.eject.take())
    }

    fn tell(&mut self, news: News) {
        if self.news.len() >= LANE_NEWS {
            self.news.pop_front();
        }
        self.news.push_back(news);
        self.nudge = true;
    }
}

#[cfg(test)]
mod tests;
