//! The control task: the only code that changes registry or slot, and the only one that knows the order of the stages.
//!
//! It runs on a thread of its own and runs no plugin code: what does (load, construct, rehearse, hand over state, drop)
//! runs on threads that may be thrown away, and comes back as a message.

pub mod activation;
mod admission;
pub(crate) mod admit;
mod construction;
mod dump;
mod files;
mod initial;
mod lanes;
mod last_good;
mod quarantine;
pub(crate) mod registry;
mod swap;
mod trying;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use crate::artifact::load::Loaded;
use crate::artifact::watch::{Change, WatchHandle, watch};
use crate::control::activation::{ACTIVE_FILE, Activation};
use crate::control::registry::Registry;
use crate::core::event::{Cause, Event, EventKind};
use crate::core::limits::{FILES_INTERVAL, IDLE_AFTER, RECEIPT_INTERVAL, RETIRE_INTERVAL};
use crate::core::text::shown;
use crate::core::threads::{self, Workers};
use crate::facade::{HostOptions, Outcome, Refusal, Shared, StartError};
use crate::serving::lane::stuck_threads;
use crate::serving::slot::{Active, ActiveInfo};
use crate::state::receipt::{ClearRequest, Quarantined};

pub(crate) use admission::Admission;
pub(crate) use construction::Constructed;
use dump::Dumped;
use files::Books;
use lanes::Replaced;
use last_good::{LastGood, Pins, Restored};
use trying::UnderTrial;

/// What the control task is told.
#[derive(Debug)]
pub(crate) enum Message {
    Change(Change),
    Admission(Box<Admission>),
    Constructed(Box<Constructed>),
    Outcome(Outcome),
    /// Something happened in a lane.
    Look,
    Replaced(Replaced),
    Dumped(Box<Dumped>),
    Restored(Box<Restored>),
    Clear {
        request: ClearRequest,
        reply: oneshot::Sender<Vec<Quarantined>>,
    },
    Switch {
        activation: Activation,
        asked: Instant,
        reply: Reply,
    },
    Stop(Option<oneshot::Sender<()>>),
}

/// The answer to an embedder's switch.
pub(crate) type Reply = oneshot::Sender<Result<Arc<ActiveInfo>, Refusal>>;

/// How often the control task looks at its clocks while something is under way.
const TICK: Duration = Duration::from_millis(50);

/// How often it looks for the first answer of a generation that has just gone into service.
const ANSWER_TICK: Duration = Duration::from_millis(1);

/// Somebody's wish for an activation.
#[derive(Debug)]
struct Request {
    activation: Activation,
    cause: Cause,
    /// The file that it comes from.
    file: String,
    caused_at: Instant,
    active_file_sha256: String,
    /// An embedder named it just now: that lifts a quarantine.
    explicit: bool,
    /// Until when a name that nobody gives yet is waited for; set at the first look.
    patience: Option<Instant>,
    reply: Option<Reply>,
    /// Names that mean fixed bytes here; `None` where they mean what the files of the directory give.
    pins: Option<Pins>,
    /// What is said once it has answered, where that is not plain.
    because: Option<String>,
}

/// A swap whose generation has not answered yet.
#[derive(Debug)]
struct Awaited {
    active: Arc<Active>,
    swapped_at: Instant,
    rounds_at_swap: u64,
    file: String,
    message: String,
    reply: Option<Reply>,
    /// Its trial ends with its first answer.
    _trial: Option<UnderTrial>,
}

/// What listeners and askers are told.
enum Told {
    Event(Event),
    Reply(Reply, Result<Arc<ActiveInfo>, Refusal>),
}

/// See the module.
pub(crate) struct Control {
    shared: Arc<Shared>,
    options: HostOptions,
    registry: Registry,
    books: Books,
    /// What the last activation asked for, served or not: what a new library is measured against.
    wish: Option<Request>,
    /// Waits for the construction under way to end, or for a library that is on its way.
    queued: Option<Request>,
    /// The generation under construction, and when that is given up.
    constructing: Option<(u64, Instant, Request)>,
    /// Libraries admitted during a construction: measured against the wish that comes of it.
    arrived: Vec<(Arc<Loaded>, Instant)>,
    /// Files under way: (file, arrival, given up at).
    admitting: Vec<(String, u64, Instant)>,
    awaited: Option<Awaited>,
    makers: Workers,
    examiners: Workers,
    retired: Vec<Arc<Active>>,
    buried_at: Instant,
    /// Generations that another instance is being made for, and when that is given up.
    replacing: Vec<(u64, Instant)>,
    /// When to look at the lanes, at the latest.
    look_again: Option<Instant>,
    generation: u64,
    scanned: bool,
    /// What is taken if the `active.json` that the host started with is refused; `None` once something was activated.
    restorable: Option<LastGood>,
    /// Whether its libraries are being examined.
    restoring: bool,
    said_closed: bool,
    /// SHA-256 of the `active.json` that was read last.
    active_file_read: Option<String>,
    /// Told once the files say the same.
    outbox: Vec<Told>,
    _watch: Option<WatchHandle>,
}

