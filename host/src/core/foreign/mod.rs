//! What calls into a plugin: loaded policies, filters and scores as safe Rust. Nothing here opens a library;
//! `artifact/load/dl.rs` does.

mod fault;
mod log;

use std::fmt::{self, Debug};
use std::future::Future;

use abi_stable::std_types::{RSlice, RSliceMut, RStr, RVec};
use serde::Deserialize;

use policy_plugin_api::abi::raw::{
    FilterBox, PluginModuleRef, PolicyBox, RawAnswer, RawBinding, RawCandidates, RawLimits, RawReply, RawRound,
    RawState, ScoreBox, fault as kind,
};
use policy_plugin_api::abi::table::{self, Table};
use policy_plugin_api::{Candidates, PolicyState};
use policy_wire::block::BlockRef;
use policy_wire::limits::LimitsBlock;
use policy_wire::{AvailableTaskSlots, BoundTask};

pub use self::fault::{Place, PolicyFault};

use crate::core::text::{chain, shown_within};

/// An answer as it came: not validated yet. The rows lie where the plugin put them: the host copies none of them, and
/// giving the memory back is the plugin's own code.
pub struct Proposal(RVec<RawBinding>);

impl Proposal {
    /// The rows.
    #[inline]
    #[must_use]
    pub fn rows(&self) -> &[BoundTask] {
        bytemuck::cast_slice(self.0.as_slice())
    }
}

impl Proposal {
    /// This version knows nothing that an answer may say besides its rows.
    fn of(answer: RawAnswer) -> Self {
        Self(answer.rows)
    }
}

impl From<Vec<BoundTask>> for Proposal {
    fn from(rows: Vec<BoundTask>) -> Self {
        Self(RVec::from(bytemuck::allocation::cast_vec::<BoundTask, RawBinding>(rows)))
    }
}

impl Debug for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.rows()).finish()
    }
}

/// Longest text in which a plugin may describe what it exports, with the schemas of the configs.
pub const MAX_DESCRIPTION_BYTES: usize = 4 * 1024 * 1024;

/// Longest version or kind that is kept.
const MAX_WORD_BYTES: usize = 128;

/// What a plugin says it exports.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Description {
    /// The name in `active.json`.
    pub name: String,
    /// `policy`, `filter` or `score`; later versions may know more kinds.
    pub kind: String,
    /// The version of the plugin's package.
    pub version: String,
    /// The JSON Schema of the config.
    #[serde(default)]
    pub config_schema: serde_json::Value,
    /// Whether it learns from observations; plugins that do not say may.
    #[serde(default = "may_observe")]
    pub observes: bool,
}

fn may_observe() -> bool {
    true
}

/// A loaded plugin.
#[derive(Clone, Copy)]
pub struct ForeignModule {
    root: PluginModuleRef,
}

impl ForeignModule {
    /// Takes a root module whose layout was checked, and links it to the host.
    #[must_use]
    pub fn new(root: PluginModuleRef) -> Self {
        root.init()(log::host_link());
        Self { root }
    }

    /// The API version that the plugin was built against: major, minor.
    #[must_use]
    pub fn api_version(&self) -> (u32, u32) {
        (self.root.api_major(), self.root.api_minor())
    }

    /// A table of functions that the plugin offers, as far as this side knows it; `None` where it offers none of that name.
    #[must_use]
    pub fn table<T: Table>(&self) -> Option<T> {
        table::ask(self.root.table())
    }

    /// What the plugin exports.
    ///
    /// # Errors
    /// When the plugin panics, or answers with something else than descriptions.
    pub fn describe(&self) -> Result<Vec<Description>, PolicyFault> {
        let text = self.root.describe()().into_result()?;
        if text.len() > MAX_DESCRIPTION_BYTES {
            let message = format!("descriptions: {} bytes, the limit is {MAX_DESCRIPTION_BYTES}", text.len());
            return Err(PolicyFault::Protocol(message));
        }
        let mut descriptions: Vec<Description> =
            serde_json::from_str(&text).map_err(|e| PolicyFault::Protocol(format!("descriptions: {}", chain(&e))))?;
        for description in &mut descriptions {
            // The name is checked by whoever takes it up; these are only ever shown.
            description.kind = shown_within(&description.kind, MAX_WORD_BYTES);
            description.version = shown_within(&description.version, MAX_WORD_BYTES);
        }
        Ok(descriptions)
    }

    /// Makes a policy.
    ///
    /// # Errors
    /// What the constructor returned, or its panic.
    pub fn create_policy(&self, name: &str, config: &str, generation: u64) -> Result<ForeignPolicy, PolicyFault> {
        let made = self.root.create_policy()(RStr::from_str(name), RStr::from_str(config), generation);
        Ok(ForeignPolicy(made.into_result()?))
    }

    /// Makes a filter.
    ///
    /// # Errors
    /// What the constructor returned, or its panic.
    pub fn create_filter(&self, name: &str, config: &str, generation: u64) -> Result<ForeignFilter, PolicyFault> {
        let made = self.root.create_filter()(RStr::from_str(name), RStr::from_str(config), generation);
        Ok(ForeignFilter(made.into_result()?))
    }

    /// Makes a score.
    ///
    /// # Errors
    /// What the constructor returned, or its panic.
    pub fn create_score(&self, name: &str, config: &str, generation: u64) -> Result<ForeignScore, PolicyFault> {
        let made = self.root.create_score()(RStr::from_str(name), RStr::from_str(config), generation);
        Ok(ForeignScore(made.into_result()?))
    }
}

