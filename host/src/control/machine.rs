//! Activation as a pure state machine: [`Machine::step`] takes what happened and says what is to be done. It reads no
//! clock, runs nothing and waits for nothing; the driver carries its effects out and brings it the results.
//!
//! ```text
//! Asked ─► Resolve ─► Resolved ─► Construct ─► Built ─► SwapIn ─► Answered ─► Receipt
//!             ▲           │ names not known yet, or a construction under way:
//!             └── queued ◄┘ the latest request waits, the one before it is answered "superseded"
//! ```
//! One construction at a time; the latest request wins; every caller that waits gets exactly one answer.

use std::time::Instant;

use crate::control::request::{Refusal, ReplyTo, Request};
use crate::core::event::Cause;
use crate::core::limits::{IDLE_AFTER, UNKNOWN_NAME_GRACE};

/// When something happens: the time, and how many rounds there were until then.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) at: Instant,
    pub(crate) rounds: u64,
}

/// What happened. `R` is a recipe, `M` a generation that was made, `L` a library.
#[derive(Debug)]
pub(crate) enum Input<R, M, L> {
    /// Somebody asks for an activation.
    Asked(Request),
    /// What the names of a request mean now: the answer to [`Effect::Resolve`].
    Resolved(Request, Found<R>),
    /// Names may mean something else now: a library was examined, the directory was read.
    NamesChanged,
    /// A library was admitted.
    Arrived(L),
    /// What it renews: the answer to [`Effect::Compare`].
    Compared(Option<Request>),
    /// A construction ended.
    Built { generation: u64, made: Result<M, Refusal> },
    /// A construction takes too long.
    Overdue { generation: u64, refusal: Refusal },
    /// A generation has answered its first round.
    Answered { generation: u64, at: Instant },
    /// A generation is out of service.
    Ejected { generation: u64 },
    /// This one answers again: the answer to [`Effect::RollBack`].
    RolledBack { generation: u64 },
    /// Time passes.
    Tick,
}

/// What a request comes to.
#[derive(Debug)]
pub(crate) enum Found<R> {
    /// A library that may give a name is being examined.
    Wait,
    /// Nobody gives a name, yet.
    Unknown(Refusal),
    /// It cannot be carried out.
    Refused(Refusal),
    /// What is active is exactly this.
    Serves,
    /// It can be made, as this generation.
    Ready { generation: u64, recipe: R },
}

/// What is to be done, in this order.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "an effect lives for one step")]
pub(crate) enum Effect<R, M, L> {
    /// Look up what the names mean, and answer with [`Input::Resolved`].
    Resolve(Request),
    /// Look whether a library renews what is asked for, and answer with [`Input::Compared`].
    Compare(L),
    /// Make a generation, away from the control task; [`Machine::building`] is what was asked.
    Construct { generation: u64, recipe: R },
    /// Put it in service.
    SwapIn(M),
    /// It came too late: end it.
    Discard(M),
    /// The predecessor that waits to hand over its state goes on.
    Release,
    /// Say that a request is not carried out.
    Refuse { refusal: Refusal, active_file_sha256: String, reply: Option<ReplyTo>, cause: Cause },
    /// Say that what is asked for is active already.
    AlreadyServes { active_file_sha256: String, reply: Option<ReplyTo> },
    /// A caller waits no more.
    Reply(ReplyTo, Refusal),
    /// The swap counts as done: by a round that was answered then, or, while no work flows, by its rehearsal.
    Receipt { generation: u64, answered: Option<Instant>, awaited: Awaited },
    /// The standby answers: make it official, and answer with [`Input::RolledBack`].
    RollBack { generation: u64, reply: Option<ReplyTo> },
}

/// A generation in service that has not answered yet.
#[derive(Debug)]
pub(crate) struct Awaited {
    generation: u64,
    pub(crate) swapped: Moment,
    /// The file that it comes from.
    pub(crate) file: String,
    pub(crate) because: Option<String>,
    pub(crate) reply: Option<ReplyTo>,
}