impl Control {
    /// Starts the control task on a thread of its own.
    pub(crate) fn spawn(
        shared: Arc<Shared>,
        options: HostOptions,
        messages: mpsc::Receiver<Message>,
    ) -> Result<(), StartError> {
        let state = crate::facade::PolicyHost::state_dir(&options);
        let books = Books::open(state, options.plugins.as_deref())?;
        let watch = match &options.plugins {
            None => None,
            Some(directory) => {
                let inbox = shared.inbox.clone();
                let tell = move |change| inbox.blocking_send(Message::Change(change)).is_ok();
                Some(watch(directory.clone(), options.rescan, tell)?)
            }
        };
        let mut registry = Registry::default();
        books.remembered_quarantine().into_iter().for_each(|entry| registry.quarantine(entry));
        let generation = shared.slot.load().active.info.generation;
        let restorable = books.last_good().cloned();
        if let Some(plugins) = &options.plugins {
            let due = last_good::filters_are_due(plugins, restorable.as_ref());
            shared.slot.load().initial.closed.store(due, std::sync::atomic::Ordering::Release);
        }
        let control = Self {
            shared,
            registry,
            books,
            wish: None,
            queued: None,
            arrived: Vec::new(),
            constructing: None,
            admitting: Vec::new(),
            awaited: None,
            makers: Workers::bulk("policy-make"),
            examiners: Workers::new("policy-admit"),
            retired: Vec::new(),
            buried_at: Instant::now(),
            replacing: Vec::new(),
            look_again: None,
            generation,
            scanned: options.plugins.is_none(),
            restorable,
            restoring: false,
            said_closed: false,
            active_file_read: None,
            outbox: Vec::new(),
            options,
            _watch: watch,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        threads::spawn("policy-control", move || runtime.block_on(control.run(messages)))?;
        Ok(())
    }

    async fn run(mut self, mut messages: mpsc::Receiver<Message>) {
        if let Some(directory) = self.options.plugins.as_ref().map(|d| d.display().to_string()) {
            self.tell(EventKind::Watching { directory });
        }
        let lineup = self.shared.slot.load();
        self.await_answer(
            Arc::clone(&lineup.active),
            ACTIVE_FILE.to_owned(),
            String::from("the host started"),
            None,
            None,
        );
        drop(lineup);
        let left = std::mem::take(&mut self.books.left_trials);
        self.tell_of_trials(left);
        loop {
            let tick = match () {
                () if self.awaits_answer() => ANSWER_TICK,
                () if self.owes_files() => FILES_INTERVAL,
                () if self.is_busy() => TICK,
                () if self.may_be_asked_to_clear() => quarantine::CLEAR_TICK,
                () => RECEIPT_INTERVAL,
            };
            let until_look = self.look_again.map(|at| at.saturating_duration_since(Instant::now()).max(ANSWER_TICK));
            let tick = until_look.map_or(tick, |until| tick.min(until));
            match tokio::time::timeout(tick, messages.recv()).await {
                Ok(Some(Message::Stop(done))) => return self.stop(done),
                Ok(None) => return self.stop(None),
                Ok(Some(message)) => {
                    self.take(message);
                    // What came together is taken together, so that the files are written once.
                    while let Ok(message) = messages.try_recv() {
                        match message {
                            Message::Stop(done) => return self.stop(done),
                            message => self.take(message),
                        }
                    }
                }
                Err(_) => {}
            }
            self.look_at_clocks();
            if !self.is_in_a_hurry() {
                self.write_books();
            }
            self.empty_outbox();
        }
    }

    /// Notes an event; it is told once receipt and files say the same.
    fn tell(&mut self, kind: EventKind) {
        let event = Event::now(self.shared.started, kind);
        self.outbox.push(Told::Event(event));
    }

    /// Answers go out at once; events wait for the files, so that nobody hears of what `status` does not know.
    fn empty_outbox(&mut self) {
        let wait = self.owes_files();
        for told in std::mem::take(&mut self.outbox) {
            match told {
                Told::Reply(reply, answer) => drop(reply.send(answer)),
                Told::Event(event) if wait => self.outbox.push(Told::Event(event)),
                Told::Event(event) => self.shared.send(event),
            }
        }
    }

    /// A construction has just begun: what it makes goes into service before files are written.
    fn is_in_a_hurry(&self) -> bool {
        let begun = |until: Instant| until.checked_sub(self.options.admission_deadline);
        let begun = self.constructing.as_ref().and_then(|(_, until, _)| begun(*until));
        begun.is_some_and(|at| at.elapsed() < FILES_INTERVAL)
    }

    fn awaits_answer(&self) -> bool {
        self.awaited.as_ref().is_some_and(|a| a.swapped_at.elapsed() < IDLE_AFTER)
    }

    fn is_busy(&self) -> bool {
        self.awaited.is_some()
            || self.queued.is_some()
            || self.constructing.is_some()
            || !self.admitting.is_empty()
            || self.restoring
            || !self.replacing.is_empty()
            || !self.retired.is_empty()
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Change(change) => self.take_change(change),
            Message::Admission(admission) => self.take_admission(*admission),
            Message::Constructed(constructed) => self.take_constructed(*constructed),
            Message::Outcome(outcome) => self.take_outcome(outcome),
            // The clocks are looked at after every message.
            Message::Look => {}
            Message::Replaced(replaced) => self.take_replaced(replaced),
            Message::Dumped(dumped) => self.take_dumped(*dumped),
            Message::Restored(restored) => self.take_restored(*restored),
            Message::Clear { request, reply } => {
                let _ = reply.send(self.clear(&request));
            }
            Message::Switch { activation, asked, reply } => self.request(Request {
                activation,
                file: ACTIVE_FILE.to_owned(),
                cause: Cause::Api,
                caused_at: asked,
                active_file_sha256: String::new(),
                explicit: true,
                patience: None,
                reply: Some(reply),
                pins: None,
                because: None,
            }),
            Message::Stop(_) => {}
        }
    }

