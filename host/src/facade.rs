//! The host as an embedder sees it: start it, bind rounds, observe, listen, switch.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use policy_wire::assemble::Round;
use policy_wire::observe::Observation;
use tokio::sync::{broadcast, mpsc, oneshot};

use crate::artifact::judge::Judge;
use crate::control::activation::{Activation, LaneKind};
use crate::control::{Control, Message};
use crate::core::event::{Event, EventKind};
use crate::core::feedback::Feedback;
use crate::core::guard::Fault;
use crate::core::limits::{ADMISSION_DEADLINE, EVENTS_KEPT, INBOX_MESSAGES, RESCAN_INTERVAL, ROUND_DEADLINE};
use crate::core::text::chain;
use crate::record::{Dump, RecordOptions, Recorder, RecordingReceipt};
use crate::serving::bind;
use crate::serving::built_in::{BuiltIn, TaskDistributionPolicy};
use crate::serving::lane::Nudge;
use crate::serving::slot::{ActiveInfo, Slot};
use crate::serving::validate::Plan;
use crate::state::receipt::{ClearRequest, Listed, Quarantined, Receipt, StateDir};

/// How to start a host.
#[derive(Clone, Debug)]
pub struct HostOptions {
    /// What answers until an `active.json` says otherwise, and when nothing else can.
    pub policy: TaskDistributionPolicy,
    /// The plugin directory; `None` hosts the built-in or custom policy only. It may appear later. A relative path, here
    /// and below, is resolved once, when the host starts.
    pub plugins: Option<PathBuf>,
    /// The host's own files; `None` puts them under the plugin directory.
    pub state_dir: Option<PathBuf>,
    /// The lane of policies whose `active.json` names none.
    pub lane: LaneKind,
    /// What binds a round when the policy cannot, where `active.json` names none.
    pub fallback: BuiltIn,
    /// The deadline of rounds whose `active.json` names none.
    pub deadline: Duration,
    /// How often the directory is read whether or not a file event came.
    pub rescan: Duration,
    /// How long vetting, loading, construction and canned rounds of one file may take together.
    pub admission_deadline: Duration,
    /// Judges each new file in a child process before it is mapped here.
    pub judge: Option<Judge>,
    /// Records every round to a file.
    pub record: Option<RecordOptions>,
}

impl Default for HostOptions {
    fn default() -> Self {
        Self {
            policy: TaskDistributionPolicy::default(),
            plugins: None,
            state_dir: None,
            lane: LaneKind::default(),
            fallback: BuiltIn::default(),
            deadline: ROUND_DEADLINE,
            rescan: RESCAN_INTERVAL,
            admission_deadline: ADMISSION_DEADLINE,
            judge: None,
            record: None,
        }
    }
}

impl HostOptions {
    /// Starts with this policy.
    #[must_use]
    pub fn with_policy(policy: TaskDistributionPolicy) -> Self {
        Self { policy, ..Self::default() }
    }

    /// Hosts this plugin directory.
    #[must_use]
    pub fn plugins(mut self, directory: impl Into<PathBuf>) -> Self {
        self.plugins = Some(directory.into());
        self
    }

    /// Makes every path absolute: a plugin may change the working directory of the process. Links stay as they are, so
    /// that one that is made to point elsewhere is followed.
    fn with_absolute_paths(mut self) -> Result<Self, StartError> {
        let record = self.record.as_mut().map(|record| &mut record.file);
        for path in [self.plugins.as_mut(), self.state_dir.as_mut(), record].into_iter().flatten() {
            *path = std::path::absolute(&*path).map_err(|source| StartError::Path { path: path.clone(), source })?;
        }
        Ok(self)
    }

    /// Records every round as these options say.
    #[must_use]
    pub fn record(mut self, options: RecordOptions) -> Self {
        self.record = Some(options);
        self
    }
}

