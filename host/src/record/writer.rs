//! The recorder: a queue that never makes a round wait, and the thread that writes.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, mpsc};
use std::time::Instant;

use policy_wire::block::Block;
use tokio::sync::watch;

use super::codec::{Encoder, Totals};
use super::{Header, RecordOptions, RecordingReceipt, Taken, frame};
use crate::core::limits::{
    FRAME_AGE, FRAME_BYTES, MAX_QUEUED_BYTES, RECORD_IDLE, RECORD_MESSAGES, RECORD_TICK, RECORDING_END_BYTES,
};
use crate::core::text::chain;
use crate::core::threads;

/// Why recording stopped. 0 while it goes on.
const STOPPED: [&str; 4] = ["", "limit", "unwritable", "closed"];
const LIMIT: u8 = 1;
const UNWRITABLE: u8 = 2;
const CLOSED: u8 = 3;

enum Message {
    /// A round, and how many before it found no room.
    Round(Box<Taken>, u64),
    Observed(Arc<Block>),
    /// Look whether recording shall end.
    Wake,
}

/// Where rounds are handed over. Dropping it ends the recording.
#[derive(Debug)]
pub(crate) struct Recorder {
    messages: mpsc::SyncSender<Message>,
    common: Arc<Common>,
    file: PathBuf,
    limit_bytes: u64,
}

#[derive(Debug)]
struct Common {
    queued_bytes: AtomicUsize,
    rounds: AtomicU64,
    missed: AtomicU64,
    /// Rounds that found no room since the last one that did.
    missed_since: AtomicU64,
    /// Rounds handed over, whatever became of them.
    seen: AtomicU64,
    bytes: AtomicU64,
    /// Place in [`STOPPED`].
    stopped: AtomicU8,
    /// What the system said when the file could not be written.
    unwritable: OnceLock<String>,
    closing: AtomicBool,
    done: watch::Sender<bool>,
}

impl Recorder {
    /// Begins the file, which must not be there, and starts the thread.
    pub(crate) fn start(options: &RecordOptions) -> std::io::Result<Self> {
        let head = frame::header(&Header::new("recording", options.about.clone()))?;
        let mut file = File::options().write(true).create_new(true).open(&options.file)?;
        file.write_all(&head)?;
        let common = Arc::new(Common {
            queued_bytes: AtomicUsize::new(0),
            rounds: AtomicU64::new(0),
            missed: AtomicU64::new(0),
            missed_since: AtomicU64::new(0),
            seen: AtomicU64::new(0),
            bytes: AtomicU64::new(head.len() as u64),
            stopped: AtomicU8::new(0),
            unwritable: OnceLock::new(),
            closing: AtomicBool::new(false),
            done: watch::Sender::new(false),
        });
        let (messages, inbox) = mpsc::sync_channel(RECORD_MESSAGES);
        let mut writer = Writer {
            file,
            written: head.len() as u64,
            limit_bytes: options.limit_bytes,
            encoder: Encoder::default(),
            common: Arc::clone(&common),
            opened: Instant::now(),
            totals: Totals::default(),
            in_frame: 0,
        };
        threads::spawn_bulk("policy-record", move || {
            writer.follow(&inbox);
            writer.close();
        })?;
        Ok(Self { messages, common, file: options.file.clone(), limit_bytes: options.limit_bytes })
    }

    /// Takes a round; never waits. What finds no room is counted.
    pub(crate) fn round(&self, taken: Taken) {
        let common = &*self.common;
        common.seen.fetch_add(1, Ordering::Relaxed);
        if common.stopped.load(Ordering::Relaxed) != 0 {
            return;
        }
        let bytes = taken.bytes();
        let queued = common.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        // One that is too large for any queue goes alone.
        if queued == 0 || queued.saturating_add(bytes) <= MAX_QUEUED_BYTES {
            let before = match common.missed_since.load(Ordering::Relaxed) {
                0 => 0,
                _ => common.missed_since.swap(0, Ordering::Relaxed),
            };
            if self.messages.try_send(Message::Round(Box::new(taken), before)).is_ok() {
                return;
            }
            common.missed_since.fetch_add(before, Ordering::Relaxed);
        }
        common.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
        common.missed_since.fetch_add(1, Ordering::Relaxed);
        common.missed.fetch_add(1, Ordering::Relaxed);
    }

    /// Writes what is queued, and what happened since the last round, and closes the file.
    pub(crate) async fn finish(&self, last: Option<Arc<Block>>) -> RecordingReceipt {
        if let Some(batch) = last {
            let _ = self.messages.try_send(Message::Observed(batch));
        }
        self.common.closing.store(true, Ordering::Release);
        // A full queue needs no waking.
        let _ = self.messages.try_send(Message::Wake);
        let _ = self.common.done.subscribe().wait_for(|done| *done).await;
        self.receipt()
    }

