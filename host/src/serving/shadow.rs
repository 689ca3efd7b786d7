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

use crate::core::limits::{SHADOW_MESSAGES, SHADOW_PATIENCE, SHADOW_REST};
use crate::core::threads;
use crate::foreign::Proposal;
use crate::serving::lane::{Decided, LimitsCell, Pipeline};
use crate::serving::placement::input_bytes;
use crate::serving::slot::ShadowInfo;
use crate::serving::validate;
use crate::state::receipt::ShadowReceipt;

/// A candidate with what it has shown so far.
pub(crate) struct Shadow {
    pub(crate) info: ShadowInfo,
    pub(crate) pipeline: Arc<Pipeline>,
}

/// What a shadow has shown. Pairs are of the shadow and of the active policy, in the rounds that it answered.
#[derive(Debug)]
struct Shown {
    info: ShadowInfo,
    rounds: u64,
    declined: u64,
    tasks: [u64; 2],
    /// Tasks that both bound to the same executor.
    same: u64,
    /// Input bytes of bound tasks, and those of them that lay on the executor.
    bytes: [u64; 2],
    local_bytes: [u64; 2],
    /// Why it is asked no more: code and message.
    failed: Option<(&'static str, String)>,
    latency_us: Histogram<u64>,
}

impl Shown {
    fn new(info: ShadowInfo) -> Self {
        let latency_us = Histogram::new_with_bounds(1, 60_000_000, 3).expect("bounds that a histogram takes");
        Self {
            info,
            rounds: 0,
            declined: 0,
            tasks: [0; 2],
            same: 0,
            bytes: [0; 2],
            local_bytes: [0; 2],
            failed: None,
            latency_us,
        }
    }

    fn receipt(&self) -> ShadowReceipt {
        let share = |part: u64, all: u64| if all == 0 { 0.0 } else { part as f64 / all as f64 };
        let [tasks, tasks_of_active] = self.tasks;
        let most = tasks.max(tasks_of_active);
        let (failed, message) = self.failed.clone().unwrap_or_default();
        let ShadowInfo { policy, config, scores } = &self.info;
        ShadowReceipt {
            policy: policy.name.clone(),
            version: policy.version.clone(),
            sha256: policy.sha256.clone(),
            library: policy.library.clone(),
            config: serde_json::from_str(config).unwrap_or_default(),
            scores: scores.iter().map(|(score, weight)| score.receipt(*weight)).collect(),
            rounds: self.rounds,
            declined: self.declined,
            tasks,
            tasks_of_active,
            agreement: if most == 0 { 1.0 } else { share(self.same, most) },
            local_bytes_share: share(self.local_bytes[0], self.bytes[0]),
            local_bytes_share_of_active: share(self.local_bytes[1], self.bytes[1]),
            latency_us_p50: self.latency_us.value_at_quantile(0.5),
            latency_us_p99: self.latency_us.value_at_quantile(0.99),
            failed: failed.to_owned(),
            message,
        }
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
    shown: Mutex<Vec<Shown>>,
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
        let shown = shadows.iter().map(|shadow| Shown::new(shadow.info.clone())).collect();
        let shared = Arc::new(Common {
            busy: AtomicBool::new(false),
            skipped_rounds: AtomicU64::new(0),
            shown: Mutex::new(shown),
            asked: Mutex::default(),
        });
        let common = Arc::clone(&shared);
        threads::spawn_bulk("policy-shadow", move || follow(&shadows, &inbox, &common))?;
        Ok(Self { messages, shared })
    }

    /// Shows what happened; never waits: what finds no room is not seen.
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
    pub(crate) fn receipts(&self) -> (Vec<ShadowReceipt>, u64) {
        let mut shown = self.shared.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = self.shared.stuck()
            && shown[at].failed.is_none()
        {
            let seconds = SHADOW_PATIENCE.as_secs();
            let message =
                format!("no answer after {seconds} s; this and every other shadow beside it is asked no more");
            tracing::warn!(
                policy = shown[at].info.policy.name,
                code = "deadline-exceeded",
                "a shadow failed: {message}"
            );
            shown[at].failed = Some(("deadline-exceeded", message));
        }
        (shown.iter().map(Shown::receipt).collect(), self.shared.skipped_rounds.load(Ordering::Relaxed))
    }
}

fn follow(shadows: &[Shadow], inbox: &mpsc::Receiver<Message>, common: &Common) {
    let update = |at: usize, change: &dyn Fn(&mut Shown)| {
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
                            update(at, &|shown| shown.declined += 1);
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
                update(at, &|shown| shown.failed = Some((fault.code, fault.message.clone())));
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
fn ask(pipeline: &Pipeline, round: &Round, decided: &Decided) -> Result<Proposal, crate::core::guard::Fault> {
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

impl Shown {
    fn add(&mut self, compared: &Compared, took_us: u64) {
        self.rounds += 1;
        self.same += compared.same;
        for who in 0..2 {
            self.tasks[who] += compared.tasks[who];
            self.bytes[who] += compared.bytes[who];
            self.local_bytes[who] += compared.local_bytes[who];
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
    use crate::serving::slot::PartInfo;

    #[test]
    fn a_shadow_that_does_not_answer_is_told() {
        let part = |name: &str| {
            let (version, library, sha256) = Default::default();
            let policy = PartInfo { kind: "shadow", name: name.into(), version, library, sha256 };
            ShadowInfo { policy, config: String::new(), scores: Vec::new() }
        };
        let shared = Arc::new(Common {
            busy: AtomicBool::new(true),
            skipped_rounds: AtomicU64::new(0),
            shown: Mutex::new(vec![Shown::new(part("quick")), Shown::new(part("stuck"))]),
            asked: Mutex::default(),
        });
        let (messages, _inbox) = mpsc::sync_channel(1);
        let shadows = Shadows { messages, shared: Arc::clone(&shared) };
        let failed = || shadows.receipts().0.into_iter().map(|r| r.failed).collect::<Vec<_>>();
        shared.set_asked(Some(1));
        assert_eq!(failed(), ["", ""], "it has only just been asked");
        let long_ago = Instant::now().checked_sub(SHADOW_PATIENCE * 2).expect("a clock that has run for a while");
        *shared.asked.lock().unwrap() = Some((1, long_ago));
        assert_eq!(failed(), ["", "deadline-exceeded"]);
    }
}
