//! Admission: constructs instances with their config and puts them through canned rounds before any real one.
//! Everything here runs foreign code: call it on a thread that may be thrown away.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use policy_kit::Composite;
use policy_plugin_api::FromConfig;
use policy_wire::canned;

use crate::artifact::judge::OrderedPart;
use crate::artifact::load::Loaded;
use crate::control::activation::ActivationError;
use crate::core::built_in::{BuiltIn, make_linked};
use crate::core::composition::{Composition, Wanted, Weighted};
use crate::core::decided::Decided;
use crate::core::digest::Digest;
use crate::core::foreign::PolicyFault;
use crate::core::info::PartInfo;
use crate::core::limits::MAX_REHEARSED;
use crate::core::text::chain;
use crate::serving::lane::{FilterInstance, LimitsCell, Pipeline, PolicyInstance, ScoreInstance, Scored};
use crate::serving::validate;
use crate::state::receipt::Quarantined;

/// Where a policy comes from.
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    /// A library.
    Library(Arc<Loaded>),
    /// Compiled in.
    BuiltIn(BuiltIn),
    /// Compiled in: asks the scores of the recipe.
    Composite,
}

/// The policy of a recipe.
#[derive(Clone, Debug)]
pub(crate) struct PolicyPart {
    pub(crate) wanted: Wanted,
    pub(crate) origin: Origin,
}

impl PolicyPart {
    fn library(&self) -> Option<&Arc<Loaded>> {
        if let Origin::Library(loaded) = &self.origin { Some(loaded) } else { None }
    }
}

/// A filter or score of a recipe.
#[derive(Clone, Debug)]
pub(crate) struct LibraryPart {
    pub(crate) wanted: Wanted,
    pub(crate) library: Arc<Loaded>,
}

/// What a pipeline is made of: libraries and configs.
pub(crate) type Recipe = Composition<PolicyPart, LibraryPart>;

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

/// Makes the instances; its shadows are not among them.
pub(crate) fn construct(
    recipe: &Recipe,
    generation: u64,
    on_close: impl Fn(String) + Send + Sync + 'static,
) -> Result<Pipeline, AdmitError> {
    let wanted = &recipe.policy.wanted;
    let failed = |fault| constructor_fault(wanted, fault);
    let policy = match &recipe.policy.origin {
        Origin::Composite => composite(recipe, generation)?,
        Origin::BuiltIn(built_in) => PolicyInstance::Linked(built_in.make(&wanted.config).map_err(failed)?),
        Origin::Library(loaded) => {
            let made = loaded.module().create_policy(&wanted.name, &wanted.config, generation);
            PolicyInstance::Loaded(made.map_err(failed)?)
        }
    };
    let filter = |LibraryPart { wanted, library }: &LibraryPart| {
        let made = library.module().create_filter(&wanted.name, &wanted.config, generation);
        let filter = made.map_err(|fault| constructor_fault(wanted, fault))?;
        Ok(FilterInstance { name: wanted.name.clone(), filter })
    };
    let filters = recipe.filters.iter().map(filter).collect::<Result<_, AdmitError>>()?;
    Ok(Pipeline::new(policy, filters, recipe.observes(), Box::new(on_close)))
}

/// `composite` with its scores.
fn composite(recipe: &Recipe, generation: u64) -> Result<PolicyInstance, AdmitError> {
    let wanted = &recipe.policy.wanted;
    let policy = make_linked(&wanted.config).map_err(|fault| constructor_fault(wanted, fault))?;
    let score = |Weighted { weight, part }: &Weighted<LibraryPart>| {
        let made = part.library.module().create_score(&part.wanted.name, &part.wanted.config, generation);
        let score = made.map_err(|fault| constructor_fault(&part.wanted, fault))?;
        Ok(ScoreInstance { name: part.wanted.name.clone(), weight: *weight, score })
    };
    let scores = recipe.scores.iter().map(score).collect::<Result<_, AdmitError>>()?;
    Ok(PolicyInstance::Composite(Scored { policy, scores }))
}

impl Recipe {
    /// Whether one of its parts learns from observations.
    fn observes(&self) -> bool {
        let says = |wanted: &Wanted, loaded: &Loaded| loaded.export(&wanted.name).is_none_or(|export| export.observes);
        let policy = match &self.policy.origin {
            Origin::Library(loaded) => says(&self.policy.wanted, loaded),
            Origin::BuiltIn(built_in) => built_in.observes(),
            Origin::Composite => Composite::OBSERVES,
        };
        policy || self.parts().any(|(_, part)| says(&part.wanted, &part.library))
    }

