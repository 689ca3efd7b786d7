//! The host as an embedder sees it: start it, bind rounds, observe, listen, switch.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use policy_wire::assemble::Round;
use policy_wire::observe::Observation;
use tokio::sync::{broadcast, mpsc, oneshot};

use crate::control::activation::Activation;
use crate::control::driver::Control;
use crate::control::initial::initial;
use crate::control::message::Message;
use crate::control::options::{HostOptions, StartError};
use crate::control::request::Refusal;
use crate::core::built_in::BuiltIn;
use crate::core::counters::Counters;
use crate::core::event::Event;
use crate::core::events::EventBus;
use crate::core::feedback::Feedback;
use crate::core::info::ActiveInfo;
use crate::core::limits::INBOX_MESSAGES;
use crate::core::text::chain;
use crate::core::wake::Wake;
use crate::record::Recorder;
use crate::serving::bind;
use crate::serving::service::Service;
use crate::serving::slot::Slot;
use crate::serving::validate::Plan;
use crate::state::account;
use crate::state::published::Published;
use crate::state::receipt::{ClearRequest, Listed, Quarantined, Receipt, RecordingReceipt};

/// A policy host. Dropping it stops watching; policies end on threads of their own.
#[derive(Debug)]
pub struct PolicyHost {
    service: Arc<Service>,
    published: Arc<Published>,
    recorder: Option<Arc<Recorder>>,
    inbox: mpsc::Sender<Message>,
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
        let control = Wake::default();
        let initial = Arc::new(initial(&options, control.clone())?);
        let recorder = options.record.as_ref().map(|record| {
            let path = record.file.clone();
            Recorder::start(record).map(Arc::new).map_err(|source| StartError::Recording { path, source })
        });
        let recorder = recorder.transpose()?;
        let (events, first_listener) = EventBus::new();
        let service = Arc::new(Service {
            slot: Slot::new(initial),
            feedback: Feedback::default(),
            counters: Counters::default(),
            events,
            tape: recorder.as_ref().map(|recorder| recorder.tape().clone()),
            control,
        });
        let published = Arc::new(Published::default());
        let (inbox, messages) = mpsc::channel(INBOX_MESSAGES);
        let begun = options.record.as_ref().map(|record| record.file.clone());
        let (shared, theirs) = ((Arc::clone(&service), Arc::clone(&published)), (inbox.clone(), messages));
        if let Err(error) = Control::spawn(shared.0, shared.1, recorder.clone(), options, theirs) {
            // A recording of nothing would only be in the way of the next attempt.
            if let Some(file) = begun {
                let _ = std::fs::remove_file(file);
            }
            return Err(error);
        }
        Ok(Self { service, published, recorder, inbox, first_listener: Mutex::new(Some(first_listener)) })
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
        bind::bind(&self.service, round).await
    }

    /// Whether anybody learns from observations now: the policy in service, its filters and scores, a shadow, a
    /// recording. Where nobody does, an embedder need not collect them. Every swap may change it. Costs an atomic load.
    #[must_use]
    pub fn wants_observations(&self) -> bool {
        let lineup = self.service.slot.load();
        let serving = lineup.serving();
        self.recorder.is_some() || serving.shadows.is_some() || serving.lane.observes()
    }

    /// Reports what happened to earlier bindings: delivered to the policy in service before its next round; dropped
    /// where nobody learns from it.
    pub fn observe(&self, batch: Vec<Observation>) {
        if !self.wants_observations() {
            return;
        }
        let dropped = self.service.feedback.add(batch);
        if dropped > 0 {
            self.service.counters.dropped_observations.add(dropped as u64);
        }
    }

    /// Listens to events: the first listener from the start of the host on, every further one from now on.
    #[must_use]
    pub fn events(&self) -> Events {
        let first = self.first_listener.lock().unwrap_or_else(PoisonError::into_inner).take();
        Events(first.unwrap_or_else(|| self.service.events.subscribe()))
    }

    /// The generation that answers the next round.
    #[must_use]
    pub fn active(&self) -> Arc<ActiveInfo> {
        Arc::clone(&self.service.slot.load().serving().info)
    }

    /// The receipt as the state directory has it, with counters as of now.
    #[must_use]
    pub fn receipt(&self) -> Receipt {
        let mut receipt = self.published.receipt();
        account::count(&mut receipt, &self.service);
        receipt.recording = self.recording();
        let lineup = self.service.slot.load();
        if let Some(active) = receipt.active.as_mut().filter(|a| a.generation == lineup.active.info.generation) {
            account::update(active, &lineup.active, &lineup);
        }
        receipt
    }

    /// How the recording is getting on; `None` where none was asked for.
    #[must_use]
    pub fn recording(&self) -> Option<RecordingReceipt> {
        self.recorder.as_ref().map(|recorder| recorder.receipt())
    }

    /// Ends the recording: writes what is queued and what was observed since the last round, and closes the file. Rounds
    /// go on, unrecorded. Without it, a host that is dropped closes its file in the background.
    pub async fn finish_recording(&self) -> Option<RecordingReceipt> {
        let recorder = self.recorder.as_ref()?;
        let rest = self.service.feedback.take();
        rest.delivered();
        Some(recorder.finish(rest.block()).await)
    }

    /// Every policy found in the plugin directory, with its state.
    #[must_use]
    pub fn policies(&self) -> Vec<Listed> {
        self.published.listed()
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
        self.inbox.send(message).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }

    /// Puts libraries back in service that failed in it, as `policy-host quarantine clear` does: they can be activated
    /// again. Returns what was out of service.
    pub async fn clear_quarantine(&self, request: ClearRequest) -> Vec<Quarantined> {
        let (reply, answer) = oneshot::channel();
        if self.inbox.send(Message::Clear { request, reply }).await.is_err() {
            return Vec::new();
        }
        answer.await.unwrap_or_default()
    }

    /// The fallback of the generation in service.
    #[must_use]
    pub fn fallback(&self) -> BuiltIn {
        self.active().fallback
    }
}

impl Drop for PolicyHost {
    fn drop(&mut self) {
        self.service.control.stop();
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
        if self.inbox.send(Message::Stop(done)).await.is_ok() {
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
