//! Constructions: from a recipe to a generation that could be put in service. They run plugin code, away from the control
//! task.

use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use super::initial::default_instance;
use super::trying::{Trial, Trials, UnderTrial};
use crate::artifact::judge::{Judge, intern};
use crate::artifact::load::Loaded;
use crate::control::activation::{LaneKind, Wanted};
use crate::control::admit::{self, AdmitError, Origin, Recipe};
use crate::core::event::Cause;
use crate::core::guard::Guard;
use crate::core::limits::HAND_OVER_LIMIT;
use crate::core::text::chain;
use crate::facade::{Outcome, Shared};
use crate::serving::built_in::BuiltIn;
use crate::serving::lane::{Handed, Lane, NoState, Pipeline};
use crate::serving::shadow::{Shadow, Shadows};
use crate::serving::slot::{Active, ActiveInfo, PartInfo, ShadowInfo};
use crate::state::receipt::Quarantined;

/// What became of a construction.
#[derive(Debug)]
pub(crate) struct Constructed {
    pub(super) generation: u64,
    pub(super) result: Result<Made, AdmitError>,
}

/// A generation that could be put in service.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) active: Arc<Active>,
    /// What its predecessor handed over. As long as it is kept, the predecessor answers no round, so that nothing is
    /// learnt there that would be lost.
    pub(super) handed: Option<Handed>,
    /// It goes on until the generation has answered.
    pub(super) trial: Option<UnderTrial>,
}

/// Everything that a construction needs, away from the control task.
pub(super) struct Construction {
    pub(super) recipe: Recipe,
    pub(super) judge: Option<Judge>,
    pub(super) trials: Trials,
    pub(super) lane: LaneKind,
    pub(super) deadline: Duration,
    pub(super) guard: Guard,
    pub(super) fallback: BuiltIn,
    pub(super) cause: Cause,
    pub(super) caused_at: Instant,
    pub(super) active_file_sha256: String,
    pub(super) active_json: Arc<str>,
    pub(super) predecessor: Arc<Active>,
    pub(super) shared: Arc<Shared>,
}

impl Construction {
    /// Has it judged, and makes it. Runs plugin code.
    pub(super) fn carry_out(self) -> Result<Made, AdmitError> {
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
        let verdict = judge.examine_recipe(&self.recipe);
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
            policy: self.recipe.policy.0.name.clone(),
            recipe: self.recipe.key(),
            active: serde_json::from_str(&self.recipe.activation(self.fallback)).unwrap_or_default(),
            ..Trial::of_library(first.file_name(), first.digest().to_string())
        }))
    }

    /// Constructs, rehearses, hands over state: that last, because rounds wait from then on.
    fn make(self) -> Result<Made, AdmitError> {
        let name = self.recipe.policy.0.name.clone();
        let generation = self.recipe.generation;
        let note = |shared: &Arc<Shared>| {
            let (shared, policy) = (Arc::clone(shared), name.clone());
            move |message: String| {
                shared.post(Outcome::Note { policy: policy.clone(), generation, message });
            }
        };
        admit::rehearse_once(&self.recipe, note(&self.shared))?;
        let pipeline = admit::construct(&self.recipe, note(&self.shared))?;
        let shadows = self.shadows(&note(&self.shared))?;
        let handed = self.hand_over(&name, &pipeline, note(&self.shared));
        let (thread, nudge) = (format!("policy-{generation}"), Shared::nudge(&self.shared.inbox));
        let lane = Lane::new(self.lane, pipeline, &thread, self.deadline, self.guard, nudge)
            .map_err(|source| AdmitError::Thread { name: name.clone(), source })?;
        let active = Arc::new(Active {
            info: Arc::new(self.info(name)),
            lane,
            fallback: default_instance(self.fallback),
            caused_at: self.caused_at,
            rounds: AtomicU64::new(0),
            first_answer: OnceLock::new(),
            shadows,
            closed: AtomicBool::new(false),
            suspended: AtomicBool::new(false),
            ejected: AtomicBool::new(false),
            recipe: Some(self.recipe),
        });
        Ok(Made { active, handed, trial: None })
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

    /// Takes over what the predecessor has learnt, after the last round that it answers.
    fn hand_over(&self, name: &str, pipeline: &Pipeline, note: impl Fn(String)) -> Option<Handed> {
        let from = &self.predecessor;
        if from.info.policy != *name || from.is_suspended() {
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
            guard: self.guard,
            fallback: self.fallback,
            since: SystemTime::now(),
            cause: self.cause,
            active_file_sha256: self.active_file_sha256.clone(),
            active_json: Arc::clone(&self.active_json),
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