    pub(crate) fn receipt(&self) -> RecordingReceipt {
        let common = &*self.common;
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        // While it goes on, what is neither written nor missed is on its way.
        let stopped = STOPPED[usize::from(common.stopped.load(Ordering::Relaxed))];
        let (rounds, rounds_missed) = (of(&common.rounds), of(&common.missed));
        let left = of(&common.seen).saturating_sub(rounds + rounds_missed);
        RecordingReceipt {
            file: self.file.display().to_string(),
            rounds,
            rounds_missed,
            rounds_after_stop: if stopped.is_empty() { 0 } else { left },
            bytes: of(&common.bytes),
            limit_bytes: self.limit_bytes,
            stopped: stopped.to_owned(),
            message: common.unwritable.get().cloned().unwrap_or_default(),
        }
    }
}

struct Writer {
    file: File,
    /// Up to the end of the last whole frame.
    written: u64,
    limit_bytes: u64,
    encoder: Encoder,
    common: Arc<Common>,
    /// When the frame at hand was begun.
    opened: Instant,
    /// Of whole frames.
    totals: Totals,
    /// Rounds in the frame at hand, and rounds missed before them.
    in_frame: u64,
}

impl Writer {
    /// Looks after the queue in steps: a sender that had to wake this thread would pay for it with every round.
    fn follow(&mut self, inbox: &mpsc::Receiver<Message>) {
        let mut idle_since = Instant::now();
        while !self.stopped() {
            let message = match inbox.try_recv() {
                Ok(message) => message,
                Err(mpsc::TryRecvError::Disconnected) => return,
                Err(mpsc::TryRecvError::Empty) if self.common.closing.load(Ordering::Acquire) => return,
                Err(mpsc::TryRecvError::Empty) => {
                    self.flush_if(self.opened.elapsed() >= FRAME_AGE);
                    if idle_since.elapsed() < RECORD_IDLE || self.encoder.len() > 0 {
                        std::thread::sleep(RECORD_TICK);
                        continue;
                    }
                    let Ok(message) = inbox.recv() else { return };
                    message
                }
            };
            idle_since = Instant::now();
            self.take(message);
            self.flush_if(self.encoder.len() >= FRAME_BYTES);
        }
    }

    fn take(&mut self, message: Message) {
        if self.encoder.len() == 0 {
            self.opened = Instant::now();
        }
        match message {
            Message::Round(taken, missed) => {
                self.tell_missed(missed);
                self.encoder.round(&taken);
                self.in_frame += 1;
                self.common.queued_bytes.fetch_sub(taken.bytes(), Ordering::Relaxed);
            }
            Message::Observed(batch) => self.encoder.observed(&batch),
            Message::Wake => {}
        }
    }

    fn tell_missed(&mut self, missed: u64) {
        if missed > 0 {
            self.encoder.missed(missed);
            self.totals.missed += missed;
        }
    }

    fn stopped(&self) -> bool {
        self.common.stopped.load(Ordering::Relaxed) != 0
    }

    fn flush_if(&mut self, due: bool) {
        if !due || self.encoder.len() == 0 {
            return;
        }
        let rounds = std::mem::take(&mut self.in_frame);
        let packed = frame::pack(&self.encoder.take());
        let fits = |n: usize| self.written + n as u64 + RECORDING_END_BYTES <= self.limit_bytes;
        match packed.filter(|packed| fits(packed.len())) {
            Some(packed) => {
                if self.write(&packed) {
                    self.totals.rounds += rounds;
                    self.common.rounds.fetch_add(rounds, Ordering::Relaxed);
                }
            }
            None => {
                self.totals.limit = true;
                self.common.stopped.store(LIMIT, Ordering::Relaxed);
                let limit_bytes = self.limit_bytes;
                tracing::warn!(limit_bytes, "recording has reached its limit: later rounds are not recorded");
            }
        }
    }

    /// Writes whole frames or nothing.
    fn write(&mut self, packed: &[u8]) -> bool {
        match self.file.write_all(packed) {
            Ok(()) => {
                self.written += packed.len() as u64;
                self.common.bytes.store(self.written, Ordering::Relaxed);
                true
            }
            Err(e) => {
                let reason = chain(&e);
                tracing::error!("recording stops, the file cannot be written: {reason}");
                let _ = self.common.unwritable.set(reason);
                self.common.stopped.store(UNWRITABLE, Ordering::Relaxed);
                // A frame cut short is what readers expect of a crash; without it the file is simply shorter.
                let _ = self.file.set_len(self.written);
                false
            }
        }
    }

    fn close(&mut self) {
        if !self.stopped() {
            let missed = self.common.missed_since.swap(0, Ordering::Relaxed);
            self.tell_missed(missed);
            self.flush_if(true);
        }
        if self.common.stopped.load(Ordering::Relaxed) != UNWRITABLE {
            self.encoder.take();
            self.encoder.end(self.totals);
            if let Some(packed) = frame::pack(&self.encoder.take()) {
                self.write(&packed);
            }
            let _ = self.common.stopped.compare_exchange(0, CLOSED, Ordering::Relaxed, Ordering::Relaxed);
        }
        let _ = self.common.done.send_replace(true);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Whoever waits for the end must not wait for a thread that is gone.
        let _ = self.common.done.send_replace(true);
    }
}