/// Why a host could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The state directory cannot be used.
    #[error("{path}: cannot hold the host's files (--state-dir names another directory)")]
    StateDir {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Another host uses the state directory.
    #[error("{path}: another host (process {pid}) uses this directory; stop it, or name another --state-dir")]
    InUse {
        /// The directory.
        path: PathBuf,
        /// The other host.
        pid: u32,
    },
    /// Somebody else could change the host's files.
    #[error(transparent)]
    Unsafe(#[from] crate::artifact::vet::Unsafe),
    /// The plugin path is not a directory.
    #[error("{path}: is not a directory")]
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// The recording cannot be begun.
    #[error("{path}: cannot be recorded to (name a file that is not there yet)")]
    Recording {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A relative path, and no working directory to resolve it in.
    #[error("{path}: cannot be made absolute (name an absolute path)")]
    Path {
        /// The path.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A thread cannot be started.
    #[error("cannot start a thread")]
    Thread {
        /// What the system says.
        #[from]
        source: std::io::Error,
    },
}

impl StartError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::StateDir { .. } => "state-dir-unusable",
            Self::InUse { .. } => "state-dir-in-use",
            Self::Unsafe(_) => "state-dir-unsafe",
            Self::NotADirectory { .. } => "not-a-directory",
            Self::Recording { .. } => "recording-unwritable",
            Self::Path { .. } => "path-unusable",
            Self::Thread { .. } => "no-thread",
        }
    }
}

/// A change that was refused: what was active stays active.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Refusal {
    /// The stable code.
    pub code: &'static str,
    /// File, place, reason and what to do.
    pub message: String,
}

/// What a round tells the control task.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// A generation is out of service.
    Ejected { generation: u64, fault: Fault, dump: Dump },
    /// A destructor complained.
    Note { policy: String, generation: u64, message: String },
}

/// What rounds and the control task share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) slot: Slot,
    pub(crate) feedback: Feedback,
    pub(crate) recorder: Option<Recorder>,
    pub(crate) inbox: mpsc::Sender<Message>,
    events: broadcast::Sender<Arc<Event>>,
    pub(crate) started: Instant,
    pub(crate) rounds: AtomicU64,
    pub(crate) fallback_rounds: AtomicU64,
    pub(crate) empty_rounds: AtomicU64,
    /// Rounds whose caller dropped its `bind` before it had an answer.
    pub(crate) dropped_rounds: AtomicU64,
    pub(crate) dropped: AtomicU64,
    pub(crate) receipt: Mutex<Receipt>,
    pub(crate) listed: Mutex<Vec<Listed>>,
}

impl Shared {
    /// Posts to the control task; never waits. `false` when the inbox is full.
    pub(crate) fn post(&self, outcome: Outcome) -> bool {
        let posted = self.inbox.try_send(Message::Outcome(outcome)).is_ok();
        if !posted {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        posted
    }

    /// What lanes tell the control task with: that there is something to look at. With a full inbox it looks anyway, once
    /// it has read that.
    pub(crate) fn nudge(inbox: &mpsc::Sender<Message>) -> Nudge {
        // Lanes belong to what `Shared` holds: they must not keep the inbox open.
        let inbox = inbox.downgrade();
        Arc::new(move || {
            if let Some(inbox) = inbox.upgrade() {
                let _ = inbox.try_send(Message::Look);
            }
        })
    }

    /// Tells listeners and the log.
    pub(crate) fn emit(&self, kind: EventKind) {
        self.send(Event::now(self.started, kind));
    }

    /// Tells listeners and the log of an event that happened before.
    pub(crate) fn send(&self, event: Event) {
        event.kind.trace();
        // Nobody listening is fine.
        let _ = self.events.send(Arc::new(event));
    }
}

/// A policy host. Dropping it stops watching; policies are dropped on threads of their own.
#[derive(Debug)]
pub struct PolicyHost {
    shared: Arc<Shared>,
    /// For the first listener: it hears everything since the start.
    first_listener: Mutex<Option<broadcast::Receiver<Arc<Event>>>>,
}

impl PolicyHost {
    /// Starts a host: its control task runs on a thread of its own, and with a plugin directory a second one watches.
    ///
    /// Returns at once; libraries that are there already are admitted in the background. [`PolicyHost::events`] tells.
    ///
    /// # Errors
    /// When the state directory cannot be used, or threads cannot be started. A plugin directory that is not there is
    /// not an error: it is picked up when it appears.
    pub fn start(options: HostOptions) -> Result<Self, StartError> {
        let options = options.with_absolute_paths()?;
        if let Some(path) = options.plugins.as_ref().filter(|p| p.exists() && !p.is_dir()) {
            return Err(StartError::NotADirectory { path: path.clone() });
        }
        let recorder = options.record.as_ref().map(|record| {
            let path = record.file.clone();
            Recorder::start(record).map_err(|source| StartError::Recording { path, source })
        });
        let (inbox, messages) = mpsc::channel(INBOX_MESSAGES);
        let initial = Arc::new(Control::initial(&options, Shared::nudge(&inbox))?);
        let (events, first_listener) = broadcast::channel(EVENTS_KEPT);
        let shared = Arc::new(Shared {
            slot: Slot::new(initial),
            feedback: Feedback::default(),
            recorder: recorder.transpose()?,
            inbox,
            events,
            started: Instant::now(),
            rounds: AtomicU64::new(0),
            fallback_rounds: AtomicU64::new(0),
            empty_rounds: AtomicU64::new(0),
            dropped_rounds: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            receipt: Mutex::default(),
            listed: Mutex::default(),
        });
        let begun = options.record.as_ref().map(|record| record.file.clone());
        if let Err(error) = Control::spawn(Arc::clone(&shared), options, messages) {
            // A recording of nothing would only be in the way of the next attempt.
            if let Some(file) = begun {
                let _ = std::fs::remove_file(file);
            }
            return Err(error);
        }
        Ok(Self { shared, first_listener: Mutex::new(Some(first_listener)) })
    }

