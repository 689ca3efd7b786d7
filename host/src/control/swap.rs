//! Activations: from a wish to a generation in service, its receipt, its ejection.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use policy_kit::Composite;
use policy_plugin_api::FromConfig;

use super::initial::default_instance;
use super::{Awaited, Control, Message, Reply, Request, Told};
use crate::activation::{ACTIVE_FILE, Activation, ActivationError, LaneKind, Wanted};
use crate::admit::{self, AdmitError, Origin, Recipe};
use crate::event::{Cause, EventKind};
use crate::fallback::BuiltIn;
use crate::guard::Fault;
use crate::host::{Outcome, Refusal, Shared};
use crate::lane::{Lane, stuck_threads};
use crate::limits::{MAX_STUCK_THREADS, UNKNOWN_NAME_GRACE};
use crate::load::Loaded;
use crate::receipt::Quarantined;
use crate::registry::Unresolved;
use crate::shadow::{Shadow, Shadows};
use crate::slot::{Active, ActiveInfo, PartInfo, ShadowInfo};

/// What became of a construction.
#[derive(Debug)]
pub(crate) struct Constructed {
    generation: u64,
    result: Result<Arc<Active>, AdmitError>,
}

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
            let mut lifted = self.registry.reinstate("policy", &request.activation.policy.name);
            for (kind, part) in request.activation.parts() {
                lifted |= self.registry.reinstate(kind, &part.name);
            }
            if lifted {
                self.books.remember_quarantine(self.registry.quarantined());
            }
        }
        match self.recipe(&request.activation) {
            Err(Obstacle::Wait) => self.queued = Some(request),
            Err(Obstacle::Unknown { .. }) if request.patience.is_none_or(|until| until > Instant::now()) => {
                let until = Instant::now() + UNKNOWN_NAME_GRACE;
                self.queued = Some(Request { patience: Some(request.patience.unwrap_or(until)), ..request });
            }
            Err(Obstacle::Error { code, message } | Obstacle::Unknown { code, message }) => {
                let sha256 = request.active_file_sha256.clone();
                let reply = self.keep_wish(request);
                self.refuse(ACTIVE_FILE, code, message, &sha256, reply);
            }
            Ok(recipe) if self.serves_already(&request, &recipe) => self.nothing_to_do(request),
            Ok(recipe) => self.construct(request, recipe),
        }
    }

    pub(super) fn retry_queued(&mut self) {
        if self.constructing.is_none()
            && let Some(request) = self.queued.take()
        {
            self.request(request);
        }
    }

    /// Remembers what was asked for; returns whom to answer.
    fn keep_wish(&mut self, mut request: Request) -> Option<Reply> {
        let reply = request.reply.take();
        // An embedder's switch that failed leaves the operator's wish in place.
        if request.cause != Cause::Api {
            self.wish = Some(request);
        }
        reply
    }

    fn recipe(&self, activation: &Activation) -> Result<Recipe, Obstacle> {
        let filters = activation.filters.iter().map(|wanted| Ok((wanted.clone(), self.part("filter", wanted)?)));
        let shadows = activation.shadow.iter().map(|candidate| self.alone(&candidate.policy, &candidate.scores));
        Ok(Recipe {
            filters: filters.collect::<Result<_, _>>()?,
            shadows: shadows.collect::<Result<_, _>>()?,
            ..self.alone(&activation.policy, &activation.scores)?
        })
    }

    /// A policy with its scores.
    fn alone(&self, policy: &Wanted, scores: &[(Wanted, u32)]) -> Result<Recipe, Obstacle> {
        let origin = if scores.is_empty() { self.origin(policy)? } else { Origin::Composite };
        let scores = scores.iter().map(|(wanted, weight)| Ok((wanted.clone(), *weight, self.part("score", wanted)?)));
        Ok(Recipe {
            policy: (policy.clone(), origin),
            filters: Vec::new(),
            scores: scores.collect::<Result<_, _>>()?,
            shadows: Vec::new(),
            generation: self.generation + 1,
        })
    }

    fn part(&self, kind: &'static str, wanted: &Wanted) -> Result<Arc<Loaded>, Obstacle> {
        self.registry.resolve(kind, &wanted.name).map_err(|unresolved| self.obstacle(kind, wanted, unresolved))
    }

    fn origin(&self, policy: &Wanted) -> Result<Origin, Obstacle> {
        match (self.registry.resolve("policy", &policy.name), policy.name.parse::<BuiltIn>()) {
            (Ok(loaded), _) => Ok(Origin::Library(loaded)),
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
                Obstacle::Unknown { code: error.code(), message: error.to_string() }
            }
            Unresolved::Quarantined(file, code) => {
                let name = &wanted.name;
                let message = format!(
                    "{ACTIVE_FILE}: {kind} {name} of {file} is out of service ({code}); put a mended library in its \
                     place, or write {ACTIVE_FILE} again to try this one once more"
                );
                Obstacle::Error { code: "quarantined", message }
            }
        }
    }

    /// Whether what is active is already exactly what is asked for.
    fn serves_already(&self, request: &Request, recipe: &Recipe) -> bool {
        let lineup = self.shared.slot.load();
        let info = &lineup.active.info;
        let same_wish = self.wish.as_ref().is_some_and(|w| w.activation == request.activation);
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
            fallback: request.activation.fallback.unwrap_or(self.options.fallback),
            cause: request.cause,
            caused_at: request.caused_at,
            active_file_sha256: request.active_file_sha256.clone(),
            predecessor: Arc::clone(&self.shared.slot.load().active),
            shared: Arc::clone(&self.shared),
            recipe,
        };
        let stuck = stuck_threads();
        if plan.lane == LaneKind::Thread && stuck >= MAX_STUCK_THREADS {
            let error = AdmitError::TooManyStuck { stuck, limit: MAX_STUCK_THREADS };
            return self.refuse_request(request, &error);
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
            self.refuse_request(request, &AdmitError::Thread { name, source });
        }
    }

    fn refuse_request(&mut self, request: Request, error: &AdmitError) {
        let sha256 = request.active_file_sha256.clone();
        let reply = self.keep_wish(request);
        self.refuse(ACTIVE_FILE, error.code(), error.to_string(), &sha256, reply);
    }

    pub(super) fn give_up_construction(&mut self, now: Instant) {
        if self.constructing.as_ref().is_none_or(|(_, until, _)| *until > now) {
            return;
        }
        if let Some((.., request)) = self.constructing.take() {
            let name = request.activation.policy.name.clone();
            let seconds = self.options.admission_deadline.as_secs();
            self.refuse_request(request, &AdmitError::TooSlow { name, seconds });
        }
        self.retry_queued();
    }

    pub(super) fn take_constructed(&mut self, constructed: Constructed) {
        let expected = self.constructing.take_if(|(generation, ..)| *generation == constructed.generation);
        let Some((.., mut request)) = expected else {
            // Given up in the meantime: what came late is dropped like a retired generation.
            if let Ok(late) = constructed.result {
                self.retire(late);
            }
            return;
        };
        match constructed.result {
            Err(error) => self.refuse_request(request, &error),
            Ok(active) => {
                let reply = request.reply.take();
                self.wish = Some(request);
                self.swap_in(active, reply);
            }
        }
        self.retry_queued();
    }

    fn swap_in(&mut self, active: Arc<Active>, reply: Option<Reply>) {
        let from = self.shared.slot.load().serving().info.policy.clone();
        self.receipted_by_successor();
        let left = self.shared.slot.swap(Arc::clone(&active));
        left.into_iter().for_each(|a| self.retire(a));
        self.say_swapped(from, &active.info, active.info.cause);
        let message = format!("{} {} answers", active.info.policy, active.info.version);
        self.books.serves(&active.info.active_file_sha256);
        self.await_answer(active, message, reply);
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
    pub(super) fn await_answer(&mut self, active: Arc<Active>, message: String, reply: Option<Reply>) {
        let rounds_at_swap = self.shared.rounds.load(Ordering::Relaxed);
        self.awaited = Some(Awaited { active, swapped_at: Instant::now(), rounds_at_swap, message, reply });
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
        let file = if info.cause == Cause::NewLibrary { info.library.as_str() } else { ACTIVE_FILE };
        self.books.changed(true, "ok", file, &awaited.message, &info.active_file_sha256);
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
            self.registry.quarantine(Quarantined { sha256, file, code: fault.code.into() });
            self.books.remember_quarantine(self.registry.quarantined());
        }
    }
}

