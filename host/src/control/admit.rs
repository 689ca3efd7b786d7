//! Admission: constructs instances with their config and puts them through canned rounds before any real one.
//! Everything here runs foreign code: call it on a thread that may be thrown away.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use policy_kit::Composite;
use policy_plugin_api::FromConfig;
use policy_wire::canned;

use crate::artifact::load::Loaded;
use crate::artifact::vet::Digest;
use crate::control::activation::{ActivationError, Wanted};
use crate::core::limits::MAX_REHEARSED;
use crate::core::text::chain;
use crate::foreign::PolicyFault;
use crate::serving::built_in::{BuiltIn, make_linked};
use crate::serving::lane::{Decided, FilterInstance, LimitsCell, Pipeline, PolicyInstance, ScoreInstance, Scored};
use crate::serving::validate;
use crate::state::receipt::Quarantined;

/// Where an instance comes from.
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    /// A library.
    Library(Arc<Loaded>),
    /// Compiled in.
    BuiltIn(BuiltIn),
    /// Compiled in: asks the scores of the recipe.
    Composite,
}

/// Why a policy was not admitted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdmitError {
    /// The config does not fit.
    #[error(transparent)]
    Config(#[from] ActivationError),
    /// The constructor returned an error.
    #[error("constructing {name}: {message}")]
    Constructor {
        /// The policy, filter or score.
        name: String,
        /// What it said.
        message: String,
    },
    /// The constructor panicked.
    #[error("constructing {name}: {message}")]
    ConstructorPanic {
        /// The policy, filter or score.
        name: String,
        /// Its message.
        message: String,
    },
    /// A canned round went wrong.
    #[error("{name} failed the canned round {round:?}: {message}")]
    CannedRound {
        /// The policy.
        name: String,
        /// The round.
        round: &'static str,
        /// The code of the fault or violation.
        code: &'static str,
        /// What happened.
        message: String,
    },
    /// The destructor panicked.
    #[error("{name}: {message}")]
    Destructor {
        /// The policy, filter or score.
        name: String,
        /// What happened.
        message: String,
    },
    /// Construction or canned rounds took too long; the thread is written off.
    #[error("{name} was not ready after {seconds} s; its thread is written off")]
    TooSlow {
        /// The policy or file.
        name: String,
        /// The limit.
        seconds: u64,
    },
    /// The judge's child refused the very recipe.
    #[error("{message}")]
    Judged {
        /// The stable code of what it did there.
        code: &'static str,
        /// What it did.
        message: String,
        /// An earlier host ended under its trial: what is to be out of service.
        suspect: Option<Box<Quarantined>>,
    },
    /// Too many threads are stuck in plugin code.
    #[error(
        "{stuck} threads are stuck in plugin code, the limit is {limit}; restart the host, or use \"lane\": \"inline\""
    )]
    TooManyStuck {
        /// Stuck threads.
        stuck: usize,
        /// The limit.
        limit: usize,
    },
    /// A thread of the policy's own cannot be started.
    #[error("no thread for {name}")]
    Thread {
        /// The policy.
        name: String,
        /// What the system says.
        source: std::io::Error,
    },
}

impl AdmitError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Config(e) => e.code(),
            Self::Constructor { .. } => "constructor-error",
            Self::ConstructorPanic { .. } => "constructor-panic",
            Self::CannedRound { .. } => "canned-round-failed",
            Self::Destructor { .. } => "destructor-panic",
            Self::Judged { code, .. } => code,
            Self::TooSlow { .. } => "admission-timeout",
            Self::TooManyStuck { .. } => "too-many-stuck-threads",
            Self::Thread { .. } => "no-thread",
        }
    }

    /// The code of the fault behind a failed canned round.
    #[must_use]
    pub fn detail(&self) -> Option<&'static str> {
        if let Self::CannedRound { code, .. } = self { Some(code) } else { None }
    }
}

/// What a pipeline is made of.
#[derive(Clone, Debug)]
pub(crate) struct Recipe {
    pub(crate) policy: (Wanted, Origin),
    pub(crate) filters: Vec<(Wanted, Arc<Loaded>)>,
    /// With their weights.
    pub(crate) scores: Vec<(Wanted, u32, Arc<Loaded>)>,
    /// Candidates beside it: without filters, whose limits they are given.
    pub(crate) shadows: Vec<Self>,
    pub(crate) generation: u64,
}

