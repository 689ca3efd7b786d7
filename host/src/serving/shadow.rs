//! Shadows: candidates that see live rounds without effect. They run on a thread of their own, which takes a round when
//! it is idle and lets the others pass, and rests after each, so that it never takes more than a twentieth of a core;
//! nothing that they do reaches a plan.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Instant;

use hdrhistogram::Histogram;
use policy_wire::BoundTask;
use policy_wire::assemble::Round;
use policy_wire::block::{Block, BlockRef};

use crate::core::composition::Composition;
use crate::core::decided::Decided;
use crate::core::foreign::Proposal;
use crate::core::guard::Fault;
use crate::core::info::PartInfo;
use crate::core::limits::{SHADOW_MESSAGES, SHADOW_PATIENCE, SHADOW_REST};
use crate::core::threads::{self, Priority};
use crate::serving::lane::{LimitsCell, Pipeline};
use crate::serving::placement::input_bytes;
use crate::serving::validate;

/// A candidate with what it has shown so far.
pub(crate) struct Shadow {
    pub(crate) info: Composition<PartInfo>,
    pub(crate) pipeline: Arc<Pipeline>,
}

/// What a shadow has shown so far. Pairs are of the shadow and of the active policy, in the rounds that it answered.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    pub(crate) info: Composition<PartInfo>,
    pub(crate) rounds: u64,
    pub(crate) declined: u64,
    pub(crate) tasks: [u64; 2],
    /// Tasks that both bound to the same executor.
    pub(crate) same: u64,
    /// Input bytes of bound tasks, and those of them that lay on the executor.
    pub(crate) bytes: [u64; 2],
    pub(crate) local_bytes: [u64; 2],
    /// Why it is asked no more: code and message.
    pub(crate) failed: Option<(&'static str, String)>,
    /// Time of a round, median and 99th percentile.
    pub(crate) latency_us: [u64; 2],
}

/// What a shadow has shown, with every latency.
#[derive(Debug)]
struct Showing {
    shown: Shown,
    latency_us: Histogram<u64>,
}

impl Showing {
    fn new(info: Composition<PartInfo>) -> Self {
        let latency_us = Histogram::new_with_bounds(1, 60_000_000, 3).expect("bounds that a histogram takes");
        let shown = Shown {
            info,
            rounds: 0,
            declined: 0,
            tasks: [0; 2],
            same: 0,
            bytes: [0; 2],
            local_bytes: [0; 2],
            failed: None,
            latency_us: [0; 2],
        };
        Self { shown, latency_us }
    }

    fn shown(&self) -> Shown {
        Shown { latency_us: [0.5, 0.99].map(|q| self.latency_us.value_at_quantile(q)), ..self.shown.clone() }
    }
}

enum Message {
    Observed(Arc<Block>),
    Round { round: Arc<Round>, decided: Decided, rows: Arc<Proposal> },
}

/// The thread's handle. Dropping it ends the thread after the round at hand.
#[derive(Debug)]
pub(crate) struct Shadows {
    messages: mpsc::SyncSender<Message>,
    shared: Arc<Common>,
}

#[derive(Debug)]
struct Common {
    /// Set while a round waits or is looked at.
    busy: AtomicBool,
    /// Rounds that the shadows did not see.
    skipped_rounds: AtomicU64,
    shown: Mutex<Vec<Showing>>,
    /// Who is being asked, and since when.
    asked: Mutex<Option<(usize, Instant)>>,
}

impl Common {
    /// Who has not answered for longer than [`SHADOW_PATIENCE`].
    fn stuck(&self) -> Option<usize> {
        let asked = *self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.filter(|(_, since)| since.elapsed() > SHADOW_PATIENCE).map(|(at, _)| at)
    }

    fn set_asked(&self, asked: Option<usize>) {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = asked.map(|at| (at, Instant::now()));
    }
}

impl Shadows {
    pub(crate) fn start(shadows: Vec<Shadow>) -> std::io::Result<Self> {
        let (messages, inbox) = mpsc::sync_channel(SHADOW_MESSAGES);
        let shown = shadows.iter().map(|shadow| Showing::new(shadow.info.clone())).collect();
        let shared = Arc::new(Common {
            busy: AtomicBool::new(false),
            skipped_rounds: AtomicU64::new(0),
            shown: Mutex::new(shown),
            asked: Mutex::default(),
        });
        let common = Arc::clone(&shared);
        threads::spawn("policy-shadow", Priority::Low, move |_| follow(&shadows, &inbox, &common))?;
        Ok(Self { messages, shared })
    }

    /// Shows what happened; never waits: with a full queue it is not seen.
    pub(crate) fn observed(&self, batch: &Arc<Block>) {
        let _ = self.messages.try_send(Message::Observed(Arc::clone(batch)));
    }

    /// Shows a round with the answer that counts; never waits.
    pub(crate) fn saw(&self, round: &Arc<Round>, decided: &Decided, rows: &Arc<Proposal>) {
        if !self.shared.busy.swap(true, Ordering::AcqRel) {
            let (round, decided, rows) = (Arc::clone(round), decided.clone(), Arc::clone(rows));
            if self.messages.try_send(Message::Round { round, decided, rows }).is_ok() {
                return;
            }
            self.shared.busy.store(false, Ordering::Release);
        }
        self.shared.skipped_rounds.fetch_add(1, Ordering::Relaxed);
    }