/// Everything that a construction needs, away from the control task.
struct Construction {
    recipe: Recipe,
    lane: LaneKind,
    deadline: Duration,
    fallback: BuiltIn,
    cause: Cause,
    caused_at: Instant,
    active_file_sha256: String,
    predecessor: Arc<Active>,
    shared: Arc<Shared>,
}

impl Construction {
    /// Constructs, rehearses, hands over state. Runs plugin code.
    fn carry_out(self) -> Result<Arc<Active>, AdmitError> {
        let name = self.recipe.policy.0.name.clone();
        let generation = self.recipe.generation;
        let note = |shared: &Arc<Shared>| {
            let (shared, policy) = (Arc::clone(shared), name.clone());
            move |message: String| shared.post(Outcome::Note { policy: policy.clone(), generation, message })
        };
        admit::rehearse_once(&self.recipe, note(&self.shared))?;
        let pipeline = Arc::new(admit::construct(&self.recipe, note(&self.shared))?);
        self.hand_over(&name, &pipeline, note(&self.shared));
        let shadows = self.shadows(&note(&self.shared))?;
        let thread = format!("policy-{generation}");
        let lane = Lane::new(self.lane, pipeline, &thread)
            .map_err(|source| AdmitError::Thread { name: name.clone(), source })?;
        Ok(Arc::new(Active {
            info: Arc::new(self.info(name)),
            lane,
            fallback: default_instance(self.fallback),
            caused_at: self.caused_at,
            rounds: AtomicU64::new(0),
            first_answer: OnceLock::new(),
            shadows,
            suspended: AtomicBool::new(false),
        }))
    }