fn constructor_fault(wanted: &Wanted, fault: PolicyFault) -> AdmitError {
    let name = wanted.name.clone();
    match fault {
        PolicyFault::InvalidConfig { message, line, column } => {
            let (line, column) = wanted.locate(line, column);
            AdmitError::Config(ActivationError::Config { name, line, column, message })
        }
        PolicyFault::Panicked { .. } => AdmitError::ConstructorPanic { name, message: chain(&fault) },
        other => AdmitError::Constructor { name, message: chain(&other) },
    }
}

/// Makes the instances.
pub(crate) fn construct(
    recipe: &Recipe,
    on_close: impl Fn(String) + Send + Sync + 'static,
) -> Result<Pipeline, AdmitError> {
    let (wanted, origin) = &recipe.policy;
    let failed = |fault| constructor_fault(wanted, fault);
    let policy = match origin {
        Origin::Composite => composite(recipe)?,
        Origin::BuiltIn(built_in) => PolicyInstance::Linked(built_in.make(&wanted.config).map_err(failed)?),
        Origin::Library(loaded) => {
            let made = loaded.module().create_policy(&wanted.name, &wanted.config, recipe.generation);
            PolicyInstance::Loaded(made.map_err(failed)?)
        }
    };
    let mut filters = Vec::with_capacity(recipe.filters.len());
    for (wanted, loaded) in &recipe.filters {
        let filter = loaded
            .module()
            .create_filter(&wanted.name, &wanted.config, recipe.generation)
            .map_err(|fault| constructor_fault(wanted, fault))?;
        filters.push(FilterInstance { name: wanted.name.clone(), filter });
    }
    Ok(Pipeline::new(policy, filters, recipe.observes(), Box::new(on_close)))
}

/// `composite` with its scores.
fn composite(recipe: &Recipe) -> Result<PolicyInstance, AdmitError> {
    let wanted = &recipe.policy.0;
    let policy = make_linked(&wanted.config).map_err(|fault| constructor_fault(wanted, fault))?;
    let mut scores = Vec::with_capacity(recipe.scores.len());
    for (wanted, weight, loaded) in &recipe.scores {
        let score = loaded
            .module()
            .create_score(&wanted.name, &wanted.config, recipe.generation)
            .map_err(|fault| constructor_fault(wanted, fault))?;
        scores.push(ScoreInstance { name: wanted.name.clone(), weight: *weight, score });
    }
    Ok(PolicyInstance::Composite(Scored { policy, scores }))
}

impl Recipe {
    /// Whether one of its parts learns from observations.
    fn observes(&self) -> bool {
        let says = |wanted: &Wanted, loaded: &Loaded| loaded.export(&wanted.name).is_none_or(|export| export.observes);
        let (wanted, origin) = &self.policy;
        let policy = match origin {
            Origin::Library(loaded) => says(wanted, loaded),
            Origin::BuiltIn(built_in) => built_in.observes(),
            Origin::Composite => Composite::OBSERVES,
        };
        let filters = self.filters.iter().map(|(wanted, loaded)| (wanted, loaded));
        let scores = self.scores.iter().map(|(wanted, _, loaded)| (wanted, loaded));
        policy || filters.chain(scores).any(|(wanted, loaded)| says(wanted, loaded))
    }

    /// The libraries of its policy, filters and scores.
    fn own_libraries(&self) -> impl Iterator<Item = &Arc<Loaded>> {
        let policy = match &self.policy.1 {
            Origin::Library(loaded) => Some(loaded),
            Origin::BuiltIn(_) | Origin::Composite => None,
        };
        let filters = self.filters.iter().map(|(_, loaded)| loaded);
        policy.into_iter().chain(filters).chain(self.scores.iter().map(|(_, _, loaded)| loaded))
    }

    /// Every library that it needs.
    pub(crate) fn libraries(&self) -> impl Iterator<Item = &Arc<Loaded>> {
        self.own_libraries().chain(self.shadows.iter().flat_map(Self::own_libraries))
    }

