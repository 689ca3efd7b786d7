//! Activations: from a wish to a generation in service, its receipt, its ejection.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use policy_kit::Composite;
use policy_plugin_api::FromConfig;

use super::construction::{Constructed, Construction, Made};
use super::last_good::Pins;
use super::{Awaited, Control, Message, Reply, Request, Told, UnderTrial};
use crate::artifact::load::Loaded;
use crate::control::activation::{ACTIVE_FILE, Activation, ActivationError, LaneKind, Wanted};
use crate::control::admit::{AdmitError, Origin, Recipe};
use crate::control::registry::Unresolved;
use crate::core::event::{Cause, EventKind};
use crate::core::guard::Fault;
use crate::core::limits::{MAX_STUCK_THREADS, UNKNOWN_NAME_GRACE};
use crate::core::text::chain;
use crate::facade::Refusal;
use crate::serving::built_in::BuiltIn;
use crate::serving::lane::stuck_threads;
use crate::serving::slot::{Active, ActiveInfo};
use crate::state::receipt::Quarantined;

/// Why a wish cannot be fulfilled now.
enum Obstacle {
    Error {
        code: &'static str,
        message: String,
    },
    /// A library that may give the name is under way.
    Wait,
    /// No library gives the name, yet.
    Unknown {
        code: &'static str,
        message: String,
    },
}

impl Control {
    /// Fulfils a wish, or queues it: one construction at a time, the latest wish wins.
    pub(super) fn request(&mut self, request: Request) {
        // A new library renews what was wished before; what waits was wished later, and is resolved anew in its turn.
        if request.cause == Cause::NewLibrary && self.queued.is_some() {
            return;
        }
        if let Some(Request { reply: Some(reply), .. }) = self.queued.take() {
            let message = String::from("overtaken by a later switch");
            self.outbox.push(Told::Reply(reply, Err(Refusal { code: "superseded", message })));
        }
        if self.constructing.is_some() {
            self.queued = Some(request);
            return;
        }
        if request.explicit {
            let recipe = self.recipe(&request.activation, request.pins.as_ref());
            let mut lifted = recipe.is_ok_and(|recipe| self.registry.unbar(&recipe.key()));
            for (kind, wanted) in request.activation.all() {
                lifted |= self.registry.reinstate(kind, &wanted.name);
            }
            if lifted {
                self.books.remember_quarantine(self.registry.quarantined());
            }
        }
        match self.recipe(&request.activation, request.pins.as_ref()).and_then(|recipe| self.unless_barred(recipe)) {
            Err(Obstacle::Wait) => self.queued = Some(request),
            Err(Obstacle::Unknown { .. }) if request.patience.is_none_or(|until| until > Instant::now()) => {
                let until = Instant::now() + UNKNOWN_NAME_GRACE;
                self.queued = Some(Request { patience: Some(request.patience.unwrap_or(until)), ..request });
            }
            Err(Obstacle::Error { code, message } | Obstacle::Unknown { code, message }) => {
                self.refuse_request(request, code, message);
            }
            Ok(recipe) if self.serves_already(&request, &recipe) => self.nothing_to_do(request),
            Ok(recipe) => self.construct(request, recipe),
        }
    }

    /// A recipe, unless it is out of service.
    fn unless_barred(&self, recipe: Recipe) -> Result<Recipe, Obstacle> {
        match self.registry.barred(&recipe.key()) {
            None => Ok(recipe),
            Some(entry) => Err(Obstacle::Error {
                code: "quarantined",
                message: format!(
                    "{ACTIVE_FILE}: {} of {} with this config is out of service ({}); change the config or the library, \
                     or lift it with `policy-host quarantine clear`",
                    recipe.policy.0.name, entry.file, entry.code
                ),
            }),
        }
    }

    /// What waited for a construction, or for a library.
    pub(super) fn retry_queued(&mut self) {
        if self.constructing.is_none()
            && let Some(request) = self.queued.take()
        {
            self.request(request);
        }
        while self.constructing.is_none()
            && let Some((loaded, seen_at)) = self.arrived.pop()
        {
            self.renew(loaded, seen_at);
        }
    }

