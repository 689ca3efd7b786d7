//! The plugin's side: what [`export_policy!`](crate::export_policy) expands to. Every call is guarded here, before it
//! reaches the boundary: a panic becomes a fault with its message.

use std::fmt::Debug;
use std::sync::Arc;

use abi_stable::erased_types::TD_Opaque;
use abi_stable::library::RootModuleResult;
use abi_stable::prefix_type::PrefixTypeTrait;
use abi_stable::std_types::{RErr, ROk, RResult, RSlice, RSliceMut, RStr, RString, RVec};
use async_ffi::{BorrowingFfiFuture, FutureExt};

use abi_stable::library::CheckTypeLayout;
pub use abi_stable::library::LibHeader;

use super::guarded::{GuardedFuture, GuardedValue, guarded};
use super::raw::{
    FilterBox, HostLinkRef, PluginModule, PluginModuleRef, PolicyBox, RawAnswer, RawBinding, RawBlock, RawCandidates,
    RawFault, RawFilter, RawFilter_TO, RawPolicy, RawPolicy_TO, RawRound, RawScore, RawScore_TO, RawSlots, RawState,
    ScoreBox, ScoreModule, ScoreModuleRef, fault,
};
use super::{log, panics};
use crate::config;
use crate::error::PolicyError;
use crate::policy::{DistributionPolicy, FromConfig, PolicyState, TaskFilter};
use crate::score::{Candidates, TaskScore};
use policy_wire::BoundTask;
use policy_wire::Limits;
use policy_wire::StageId;
use policy_wire::observe::Observations;
use policy_wire::round::AvailableTaskSlots;

/// What the host calls for one exported item.
pub trait Factory: Send + Sync {
    /// The name in `active.json`.
    fn name(&self) -> &'static str;
    /// `policy`, `filter` or `score`.
    fn kind(&self) -> &'static str;
    /// The JSON Schema of the config.
    fn schema(&self) -> String;
    /// Whether it learns from observations.
    fn observes(&self) -> bool;
    /// Makes a policy.
    ///
    /// # Errors
    /// What the constructor returned; `UNKNOWN_POLICY` when this is something else.
    fn policy(&self, config: &str, generation: u64) -> Result<PolicyBox, RawFault> {
        let _ = (config, generation);
        Err(self.is_not("policy"))
    }
    /// Makes a filter.
    ///
    /// # Errors
    /// What the constructor returned; `UNKNOWN_POLICY` when this is something else.
    fn filter(&self, config: &str, generation: u64) -> Result<FilterBox, RawFault> {
        let _ = (config, generation);
        Err(self.is_not("filter"))
    }
    /// Makes a score.
    ///
    /// # Errors
    /// What the constructor returned; `UNKNOWN_POLICY` when this is something else.
    fn score(&self, config: &str, generation: u64) -> Result<ScoreBox, RawFault> {
        let _ = (config, generation);
        Err(self.is_not("score"))
    }
    /// The fault of who was asked to be another kind.
    fn is_not(&self, kind: &str) -> RawFault {
        raw_fault(fault::UNKNOWN_POLICY, format!("{} is a {}, not a {kind}", self.name(), self.kind()))
    }
}

/// Exports a [`DistributionPolicy`].
pub struct PolicyFactory<P>(pub std::marker::PhantomData<fn() -> P>);
/// Exports a [`TaskFilter`].
pub struct FilterFactory<F>(pub std::marker::PhantomData<fn() -> F>);
/// Exports a [`TaskScore`].
pub struct ScoreFactory<S>(pub std::marker::PhantomData<fn() -> S>);

impl<P: DistributionPolicy + FromConfig + 'static> Factory for PolicyFactory<P> {
    fn name(&self) -> &'static str {
        P::NAME
    }
    fn kind(&self) -> &'static str {
        "policy"
    }
    fn schema(&self) -> String {
        config::schema::<P::Config>()
    }
    fn observes(&self) -> bool {
        P::OBSERVES
    }
    fn policy(&self, config: &str, generation: u64) -> Result<PolicyBox, RawFault> {
        let policy = Arc::new(GuardedValue::new(construct::<P>(config)?, log::drop_panicked));
        Ok(RawPolicy_TO::from_value(Exported { item: policy, name: P::NAME, generation }, TD_Opaque))
    }
}

