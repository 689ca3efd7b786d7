//! The recorder's queue: a round is handed over and never waits. What a full queue refuses is counted.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, mpsc};

use policy_wire::block::Block;
use tokio::sync::watch;

use crate::core::limits::{MAX_QUEUED_BYTES, RECORD_MESSAGES};
use crate::core::taken::Taken;

/// What is handed to the recorder.
pub(crate) enum Taped {
    /// A round, and how many before it found no room.
    Round(Box<Taken>, u64),
    /// Observations that no round took along.
    Observed(Arc<Block>),
    /// Look whether recording shall end.
    Wake,
}

/// Why recording stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Stopped {
    Not,
    Limit,
    Unwritable,
    Closed,
}

impl Stopped {
    /// As receipts spell it; empty while recording goes on.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Not => "",
            Self::Limit => "limit",
            Self::Unwritable => "unwritable",
            Self::Closed => "closed",
        }
    }
}

/// How far the recorder has come, seen from both sides.
#[derive(Debug)]
pub(crate) struct Progress {
    pub(crate) queued_bytes: AtomicUsize,
    /// Rounds written.
    pub(crate) rounds: AtomicU64,
    /// Rounds that found no room.
    pub(crate) missed: AtomicU64,
    /// Rounds that found no room since the last one that did.
    pub(crate) missed_since: AtomicU64,
    /// Rounds handed over, whatever became of them.
    pub(crate) seen: AtomicU64,
    pub(crate) bytes: AtomicU64,
    stopped: AtomicU8,
    /// What the system said when the file could not be written.
    pub(crate) unwritable: OnceLock<String>,
    pub(crate) closing: AtomicBool,
    pub(crate) done: watch::Sender<bool>,
}

impl Progress {
    pub(crate) fn stopped(&self) -> Stopped {
        let all = [Stopped::Not, Stopped::Limit, Stopped::Unwritable, Stopped::Closed];
        all[usize::from(self.stopped.load(Ordering::Relaxed))]
    }

    /// Recording stops; the first reason stays.
    pub(crate) fn stop(&self, why: Stopped) {
        let _ = self.stopped.compare_exchange(0, why as u8, Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// Where rounds are handed over. Recording ends when the last one is dropped.
#[derive(Clone, Debug)]
pub(crate) struct Tape {
    messages: mpsc::SyncSender<Taped>,
    pub(crate) progress: Arc<Progress>,
}

impl Tape {
    /// A tape for a file that has `bytes` already, and the recorder's end of it.
    pub(crate) fn new(bytes: u64) -> (Self, mpsc::Receiver<Taped>) {
        let (messages, inbox) = mpsc::sync_channel(RECORD_MESSAGES);
        let progress = Arc::new(Progress {
            queued_bytes: AtomicUsize::new(0),
            rounds: AtomicU64::new(0),
            missed: AtomicU64::new(0),
            missed_since: AtomicU64::new(0),
            seen: AtomicU64::new(0),
            bytes: AtomicU64::new(bytes),
            stopped: AtomicU8::new(0),
            unwritable: OnceLock::new(),
            closing: AtomicBool::new(false),
            done: watch::Sender::new(false),
        });
        (Self { messages, progress }, inbox)
    }

    /// Takes a round; never waits. What a full queue refuses is counted.
    pub(crate) fn round(&self, taken: Taken) {
        let progress = &*self.progress;
        progress.seen.fetch_add(1, Ordering::Relaxed);
        if progress.stopped() != Stopped::Not {
            return;
        }
        let bytes = taken.bytes();
        let queued = progress.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        // One that is too large for any queue goes alone.
        if queued == 0 || queued.saturating_add(bytes) <= MAX_QUEUED_BYTES {
            let before = match progress.missed_since.load(Ordering::Relaxed) {
                0 => 0,
                _ => progress.missed_since.swap(0, Ordering::Relaxed),
            };
            if self.messages.try_send(Taped::Round(Box::new(taken), before)).is_ok() {
                return;
            }
            progress.missed_since.fetch_add(before, Ordering::Relaxed);
        }
        progress.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
        progress.missed_since.fetch_add(1, Ordering::Relaxed);
        progress.missed.fetch_add(1, Ordering::Relaxed);
    }

    /// Asks the recorder to write what is queued and what happened since the last round, and waits until it has.
    pub(crate) async fn close(&self, last: Option<Arc<Block>>) {
        if let Some(batch) = last {
            let _ = self.messages.try_send(Taped::Observed(batch));
        }
        self.progress.closing.store(true, Ordering::Release);
        // A full queue needs no waking.
        let _ = self.messages.try_send(Taped::Wake);
        let _ = self.progress.done.subscribe().wait_for(|done| *done).await;
    }
}