    /// Remembers what was asked for; returns whom to answer.
    fn keep_wish(&mut self, mut request: Request) -> Option<Reply> {
        let reply = request.reply.take();
        // What an embedder or the host itself asks for, and does not get, leaves the operator's request in place.
        if matches!(request.cause, Cause::ActiveFile | Cause::NewLibrary) {
            self.wish = Some(request);
        }
        reply
    }

    fn recipe(&self, activation: &Activation, pins: Option<&Pins>) -> Result<Recipe, Obstacle> {
        let filters = activation.filters.iter().map(|wanted| Ok((wanted.clone(), self.part("filter", wanted, pins)?)));
        let shadows = activation.shadow.iter().map(|candidate| self.alone(&candidate.policy, &candidate.scores, pins));
        Ok(Recipe {
            filters: filters.collect::<Result<_, _>>()?,
            shadows: shadows.collect::<Result<_, _>>()?,
            ..self.alone(&activation.policy, &activation.scores, pins)?
        })
    }

    /// A policy with its scores.
    fn alone(&self, policy: &Wanted, scores: &[(Wanted, u32)], pins: Option<&Pins>) -> Result<Recipe, Obstacle> {
        let origin = if scores.is_empty() { self.origin(policy, pins)? } else { Origin::Composite };
        let score = |(wanted, weight): &(Wanted, u32)| Ok((wanted.clone(), *weight, self.part("score", wanted, pins)?));
        let scores = scores.iter().map(score);
        Ok(Recipe {
            policy: (policy.clone(), origin),
            filters: Vec::new(),
            scores: scores.collect::<Result<_, _>>()?,
            shadows: Vec::new(),
            generation: self.generation + 1,
        })
    }

    fn part(&self, kind: &'static str, wanted: &Wanted, pins: Option<&Pins>) -> Result<Arc<Loaded>, Obstacle> {
        self.library(kind, wanted, pins).map_err(|unresolved| self.obstacle(kind, wanted, unresolved))
    }

    /// The library that a name means.
    fn library(&self, kind: &str, wanted: &Wanted, pins: Option<&Pins>) -> Result<Arc<Loaded>, Unresolved> {
        let Some(pins) = pins else { return self.registry.resolve(kind, &wanted.name) };
        let pinned = pins.get(&(kind.to_owned(), wanted.name.clone()));
        pinned.and_then(|digest| self.registry.library(*digest)).ok_or(Unresolved::Unknown)
    }

    fn origin(&self, policy: &Wanted, pins: Option<&Pins>) -> Result<Origin, Obstacle> {
        match (self.library("policy", policy, pins), policy.name.parse::<BuiltIn>()) {
            (Ok(loaded), _) => Ok(Origin::Library(loaded)),
            (Err(Unresolved::Unknown), Ok(built_in)) if pins.is_some() => Ok(Origin::BuiltIn(built_in)),
            // While a library of that name may be under way, the built-in is not what the operator means.
            (Err(Unresolved::Unknown), Ok(built_in)) if self.admitting.is_empty() && self.scanned => {
                Ok(Origin::BuiltIn(built_in))
            }
            (Err(unresolved), _) => Err(self.obstacle("policy", policy, unresolved)),
        }
    }

