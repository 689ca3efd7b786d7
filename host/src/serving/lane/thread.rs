//! The `thread` lane: a thread of the policy's own, which owns the policy and what it reads, so that a call that never
//! returns can be left behind: the thread is written off, counted, and capped.
//!
//! Waking a sleeping thread costs 5 to 60 us, as much as a small round. So both sides spin before they sleep, as long as
//! that paid the last time (as hypervisors do with idle virtual CPUs: Linux, "halt polling"): a burst of rounds pays for
//! one wake-up. The lane thread does not spin for rounds that come now and then; the caller spins for the answer of any
//! round, unless the last one took longer than that.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use policy_plugin_api::PolicyState;
use policy_wire::assemble::Round;
use policy_wire::block::Block;
use tokio::sync::oneshot::{self, error::TryRecvError as NoAnswer};

use super::call::{Handed, LimitsCell, NoState, Ran};
use super::pipeline::Pipeline;
use super::station::{Caller, Station};
use super::turns::{self, Kind, Place, Turns};
use crate::core::feedback::Batch;
use crate::core::foreign::{PolicyFault, Proposal};
use crate::core::guard::{Fault, Guard};
use crate::core::limits::{LOOK_FOR_ANSWER, LOOK_FOR_ROUND, LOOKS_FOR_ROUND, PICKUP_GRACE};
use crate::core::threads::{self, Priority, Seat};
use crate::core::wake::Wake;

type Answer = Result<Proposal, Fault>;
type Exported = Result<Option<PolicyState>, PolicyFault>;

/// What the thread is asked.
pub(super) enum Job {
    Round {
        asked: Instant,
        round: Arc<Round>,
        observations: Option<Arc<Block>>,
        progress: Arc<Progress>,
        reply: oneshot::Sender<Answer>,
    },
    HandOver {
        reply: mpsc::Sender<Exported>,
    },
}

/// How far a round has come, seen from both sides.
#[derive(Default)]
pub(super) struct Progress {
    begun: AtomicBool,
    limits: LimitsCell,
}

impl turns::Job for Job {
    fn kind(&self) -> Kind {
        match self {
            Self::Round { .. } => Kind::Round,
            Self::HandOver { .. } => Kind::HandOver,
        }
    }

    fn begins(&self) {
        if let Self::Round { progress, .. } = self {
            progress.begun.store(true, Ordering::Relaxed);
        }
    }
}

/// The thread's handle. Dropping it ends the thread after the call at hand; a call that does not end is written off.
#[derive(Debug)]
pub(super) struct Runner {
    station: Arc<Station<Job>>,
    /// Whether the last answer took so long that it does not pay to look for the next one.
    slow: Arc<AtomicBool>,
    name: String,
}

impl Runner {
    pub(super) fn start(
        pipeline: Pipeline,
        name: &str,
        (deadline, guard): (Duration, Guard),
        control: Wake,
    ) -> std::io::Result<Self> {
        let station = Arc::new(Station::new(Turns::new(deadline, guard, true), control));
        let runner = Self { station, slow: Arc::default(), name: name.to_owned() };
        runner.attend(pipeline, 0)?;
        Ok(runner)
    }

    /// Starts the thread of an instance.
    fn attend(&self, pipeline: Pipeline, instance: u64) -> std::io::Result<()> {
        let (station, slow) = (Arc::clone(&self.station), Arc::clone(&self.slow));
        let work = move |_: &Seat| work(&pipeline, &station, instance, &slow);
        self.station.seat(instance, threads::spawn(&self.name, Priority::Ordinary, work)?);
        Ok(())
    }

    /// Puts another instance in the place of one that was written off. What does not find it vacant any more is dropped
    /// on a thread of its own.
    pub(super) fn replace(&self, pipeline: Pipeline) -> std::io::Result<bool> {
        let instance = self.station.with(|turns| turns.instance());
        self.attend(pipeline, instance)?;
        Ok(self.station.with(Turns::install))
    }

    pub(super) fn station(&self) -> &Arc<Station<Job>> {
        &self.station
    }

    pub(super) async fn run(&self, round: &Arc<Round>, batch: &Batch<'_>, is_current: impl Fn() -> bool) -> Ran {
        let progress = Arc::new(Progress::default());
        let (reply, mut answer) = oneshot::channel();
        let asked = Instant::now();
        let (round, observations) = (Arc::clone(round), batch.block());
        let job = Job::Round { asked, round, observations, progress: Arc::clone(&progress), reply };
        // Under the lock: whoever comes after a hand-over was released sees what took over.
        let submit = |turns: &mut Turns<Job>| if is_current() { turns.submit(job).ok() } else { None };
        let Some(ticket) = self.station.with(submit) else { return Ran::NotTaken };
        let mut asking = Asking { caller: self.station.caller(ticket, asked), progress: &progress, batch };
        let found = if self.slow.load(Ordering::Relaxed) { None } else { look_for_answer(&mut answer, asked) };
        let found = match found {
            Some(Ok(answer)) => {
                asking.caller.answered();
                Some(answer)
            }
            Some(Err(Dropped)) => asking.dropped(),
            None => asking.wait(&mut answer).await,
        };
        let Some(answer) = found else { return Ran::NotTaken };
        Ran::Answered { answer, decided: progress.limits.get().cloned().unwrap_or_default() }
    }