impl Debug for ForeignModule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForeignModule").field("api_version", &self.api_version()).finish_non_exhaustive()
    }
}

fn reply(reply: RawReply) -> Result<Option<Vec<u64>>, PolicyFault> {
    match reply.into_result() {
        Ok(words) => Ok(Some(words.into())),
        Err(fault) if fault.kind == kind::UNKNOWN_QUESTION => Ok(None),
        Err(fault) => Err(fault.into()),
    }
}

/// A policy that lives in a plugin. Dropping it runs plugin code: see [`ForeignPolicy::close`].
pub struct ForeignPolicy(PolicyBox);

impl ForeignPolicy {
    /// Asks for an answer. The future borrows everything it reads until it is dropped.
    pub fn bind<'a>(
        &'a self,
        round: RawRound<'a>,
        slots: &'a mut [AvailableTaskSlots],
    ) -> impl Future<Output = Result<Proposal, PolicyFault>> + Send + Unpin + use<'a> {
        let mut call = self.0.bind(round, RSliceMut::from_mut_slice(bytemuck::cast_slice_mut(slots)));
        std::future::poll_fn(move |cx| {
            std::pin::Pin::new(&mut call).poll(cx).map(|r| r.into_result().map(Proposal::of).map_err(PolicyFault::from))
        })
    }

    /// Asks for the state to hand over.
    ///
    /// # Errors
    /// When the plugin panics.
    pub fn export_state(&self) -> Result<Option<PolicyState>, PolicyFault> {
        let state = self.0.export_state().into_result()?;
        Ok(state.present.then(|| PolicyState { version: state.version, bytes: state.bytes.into() }))
    }

    /// Offers the state of the predecessor.
    ///
    /// # Errors
    /// What the policy answered: a refusal means a cold start.
    pub fn import_state(&self, state: &PolicyState) -> Result<(), PolicyFault> {
        let state = RawState { present: true, version: state.version, bytes: state.bytes.as_slice().into() };
        self.0.import_state(state).into_result().map_err(PolicyFault::from)
    }
}

/// A filter that lives in a plugin. Dropping it runs plugin code: see [`ForeignFilter::close`].
pub struct ForeignFilter(FilterBox);

impl ForeignFilter {
    /// Asks for the limits of a round of `stages` stages and `executors` executors; `None` where it restricts nothing.
    ///
    /// # Errors
    /// What the filter answered, its panic, an answer that says neither that nothing is restricted nor what is, or limits
    /// that do not fit the round, as [`LimitsBlock::from_words`]. What a filter says must be understood completely: what was
    /// passed over would not be restricted.
    pub fn filter(
        &self,
        round: RawRound<'_>,
        slots: &[AvailableTaskSlots],
        (stages, executors): (usize, usize),
    ) -> Result<Option<LimitsBlock>, PolicyFault> {
        let RawLimits { kind, words } =
            self.0.filter(round, RSlice::from_slice(bytemuck::cast_slice(slots))).into_result()?;
        match kind {
            RawLimits::UNRESTRICTED if words.is_empty() => Ok(None),
            RawLimits::LIMITED => LimitsBlock::from_words(&words, stages, executors)
                .map(Some)
                .map_err(|e| PolicyFault::Protocol(format!("limits: {}", chain(&e)))),
            _ => Err(PolicyFault::Protocol(format!("limits: of kind {kind} with {} words", words.len()))),
        }
    }
}

/// A score that lives in a plugin. Dropping it runs plugin code: see [`ForeignScore::close`].
pub struct ForeignScore(ScoreBox);

impl ForeignScore {
    /// Asks for the scores of `candidates`.
    ///
    /// # Errors
    /// What the score answered, or its panic.
    pub fn score(
        &self,
        round: RawRound<'_>,
        candidates: &Candidates<'_>,
        scores: &mut [f32],
    ) -> Result<(), PolicyFault> {
        let candidates = RawCandidates {
            stage: candidates.stage().0,
            tasks: RSlice::from_slice(candidates.tasks()),
            row_offsets: RSlice::from_slice(candidates.row_offsets()),
            rows: RSlice::from_slice(bytemuck::cast_slice(candidates.rows())),
        };
        let answer = self.0.score(round, candidates, RSliceMut::from_mut_slice(scores));
        answer.into_result().map_err(PolicyFault::from)
    }
}

/// What every instance in a plugin has.
macro_rules! instance {
    ($name:ident) => {
        impl $name {
            /// Delivers observations.
            ///
            /// # Errors
            /// When the plugin panics.
            pub fn observe(&self, batch: BlockRef<'_>) -> Result<(), PolicyFault> {
                self.0.observe(batch.into()).into_result().map_err(PolicyFault::from)
            }

            /// Asks the instance something by name, for versions of the API that name something; `None` where it does not
            /// know the name, as every plugin of API 2.0.
            ///
            /// # Errors
            /// What the plugin answered, or its panic.
            pub fn ask(&self, name: &str, words: &[u64]) -> Result<Option<Vec<u64>>, PolicyFault> {
                reply(self.0.ask(RStr::from_str(name), RSlice::from_slice(words)))
            }

            /// Drops the instance.
            ///
            /// # Errors
            /// The panic of its destructor.
            pub fn close(self) -> Result<(), PolicyFault> {
                drop(self);
                log::take_drop_panic().map_or(Ok(()), Err)
            }
        }

        impl Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                Debug::fmt(&self.0, f)
            }
        }
    };
}

instance!(ForeignPolicy);
instance!(ForeignFilter);
instance!(ForeignScore);
