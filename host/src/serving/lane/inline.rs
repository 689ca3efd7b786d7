//! The `inline` lane: calls run on their callers' tasks, one at a time. Nothing protects a caller from a call that blocks;
//! a call that is pending past its deadline is dropped.

use std::future::poll_fn;
use std::sync::{Arc, mpsc};
use std::task::Poll;
use std::time::{Duration, Instant};

use policy_wire::assemble::Round;
use policy_wire::block::Block;
use tokio::sync::oneshot;

use super::call::{Handed, LimitsCell, NoState, Ran};
use super::pipeline::Pipeline;
use super::station::{Caller, Station};
use super::turns::{self, Kind, Place, Turns};
use crate::core::feedback::Batch;
use crate::core::foreign::Proposal;
use crate::core::guard::{Fault, Guard};
use crate::core::threads::{self, Priority};
use crate::core::wake::Wake;

/// Somebody who waits for a turn.
pub(super) enum Waiter {
    /// A round's task.
    Round(oneshot::Sender<()>),
    /// A hand-over's thread; it is given the instance.
    HandOver(mpsc::Sender<()>),
}

impl turns::Job for Waiter {
    fn kind(&self) -> Kind {
        match self {
            Self::Round(_) => Kind::Round,
            Self::HandOver(_) => Kind::HandOver,
        }
    }

    fn begins(&self) {}
}

/// A pipeline that runs on its callers' tasks.
#[derive(Debug)]
pub(super) struct Inline {
    pipeline: Arc<Pipeline>,
    station: Arc<Station<Waiter>>,
}

impl Inline {
    pub(super) fn new(pipeline: Pipeline, (deadline, guard): (Duration, Guard), control: Wake) -> Self {
        let station = Arc::new(Station::new(Turns::new(deadline, guard, false), control));
        Self { pipeline: Arc::new(pipeline), station }
    }

    pub(super) fn station(&self) -> &Arc<Station<Waiter>> {
        &self.station
    }

    /// Ends a hand-over that came to nothing.
    pub(super) fn release(&self) {
        self.station.with(|turns| turns.release(None, false));
        grant(&self.station);
    }

    pub(super) async fn run(&self, round: &Round, batch: &Batch<'_>, is_current: impl Fn() -> bool) -> Ran {
        let asked = Instant::now();
        let Some(turn) = self.turn(asked, is_current).await else { return Ran::NotTaken };
        // From here on they are seen, or lost with the call.
        batch.delivered();
        let limits = LimitsCell::new();
        let observations = batch.block();
        let answer = self.call(round, observations.as_deref(), &limits, &turn.caller).await;
        drop(turn);
        Ran::Answered { answer, decided: limits.get().cloned().unwrap_or_default() }
    }

    /// Waits until the policy is in no call; `None` when that takes longer than its deadline.
    async fn turn(&self, asked: Instant, is_current: impl Fn() -> bool) -> Option<Turn<'_>> {
        let turn = |ticket| Turn { station: &self.station, caller: self.station.caller(ticket, asked) };
        // Under the lock: whoever comes after a hand-over was released sees what took over.
        let begin = |turns: &mut Turns<Waiter>| if is_current() { turns.begin_at_once(asked) } else { None };
        if let Some(ticket) = self.station.with(begin) {
            return Some(turn(ticket));
        }
        let (ours, mut granted) = oneshot::channel();
        // Behind a call that is late already, nobody waits.
        let queue = |turns: &mut Turns<Waiter>| match is_current() && !turns.is_overdue(asked) {
            true => turns.submit(Waiter::Round(ours)).ok(),
            false => None,
        };
        let ticket = self.station.with(queue)?;
        // The turn may have come while we were queueing.
        grant(&self.station);
        let turn = turn(ticket);
        loop {
            let until = match turn.caller.place() {
                Place::NotTaken => return None,
                Place::Wait(until) => until,
                Place::Late(_) | Place::Done => asked,
            };
            match tokio::time::timeout_at(until.into(), &mut granted).await {
                Ok(Ok(())) => {
                    self.station.with(|turns| turns.begins_now(ticket, Instant::now()));
                    return Some(turn);
                }
                Ok(Err(_)) => return None,
                Err(_) => {}
            }
        }
    }

    async fn call(
        &self,
        round: &Round,
        observations: Option<&Block>,
        limits: &LimitsCell,
        caller: &Caller<'_, Waiter>,
    ) -> Result<Proposal, Fault> {
        let mut call = std::pin::pin!(self.pipeline.run(round, observations, limits));
        // Most calls are ready at once: no timer for them.
        let first = poll_fn(|cx| {
            Poll::Ready(match call.as_mut().poll(cx) {
                Poll::Ready(answer) => Some(answer),
                Poll::Pending => None,
            })
        });
        if let Some(answer) = first.await {
            return answer;
        }
        loop {
            let until = match caller.place() {
                Place::Late(fault) => return Err(fault),
                Place::Wait(until) => until,
                Place::NotTaken | Place::Done => return Err(Fault::thread_gone()),
            };
            if let Ok(answer) = tokio::time::timeout_at(until.into(), &mut call).await {
                return answer;
            }
        }
    }

    /// Exports the policy's state as its last call, for now: until it is released, no round begins. On a thread of its
    /// own, so that an export that does not return costs no more than that.
    pub(super) fn hand_over(&self, limit: Duration) -> Result<Handed, NoState> {
        let (ours, granted) = mpsc::channel();
        let ticket = self.station.with(|turns| turns.submit(Waiter::HandOver(ours))).map_err(|_| NoState::Busy)?;
        grant(&self.station);
        let station = Arc::clone(&self.station);
        let handed = Handed::new(move |replaced| {
            station.with(|turns| turns.release(Some(ticket), replaced));
            grant(&station);
        });
        let until = Instant::now() + limit;
        if granted.recv_timeout(limit).is_err() {
            self.station.with(|turns| turns.leave(ticket));
            return Err(NoState::TooSlow(limit, handed));
        }
        let (reply, exported) = mpsc::channel();
        let (station, pipeline) = (Arc::clone(&self.station), Arc::clone(&self.pipeline));
        let instance = self.station.with(|turns| turns.instance());
        let spawned = threads::spawn("policy-hand", Priority::Low, move |_| {
            let state = pipeline.export_state();
            drop(pipeline);
            if station.with(|turns| turns.exported(instance)) {
                let _ = reply.send(state);
            }
        });
        match spawned {
            Ok(seat) => self.station.seat(instance, seat),
            Err(source) => {
                self.station.with(|turns| turns.exported(instance));
                return Err(NoState::Thread(source));
            }
        }
        match exported.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(state) => Ok(handed.with(state)),
            Err(_) => Err(NoState::TooSlow(limit, handed)),
        }
    }
}

/// Gives the turn to whoever waits for it longest, if the policy is in no call.
fn grant(station: &Station<Waiter>) {
    while let Some((ticket, waiter)) = station.with(|turns| turns.begin(Instant::now())) {
        let taken = match waiter {
            Waiter::Round(turn) => turn.send(()).is_ok(),
            Waiter::HandOver(turn) => turn.send(()).is_ok(),
        };
        if taken {
            return;
        }
        station.with(|turns| turns.end(ticket));
    }
}

/// The policy is in the call of whoever holds this. Dropping it gives the turn to the next.
struct Turn<'a> {
    station: &'a Station<Waiter>,
    caller: Caller<'a, Waiter>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.caller.answered();
        self.station.with(|turns| turns.end(self.caller.ticket()));
        if self.station.has_jobs() {
            grant(self.station);
        }
    }
}
