//! The control task: the only code that changes registry, slot and files. It brings the state machine what happens and
//! carries its effects out.
//!
//! It runs on a thread of its own and runs no plugin code: what does (load, construct, rehearse, hand over state) runs on
//! threads that may be thrown away, and comes back as a message; what ends goes the way of
//! [`Retired`](crate::core::threads::Retired).

mod arrivals;
mod effects;
mod lanes;
mod quarantine;
mod receipts;
mod resolve;
mod restore;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use crate::artifact::load::Loaded;
use crate::artifact::watch::{WatchHandle, watch};
use crate::control::activation::{self, ACTIVE_FILE, filters_are_due};
use crate::control::admit::Recipe;
use crate::control::machine::{Input, Machine, Moment};
use crate::control::message::{Made, Message, Reply};
use crate::control::options::{HostOptions, StartError};
use crate::control::registry::Registry;
use crate::control::request::{Refusal, ReplyTo, Request};
use crate::core::event::{Cause, Event, EventKind};
use crate::core::info::ActiveInfo;
use crate::core::limits::{FILES_INTERVAL, IDLE_AFTER, RECEIPT_INTERVAL, RETIRE_INTERVAL};
use crate::core::text::shown;
use crate::core::threads::{self, Job, Priority, Retired, Workers};
use crate::record::Recorder;
use crate::serving::service::Service;
use crate::serving::slot::{Active, Lineup};
use crate::state::files::StateFiles;
use crate::state::last_good::LastGood;
use crate::state::published::Published;
use crate::state::trying::UnderTrial;

/// How often the control task looks at its clocks while something is under way.
const TICK: Duration = Duration::from_millis(50);
/// How often it looks for the first answer of a generation that has just gone into service.
const ANSWER_TICK: Duration = Duration::from_millis(1);
/// How often it looks for a request to clear the quarantine while something is out of service.
const CLEAR_TICK: Duration = Duration::from_millis(100);

/// A library that was admitted, and when its file was seen.
#[derive(Debug)]
struct Arrival {
    loaded: Arc<Loaded>,
    seen_at: Instant,
}

/// A file that is being examined.
#[derive(Debug)]
struct Admitting {
    file: String,
    arrival: u64,
    job: Job,
}

/// A construction under way.
struct Constructing {
    begun: Instant,
    job: Job,
}

/// What goes out: events once the files say the same, answers at once.
enum Outgoing {
    Event(Event),
    Answer(Reply, Result<Arc<ActiveInfo>, Refusal>),
}

/// See the module.
pub(crate) struct Control {
    service: Arc<Service>,
    published: Arc<Published>,
    recorder: Option<Arc<Recorder>>,
    options: HostOptions,
    inbox: mpsc::Sender<Message>,
    machine: Machine<Arrival>,
    registry: Registry,
    files: StateFiles,
    /// Callers that wait for the answer to a switch, by the number of their [`ReplyTo`].
    callers: HashMap<u64, Reply>,
    asked: u64,
    constructing: Option<Constructing>,
    admitting: Vec<Admitting>,
    /// Generations that another instance is being made for.
    replacing: Vec<(u64, Job)>,
    /// What makes the instances of generations in service again.
    recipes: BTreeMap<u64, Recipe>,
    makers: Workers,
    examiners: Workers,
    /// The generation that the receipt names: it has answered, or has proved idle.
    proved: Option<Arc<Active>>,
    /// The `active.json` that is served.
    served_sha256: String,
    /// The trial of the generation whose first answer is waited for.
    trial: Option<UnderTrial>,
    /// Line-ups that were replaced since `let_go_at`. What nothing else refers to ends when they are let go of: together,
    /// because ending it takes time on the cores that rounds need.
    left: Vec<Arc<Lineup>>,
    let_go_at: Instant,
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
    outbox: Vec<Outgoing>,
    _watch: Option<WatchHandle>,
}

