//! The recorder: the thread that writes what comes by the tape.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Instant;

use policy_wire::block::Block;

use super::codec::{Encoder, Totals};
use super::{Header, RecordOptions, frame};
use crate::core::limits::{FRAME_AGE, FRAME_BYTES, RECORD_IDLE, RECORD_TICK, RECORDING_END_BYTES};
use crate::core::tape::{Progress, Stopped, Tape, Taped};
use crate::core::text::chain;
use crate::core::threads::{self, Priority};
use crate::state::receipt::RecordingReceipt;

/// A recording under way.
#[derive(Debug)]
pub(crate) struct Recorder {
    tape: Tape,
    file: PathBuf,
    limit_bytes: u64,
}

impl Recorder {
    /// Begins the file, which must not be there, and starts the thread.
    pub(crate) fn start(options: &RecordOptions) -> std::io::Result<Self> {
        let head = frame::header(&Header::new("recording", options.about.clone()))?;
        let mut file = File::options().write(true).create_new(true).open(&options.file)?;
        file.write_all(&head)?;
        let (tape, inbox) = Tape::new(head.len() as u64);
        let mut writer = Writer {
            file,
            written: head.len() as u64,
            limit_bytes: options.limit_bytes,
            encoder: Encoder::default(),
            progress: Arc::clone(&tape.progress),
            opened: Instant::now(),
            totals: Totals::default(),
            in_frame: 0,
        };
        threads::spawn("policy-record", Priority::Low, move |_| {
            writer.follow(&inbox);
            writer.close();
        })?;
        Ok(Self { tape, file: options.file.clone(), limit_bytes: options.limit_bytes })
    }

    /// Where rounds are handed over.
    pub(crate) fn tape(&self) -> &Tape {
        &self.tape
    }

    /// Writes what is queued, and what happened since the last round, and closes the file.
    pub(crate) async fn finish(&self, last: Option<Arc<Block>>) -> RecordingReceipt {
        self.tape.close(last).await;
        self.receipt()
    }

    pub(crate) fn receipt(&self) -> RecordingReceipt {
        let progress = &*self.tape.progress;
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        // While it goes on, what is neither written nor missed is on its way.
        let stopped = progress.stopped().as_str();
        let (rounds, rounds_missed) = (of(&progress.rounds), of(&progress.missed));
        let left = of(&progress.seen).saturating_sub(rounds + rounds_missed);
        RecordingReceipt {
            file: self.file.display().to_string(),
            rounds,
            rounds_missed,
            rounds_after_stop: if stopped.is_empty() { 0 } else { left },
            bytes: of(&progress.bytes),
            limit_bytes: self.limit_bytes,
            stopped: stopped.to_owned(),
            message: progress.unwritable.get().cloned().unwrap_or_default(),
        }
    }
}

struct Writer {
    file: File,
    /// Up to the end of the last whole frame.
    written: u64,
    limit_bytes: u64,
    encoder: Encoder,
    progress: Arc<Progress>,
    /// When the frame at hand was begun.
    opened: Instant,
    /// Of whole frames.
    totals: Totals,
    /// Rounds in the frame at hand, and rounds missed before them.
    in_frame: u64,
}

impl Writer {
    /// Looks after the queue in steps: a sender that had to wake this thread would pay for it with every round.
    fn follow(&mut self, inbox: &mpsc::Receiver<Taped>) {
        let mut idle_since = Instant::now();
        while !self.stopped() {
            let message = match inbox.try_recv() {
                Ok(message) => message,
                Err(mpsc::TryRecvError::Disconnected) => return,
                Err(mpsc::TryRecvError::Empty) if self.progress.closing.load(Ordering::Acquire) => return,
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

    fn take(&mut self, message: Taped) {
        if self.encoder.len() == 0 {
            self.opened = Instant::now();
        }
        match message {
            Taped::Round(taken, missed) => {
                self.count_missed(missed);
                self.encoder.round(&taken);
                self.in_frame += 1;
                self.progress.queued_bytes.fetch_sub(taken.bytes(), Ordering::Relaxed);
            }
            Taped::Observed(batch) => self.encoder.observed(&batch),
            Taped::Wake => {}
        }
    }

    fn count_missed(&mut self, missed: u64) {
        if missed > 0 {
            self.encoder.missed(missed);
            self.totals.missed += missed;
        }
    }

    fn stopped(&self) -> bool {
        self.progress.stopped() != Stopped::Not
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
                    self.progress.rounds.fetch_add(rounds, Ordering::Relaxed);
                }
            }
            None => {
                self.totals.limit = true;
                self.progress.stop(Stopped::Limit);
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
                self.progress.bytes.store(self.written, Ordering::Relaxed);
                true
            }
            Err(e) => {
                let reason = chain(&e);
                tracing::error!("recording stops, the file cannot be written: {reason}");
                let _ = self.progress.unwritable.set(reason);
                self.progress.stop(Stopped::Unwritable);
                // A frame cut short is what readers expect of a crash; without it the file is simply shorter.
                let _ = self.file.set_len(self.written);
                false
            }
        }
    }

    fn close(&mut self) {
        if !self.stopped() {
            let missed = self.progress.missed_since.swap(0, Ordering::Relaxed);
            self.count_missed(missed);
            self.flush_if(true);
        }
        if self.progress.stopped() != Stopped::Unwritable {
            self.encoder.take();
            self.encoder.end(self.totals);
            if let Some(packed) = frame::pack(&self.encoder.take()) {
                self.write(&packed);
            }
            self.progress.stop(Stopped::Closed);
        }
        let _ = self.progress.done.send_replace(true);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Whoever waits for the end must not wait for a thread that is gone.
        let _ = self.progress.done.send_replace(true);
    }
}
