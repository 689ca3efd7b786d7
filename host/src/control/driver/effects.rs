//! Carries out what the state machine says.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Arrival, Constructing, Control, Made};
use crate::control::activation::ACTIVE_FILE;
use crate::control::admit::{AdmitError, Recipe};
use crate::control::construction::Construction;
use crate::control::machine::{Awaited, Effect, Input, Moment};
use crate::control::message::{Constructed, Message};
use crate::control::request::{Refusal, ReplyTo};
use crate::core::event::{Cause, EventKind};
use crate::core::info::{ActiveInfo, LaneKind};
use crate::core::limits::MAX_STUCK_THREADS;
use crate::core::text::chain;
use crate::core::threads;
use crate::serving::slot::Active;
use crate::state::last_good::LastGood;

type In = Input<Recipe, Made, Arrival>;
type Out = Effect<Recipe, Made, Arrival>;

impl Control {
    fn now(&self) -> Moment {
        Moment { at: Instant::now(), rounds: self.service.counters.rounds.get() }
    }

    /// Brings the state machine what happened, and carries out what follows, each effect with all that follows from it.
    pub(super) fn drive(&mut self, input: In) {
        let mut effects: VecDeque<Out> = self.machine.step(input, self.now()).into();
        while let Some(effect) = effects.pop_front() {
            if let Some(input) = self.carry_out(effect) {
                let follow = self.machine.step(input, self.now());
                follow.into_iter().rev().for_each(|effect| effects.push_front(effect));
            }
        }
    }

    /// Carries out one effect; returns its result, where it has one at once.
    fn carry_out(&mut self, effect: Out) -> Option<In> {
        match effect {
            Effect::Resolve(request) => {
                let found = self.resolve(&request);
                return Some(Input::Resolved(request, found));
            }
            Effect::Compare(arrival) => return Some(Input::Compared(self.renewal(&arrival))),
            Effect::Construct { generation, recipe } => {
                let refused = self.construct(generation, recipe).err()?;
                return Some(Input::Built { generation, made: Err(refused) });
            }
            Effect::SwapIn(made) => self.swap_in(made),
            Effect::Discard(made) => drop(made),
            Effect::Release => self.service.slot.load().active.lane.release(),
            Effect::Refuse { refusal, active_file_sha256, reply, cause } => {
                let code = refusal.code;
                self.refuse(ACTIVE_FILE, refusal, &active_file_sha256, reply);
                match cause {
                    Cause::ActiveFile => self.take_last_good(code),
                    // The last good composition itself.
                    Cause::Rollback => self.say_closed(),
                    _ => {}
                }
            }
            Effect::AlreadyServes { active_file_sha256, reply } => {
                let info = Arc::clone(&self.service.slot.load().active.info);
                let message = format!("{} is active already", info.policy());
                self.served_sha256.clone_from(&active_file_sha256);
                self.files.changed(true, "ok", ACTIVE_FILE, &message, &active_file_sha256);
                self.answer(reply, Ok(info));
            }
            Effect::Reply(to, refusal) => self.answer(Some(to), Err(refusal)),
            Effect::Receipt { generation, answered, awaited } => self.receipt(generation, answered, awaited),
            Effect::RollBack { generation, reply } => {
                let generation = self.roll_back(generation, reply);
                return Some(Input::RolledBack { generation });
            }
        }
        None
    }

    /// Has a generation made, on a thread that may be thrown away.
    fn construct(&mut self, generation: u64, recipe: Recipe) -> Result<(), Refusal> {
        let Some((_, request)) = self.machine.building() else { return Ok(()) };
        let refused = |error: AdmitError| Refusal::new(error.code(), chain(&error));
        let name = request.activation.composition.policy.name.clone();
        let plan = Construction {
            generation,
            lane: request.activation.lane.unwrap_or(self.options.lane),
            deadline: request.activation.deadline_ms.map_or(self.options.deadline, Duration::from_millis),
            guard: request.activation.guard,
            fallback: request.activation.fallback.unwrap_or(self.options.fallback),
            cause: request.cause,
            caused_at: request.caused_at,
            active_file_sha256: request.active_file_sha256.clone(),
            active_json: Arc::clone(&request.activation.source),
            predecessor: Arc::downgrade(&self.service.slot.load().active),
            events: self.service.events.clone(),
            control: self.service.control.clone(),
            judge: self.options.judge.clone(),
            trials: self.files.trials.clone(),
            recipe,
        };
        let (stuck, limit) = (threads::stuck(), MAX_STUCK_THREADS);
        let is_foreign = plan.recipe.libraries().next().is_some();
        if plan.lane == LaneKind::Thread && is_foreign && stuck >= limit {
            return Err(refused(AdmitError::TooManyStuck { stuck, limit }));
        }
        for loaded in plan.recipe.libraries() {
            self.registry.made(loaded.digest(), generation);
        }
        let inbox = self.inbox.clone();
        let job = self.makers.run(move || {
            let result = plan.carry_out();
            let _ = inbox.blocking_send(Message::Constructed(Box::new(Constructed { generation, result })));
        });
        let job = job.map_err(|source| refused(AdmitError::Thread { name, source }))?;
        self.constructing = Some(Constructing { begun: Instant::now(), job });
        Ok(())
    }

