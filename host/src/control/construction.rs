//! Constructions: from a recipe to a generation that could be put in service. They run plugin code, away from the control
//! task.

use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};

use crate::artifact::judge::{Judge, intern};
use crate::control::activation::ACTIVE_FILE;
use crate::control::admit::{self, AdmitError, Recipe};
use crate::control::message::Made;
use crate::core::built_in::BuiltIn;
use crate::core::event::{Cause, EventKind};
use crate::core::events::EventBus;
use crate::core::guard::Guard;
use crate::core::info::{ActiveInfo, LaneKind};
use crate::core::limits::HAND_OVER_LIMIT;
use crate::core::text::chain;
use crate::core::wake::Wake;
use crate::serving::lane::{Handed, Lane, NoState, Pipeline};
use crate::serving::shadow::{Shadow, Shadows};
use crate::serving::slot::Active;
use crate::state::receipt::Quarantined;
use crate::state::trying::{Trial, Trials, UnderTrial};

/// Where notes of a generation go: what its destructors and its hand-over have to say.
pub(crate) fn notes(events: &EventBus, policy: &str, generation: u64) -> impl Fn(String) + Clone + Send + Sync + use<> {
    let (events, policy) = (events.clone(), policy.to_owned());
    move |message| events.emit(EventKind::Note { policy: policy.clone(), generation, message })
}

/// Everything that a construction needs, away from the control task.
pub(crate) struct Construction {
    pub(crate) recipe: Recipe,
    pub(crate) generation: u64,
    pub(crate) judge: Option<Judge>,
    pub(crate) trials: Trials,
    pub(crate) lane: LaneKind,
    pub(crate) deadline: Duration,
    pub(crate) guard: Guard,
    pub(crate) fallback: BuiltIn,
    pub(crate) cause: Cause,
    pub(crate) caused_at: Instant,
    pub(crate) active_file_sha256: String,
    pub(crate) active_json: Arc<str>,
    /// A host that is dropped meanwhile is not kept alive by it.
    pub(crate) predecessor: Weak<Active>,
    pub(crate) events: EventBus,
    pub(crate) control: Wake,
}

impl Construction {
    /// Has it judged, and makes it. Runs plugin code.
    pub(crate) fn carry_out(self) -> Result<Made, AdmitError> {
        self.have_it_judged()?;
        let trial = self.begin_trial();
        let made = self.make()?;
        if let Some(trial) = &trial {
            trial.stage("first-round");
        }
        Ok(Made { trial, ..made })
    }

    /// Has the judge's child try the very recipe, unless it has passed in this process: what was active stays active, and
    /// this process alive, whatever its configs make of its libraries.
    fn have_it_judged(&self) -> Result<(), AdmitError> {
        let Some(judge) = &self.judge else { return Ok(()) };
        if self.recipe.libraries().next().is_none() || self.recipe.has_passed() {
            return Ok(());
        }
        let from = self.recipe.libraries().next().map_or("", |library| library.file_name());
        let title = format!("{ACTIVE_FILE}: {} of {from}", self.recipe.policy.wanted.name);
        let verdict = judge.examine_recipe(Path::new(&title), self.recipe.ordered());
        if verdict.ok {
            return Ok(());
        }
        let suspect = self.recipe.libraries().next().and_then(|first| {
            let (sha256, recipe) = (first.digest().to_string(), self.recipe.key());
            let suspected = self.trials.suspects(&sha256, &recipe);
            let file = first.file_name().to_owned();
            suspected.then(|| Box::new(Quarantined { sha256, file, code: verdict.code.clone(), recipe }))
        });
        Err(AdmitError::Judged { code: intern(&verdict.code), message: verdict.message, suspect })
    }

    fn begin_trial(&self) -> Option<UnderTrial> {
        let first = self.recipe.libraries().next()?;
        Some(self.trials.begin(Trial {
            stage: "construct".into(),
            policy: self.recipe.policy.wanted.name.clone(),
            recipe: self.recipe.key(),
            active: self.recipe.info().active_json(self.fallback),
            ..Trial::of_library(first.file_name(), first.digest().to_string())
        }))
    }

    /// Constructs, rehearses, hands over state: that last, because rounds wait from then on.
    fn make(self) -> Result<Made, AdmitError> {
        let name = self.recipe.policy.wanted.name.clone();
        let note = notes(&self.events, &name, self.generation);
        admit::rehearse_once(&self.recipe, self.generation, note.clone())?;
        let pipeline = admit::construct(&self.recipe, self.generation, note.clone())?;
        let shadows = self.shadows(&note)?;
        let handed = self.hand_over(&name, &pipeline, note);
        let thread = format!("policy-{}", self.generation);
        let lane = Lane::new(self.lane, pipeline, &thread, self.deadline, self.guard, self.control.clone())
            .map_err(|source| AdmitError::Thread { name, source })?;
        let fallback = self.fallback.default_instance();
        let mut active = Active::new(self.info(), lane, fallback, self.caused_at);
        active.shadows = shadows;
        Ok(Made { active: Arc::new(active), recipe: self.recipe, handed, trial: None })
    }

    /// Constructs and rehearses the shadows, and starts their thread.
    fn shadows(&self, note: &(impl Fn(String) + Clone + Send + Sync + 'static)) -> Result<Option<Shadows>, AdmitError> {
        let shadow = |recipe: &Recipe| {
            admit::rehearse_once(recipe, self.generation, note.clone())?;
            let pipeline = Arc::new(admit::construct(recipe, self.generation, note.clone())?);
            Ok(Shadow { info: recipe.info(), pipeline })
        };
        let shadows = self.recipe.shadows.iter().map(shadow).collect::<Result<Vec<_>, AdmitError>>()?;
        if shadows.is_empty() {
            return Ok(None);
        }
        let name = shadows[0].info.policy.name.clone();
        Shadows::start(shadows).map(Some).map_err(|source| AdmitError::Thread { name, source })
    }

    /// Takes over what the predecessor has learnt, after the last round that it answers.
    fn hand_over(&self, name: &str, pipeline: &Pipeline, note: impl Fn(String)) -> Option<Handed> {
        let from = self.predecessor.upgrade()?;
        if from.info.policy() != name || from.is_suspended() {
            return None;
        }
        let mut handed = match from.lane.hand_over(HAND_OVER_LIMIT) {
            Ok(handed) => handed,
            Err(none) => {
                note(format!("starts cold: its predecessor hands over no state: {}", chain(&none)));
                return if let NoState::TooSlow(_, handed) = none { Some(handed) } else { None };
            }
        };
        match handed.take_state() {
            Ok(None) => {}
            Ok(Some(state)) => {
                if let Err(refusal) = pipeline.import_state(&state) {
                    note(format!("starts cold: it does not take over its predecessor's state: {}", chain(&refusal)));
                }
            }
            Err(fault) => note(format!("starts cold: its predecessor hands over no state: {}", chain(&fault))),
        }
        Some(handed)
    }

    fn info(&self) -> ActiveInfo {
        ActiveInfo {
            composition: self.recipe.info(),
            generation: self.generation,
            lane: self.lane,
            deadline: self.deadline,
            guard: self.guard,
            fallback: self.fallback,
            since: SystemTime::now(),
            cause: self.cause,
            active_file_sha256: self.active_file_sha256.clone(),
            active_json: Arc::clone(&self.active_json),
        }
    }
}