    fn obstacle(&self, kind: &'static str, wanted: &Wanted, unresolved: Unresolved) -> Obstacle {
        if !self.admitting.is_empty() || !self.scanned {
            return Obstacle::Wait;
        }
        match unresolved {
            Unresolved::Pending => Obstacle::Wait,
            Unresolved::Unknown => {
                let mut known = self.registry.names(kind);
                if kind == "policy" {
                    known.extend(BuiltIn::ALL.iter().map(|b| b.name().to_owned()));
                    known.push(Composite::NAME.to_owned());
                    known.sort_unstable();
                    known.dedup();
                }
                let known = if known.is_empty() { "none".into() } else { known.join(", ") };
                let error = ActivationError::Unknown { kind, name: wanted.name.clone(), known };
                Obstacle::Unknown { code: error.code(), message: chain(&error) }
            }
            Unresolved::Quarantined(file, code) => {
                let name = &wanted.name;
                let message = format!(
                    "{ACTIVE_FILE}: {kind} {name} of {file} is out of service ({code}); put a mended library in its \
                     place, or run `policy-host quarantine clear {name}` to try this one once more"
                );
                Obstacle::Error { code: "quarantined", message }
            }
        }
    }

    /// Whether what is active is already exactly what is asked for.
    fn serves_already(&self, request: &Request, recipe: &Recipe) -> bool {
        let lineup = self.shared.slot.load();
        let info = &lineup.active.info;
        let is_its_file =
            !request.active_file_sha256.is_empty() && request.active_file_sha256 == info.active_file_sha256;
        let same_wish = is_its_file || self.wish.as_ref().is_some_and(|w| w.activation == request.activation);
        // What is built in has no digest, on either side.
        let own = std::iter::once(&info.sha256);
        let serves = own.chain(info.all_parts().map(|part| &part.sha256)).filter(|sha256| !sha256.is_empty());
        let same_libraries = serves.cloned().eq(recipe.libraries().map(|loaded| loaded.digest().to_string()));
        let same_name = info.policy == request.activation.policy.name;
        same_wish && same_name && same_libraries && !lineup.active.is_suspended()
    }

    fn nothing_to_do(&mut self, mut request: Request) {
        let lineup = self.shared.slot.load();
        let sha256 = request.active_file_sha256.clone();
        let message = format!("{} is active already", lineup.active.info.policy);
        self.books.serves(&sha256);
        self.books.changed(true, "ok", ACTIVE_FILE, &message, &sha256);
        if let Some(reply) = request.reply.take() {
            self.outbox.push(Told::Reply(reply, Ok(Arc::clone(&lineup.active.info))));
        }
        self.wish = Some(request);
    }

    fn construct(&mut self, request: Request, recipe: Recipe) {
        self.generation = recipe.generation;
        let generation = recipe.generation;
        let plan = Construction {
            lane: request.activation.lane.unwrap_or(self.options.lane),
            deadline: request.activation.deadline_ms.map_or(self.options.deadline, Duration::from_millis),
            guard: request.activation.guard,
            fallback: request.activation.fallback.unwrap_or(self.options.fallback),
            cause: request.cause,
            caused_at: request.caused_at,
            active_file_sha256: request.active_file_sha256.clone(),
            active_json: Arc::clone(&request.activation.source),
            predecessor: Arc::clone(&self.shared.slot.load().active),
            shared: Arc::clone(&self.shared),
            judge: self.options.judge.clone(),
            trials: self.books.trials.clone(),
            recipe,
        };
        let stuck = stuck_threads();
        let is_foreign = plan.recipe.libraries().next().is_some();
        if plan.lane == LaneKind::Thread && is_foreign && stuck >= MAX_STUCK_THREADS {
            let error = AdmitError::TooManyStuck { stuck, limit: MAX_STUCK_THREADS };
            return self.refuse_request(request, error.code(), chain(&error));
        }
        for loaded in plan.recipe.libraries() {
            self.registry.made(loaded.digest(), generation);
        }
        self.constructing = Some((generation, Instant::now() + self.options.admission_deadline, request));
        let inbox = self.shared.inbox.clone();
        let spawned = self.makers.run(move || {
            let result = plan.carry_out();
            let _ = inbox.blocking_send(Message::Constructed(Box::new(Constructed { generation, result })));
        });
        if let Err(source) = spawned
            && let Some((.., request)) = self.constructing.take()
        {
            let name = request.activation.policy.name.clone();
            let error = AdmitError::Thread { name, source };
            self.refuse_request(request, error.code(), chain(&error));
        }
    }