    /// Answers a round: asks the policy in service, validates its answer, and falls back where there is none. Always
    /// returns a legal plan; never waits for a swap. Call it once whenever something changed, something is pending and
    /// something is free, and apply the plan before building the next round.
    ///
    /// One source of rounds a host: policies remember executors by their lasting numbers
    /// ([`ExecutorUid`](policy_wire::ExecutorUid)), which must mean the same executor in every round.
    ///
    /// Drop the future to give a round up: it is not counted as answered, and observations that no policy has seen yet go
    /// to the next round. In the `thread` lane the call that it asked for may run on until its deadline; after that it is
    /// a missed deadline like any other. Rounds asked at the same time are put to the policy one after the other.
    ///
    /// # Panics
    /// Outside a tokio runtime with time enabled: in the `thread` lane; in the `inline` lane, where a round finds the
    /// policy busy with another, or is not answered at once.
    pub async fn bind(&self, round: Arc<Round>) -> Plan {
        bind::bind(&self.shared, round).await
    }

    /// Whether anybody learns from observations now: the policy in service, its filters and scores, a shadow, a
    /// recording. Where nobody does, an embedder need not collect them. Every swap may change it. Costs an atomic load.
    #[must_use]
    pub fn wants_observations(&self) -> bool {
        let lineup = self.shared.slot.load();
        let serving = lineup.serving();
        self.shared.recorder.is_some() || serving.shadows.is_some() || serving.lane.observes()
    }

    /// Reports what happened to earlier bindings: delivered to the policy in service before its next round; dropped
    /// where nobody learns from it.
    pub fn observe(&self, batch: Vec<Observation>) {
        if !self.wants_observations() {
            return;
        }
        let dropped = self.shared.feedback.add(batch);
        if dropped > 0 {
            self.shared.dropped.fetch_add(dropped as u64, Ordering::Relaxed);
        }
    }

    /// Listens to events: the first listener from the start of the host on, every further one from now on.
    #[must_use]
    pub fn events(&self) -> Events {
        let first = self.first_listener.lock().unwrap_or_else(PoisonError::into_inner).take();
        Events(first.unwrap_or_else(|| self.shared.events.subscribe()))
    }

    /// The generation that answers the next round.
    #[must_use]
    pub fn active(&self) -> Arc<ActiveInfo> {
        Arc::clone(&self.shared.slot.load().serving().info)
    }

    /// The receipt as the state directory has it, with counters as of now.
    #[must_use]
    pub fn receipt(&self) -> Receipt {
        let mut receipt = self.shared.receipt.lock().unwrap_or_else(PoisonError::into_inner).clone();
        receipt.fallback_rounds = self.shared.fallback_rounds.load(Ordering::Relaxed);
        receipt.recording = self.recording();
        receipt.empty_rounds = self.shared.empty_rounds.load(Ordering::Relaxed);
        receipt.dropped_rounds = self.shared.dropped_rounds.load(Ordering::Relaxed);
        let lineup = self.shared.slot.load();
        if let Some(active) = receipt.active.as_mut().filter(|a| a.generation == lineup.active.info.generation) {
            active.rounds_answered = lineup.active.rounds.load(Ordering::Relaxed);
            active.fill_calls(&lineup.active, &lineup);
            if let Some(shadows) = &lineup.active.shadows {
                (active.shadow, active.shadow_rounds_skipped) = shadows.receipts();
            }
        }
        receipt
    }