impl<F: TaskFilter + FromConfig + 'static> Factory for FilterFactory<F> {
    fn name(&self) -> &'static str {
        F::NAME
    }
    fn kind(&self) -> &'static str {
        "filter"
    }
    fn schema(&self) -> String {
        config::schema::<F::Config>()
    }
    fn observes(&self) -> bool {
        F::OBSERVES
    }
    fn filter(&self, config: &str, generation: u64) -> Result<FilterBox, RawFault> {
        let filter = Arc::new(GuardedValue::new(construct::<F>(config)?, log::drop_panicked));
        Ok(RawFilter_TO::from_value(Exported { item: filter, name: F::NAME, generation }, TD_Opaque))
    }
}

impl<S: TaskScore + FromConfig + 'static> Factory for ScoreFactory<S> {
    fn name(&self) -> &'static str {
        S::NAME
    }
    fn kind(&self) -> &'static str {
        "score"
    }
    fn schema(&self) -> String {
        config::schema::<S::Config>()
    }
    fn observes(&self) -> bool {
        S::OBSERVES
    }
    fn score(&self, config: &str, generation: u64) -> Result<ScoreBox, RawFault> {
        let score = Arc::new(GuardedValue::new(construct::<S>(config)?, log::drop_panicked));
        Ok(RawScore_TO::from_value(Exported { item: score, name: S::NAME, generation }, TD_Opaque))
    }
}

fn construct<T: FromConfig>(config: &str) -> Result<T, RawFault> {
    let config = config::parse::<T::Config>(config).map_err(|e| RawFault {
        kind: fault::INVALID_CONFIG,
        message: e.message.into(),
        line: e.line,
        column: e.column,
    })?;
    T::from_config(config).map_err(to_raw)
}

fn raw_fault(kind: u32, message: impl Into<RString>) -> RawFault {
    RawFault { kind, message: message.into(), line: 0, column: 0 }
}

fn panicked(message: String) -> RawFault {
    raw_fault(fault::PANICKED, message)
}

fn to_raw(error: PolicyError) -> RawFault {
    match error {
        PolicyError::Declined(m) => raw_fault(fault::DECLINED, m),
        PolicyError::Failed(m) => raw_fault(fault::FAILED, m),
        PolicyError::InvalidConfig(m) => raw_fault(fault::INVALID_CONFIG, m),
    }
}

/// An instance with its name and generation.
struct Exported<T> {
    item: Arc<GuardedValue<T>>,
    name: &'static str,
    generation: u64,
}

impl<T> Exported<T> {
    fn call<R>(&self, call: impl FnOnce(&T) -> Result<R, RawFault>) -> RResult<R, RawFault> {
        let result = log::on_behalf_of(self.name, self.generation, || guarded(|| call(&self.item)));
        result.map_err(panicked).and_then(|r| r).into()
    }
}

impl<T: Debug> Debug for Exported<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match guarded(|| format!("{:?}", &**self.item)) {
            Ok(text) => f.write_str(&text),
            Err(message) => write!(f, "{} (its Debug panicked: {message})", self.name),
        }
    }
}

impl<P: DistributionPolicy + 'static> RawPolicy for Exported<P> {
    fn bind<'a>(
        &'a self,
        round: RawRound<'a>,
        mut slots: RSliceMut<'a, RawSlots>,
    ) -> BorrowingFfiFuture<'a, RawAnswer> {
        let answer = async move {
            let jobs = round.running_jobs().map_err(|e| raw_fault(fault::PROTOCOL, e.to_string()))?;
            let slots: &mut [AvailableTaskSlots] = bytemuck::cast_slice_mut(slots.as_mut_slice());
            let bound = self.item.bind_tasks(slots, &jobs).await.map_err(to_raw)?;
            Ok(RVec::from(bytemuck::allocation::cast_vec::<BoundTask, RawBinding>(bound)))
        };
        let mut guarded = Box::pin(GuardedFuture::new(answer, log::drop_panicked));
        std::future::poll_fn(move |cx| {
            let poll = log::on_behalf_of(self.name, self.generation, || guarded.as_mut().poll(cx));
            poll.map(|r| r.map_err(panicked).and_then(|r: Result<_, RawFault>| r).into())
        })
        .into_ffi()
    }

    fn observe(&self, batch: RawBlock<'_>) -> RResult<(), RawFault> {
        self.call(|policy| {
            policy.observe(&read_batch(batch)?);
            Ok(())
        })
    }

    fn export_state(&self) -> RResult<RawState, RawFault> {
        self.call(|policy| {
            let state = policy.export_state();
            let present = state.is_some();
            let PolicyState { version, bytes } = state.unwrap_or_default();
            Ok(RawState { present, version, bytes: bytes.into() })
        })
    }

    fn import_state(&self, state: RawState) -> RResult<(), RawFault> {
        let state = PolicyState { version: state.version, bytes: state.bytes.into() };
        self.call(|policy| policy.import_state(&state).map_err(to_raw))
    }
}