    fn refuse_request(&mut self, request: Request, code: &'static str, message: String) {
        let (sha256, cause) = (request.active_file_sha256.clone(), request.cause);
        let reply = self.keep_wish(request);
        self.refuse(ACTIVE_FILE, code, message, &sha256, reply);
        match cause {
            Cause::ActiveFile => self.take_last_good(code),
            // The last good composition itself.
            Cause::Rollback => self.say_closed(),
            _ => {}
        }
    }

    pub(super) fn give_up_construction(&mut self, now: Instant) {
        if self.constructing.as_ref().is_none_or(|(_, until, _)| *until > now) {
            return;
        }
        if let Some((.., request)) = self.constructing.take() {
            let name = request.activation.policy.name.clone();
            let seconds = self.options.admission_deadline.as_secs();
            let error = AdmitError::TooSlow { name, seconds };
            self.refuse_request(request, error.code(), chain(&error));
            // If it is the state that the new instance does not take, the old one goes on.
            self.shared.slot.load().active.lane.release();
        }
        self.retry_queued();
    }

    pub(super) fn take_constructed(&mut self, constructed: Constructed) {
        let expected = self.constructing.take_if(|(generation, ..)| *generation == constructed.generation);
        let Some((.., mut request)) = expected else {
            // Given up in the meantime: what came late is dropped like a retired generation.
            if let Ok(Made { active, .. }) = constructed.result {
                self.retire(active);
            }
            return;
        };
        match constructed.result {
            Err(mut error) => {
                // A host ended under it before, and it fails in the child, too.
                if let AdmitError::Judged { suspect, .. } = &mut error
                    && let Some(entry) = suspect.take()
                {
                    self.out_of_service(*entry);
                }
                self.refuse_request(request, error.code(), chain(&error));
            }
            Ok(Made { active, handed, trial }) => {
                let (reply, file, because) = (request.reply.take(), request.file.clone(), request.because.take());
                // What the host takes by itself leaves the operator's request in place: it may still be fulfilled.
                if request.cause != Cause::Rollback {
                    self.wish = Some(request);
                }
                self.swap_in(active, file, because, reply, trial);
                if let Some(handed) = handed {
                    handed.taken_over();
                }
            }
        }
        self.retry_queued();
    }

    fn swap_in(
        &mut self,
        active: Arc<Active>,
        file: String,
        because: Option<String>,
        reply: Option<Reply>,
        trial: Option<UnderTrial>,
    ) {
        let from = self.shared.slot.load().serving().info.policy.clone();
        self.receipted_by_successor();
        let left = self.shared.slot.swap(Arc::clone(&active));
        left.into_iter().for_each(|a| self.retire(a));
        self.say_swapped(from, &active.info, active.info.cause);
        self.open_up();
        let answers = format!("{} {} answers", active.info.policy, active.info.version);
        let message = because.map_or(answers.clone(), |because| format!("{answers}: {because}"));
        self.books.serves(&active.info.active_file_sha256);
        self.await_answer(active, file, message, reply, trial);
    }

    fn say_swapped(&mut self, from: String, info: &ActiveInfo, cause: Cause) {
        self.tell(EventKind::Swapped {
            from,
            to: info.policy.clone(),
            generation: info.generation,
            sha256: info.sha256.clone(),
            library: info.library.clone(),
            version: info.version.clone(),
            cause,
        });
    }

    /// From now on the generation is expected to answer.
    pub(super) fn await_answer(
        &mut self,
        active: Arc<Active>,
        file: String,
        message: String,
        reply: Option<Reply>,
        trial: Option<UnderTrial>,
    ) {
        let rounds_at_swap = self.shared.rounds.load(Ordering::Relaxed);
        self.awaited =
            Some(Awaited { active, swapped_at: Instant::now(), rounds_at_swap, file, message, reply, _trial: trial });
    }