    /// The `active.json` that makes it again; where it runs and what shadows it is left out.
    pub(crate) fn activation(&self, fallback: BuiltIn) -> String {
        let part = |wanted: &Wanted| {
            let mut part = serde_json::Map::new();
            part.insert("policy".into(), wanted.name.as_str().into());
            if let Ok(config) = serde_json::from_str::<serde_json::Value>(&wanted.config) {
                part.insert("config".into(), config);
            }
            part
        };
        let mut all = part(&self.policy.0);
        if !self.filters.is_empty() {
            all.insert("filters".into(), self.filters.iter().map(|(wanted, _)| part(wanted)).collect());
        }
        if !self.scores.is_empty() {
            let score = |(wanted, weight, _): &(Wanted, u32, Arc<Loaded>)| {
                let mut score = part(wanted);
                score.insert("weight".into(), (*weight).into());
                score
            };
            all.insert("scores".into(), self.scores.iter().map(score).collect());
        }
        all.insert("fallback".into(), fallback.name().into());
        serde_json::Value::from(all).to_string()
    }

    /// What makes two recipes the same: libraries and configs.
    fn identity(&self) -> Digest {
        use std::fmt::Write;
        let mut text = String::new();
        let _ = match &self.policy.1 {
            Origin::Library(loaded) => write!(text, "{}", loaded.digest()),
            Origin::BuiltIn(built_in) => write!(text, "{built_in}"),
            Origin::Composite => write!(text, "{}", Composite::NAME),
        };
        let _ = write!(text, "\0{}\0{}", self.policy.0.name, self.policy.0.config);
        for (wanted, loaded) in &self.filters {
            let _ = write!(text, "\0{}\0{}\0{}", loaded.digest(), wanted.name, wanted.config);
        }
        for (wanted, weight, loaded) in &self.scores {
            let _ = write!(text, "\0{}\0{}\0{}\0{weight}", loaded.digest(), wanted.name, wanted.config);
        }
        Digest::of(text.as_bytes())
    }
}

impl Recipe {
    /// What tells it, with its shadows, from others, over a restart: a digest of libraries and configs.
    pub(crate) fn key(&self) -> String {
        let all = std::iter::once(self).chain(&self.shadows).map(|recipe| recipe.identity().to_string());
        Digest::of(all.collect::<Vec<_>>().join(" ").as_bytes()).to_string()
    }

    /// Whether it and its shadows have been rehearsed in this process.
    pub(crate) fn has_passed(&self) -> bool {
        let passed = rehearsed();
        std::iter::once(self).chain(&self.shadows).all(|recipe| passed.contains(&recipe.identity()))
    }
}

/// Rehearses a recipe, once in the life of the process: the same libraries with the same configs pass again.
pub(crate) fn rehearse_once(
    recipe: &Recipe,
    on_close: impl Fn(String) + Send + Sync + 'static,
) -> Result<(), AdmitError> {
    if rehearsed().contains(&recipe.identity()) {
        return Ok(());
    }
    // An instance of its own: canned rounds leave no trace in the one that goes into service.
    let pipeline = construct(recipe, on_close)?;
    rehearse(&recipe.policy.0.name, &pipeline)?;
    drop(pipeline);
    remember(recipe);
    Ok(())
}

/// Remembers that a recipe has been rehearsed.
pub(crate) fn remember(recipe: &Recipe) {
    let mut passed = rehearsed();
    if passed.len() >= MAX_REHEARSED {
        passed.clear();
    }
    passed.insert(recipe.identity());
}

fn rehearsed() -> MutexGuard<'static, BTreeSet<Digest>> {
    static PASSED: Mutex<BTreeSet<Digest>> = Mutex::new(BTreeSet::new());
    PASSED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Puts a pipeline through the canned rounds. Use an instance of its own: rounds may leave traces in its state.
pub(crate) fn rehearse(name: &str, pipeline: &Pipeline) -> Result<(), AdmitError> {
    for (title, round, limits) in canned::rounds() {
        let failed = |code, message| AdmitError::CannedRound { name: name.to_owned(), round: title, code, message };
        let cell = LimitsCell::new();
        let given = limits.map_or(Decided::Unrestricted, |limits| Decided::Limited(Arc::new(limits.to_block())));
        let answer = pollster::block_on(pipeline.rehearse(&round, &given, &cell));
        match answer {
            Ok(proposal) => {
                let decided = cell.into_inner().unwrap_or_default();
                validate::check(&round, &decided, proposal.rows()).map_err(|f| failed(f.code, f.message))?;
            }
            Err(fault) if !fault.ejects() => {}
            Err(fault) => return Err(failed(fault.code, fault.message)),
        }
    }
    Ok(())
}
