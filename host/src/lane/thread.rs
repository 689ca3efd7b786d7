//! The `thread` lane: a thread of the policy's own, which owns what it reads, so that a call that never returns can be
//! left behind: the thread is written off, counted, and capped.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, OnceLock, mpsc};
use std::time::{Duration, Instant};

use policy_plugin_api::abi::Proposal;
use policy_plugin_api::assemble::Round;
use policy_plugin_api::block::Block;
use tokio::sync::oneshot::{self, error::TryRecvError};

use super::{LimitsCell, Pipeline, Ran};
use crate::background;
use crate::guard::Fault;
use crate::limits::{LOOK_FOR_ANSWER, PICKUP_GRACE};

static STUCK: AtomicUsize = AtomicUsize::new(0);

/// Threads that are stuck in plugin code now, over all hosts of the process.
pub(crate) fn stuck_threads() -> usize {
    STUCK.load(Ordering::Relaxed)
}

/// One round for the thread.
struct Job {
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
}

impl Runner {
    pub(crate) fn start(pipeline: Arc<Pipeline>, name: &str) -> std::io::Result<Self> {
        let (jobs, inbox) = mpsc::channel::<Job>();
        background::spawn(&name.chars().take(15).collect::<String>(), move || work(&pipeline, &inbox))?;
        Ok(Self { jobs })
    }

    pub(crate) async fn run(&self, round: &Arc<Round>, observations: Option<Arc<Block>>, deadline: Duration) -> Ran {
        let progress = Arc::new(Progress::default());
        let (reply, mut answer) = oneshot::channel();
        let job = Job { round: Arc::clone(round), observations, progress: Arc::clone(&progress), reply };
        if self.jobs.send(job).is_err() {
            return Ran { answer: Err(Fault::thread_gone()), limits: None };
        }
        let asked = Instant::now();
        if let Some(answer) = look_for(&mut answer, asked) {
            return Ran { answer, limits: progress.limits.get().cloned() };
        }
        let mut wait = deadline;
        let answer = loop {
            match tokio::time::timeout(wait, &mut answer).await {
                Ok(Ok(answer)) => break answer,
                Ok(Err(_)) => break Err(Fault::thread_gone()),
                Err(_) => match remaining(&progress, asked, deadline) {
                    Some(more) => wait = more,
                    None if give_up(&progress) => break Err(Fault::deadline(deadline.as_millis() as u64)),
                    // It finished in the moment of giving up: the answer is there.
                    None => wait = PICKUP_GRACE,
                },
            }
        };
        Ran { answer, limits: progress.limits.get().cloned() }
    }
}

/// Looks for the answer for a moment. On one core nobody would be there to give it.
fn look_for(answer: &mut oneshot::Receiver<Answer>, asked: Instant) -> Option<Answer> {
    static ALONE: LazyLock<bool> = LazyLock::new(|| std::thread::available_parallelism().is_ok_and(|n| n.get() == 1));
    while !*ALONE && asked.elapsed() < LOOK_FOR_ANSWER {
        match answer.try_recv() {
            Ok(answer) => return Some(answer),
            Err(TryRecvError::Closed) => return Some(Err(Fault::thread_gone())),
            Err(TryRecvError::Empty) => std::hint::spin_loop(),
        }
    }
    None
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

fn work(pipeline: &Pipeline, inbox: &mpsc::Receiver<Job>) {
    while let Ok(job) = inbox.recv() {
        let _ = job.progress.started.set(Instant::now());
        let answer = pollster::block_on(pipeline.run(&job.round, job.observations.as_deref(), &job.progress.limits));
        if job.progress.over.swap(true, Ordering::AcqRel) {
            // Written off in the meantime, and back after all.
            STUCK.fetch_sub(1, Ordering::Relaxed);
        }
        let _ = job.reply.send(answer);
    }
}