    pub(super) fn give_up_construction(&mut self, now: Instant) {
        let limit = self.options.admission_deadline;
        let Some(late) = self.constructing.take_if(|c| c.job.is_overdue(now, limit)) else { return };
        late.job.give_up();
        let Some((generation, request)) = self.machine.building() else { return };
        let name = request.activation.composition.policy.name.clone();
        let error = AdmitError::TooSlow { name, seconds: limit.as_secs() };
        self.drive(Input::Overdue { generation, refusal: Refusal::new(error.code(), chain(&error)) });
    }

    pub(super) fn take_constructed(&mut self, constructed: Constructed) {
        let Constructed { generation, result } = constructed;
        if self.machine.building().is_some_and(|(expected, _)| expected == generation) {
            self.constructing = None;
        }
        // The generation before may have answered in this moment.
        self.look_for_answer();
        let made = result.map_err(|mut error| {
            // A host ended under it before, and it fails in the child, too.
            if let AdmitError::Judged { suspect, .. } = &mut error
                && let Some(entry) = suspect.take()
            {
                self.out_of_service(*entry);
            }
            Refusal::new(error.code(), chain(&error))
        });
        self.drive(Input::Built { generation, made });
    }

    fn swap_in(&mut self, made: Made) {
        let Made { active, recipe, handed, trial } = made;
        let from = self.service.slot.load().serving().info.policy().to_owned();
        self.left.push(self.service.slot.swap(Arc::clone(&active)));
        self.recipes.insert(active.info.generation, recipe);
        self.forget_recipes();
        self.trial = trial;
        self.say_swapped(from, &active.info, active.info.cause);
        self.open_up();
        self.served_sha256.clone_from(&active.info.active_file_sha256);
        self.files.touch();
        if let Some(handed) = handed {
            handed.taken_over();
        }
    }

    /// Keeps the recipes of generations in the line-up.
    fn forget_recipes(&mut self) {
        let lineup = self.service.slot.load();
        let kept = lineup.all();
        self.recipes.retain(|generation, _| kept.iter().any(|a| a.info.generation == *generation));
    }

    fn say_swapped(&mut self, from: String, info: &ActiveInfo, cause: Cause) {
        self.say(EventKind::Swapped {
            from,
            to: info.policy().to_owned(),
            generation: info.generation,
            sha256: info.sha256().to_owned(),
            library: info.library().to_owned(),
            version: info.version().to_owned(),
            cause,
        });
    }

    /// Looks whether the generation that is expected to answer has done so.
    pub(super) fn look_for_answer(&mut self) {
        let Some((generation, _)) = self.machine.awaited() else { return };
        let answered = self.in_lineup(generation).and_then(|active| active.first_answer.get().copied());
        if let Some(at) = answered {
            self.drive(Input::Answered { generation, at });
        }
    }

    /// A generation of the line-up.
    pub(super) fn in_lineup(&self, generation: u64) -> Option<Arc<Active>> {
        self.service.slot.load().all().into_iter().find(|active| active.info.generation == generation)
    }

    fn receipt(&mut self, generation: u64, answered: Option<Instant>, awaited: Awaited) {
        self.trial = None;
        let Some(active) = self.in_lineup(generation) else {
            return self.answer(awaited.reply, Err(Refusal::new("superseded", "it is in service no more")));
        };
        let info = Arc::clone(&active.info);
        let done = answered.unwrap_or(awaited.swapped.at);
        self.say(EventKind::Receipted {
            policy: info.policy().to_owned(),
            generation,
            latency: done.saturating_duration_since(active.caused_at),
            by_round: answered.is_some(),
        });
        let message = match (&awaited.because, info.active_json.is_empty()) {
            (Some(because), true) => because.clone(),
            (Some(because), false) => format!("{} {} answers: {because}", info.policy(), info.version()),
            (None, _) => format!("{} {} answers", info.policy(), info.version()),
        };
        self.files.changed(true, "ok", &awaited.file, &message, &info.active_file_sha256);
        self.prove(active);
        self.answer(awaited.reply, Ok(info));
    }

    /// A generation has answered, or has proved idle: from now on the receipt names it.
    fn prove(&mut self, active: Arc<Active>) {
        if let Some(good) = LastGood::of(&active.info) {
            self.files.set_last_good(good);
        }
        self.proved = Some(active);
        self.files.touch();
    }

    /// The active generation is out of service, and rounds have passed to the standby: makes that official. Returns the
    /// generation that answers.
    fn roll_back(&mut self, generation: u64, reply: Option<ReplyTo>) -> u64 {
        let now = Instant::now();
        self.trial = None;
        let bad = Arc::clone(&self.service.slot.load().active);
        let serving = self.service.slot.roll_back();
        self.forget_recipes();
        let (gone, info) = (&bad.info, &serving.info);
        let (code, why) = bad.ejection().map_or(("", ""), |e| (e.fault.code, e.fault.message.as_str()));
        self.say_swapped(gone.policy().to_owned(), info, Cause::Rollback);
        let message = format!(
            "{} (generation {generation}) was taken out of service: {why}; {} (generation {}) answers again",
            gone.policy(),
            info.policy(),
            info.generation
        );
        self.answer(reply, Err(Refusal::new(code, message.clone())));
        self.files.changed(false, code, gone.library(), &message, &gone.active_file_sha256);
        self.served_sha256.clone_from(&info.active_file_sha256);
        self.prove(Arc::clone(&serving));
        self.say(EventKind::Receipted {
            policy: info.policy().to_owned(),
            generation: info.generation,
            latency: now.elapsed(),
            by_round: serving.rounds.get() > 0,
        });
        info.generation
    }
}