    /// Exports the policy's state as its last call, for now: until it is released, no job begins.
    pub(super) fn hand_over(&self, limit: Duration) -> Result<Handed, NoState> {
        let (reply, exported) = mpsc::channel();
        let job = Job::HandOver { reply };
        let ticket = self.station.with(|turns| turns.submit(job)).map_err(|_| NoState::Busy)?;
        let answer = exported.recv_timeout(limit);
        let station = Arc::clone(&self.station);
        let handed = Handed::new(move |replaced| station.with(|turns| turns.release(Some(ticket), replaced)));
        match answer {
            Ok(state) => Ok(handed.with(state)),
            Err(_) => {
                self.station.with(|turns| turns.leave(ticket));
                Err(NoState::TooSlow(limit, handed))
            }
        }
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.station.with(Turns::close);
    }
}

/// A job was dropped without an answer.
struct Dropped;

/// A caller, and the observations that it brought: they are delivered once its job has begun.
struct Asking<'a> {
    caller: Caller<'a, Job>,
    progress: &'a Progress,
    batch: &'a Batch<'a>,
}

impl Asking<'_> {
    /// The job was dropped: taken back, written off, or lost with its thread.
    fn dropped(&self) -> Option<Answer> {
        match self.caller.place() {
            Place::Late(fault) => Some(Err(fault)),
            _ if !self.progress.begun.load(Ordering::Relaxed) => None,
            _ => Some(Err(Fault::thread_gone())),
        }
    }

    /// `None` when the job was taken back before it began.
    async fn wait(&mut self, answer: &mut oneshot::Receiver<Answer>) -> Option<Answer> {
        let mut place = self.caller.place();
        loop {
            let until = match place {
                Place::Wait(until) => until,
                // It returned in this moment: the answer is as good as there.
                Place::Done => Instant::now() + PICKUP_GRACE,
                Place::NotTaken => return None,
                Place::Late(fault) => return Some(Err(fault)),
            };
            match tokio::time::timeout_at(until.into(), &mut *answer).await {
                Ok(Ok(answer)) => {
                    self.caller.answered();
                    return Some(answer);
                }
                Ok(Err(_)) => return self.dropped(),
                Err(_) => place = self.caller.place(),
            }
        }
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        // Whatever has not begun by now will not: under the lock, so that this is true of both sides.
        self.caller.leave();
        if self.progress.begun.load(Ordering::Relaxed) {
            self.batch.delivered();
        }
    }
}

/// Looks for something for so long. On one core nobody would be there to bring it.
fn look_for<T>(since: Instant, patience: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    static ALONE: LazyLock<bool> = LazyLock::new(|| std::thread::available_parallelism().is_ok_and(|n| n.get() == 1));
    while !*ALONE && since.elapsed() < patience {
        let found = look();
        if found.is_some() {
            return found;
        }
        // The core may be wanted by others; by the other side of this, if the two share it.
        std::thread::yield_now();
    }
    None
}

fn look_for_answer(answer: &mut oneshot::Receiver<Answer>, asked: Instant) -> Option<Result<Answer, Dropped>> {
    look_for(asked, LOOK_FOR_ANSWER, || match answer.try_recv() {
        Ok(answer) => Some(Ok(answer)),
        Err(NoAnswer::Closed) => Some(Err(Dropped)),
        Err(NoAnswer::Empty) => None,
    })
}

fn work(pipeline: &Pipeline, station: &Station<Job>, instance: u64, slow: &AtomicBool) {
    // How many times to look for the next round: one that comes soon is followed by others.
    let mut looks = 0u32;
    let mut idle_since = Instant::now();
    loop {
        if looks > 0 {
            look_for(idle_since, LOOK_FOR_ROUND, || station.has_jobs().then_some(()));
        }
        let Some((ticket, job)) = station.next(instance) else { return };
        match job {
            Job::Round { asked, round, observations, progress, reply } => {
                let came_soon = asked.saturating_duration_since(idle_since) < LOOK_FOR_ROUND;
                looks = if came_soon { LOOKS_FOR_ROUND } else { looks.saturating_sub(1) };
                let answer = pollster::block_on(pipeline.run(&round, observations.as_deref(), &progress.limits));
                let ours = station.finish(instance);
                idle_since = Instant::now();
                slow.store(idle_since.duration_since(asked) > LOOK_FOR_ANSWER, Ordering::Relaxed);
                if let Err(Err(fault)) = reply.send(answer) {
                    // Nobody waits for it any more; what it did wrong counts all the same.
                    station.with(|turns| turns.report(fault));
                }
                if !ours {
                    return;
                }
            }
            Job::HandOver { reply } => {
                let state = pipeline.export_state();
                if !station.with(|turns| turns.exported(instance)) {
                    return;
                }
                if reply.send(state).is_err() {
                    // Given up a moment ago: it goes on, as after a hand-over that came to nothing.
                    station.with(|turns| turns.release(Some(ticket), false));
                }
                idle_since = Instant::now();
            }
        }
    }
}