/// A construction under way.
#[derive(Debug)]
struct Building {
    generation: u64,
    request: Request,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Machine<L> {
    /// The generation in service.
    active: u64,
    /// What was asked for last, served or not: what a new library is measured against.
    intent: Option<Request>,
    building: Option<Building>,
    /// Waits for the construction under way to end, or for a library that is on its way.
    queued: Option<Request>,
    /// Libraries admitted during a construction: measured against the intent that comes of it.
    arrived: Vec<L>,
    awaited: Option<Awaited>,
}

type Effects<R, M, L> = Vec<Effect<R, M, L>>;

impl<L> Machine<L> {
    /// A host that has just started with this generation.
    pub(crate) fn new(active: u64, file: &str, now: Moment) -> Self {
        let mut machine =
            Self { active, intent: None, building: None, queued: None, arrived: Vec::new(), awaited: None };
        machine.wait_for_answer(file.to_owned(), Some("the host started".to_owned()), None, now);
        machine
    }

    /// What was asked for last, served or not.
    pub(crate) fn intent(&self) -> Option<&Request> {
        self.intent.as_ref()
    }

    /// The construction under way: its generation and what was asked.
    pub(crate) fn building(&self) -> Option<(u64, &Request)> {
        self.building.as_ref().map(|b| (b.generation, &b.request))
    }

    /// The generation whose first answer is waited for, and since when.
    pub(crate) fn awaited(&self) -> Option<(u64, Instant)> {
        self.awaited.as_ref().map(|a| (a.generation, a.swapped.at))
    }

    /// Whether nothing is being made, and nothing waits to be.
    pub(crate) fn is_idle(&self) -> bool {
        self.building.is_none() && self.queued.is_none()
    }

    /// Takes what happened; returns what is to be done, in order.
    pub(crate) fn step<R, M>(&mut self, input: Input<R, M, L>, now: Moment) -> Effects<R, M, L> {
        let mut effects = Vec::new();
        match input {
            Input::Asked(request) => self.asked(request, &mut effects),
            Input::Resolved(request, found) => self.resolved(request, found, now, &mut effects),
            Input::NamesChanged => self.go_on(&mut effects),
            Input::Arrived(library) => {
                self.arrived.push(library);
                self.compare(&mut effects);
            }
            Input::Compared(request) => match request {
                Some(request) => self.asked(request, &mut effects),
                None => self.compare(&mut effects),
            },
            Input::Built { generation, made } => self.built(generation, made, now, &mut effects),
            Input::Overdue { generation, refusal } => {
                if let Some(building) = self.building.take_if(|b| b.generation == generation) {
                    self.refuse(building.request, refusal, &mut effects);
                    effects.push(Effect::Release);
                    self.go_on(&mut effects);
                }
            }
            Input::Answered { generation, at } => self.receipt(generation, Some(at), &mut effects),
            Input::Ejected { generation } if generation == self.active => {
                let reply = self.awaited.take().and_then(|awaited| awaited.reply);
                effects.push(Effect::RollBack { generation, reply });
            }
            Input::Ejected { .. } => {}
            Input::RolledBack { generation } => self.active = generation,
            Input::Tick => self.tick(now, &mut effects),
        }
        effects
    }

    fn asked<R, M>(&mut self, request: Request, effects: &mut Effects<R, M, L>) {
        // A new library renews what was asked before; what waits was asked later, and is resolved anew in its turn.
        if request.cause == Cause::NewLibrary && self.queued.is_some() {
            return;
        }
        if let Some(reply) = self.queued.take().and_then(|queued| queued.reply) {
            effects.push(Effect::Reply(reply, Refusal::new("superseded", "overtaken by a later switch")));
        }
        match self.building {
            Some(_) => self.queued = Some(request),
            None => effects.push(Effect::Resolve(request)),
        }
    }