    fn take_outcome(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Ejected { generation, fault, dump } => {
                // Of a generation that is out of service already, one round is enough.
                if self.eject(generation, &fault) {
                    self.dump(dump);
                }
            }
            Outcome::Note { policy, generation, message } => {
                self.tell(EventKind::Note { policy, generation, message });
            }
        }
    }

    fn look_at_clocks(&mut self) {
        let now = Instant::now();
        self.clear_as_asked();
        self.look_at_lanes(now);
        self.give_up_admissions(now);
        self.give_up_construction(now);
        if self.queued.as_ref().is_some_and(|q| q.patience.is_some_and(|until| until <= now)) {
            self.retry_queued();
        }
        self.look_for_answer();
        if let Some(awaited) = &self.awaited {
            let rounds = self.shared.rounds.load(std::sync::atomic::Ordering::Relaxed);
            if awaited.swapped_at + IDLE_AFTER <= now && rounds == awaited.rounds_at_swap {
                self.receipted(None);
            }
        }
        self.bury();
    }

    /// Keeps a generation that left the line-up until nobody uses it: one reference each, or it would never be the last.
    fn retire(&mut self, active: Arc<Active>) {
        if !self.retired.iter().any(|r| Arc::ptr_eq(r, &active)) {
            self.retired.push(active);
        }
    }

    /// Drops retired generations that nobody uses any more, each on a thread of its own: that runs plugin code.
    fn bury(&mut self) {
        if self.buried_at.elapsed() < RETIRE_INTERVAL {
            return;
        }
        self.buried_at = Instant::now();
        let (dead, alive) = self.retired.drain(..).partition(|active| Arc::strong_count(active) == 1);
        self.retired = alive;
        let dead: Vec<Arc<Active>> = dead;
        if dead.is_empty() {
            return;
        }
        // Out of threads: keep them for later rather than run plugin code here.
        let grave = Arc::new(std::sync::Mutex::new(Some(dead)));
        let shovel = Arc::clone(&grave);
        let spawned = threads::spawn_bulk("policy-retire", move || {
            let dead = shovel.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
            drop(dead);
        });
        if spawned.is_err() {
            let dead = grave.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
            self.retired.extend(dead.into_iter().flatten());
        }
    }

    /// Refuses a change: an event, a line in the receipt, an answer to whoever asked. Nothing else happens.
    fn refuse(
        &mut self,
        file: &str,
        code: &'static str,
        message: String,
        active_file_sha256: &str,
        reply: Option<Reply>,
    ) {
        let message = shown(message);
        self.books.changed(false, code, file, &message, active_file_sha256);
        self.tell(EventKind::Refused { file: file.to_owned(), code, message: message.clone() });
        if let Some(reply) = reply {
            self.outbox.push(Told::Reply(reply, Err(Refusal { code, message })));
        }
    }

    /// Writes everything and lets go of the state directory before whoever waits is told.
    fn stop(mut self, done: Option<oneshot::Sender<()>>) {
        self.bury();
        self.books.trials.close();
        self.books.force();
        self.write_books();
        self.empty_outbox();
        tracing::info!(stuck_threads = stuck_threads(), "policy host stopped");
        drop(self);
        drop(done);
    }
}