    /// How the recording is getting on; `None` where none was asked for.
    #[must_use]
    pub fn recording(&self) -> Option<RecordingReceipt> {
        self.shared.recorder.as_ref().map(Recorder::receipt)
    }

    /// Ends the recording: writes what is queued and what was observed since the last round, and closes the file. Rounds
    /// go on, unrecorded. Without it, a host that is dropped closes its file in the background.
    pub async fn finish_recording(&self) -> Option<RecordingReceipt> {
        let recorder = self.shared.recorder.as_ref()?;
        let rest = self.shared.feedback.take();
        rest.delivered();
        Some(recorder.finish(rest.block()).await)
    }

    /// Every policy found in the plugin directory, with its state.
    #[must_use]
    pub fn policies(&self) -> Vec<Listed> {
        self.shared.listed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Switches as an `active.json` of this content would, without the file: the embedder's way. Returns once the new
    /// generation has answered a round, or has proved idle.
    ///
    /// # Errors
    /// The refusal; then what was active stays active.
    pub async fn switch(&self, active_json: &str) -> Result<Arc<ActiveInfo>, Refusal> {
        let activation =
            Activation::parse(active_json.as_bytes()).map_err(|e| Refusal { code: e.code(), message: chain(&e) })?;
        let (reply, answer) = oneshot::channel();
        let stopped = || Refusal { code: "stopped", message: "the host has stopped".into() };
        let message = Message::Switch { activation, asked: Instant::now(), reply };
        self.shared.inbox.send(message).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }

    /// Puts libraries back in service that failed in it, as `policy-host quarantine clear` does: they can be activated
    /// again. Returns what was out of service.
    pub async fn clear_quarantine(&self, request: ClearRequest) -> Vec<Quarantined> {
        let (reply, answer) = oneshot::channel();
        if self.shared.inbox.send(Message::Clear { request, reply }).await.is_err() {
            return Vec::new();
        }
        answer.await.unwrap_or_default()
    }

    /// The fallback of the generation in service.
    #[must_use]
    pub fn fallback(&self) -> BuiltIn {
        self.active().fallback
    }

    /// The state directory of a plugin directory.
    #[must_use]
    pub fn state_dir(options: &HostOptions) -> Option<StateDir> {
        match (&options.plugins, &options.state_dir) {
            (Some(plugins), state_dir) => Some(StateDir::of(plugins, state_dir.as_deref())),
            (None, Some(state_dir)) => Some(StateDir::of(state_dir, Some(state_dir))),
            (None, None) => None,
        }
    }
}

impl Drop for PolicyHost {
    fn drop(&mut self) {
        // A full inbox delays the stop to when it is read: the control task also ends when nobody else holds `shared`.
        let _ = self.shared.inbox.try_send(Message::Stop(None));
    }
}

impl PolicyHost {
    /// Stops the host and waits until its files are written.
    pub async fn shutdown(self) {
        self.stop().await;
    }

    /// As [`PolicyHost::shutdown`], for a host that others hold as well: from now on nothing changes any more. Rounds are
    /// answered by what is active.
    pub async fn stop(&self) {
        let (done, finished) = oneshot::channel();
        if self.shared.inbox.send(Message::Stop(Some(done))).await.is_ok() {
            let _ = finished.await;
        }
    }
}

/// A listener to the host's events.
#[derive(Debug)]
pub struct Events(broadcast::Receiver<Arc<Event>>);

impl Events {
    /// The next event; `None` once the host is gone. A listener that is too slow misses the oldest events.
    pub async fn next(&mut self) -> Option<Arc<Event>> {
        loop {
            match self.0.recv().await {
                Ok(event) => return Some(event),
                Err(broadcast::error::RecvError::Lagged(missed)) => {
                    tracing::warn!(missed, "a listener was too slow and missed events");
                }
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }

    /// The next event if there is one already.
    pub fn try_next(&mut self) -> Option<Arc<Event>> {
        loop {
            match self.0.try_recv() {
                Ok(event) => return Some(event),
                Err(broadcast::error::TryRecvError::Lagged(_)) => {}
                Err(_) => return None,
            }
        }
    }
}