    /// The libraries of its policy, filters and scores.
    fn own_libraries(&self) -> impl Iterator<Item = &Arc<Loaded>> {
        self.policy.library().into_iter().chain(self.parts().map(|(_, part)| &part.library))
    }

    /// Every library that it needs.
    pub(crate) fn libraries(&self) -> impl Iterator<Item = &Arc<Loaded>> {
        self.own_libraries().chain(self.shadows.iter().flat_map(Self::own_libraries))
    }

    /// What it is, for plans and receipts.
    pub(crate) fn info(&self) -> Composition<PartInfo> {
        let of = |wanted: &Wanted, loaded: Option<&Arc<Loaded>>| {
            let (name, config) = (wanted.name.clone(), wanted.config.clone());
            let Some(loaded) = loaded else {
                let (version, library) = (env!("CARGO_PKG_VERSION").to_owned(), "(built-in)".to_owned());
                return PartInfo { name, version, library, sha256: String::new(), config };
            };
            let version = loaded.export(&name).map(|e| e.version.clone()).unwrap_or_default();
            let (library, sha256) = (loaded.file_name().to_owned(), loaded.digest().to_string());
            PartInfo { name, version, library, sha256, config }
        };
        self.map(&|recipe| of(&recipe.policy.wanted, recipe.policy.library()), &|_, part| {
            of(&part.wanted, Some(&part.library))
        })
    }

    /// What makes two recipes the same: libraries and configs.
    fn identity(&self) -> Digest {
        use std::fmt::Write;
        let mut text = String::new();
        let _ = match &self.policy.origin {
            Origin::Library(loaded) => write!(text, "{}", loaded.digest()),
            Origin::BuiltIn(built_in) => write!(text, "{built_in}"),
            Origin::Composite => write!(text, "{}", Composite::NAME),
        };
        let _ = write!(text, "\0{}\0{}", self.policy.wanted.name, self.policy.wanted.config);
        for LibraryPart { wanted, library } in &self.filters {
            let _ = write!(text, "\0{}\0{}\0{}", library.digest(), wanted.name, wanted.config);
        }
        for Weighted { weight, part: LibraryPart { wanted, library } } in &self.scores {
            let _ = write!(text, "\0{}\0{}\0{}\0{weight}", library.digest(), wanted.name, wanted.config);
        }
        Digest::of(text.as_bytes())
    }

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

    /// As it is sent to a child, with the libraries that its parts refer to.
    pub(crate) fn ordered(&self) -> (Vec<Arc<Loaded>>, Composition<OrderedPart>) {
        let mut libraries: Vec<Arc<Loaded>> = Vec::new();
        for loaded in self.libraries() {
            if !libraries.iter().any(|known| known.digest() == loaded.digest()) {
                libraries.push(Arc::clone(loaded));
            }
        }
        let of = |wanted: &Wanted, loaded: Option<&Arc<Loaded>>| OrderedPart {
            wanted: wanted.clone(),
            library: loaded.and_then(|l| libraries.iter().position(|known| known.digest() == l.digest())),
        };
        let ordered = self.map(&|recipe| of(&recipe.policy.wanted, recipe.policy.library()), &|_, part| {
            of(&part.wanted, Some(&part.library))
        });
        (libraries, ordered)
    }

    /// The recipe again, over a child's libraries; `None` where it does not fit them.
    pub(crate) fn over(ordered: &Composition<OrderedPart>, libraries: &[Arc<Loaded>]) -> Option<Self> {
        let library = |part: &OrderedPart| libraries.get(part.library?).cloned();
        let policy = |of: &Composition<OrderedPart>| {
            let origin = match (of.policy.library, of.scores.is_empty()) {
                (Some(_), _) => Origin::Library(library(&of.policy).ok_or(())?),
                (None, false) => Origin::Composite,
                (None, true) => Origin::BuiltIn(of.policy.wanted.name.parse().map_err(|_| ())?),
            };
            Ok::<_, ()>(PolicyPart { wanted: of.policy.wanted.clone(), origin })
        };
        let part =
            |_, part: &OrderedPart| Ok(LibraryPart { wanted: part.wanted.clone(), library: library(part).ok_or(())? });
        ordered.try_map(&policy, &part).ok()
    }
}

/// Rehearses a recipe, once in the life of the process: the same libraries with the same configs pass again.
pub(crate) fn rehearse_once(
    recipe: &Recipe,
    generation: u64,
    on_close: impl Fn(String) + Send + Sync + 'static,
) -> Result<(), AdmitError> {
    if rehearsed().contains(&recipe.identity()) {
        return Ok(());
    }
    // An instance of its own: canned rounds leave no trace in the one that goes into service.
    let pipeline = construct(recipe, generation, on_close)?;
    rehearse(&recipe.policy.wanted.name, &pipeline)?;
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