fn read_batch(batch: RawBlock<'_>) -> Result<Observations<'_>, RawFault> {
    Observations::from_block(batch).map_err(|e| raw_fault(fault::PROTOCOL, e.to_string()))
}

impl<F: TaskFilter + 'static> RawFilter for Exported<F> {
    fn filter(&self, round: RawRound<'_>, slots: RSlice<'_, RawSlots>) -> RResult<RVec<u64>, RawFault> {
        self.call(|filter| {
            let jobs = round.running_jobs().map_err(|e| raw_fault(fault::PROTOCOL, e.to_string()))?;
            let slots: &[AvailableTaskSlots] = bytemuck::cast_slice(slots.as_slice());
            let mut limits = Limits::unrestricted(jobs.stage_count(), jobs.executors().len());
            filter.filter(slots, &jobs, &mut limits).map_err(to_raw)?;
            // An empty answer stands for "no restriction".
            Ok(if limits.is_unrestricted() { RVec::new() } else { limits.encode().words().into() })
        })
    }

    fn observe(&self, batch: RawBlock<'_>) -> RResult<(), RawFault> {
        self.call(|filter| {
            filter.observe(&read_batch(batch)?);
            Ok(())
        })
    }
}

impl<S: TaskScore + 'static> RawScore for Exported<S> {
    fn score(
        &self,
        round: RawRound<'_>,
        candidates: RawCandidates<'_>,
        mut scores: RSliceMut<'_, f32>,
    ) -> RResult<(), RawFault> {
        self.call(|score| {
            let jobs = round.running_jobs().map_err(|e| raw_fault(fault::PROTOCOL, e.to_string()))?;
            let RawCandidates { stage, tasks, row_offsets, rows } = candidates;
            let rows: &[AvailableTaskSlots] = bytemuck::cast_slice(rows.as_slice());
            let candidates = Candidates::new(StageId(stage), tasks.as_slice(), row_offsets.as_slice(), rows);
            score.score(&jobs, &candidates.map_err(to_raw)?, scores.as_mut_slice()).map_err(to_raw)
        })
    }

    fn observe(&self, batch: RawBlock<'_>) -> RResult<(), RawFault> {
        self.call(|score| {
            score.observe(&read_batch(batch)?);
            Ok(())
        })
    }
}

/// What one plugin exports.
pub struct Exports {
    /// The version of the plugin's package.
    pub version: &'static str,
    /// Its policies, filters and scores.
    pub items: &'static [&'static dyn Factory],
}

/// A plugin crate, as a type: what its entry points answer from. The macro implements it, once a crate.
pub trait Plugin: 'static {
    /// What the crate exports.
    const EXPORTS: &'static Exports;
}

impl Exports {
    fn describe(&self) -> String {
        let items = self.items.iter().map(|item| {
            let schema: serde_json::Value = serde_json::from_str(&item.schema()).unwrap_or_default();
            serde_json::json!({
                "name": item.name(), "kind": item.kind(), "version": self.version, "config_schema": schema,
                "observes": item.observes(),
            })
        });
        serde_json::Value::from_iter(items).to_string()
    }