    /// What the shadows have shown, and how many rounds they let pass.
    pub(crate) fn shown(&self) -> (Vec<Shown>, u64) {
        let mut shown = self.shared.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = self.shared.stuck()
            && shown[at].shown.failed.is_none()
        {
            let seconds = SHADOW_PATIENCE.as_secs();
            let message =
                format!("no answer after {seconds} s; this and every other shadow beside it is asked no more");
            tracing::warn!(
                policy = shown[at].shown.info.policy.name,
                code = "deadline-exceeded",
                "a shadow failed: {message}"
            );
            shown[at].shown.failed = Some(("deadline-exceeded", message));
        }
        (shown.iter().map(Showing::shown).collect(), self.shared.skipped_rounds.load(Ordering::Relaxed))
    }
}

fn follow(shadows: &[Shadow], inbox: &mpsc::Receiver<Message>, common: &Common) {
    let update = |at: usize, change: &dyn Fn(&mut Showing)| {
        change(&mut common.shown.lock().unwrap_or_else(PoisonError::into_inner)[at]);
    };
    let mut failed = vec![false; shadows.len()];
    while let Ok(message) = inbox.recv() {
        let begun = Instant::now();
        for (at, shadow) in shadows.iter().enumerate().filter(|(at, _)| !failed[*at]).collect::<Vec<_>>() {
            common.set_asked(Some(at));
            let fault = match &message {
                Message::Observed(batch) => shadow.pipeline.observe(BlockRef::new(batch)).err(),
                Message::Round { round, decided, rows } => {
                    let begun = Instant::now();
                    let answer = ask(&shadow.pipeline, round, decided);
                    let took = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
                    match answer {
                        Ok(own) => {
                            let compared = compare(round, own.rows(), rows.rows());
                            update(at, &|shown| shown.add(&compared, took));
                            None
                        }
                        Err(fault) if !fault.ejects() => {
                            update(at, &|shown| shown.shown.declined += 1);
                            None
                        }
                        Err(fault) => Some(fault),
                    }
                }
            };
            common.set_asked(None);
            if let Some(fault) = fault {
                failed[at] = true;
                tracing::warn!(
                    policy = shadow.info.policy.name,
                    code = fault.code,
                    "a shadow failed: {}",
                    fault.message
                );
                update(at, &|shown| shown.shown.failed = Some((fault.code, fault.message.clone())));
            }
        }
        if matches!(message, Message::Round { .. }) {
            // The round is let go of first: the embedder may want to reuse it.
            drop(message);
            std::thread::sleep(begun.elapsed() * SHADOW_REST);
            common.busy.store(false, Ordering::Release);
        }
    }
}

/// Asks under what the filters decided for the round, and judges the answer by the contract.
fn ask(pipeline: &Pipeline, round: &Round, decided: &Decided) -> Result<Proposal, Fault> {
    let answer = pollster::block_on(pipeline.rehearse(round, decided, &LimitsCell::new()))?;
    validate::check(round, decided, answer.rows())?;
    Ok(answer)
}

/// One round of a shadow against the active policy's.
struct Compared {
    tasks: [u64; 2],
    same: u64,
    bytes: [u64; 2],
    local_bytes: [u64; 2],
}

impl Showing {
    fn add(&mut self, compared: &Compared, took_us: u64) {
        let shown = &mut self.shown;
        shown.rounds += 1;
        shown.same += compared.same;
        for who in 0..2 {
            shown.tasks[who] += compared.tasks[who];
            shown.bytes[who] += compared.bytes[who];
            shown.local_bytes[who] += compared.local_bytes[who];
        }
        self.latency_us.saturating_record(took_us.max(1));
    }
}

fn compare(round: &Round, shadow: &[BoundTask], active: &[BoundTask]) -> Compared {
    let sorted = |rows: &[BoundTask]| {
        let mut rows = rows.to_vec();
        rows.sort_unstable_by_key(|row| row.task);
        rows
    };
    let (ours, theirs) = (sorted(shadow), sorted(active));
    let (mut a, mut b, mut same) = (0, 0, 0);
    while let (Some(x), Some(y)) = (ours.get(a), theirs.get(b)) {
        same += u64::from(x == y);
        a += usize::from(x.task <= y.task);
        b += usize::from(y.task <= x.task);
    }
    let stages = round.stage_refs();
    let view = round.view(&stages);
    let (of_shadow, of_active) = (input_bytes(&view, &ours), input_bytes(&view, &theirs));
    Compared {
        tasks: [ours.len() as u64, theirs.len() as u64],
        same,
        bytes: [of_shadow.0, of_active.0],
        local_bytes: [of_shadow.1, of_active.1],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shadow_that_does_not_answer_is_told() {
        let part = |name: &str| Composition::of(PartInfo { name: name.into(), ..PartInfo::default() });
        let shared = Arc::new(Common {
            busy: AtomicBool::new(true),
            skipped_rounds: AtomicU64::new(0),
            shown: Mutex::new(vec![Showing::new(part("quick")), Showing::new(part("stuck"))]),
            asked: Mutex::default(),
        });
        let (messages, _inbox) = mpsc::sync_channel(1);
        let shadows = Shadows { messages, shared: Arc::clone(&shared) };
        let failed =
            || shadows.shown().0.into_iter().map(|s| s.failed.map_or("", |(code, _)| code)).collect::<Vec<_>>();
        shared.set_asked(Some(1));
        assert_eq!(failed(), ["", ""], "it has only just been asked");
        let long_ago = Instant::now().checked_sub(SHADOW_PATIENCE * 2).expect("a clock that has run for a while");
        *shared.asked.lock().unwrap() = Some((1, long_ago));
        assert_eq!(failed(), ["", "deadline-exceeded"]);
    }
}