impl Control {
    /// Starts the control task on a thread of its own.
    ///
    /// # Errors
    /// When the state directory cannot be held, or a thread cannot be started.
    pub(crate) fn spawn(
        service: Arc<Service>,
        published: Arc<Published>,
        recorder: Option<Arc<Recorder>>,
        options: HostOptions,
        (inbox, messages): (mpsc::Sender<Message>, mpsc::Receiver<Message>),
    ) -> Result<(), StartError> {
        let files = StateFiles::open(options.state_directory(), options.plugins.as_deref(), activation::schema())?;
        let watch = match &options.plugins {
            None => None,
            Some(directory) => {
                let inbox = inbox.clone();
                let send = move |change| inbox.blocking_send(Message::Change(change)).is_ok();
                Some(watch(directory.clone(), options.rescan, send)?)
            }
        };
        let mut registry = Registry::default();
        files.remembered_quarantine().into_iter().for_each(|entry| registry.quarantine(entry));
        let restorable = files.last_good().cloned();
        let lineup = service.slot.load();
        if let Some(plugins) = &options.plugins {
            let due = filters_are_due(plugins, restorable.as_ref().map(|good| good.active_json.as_str()));
            lineup.initial.closed.store(due, Ordering::Release);
        }
        let generation = lineup.active.info.generation;
        let machine = Machine::new(generation, ACTIVE_FILE, Moment { at: Instant::now(), rounds: 0 });
        let control = Self {
            service,
            published,
            recorder,
            inbox,
            machine,
            registry,
            files,
            callers: HashMap::new(),
            asked: 0,
            constructing: None,
            admitting: Vec::new(),
            replacing: Vec::new(),
            recipes: BTreeMap::new(),
            makers: Workers::new("policy-make", Priority::Low),
            examiners: Workers::new("policy-admit", Priority::Ordinary),
            proved: None,
            served_sha256: String::new(),
            trial: None,
            left: Vec::new(),
            let_go_at: Instant::now(),
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
        threads::spawn_own("policy-control", move || runtime.block_on(control.run(messages)))?;
        Ok(())
    }

    async fn run(mut self, mut messages: mpsc::Receiver<Message>) {
        if let Some(directory) = self.options.plugins.as_ref().map(|d| d.display().to_string()) {
            self.say(EventKind::Watching { directory });
        }
        self.say_ended_trials();
        let woken = self.service.control.clone();
        loop {
            let message = tokio::select! {
                message = messages.recv() => message,
                () = woken.woken() => None,
                () = tokio::time::sleep(self.tick()) => None,
            };
            // What came together is taken together, so that the files are written once.
            let mut next = message;
            while let Some(message) = next {
                if let Message::Stop(done) = message {
                    return self.stop(Some(done));
                }
                self.take(message);
                next = messages.try_recv().ok();
            }
            if woken.is_stopped() {
                return self.stop(None);
            }
            self.look_at_clocks();
            if !self.is_in_a_hurry() {
                self.write_files();
            }
            self.empty_outbox();
        }
    }

    /// How long to sleep if nothing happens.
    fn tick(&self) -> Duration {
        let tick = match () {
            () if self.machine.awaited().is_some_and(|(_, since)| since.elapsed() < IDLE_AFTER) => ANSWER_TICK,
            () if self.files.are_due() => FILES_INTERVAL,
            () if self.is_busy() => TICK,
            () if !self.registry.quarantined().is_empty() => CLEAR_TICK,
            () => RECEIPT_INTERVAL,
        };
        let until_look = self.look_again.map(|at| at.saturating_duration_since(Instant::now()).max(ANSWER_TICK));
        until_look.map_or(tick, |until| tick.min(until))
    }

    fn is_busy(&self) -> bool {
        self.machine.awaited().is_some()
            || !self.machine.is_idle()
            || !self.admitting.is_empty()
            || self.restoring
            || !self.replacing.is_empty()
            || !self.left.is_empty()
    }

    /// A construction has just begun: what it makes goes into service before files are written.
    fn is_in_a_hurry(&self) -> bool {
        self.constructing.as_ref().is_some_and(|c| c.begun.elapsed() < FILES_INTERVAL)
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Change(change) => self.take_change(change),
            Message::Admission(admission) => self.take_admission(*admission),
            Message::Constructed(constructed) => self.take_constructed(*constructed),
            Message::Replaced(replaced) => self.take_replaced(replaced),
            Message::Dumped(dumped) => self.take_dumped(*dumped),
            Message::Restored(restored) => self.take_restored(*restored),
            Message::Clear { request, reply } => {
                let _ = reply.send(self.clear(&request));
            }
            Message::Switch { activation, asked, reply } => {
                self.asked += 1;
                self.callers.insert(self.asked, reply);
                let request = Request {
                    explicit: true,
                    reply: Some(ReplyTo(self.asked)),
                    ..Request::new(activation, Cause::Api, ACTIVE_FILE, asked)
                };
                self.drive(Input::Asked(request));
            }
            Message::Stop(_) => {}
        }
    }

    fn look_at_clocks(&mut self) {
        let now = Instant::now();
        self.clear_as_asked();
        self.look_for_answer();
        self.look_at_lanes(now);
        self.give_up_admissions(now);
        self.give_up_construction(now);
        self.drive(Input::Tick);
        if now.saturating_duration_since(self.let_go_at) >= RETIRE_INTERVAL {
            self.left.clear();
            self.let_go_at = now;
        }
        Retired::retry();
    }

    /// Notes an event; it goes out once receipt and files say the same.
    fn say(&mut self, kind: EventKind) {
        let event = self.service.events.event(kind);
        self.outbox.push(Outgoing::Event(event));
    }

    /// Answers a caller that waits.
    fn answer(&mut self, to: Option<ReplyTo>, answer: Result<Arc<ActiveInfo>, Refusal>) {
        if let Some(caller) = to.and_then(|to| self.callers.remove(&to.0)) {
            self.outbox.push(Outgoing::Answer(caller, answer));
        }
    }

    /// Answers go out at once; events wait for the files, so that nobody hears of what `status` does not know.
    fn empty_outbox(&mut self) {
        let wait = self.files.are_due();
        for outgoing in std::mem::take(&mut self.outbox) {
            match outgoing {
                Outgoing::Answer(caller, answer) => drop(caller.send(answer)),
                Outgoing::Event(event) if wait => self.outbox.push(Outgoing::Event(event)),
                Outgoing::Event(event) => self.service.events.send(event),
            }
        }
    }

    /// Refuses a change: an event, a line in the receipt, an answer to the caller. Nothing else happens.
    fn refuse(&mut self, file: &str, refusal: Refusal, active_file_sha256: &str, reply: Option<ReplyTo>) {
        let Refusal { code, message } = refusal;
        let message = shown(message);
        self.files.changed(false, code, file, &message, active_file_sha256);
        self.say(EventKind::Refused { file: file.to_owned(), code, message: message.clone() });
        self.answer(reply, Err(Refusal { code, message }));
    }

    /// Writes everything and lets go of the state directory before the caller hears.
    fn stop(mut self, done: Option<oneshot::Sender<()>>) {
        self.files.trials.close();
        self.files.force();
        self.write_files();
        self.empty_outbox();
        tracing::info!(stuck_threads = threads::stuck(), "policy host stopped");
        drop(self);
        drop(done);
    }
}