    fn create<T>(
        &self,
        name: RStr<'_>,
        generation: u64,
        make: impl FnOnce(&dyn Factory) -> Result<T, RawFault>,
    ) -> RResult<T, RawFault> {
        let Some(item) = self.items.iter().find(|item| item.name() == name.as_str()) else {
            return RErr(raw_fault(fault::UNKNOWN_POLICY, format!("this plugin exports no {name}")));
        };
        let made = log::on_behalf_of(item.name(), generation, || guarded(|| make(*item)));
        match made.map_err(panicked).and_then(|r| r) {
            Ok(made) => ROk(made),
            Err(fault) => RErr(fault),
        }
    }
}

/// See [`PluginModule::init`].
extern "C" fn init(host: HostLinkRef) {
    // Neither a subscriber nor a hook panics while it is installed; if one ever does, the plugin logs nowhere.
    let _ = guarded(|| {
        if log::install(host) {
            panics::install();
        }
    });
}

/// See [`PluginModule::describe`].
extern "C" fn describe<P: Plugin>() -> RResult<RString, RawFault> {
    guarded(|| P::EXPORTS.describe()).map(RString::from).map_err(panicked).into()
}

/// See [`PluginModule::create_policy`].
extern "C" fn create_policy<P: Plugin>(
    name: RStr<'_>,
    config: RStr<'_>,
    generation: u64,
) -> RResult<PolicyBox, RawFault> {
    P::EXPORTS.create(name, generation, |item| item.policy(config.as_str(), generation))
}

/// See [`PluginModule::create_filter`].
extern "C" fn create_filter<P: Plugin>(
    name: RStr<'_>,
    config: RStr<'_>,
    generation: u64,
) -> RResult<FilterBox, RawFault> {
    P::EXPORTS.create(name, generation, |item| item.filter(config.as_str(), generation))
}

/// See [`ScoreModule::create_score`].
extern "C" fn create_score<P: Plugin>(
    name: RStr<'_>,
    config: RStr<'_>,
    generation: u64,
) -> RResult<ScoreBox, RawFault> {
    P::EXPORTS.create(name, generation, |item| item.score(config.as_str(), generation))
}

fn root<P: Plugin>() -> PluginModuleRef {
    PluginModule {
        api_major: super::API_MAJOR,
        api_minor: super::API_MINOR,
        init,
        describe: describe::<P>,
        create_policy: create_policy::<P>,
        create_filter: create_filter::<P>,
    }
    .leak_into_prefix()
}

fn scores<P: Plugin>() -> ScoreModuleRef {
    ScoreModule { create_score: create_score::<P> }.leak_into_prefix()
}

/// Runs the root module's constructor, with panics caught.
extern "C" fn load_root<P: Plugin>() -> RootModuleResult {
    abi_stable::library::__call_root_module_loader(root::<P>)
}

/// Runs the constructor of the module of scores, with panics caught.
extern "C" fn load_scores<P: Plugin>() -> RootModuleResult {
    abi_stable::library::__call_root_module_loader(scores::<P>)
}

/// The header of the root module, which the host looks for.
///
/// A header joins two things: the layout of a module, and a constructor whose return type has been erased. If they do not
/// belong together, the host calls functions that are not there. So the constructor is no argument: it is made here,
/// from `P`, and no implementation of [`Plugin`] can change which module it returns. This is why the function is safe:
/// ```compile_fail,E0061
/// use policy_plugin_api::abi::export::{LibHeader, header};
/// extern "C" fn another_constructor() {}
/// static ROOT: LibHeader = header(another_constructor);
/// ```
#[must_use]
pub const fn header<P: Plugin>() -> LibHeader {
    // SAFETY: `load_root` returns the prefix of a `PluginModule` for every `P`, and the header takes the layout from that
    // type.
    unsafe { LibHeader::from_constructor::<PluginModuleRef>(load_root::<P>, CheckTypeLayout::Yes) }
}

/// The header of the module of scores. Safe for the reason that [`header`] gives:
/// ```compile_fail,E0061
/// use policy_plugin_api::abi::export::{LibHeader, score_header};
/// extern "C" fn another_constructor() {}
/// static SCORES: LibHeader = score_header(another_constructor);
/// ```
#[must_use]
pub const fn score_header<P: Plugin>() -> LibHeader {
    // SAFETY: `load_scores` returns the prefix of a `ScoreModule` for every `P`, and the header takes the layout from that
    // type.
    unsafe { LibHeader::from_constructor::<ScoreModuleRef>(load_scores::<P>, CheckTypeLayout::Yes) }
}
