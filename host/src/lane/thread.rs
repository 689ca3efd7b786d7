//! The `thread` lane: a thread of the policy's own, which owns what it reads, so that a call that never returns can be
//! left behind: the thread is written off, counted, and capped.
//!
//! Waking a sleeper costs 5 to 60 us, as much as a small round. So both sides look for each other before they sleep, as
//! long as it paid the last time (as hypervisors do with idle virtual CPUs: Linux, "halt polling"): a burst of rounds
//! pays for one wake-up. The thread does not look for rounds that come now and then; who asks looks for the answer of any
//! round, unless the last one took longer than that.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvError, TryRecvError};
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::{Duration, Instant};

use policy_plugin_api::abi::Proposal;
use policy_plugin_api::assemble::Round;
use policy_plugin_api::block::Block;
use tokio::sync::oneshot::{self, error::TryRecvError as NoAnswer};

use super::{LimitsCell, Pipeline, Ran};
use crate::background;
use crate::guard::Fault;
use crate::limits::{LOOK_FOR_ANSWER, LOOK_FOR_ROUND, LOOKS_FOR_ROUND, PICKUP_GRACE};

static STUCK: AtomicUsize = AtomicUsize::new(0);

/// Threads that are stuck in plugin code now, over all hosts of the process.
pub(crate) fn stuck_threads() -> usize {
    STUCK.load(Ordering::Relaxed)
}

/// One round for the thread.
struct Job {
    asked: Instant,
    round: Arc<Round>,
    observations: Option<Arc<Block>>,
    progress: Arc<Progress>,
    reply: oneshot::Sender<Answer>,
}

type Answer = Result<Proposal, Fault>;

/// How far a job has come, seen from both sides.
#[derive(Default)]
struct Progress {
    started: OnceLock<Instant>,
    limits: LimitsCell,
    /// Set by the caller once it has given up, and by the thread once it has finished: the first of the two counts.
    over: AtomicBool,
}

/// The thread's handle. Dropping it ends the thread after the job at hand.
#[derive(Debug)]
pub(crate) struct Runner {
    jobs: mpsc::Sender<Job>,
    /// Whether the last answer took so long that it does not pay to look for the next one.
    slow: Arc<AtomicBool>,
}

impl Runner {
    pub(crate) fn start(pipeline: Arc<Pipeline>, name: &str) -> std::io::Result<Self> {
        let (jobs, inbox) = mpsc::channel::<Job>();
        let slow = Arc::new(AtomicBool::new(false));
        let tell = Arc::clone(&slow);
        background::spawn(&name.chars().take(15).collect::<String>(), move || work(&pipeline, &inbox, &tell))?;
        Ok(Self { jobs, slow })
    }

    pub(crate) async fn run(&self, round: &Arc<Round>, observations: Option<Arc<Block>>, deadline: Duration) -> Ran {
        let progress = Arc::new(Progress::default());
        let (reply, mut answer) = oneshot::channel();
        let asked = Instant::now();
        let job = Job { asked, round: Arc::clone(round), observations, progress: Arc::clone(&progress), reply };
        if self.jobs.send(job).is_err() {
            return Ran { answer: Err(Fault::thread_gone()), limits: None };
        }
        let found = if self.slow.load(Ordering::Relaxed) { None } else { look_for_answer(&mut answer, asked) };
        let answer = match found {
            Some(answer) => answer,
            None => wait_for_answer(&mut answer, &progress, asked, deadline).await,
        };
        Ran { answer, limits: progress.limits.get().cloned() }
    }
}

async fn wait_for_answer(
    answer: &mut oneshot::Receiver<Answer>,
    progress: &Progress,
    asked: Instant,
    deadline: Duration,
) -> Answer {
    let mut wait = deadline;
    loop {
        match tokio::time::timeout(wait, &mut *answer).await {
            Ok(Ok(answer)) => return answer,
            Ok(Err(_)) => return Err(Fault::thread_gone()),
            Err(_) => match remaining(progress, asked, deadline) {
                Some(more) => wait = more,
                None if give_up(progress) => return Err(Fault::deadline(deadline.as_millis() as u64)),
                // It finished in the moment of giving up: the answer is there.
                None => wait = PICKUP_GRACE,
            },
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

fn look_for_answer(answer: &mut oneshot::Receiver<Answer>, asked: Instant) -> Option<Answer> {
    look_for(asked, LOOK_FOR_ANSWER, || match answer.try_recv() {
        Ok(answer) => Some(answer),
        Err(NoAnswer::Closed) => Some(Err(Fault::thread_gone())),
        Err(NoAnswer::Empty) => None,
    })
}

/// What is left of the deadline, which counts from when the thread picked the job up.
fn remaining(progress: &Progress, asked: Instant, deadline: Duration) -> Option<Duration> {
    let left = match progress.started.get() {
        Some(started) => (*started + deadline).checked_duration_since(Instant::now())?,
        None => (asked + deadline + PICKUP_GRACE).checked_duration_since(Instant::now())?.min(deadline),
    };
    (!left.is_zero()).then_some(left)
}

fn give_up(progress: &Progress) -> bool {
    let first = !progress.over.swap(true, Ordering::AcqRel);
    if first {
        STUCK.fetch_add(1, Ordering::Relaxed);
    }
    first
}

fn work(pipeline: &Pipeline, inbox: &mpsc::Receiver<Job>, slow: &AtomicBool) {
    // How many times to look for the next round: one that comes soon is followed by others.
    let mut looks = 0u32;
    let mut idle_since = Instant::now();
    while let Ok(job) = if looks > 0 { look_for_job(inbox, idle_since) } else { inbox.recv() } {
        let came_soon = job.asked.saturating_duration_since(idle_since) < LOOK_FOR_ROUND;
        looks = if came_soon { LOOKS_FOR_ROUND } else { looks.saturating_sub(1) };
        let _ = job.progress.started.set(Instant::now());
        let answer = pollster::block_on(pipeline.run(&job.round, job.observations.as_deref(), &job.progress.limits));
        if job.progress.over.swap(true, Ordering::AcqRel) {
            // Written off in the meantime, and back after all.
            STUCK.fetch_sub(1, Ordering::Relaxed);
        }
        idle_since = Instant::now();
        slow.store(idle_since.duration_since(job.asked) > LOOK_FOR_ANSWER, Ordering::Relaxed);
        let _ = job.reply.send(answer);
    }
}

fn look_for_job(inbox: &mpsc::Receiver<Job>, since: Instant) -> Result<Job, RecvError> {
    let found = look_for(since, LOOK_FOR_ROUND, || match inbox.try_recv() {
        Ok(job) => Some(Ok(job)),
        Err(TryRecvError::Disconnected) => Some(Err(RecvError)),
        Err(TryRecvError::Empty) => None,
    });
    found.unwrap_or_else(|| inbox.recv())
}