    fn resolved<R, M>(&mut self, mut request: Request, found: Found<R>, now: Moment, effects: &mut Effects<R, M, L>) {
        match found {
            Found::Wait => self.queued = Some(request),
            Found::Unknown(_) if request.patience.is_none_or(|until| until > now.at) => {
                request.patience.get_or_insert(now.at + UNKNOWN_NAME_GRACE);
                self.queued = Some(request);
            }
            Found::Unknown(refusal) | Found::Refused(refusal) => {
                self.refuse(request, refusal, effects);
                self.compare(effects);
            }
            Found::Serves => {
                let (reply, active_file_sha256) = (request.reply.take(), request.active_file_sha256.clone());
                self.intent = Some(request);
                effects.push(Effect::AlreadyServes { active_file_sha256, reply });
                self.compare(effects);
            }
            Found::Ready { generation, recipe } => {
                self.building = Some(Building { generation, request });
                effects.push(Effect::Construct { generation, recipe });
            }
        }
    }

    fn built<R, M>(&mut self, generation: u64, made: Result<M, Refusal>, now: Moment, effects: &mut Effects<R, M, L>) {
        let Some(Building { mut request, .. }) = self.building.take_if(|b| b.generation == generation) else {
            effects.extend(made.ok().map(Effect::Discard));
            return;
        };
        match made {
            Err(refusal) => self.refuse(request, refusal, effects),
            Ok(made) => {
                // The generation before answered, or it never will.
                if let Some(reply) = self.awaited.take().and_then(|awaited| awaited.reply) {
                    let message = "overtaken by a later switch before it answered a round";
                    effects.push(Effect::Reply(reply, Refusal::new("superseded", message)));
                }
                self.active = generation;
                let because = request.because.take();
                self.wait_for_answer(request.file.clone(), because, request.reply.take(), now);
                // What the host takes by itself leaves the operator's request in place: it may still be carried out.
                if request.cause != Cause::Rollback {
                    self.intent = Some(request);
                }
                effects.push(Effect::SwapIn(made));
            }
        }
        self.go_on(effects);
    }

    fn refuse<R, M>(&mut self, mut request: Request, refusal: Refusal, effects: &mut Effects<R, M, L>) {
        let (reply, cause) = (request.reply.take(), request.cause);
        let active_file_sha256 = request.active_file_sha256.clone();
        effects.push(Effect::Refuse { refusal, active_file_sha256, reply, cause });
        // What an embedder or the host itself asks for, and does not get, leaves the operator's request in place.
        if matches!(cause, Cause::ActiveFile | Cause::NewLibrary) {
            self.intent = Some(request);
        }
    }

    /// What waited for a construction, or for a library.
    fn go_on<R, M>(&mut self, effects: &mut Effects<R, M, L>) {
        if self.building.is_some() {
            return;
        }
        match self.queued.take() {
            Some(request) => effects.push(Effect::Resolve(request)),
            None => self.compare(effects),
        }
    }

    fn compare<R, M>(&mut self, effects: &mut Effects<R, M, L>) {
        if self.building.is_none()
            && let Some(library) = self.arrived.pop()
        {
            effects.push(Effect::Compare(library));
        }
    }

    fn wait_for_answer(&mut self, file: String, because: Option<String>, reply: Option<ReplyTo>, now: Moment) {
        self.awaited = Some(Awaited { generation: self.active, swapped: now, file, because, reply });
    }

    fn receipt<R, M>(&mut self, generation: u64, answered: Option<Instant>, effects: &mut Effects<R, M, L>) {
        if let Some(awaited) = self.awaited.take_if(|a| a.generation == generation) {
            effects.push(Effect::Receipt { generation, answered, awaited });
        }
    }

    fn tick<R, M>(&mut self, now: Moment, effects: &mut Effects<R, M, L>) {
        if self.queued.as_ref().is_some_and(|q| q.patience.is_some_and(|until| until <= now.at)) {
            self.go_on(effects);
        }
        if let Some(Awaited { generation, swapped, .. }) = &self.awaited
            && swapped.at + IDLE_AFTER <= now.at
            && swapped.rounds == now.rounds
        {
            self.receipt(*generation, None, effects);
        }
    }
}

#[cfg(test)]
mod tests;