    /// Looks whether the generation that is expected to answer has done so.
    pub(super) fn look_for_answer(&mut self) {
        let answered = self.awaited.as_ref().and_then(|a| a.active.first_answer.get().copied());
        if answered.is_some() {
            self.receipted(answered);
        }
    }

    /// A generation that is replaced before its first answer was seen: it answered, or it never will.
    fn receipted_by_successor(&mut self) {
        self.look_for_answer();
        if let Some(Awaited { reply: Some(reply), .. }) = self.awaited.take() {
            let message = String::from("overtaken by a later switch before it answered a round");
            self.outbox.push(Told::Reply(reply, Err(Refusal { code: "superseded", message })));
        }
    }

    /// The swap counts as done: by a round that was answered at `answered`, or by the admission probe, no work flowing.
    pub(super) fn receipted(&mut self, answered: Option<Instant>) {
        let Some(awaited) = self.awaited.take() else { return };
        let info = Arc::clone(&awaited.active.info);
        let done = answered.unwrap_or(awaited.swapped_at);
        self.tell(EventKind::Receipted {
            policy: info.policy.clone(),
            generation: info.generation,
            latency: done.saturating_duration_since(awaited.active.caused_at),
            by_round: answered.is_some(),
        });
        self.books.changed(true, "ok", &awaited.file, &awaited.message, &info.active_file_sha256);
        self.books.proved(&awaited.active);
        if let Some(reply) = awaited.reply {
            self.outbox.push(Told::Reply(reply, Ok(info)));
        }
    }

    /// Takes a generation out of service; `false` when it is already. Rounds have passed to the standby: this makes it official.
    pub(super) fn eject(&mut self, generation: u64, fault: &Fault) -> bool {
        let lineup = self.shared.slot.load();
        let Some(bad) = [&lineup.active, &lineup.standby].into_iter().find(|a| a.info.generation == generation) else {
            return false;
        };
        if bad.ejected.swap(true, Ordering::AcqRel) {
            return false;
        }
        let (info, was_active) = (Arc::clone(&bad.info), bad.info.generation == lineup.active.info.generation);
        drop(lineup);
        self.quarantine(&info, fault);
        if !was_active {
            return true;
        }
        let now = Instant::now();
        let (serving, left) = self.shared.slot.roll_back();
        left.into_iter().for_each(|a| self.retire(a));
        self.say_swapped(info.policy.clone(), &serving.info, Cause::Rollback);
        let message = format!(
            "{} (generation {generation}) was taken out of service: {}; {} (generation {}) answers again",
            info.policy, fault.message, serving.info.policy, serving.info.generation
        );
        if let Some(Awaited { reply: Some(reply), .. }) = self.awaited.take() {
            self.outbox.push(Told::Reply(reply, Err(Refusal { code: fault.code, message: message.clone() })));
        }
        self.books.changed(false, fault.code, &info.library, &message, &info.active_file_sha256);
        self.books.serves(&serving.info.active_file_sha256);
        self.books.proved(&serving);
        self.tell(EventKind::Receipted {
            policy: serving.info.policy.clone(),
            generation: serving.info.generation,
            latency: now.elapsed(),
            by_round: serving.rounds.load(Ordering::Relaxed) > 0,
        });
        true
    }

    fn quarantine(&mut self, info: &ActiveInfo, fault: &Fault) {
        let guilty =
            fault.part.as_ref().and_then(|(kind, name)| info.parts().find(|i| i.kind == *kind && i.name == *name));
        let (sha256, file) = match guilty {
            Some(part) => (part.sha256.clone(), part.library.clone()),
            None => (info.sha256.clone(), info.library.clone()),
        };
        self.tell(EventKind::Quarantined { sha256: sha256.clone(), file: file.clone(), code: fault.code });
        if !sha256.is_empty() {
            self.registry.quarantine(Quarantined { sha256, file, code: fault.code.into(), recipe: String::new() });
            self.books.remember_quarantine(self.registry.quarantined());
        }
    }
}
