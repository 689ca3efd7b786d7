//! What calls into a plugin: loaded policies, filters and scores as safe Rust. Nothing here opens a library;
//! `artifact/load/dl.rs` does.

mod log;

use std::fmt::{self, Debug};
use std::future::Future;

use abi_stable::std_types::{RSlice, RSliceMut, RStr, RVec};
use serde::Deserialize;

use policy_plugin_api::abi::raw::{
    FilterBox, PluginModuleRef, PolicyBox, RawBinding, RawCandidates, RawFault, RawRound, RawState, ScoreBox,
    ScoreModuleRef, fault,
};
use policy_plugin_api::{Candidates, PolicyState};
use policy_wire::block::BlockRef;
use policy_wire::limits::LimitsBlock;
use policy_wire::{AvailableTaskSlots, BoundTask};

use crate::core::text::{chain, shown, shown_within};

/// Why a plugin gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyFault {
    /// The policy has no say in this round.
    #[error("declined: {0}")]
    Declined(String),
    /// The policy returned an error.
    #[error("{0}")]
    Failed(String),
    /// The config does not fit; line and column (from 1) in the config text, 0 where unknown.
    #[error("{message}")]
    InvalidConfig {
        /// What is wrong.
        message: String,
        /// Line, from 1.
        line: u32,
        /// Column, from 1.
        column: u32,
    },
    /// Plugin code panicked; the panic was caught in the plugin.
    #[error("panicked: {0}")]
    Panicked(String),
    /// Host and plugin did not understand each other.
    #[error("broken protocol: {0}")]
    Protocol(String),
}

impl From<RawFault> for PolicyFault {
    fn from(raw: RawFault) -> Self {
        // What is cut off is not copied: the text may be as long as memory is.
        let message = shown(raw.message.as_bytes());
        match raw.kind {
            fault::DECLINED => Self::Declined(message),
            fault::FAILED => Self::Failed(message),
            fault::INVALID_CONFIG => Self::InvalidConfig { message, line: raw.line, column: raw.column },
            fault::PANICKED => Self::Panicked(message),
            _ => Self::Protocol(message),
        }
    }
}

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
    scores: Option<ScoreModuleRef>,
}

impl ForeignModule {
    /// Takes a root module whose layout was checked, and links it to the host.
    #[must_use]
    pub fn new(root: PluginModuleRef) -> Self {
        root.init()(log::host_link());
        Self { root, scores: None }
    }

    /// The same plugin with its module of scores, whose layout was checked.
    #[must_use]
    pub fn with_scores(self, scores: ScoreModuleRef) -> Self {
        Self { scores: Some(scores), ..self }
    }

    /// The API version that the plugin was built against: major, minor.
    #[must_use]
    pub fn api_version(&self) -> (u32, u32) {
        (self.root.api_major(), self.root.api_minor())
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
    /// What the constructor returned, or its panic; `Protocol` for a plugin without a module of scores.
    pub fn create_score(&self, name: &str, config: &str, generation: u64) -> Result<ForeignScore, PolicyFault> {
        let none = || PolicyFault::Protocol("this plugin has no module of scores".to_owned());
        let create = self.scores.ok_or_else(none)?.create_score();
        Ok(ForeignScore(create(RStr::from_str(name), RStr::from_str(config), generation).into_result()?))
    }
}

impl Debug for ForeignModule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForeignModule").field("api_version", &self.api_version()).finish_non_exhaustive()
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
            std::pin::Pin::new(&mut call).poll(cx).map(|r| r.into_result().map(Proposal).map_err(PolicyFault::from))
        })
    }

    /// Delivers observations.
    ///
    /// # Errors
    /// When the plugin panics.
    pub fn observe(&self, batch: BlockRef<'_>) -> Result<(), PolicyFault> {
        self.0.observe(batch.into()).into_result().map_err(PolicyFault::from)
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

    /// Drops the policy.
    ///
    /// # Errors
    /// The message, when its destructor panicked.
    pub fn close(self) -> Result<(), PolicyFault> {
        drop(self);
        log::take_drop_panic().map_or(Ok(()), |message| Err(PolicyFault::Panicked(message)))
    }
}

impl Debug for ForeignPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Debug::fmt(&self.0, f)
    }
}

/// A filter that lives in a plugin. Dropping it runs plugin code: see [`ForeignFilter::close`].
pub struct ForeignFilter(FilterBox);

impl ForeignFilter {
    /// Asks for the limits of a round of `stages` stages and `executors` executors; `None` where it restricts nothing.
    ///
    /// # Errors
    /// What the filter answered, its panic, or limits that do not fit the round, as [`LimitsBlock::from_words`]. What a
    /// filter says must be understood completely: what was passed over would not be restricted.
    pub fn filter(
        &self,
        round: RawRound<'_>,
        slots: &[AvailableTaskSlots],
        (stages, executors): (usize, usize),
    ) -> Result<Option<LimitsBlock>, PolicyFault> {
        let words = self.0.filter(round, RSlice::from_slice(bytemuck::cast_slice(slots))).into_result()?;
        if words.is_empty() {
            return Ok(None);
        }
        let limits = LimitsBlock::from_words(&words, stages, executors);
        limits.map(Some).map_err(|e| PolicyFault::Protocol(format!("limits: {}", chain(&e))))
    }

    /// Delivers observations.
    ///
    /// # Errors
    /// When the plugin panics.
    pub fn observe(&self, batch: BlockRef<'_>) -> Result<(), PolicyFault> {
        self.0.observe(batch.into()).into_result().map_err(PolicyFault::from)
    }

    /// Drops the filter.
    ///
    /// # Errors
    /// The message, when its destructor panicked.
    pub fn close(self) -> Result<(), PolicyFault> {
        drop(self);
        log::take_drop_panic().map_or(Ok(()), |message| Err(PolicyFault::Panicked(message)))
    }
}

impl Debug for ForeignFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Debug::fmt(&self.0, f)
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

    /// Delivers observations.
    ///
    /// # Errors
    /// When the plugin panics.
    pub fn observe(&self, batch: BlockRef<'_>) -> Result<(), PolicyFault> {
        self.0.observe(batch.into()).into_result().map_err(PolicyFault::from)
    }

    /// Drops the score.
    ///
    /// # Errors
    /// The message, when its destructor panicked.
    pub fn close(self) -> Result<(), PolicyFault> {
        drop(self);
        log::take_drop_panic().map_or(Ok(()), |message| Err(PolicyFault::Panicked(message)))
    }
}

impl Debug for ForeignScore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Debug::fmt(&self.0, f)
    }
}