    /// Constructs and rehearses the shadows, and starts their thread.
    fn shadows(&self, note: &(impl Fn(String) + Clone + Send + Sync + 'static)) -> Result<Option<Shadows>, AdmitError> {
        let shadow = |recipe: &Recipe| {
            admit::rehearse_once(recipe, note.clone())?;
            let pipeline = Arc::new(admit::construct(recipe, note.clone())?);
            Ok(Shadow { info: shadow_info(recipe), pipeline })
        };
        let shadows = self.recipe.shadows.iter().map(shadow).collect::<Result<Vec<_>, AdmitError>>()?;
        if shadows.is_empty() {
            return Ok(None);
        }
        let name = shadows[0].info.policy.name.clone();
        Shadows::start(shadows).map(Some).map_err(|source| AdmitError::Thread { name, source })
    }

    fn hand_over(&self, name: &str, pipeline: &crate::lane::Pipeline, note: impl Fn(String)) {
        let from = &self.predecessor;
        if from.info.policy != *name || from.is_suspended() {
            return;
        }
        match from.lane.pipeline().export_state() {
            Ok(None) => {}
            Ok(Some(state)) => {
                if let Err(refusal) = pipeline.import_state(&state) {
                    note(format!("starts cold: it does not take over its predecessor's state: {refusal}"));
                }
            }
            Err(fault) => note(format!("starts cold: its predecessor hands over no state: {fault}")),
        }
    }

    fn info(&self, policy: String) -> ActiveInfo {
        let (version, library, sha256) = about_origin(&self.recipe.policy.1, &policy);
        ActiveInfo {
            filters: self.recipe.filters.iter().map(|(wanted, loaded)| part_info("filter", wanted, loaded)).collect(),
            scores: scores_info(&self.recipe),
            shadows: self.recipe.shadows.iter().map(shadow_info).collect(),
            policy,
            version,
            generation: self.recipe.generation,
            library,
            sha256,
            lane: self.lane,
            deadline: self.deadline,
            fallback: self.fallback,
            since: SystemTime::now(),
            cause: self.cause,
            active_file_sha256: self.active_file_sha256.clone(),
            activation: self.recipe.activation(self.fallback),
        }
    }
}

fn part_info(kind: &'static str, wanted: &Wanted, loaded: &Loaded) -> PartInfo {
    let (version, library, sha256) = about(loaded, &wanted.name);
    PartInfo { kind, name: wanted.name.clone(), version, library, sha256 }
}

fn scores_info(recipe: &Recipe) -> Vec<(PartInfo, u32)> {
    recipe.scores.iter().map(|(wanted, weight, loaded)| (part_info("score", wanted, loaded), *weight)).collect()
}

fn shadow_info(recipe: &Recipe) -> ShadowInfo {
    let (wanted, origin) = &recipe.policy;
    let (version, library, sha256) = about_origin(origin, &wanted.name);
    ShadowInfo {
        policy: PartInfo { kind: "shadow", name: wanted.name.clone(), version, library, sha256 },
        config: wanted.config.clone(),
        scores: scores_info(recipe),
    }
}

fn about_origin(origin: &Origin, name: &str) -> (String, String, String) {
    match origin {
        Origin::BuiltIn(_) | Origin::Composite => {
            (env!("CARGO_PKG_VERSION").to_owned(), "(built-in)".to_owned(), String::new())
        }
        Origin::Library(loaded) => about(loaded, name),
    }
}

fn about(loaded: &Loaded, name: &str) -> (String, String, String) {
    let version = loaded.export(name).map(|e| e.version.clone()).unwrap_or_default();
    (version, loaded.file_name().to_owned(), loaded.digest().to_string())
}
