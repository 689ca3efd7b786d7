//! The plugin's side: what [`export_policy!`](crate::export_policy) expands to. Every call is guarded here, before it
//! reaches the boundary: a panic becomes a fault with its message.

use std::fmt::Debug;
use std::sync::Arc;

use abi_stable::erased_types::TD_Opaque;
use abi_stable::library::RootModuleResult;
use abi_stable::prefix_type::PrefixTypeTrait;
use abi_stable::std_types::{RErr, RResult, RSlice, RSliceMut, RStr, RString, RVec};
use async_ffi::{BorrowingFfiFuture, FutureExt};
use policy_wire::observe::Observations;
use policy_wire::{AvailableTaskSlots, BoundTask, Limits, StageId};

use abi_stable::library::CheckTypeLayout;
pub use abi_stable::library::LibHeader;

use super::guarded::{GuardedFuture, GuardedValue, guarded};
use super::panics::Panic;
use super::raw::{
    FilterBox, HostLinkRef, PluginModule, PluginModuleRef, PolicyBox, RawAnswer, RawBinding, RawBlock, RawCandidates,
    RawFault, RawFilter, RawFilter_TO, RawLimits, RawPolicy, RawPolicy_TO, RawReply, RawRound, RawScore, RawScore_TO,
    RawSlots, RawState, ScoreBox, fault, step,
};
use super::table::{self, Offered, RawTable};
use super::{log, panics};
use crate::config;
use crate::error::PolicyError;
use crate::policy::{DistributionPolicy, FromConfig, PolicyState, TaskFilter};
use crate::score::{Candidates, TaskScore};

/// Makes an instance: config as JSON text, generation.
type Maker<T> = fn(&str, u64) -> Result<T, RawFault>;

enum Make {
    Policy(Maker<PolicyBox>),
    Filter(Maker<FilterBox>),
    Score(Maker<ScoreBox>),
}

impl Make {
    fn kind(&self) -> &'static str {
        match self {
            Self::Policy(_) => "policy",
            Self::Filter(_) => "filter",
            Self::Score(_) => "score",
        }
    }
}

/// One exported type: what a host reads of it, and how it makes an instance.
pub struct Export {
    name: &'static str,
    observes: bool,
    schema: fn() -> String,
    make: Make,
}

impl Export {
    const fn of<T: FromConfig>(make: Make) -> Self {
        Self { name: T::NAME, observes: T::OBSERVES, schema: config::schema::<T::Config>, make }
    }

    /// Exports a [`DistributionPolicy`].
    #[must_use]
    pub const fn policy<P: DistributionPolicy + FromConfig + 'static>() -> Self {
        Self::of::<P>(Make::Policy(|config, generation| {
            Ok(RawPolicy_TO::from_value(Exported::<P>::new(config, generation)?, TD_Opaque))
        }))
    }

    /// Exports a [`TaskFilter`].
    #[must_use]
    pub const fn filter<F: TaskFilter + FromConfig + 'static>() -> Self {
        Self::of::<F>(Make::Filter(|config, generation| {
            Ok(RawFilter_TO::from_value(Exported::<F>::new(config, generation)?, TD_Opaque))
        }))
    }

    /// Exports a [`TaskScore`].
    #[must_use]
    pub const fn score<S: TaskScore + FromConfig + 'static>() -> Self {
        Self::of::<S>(Make::Score(|config, generation| {
            Ok(RawScore_TO::from_value(Exported::<S>::new(config, generation)?, TD_Opaque))
        }))
    }
}

fn panicked(step: u32, panic: Panic) -> RawFault {
    let fault = RawFault::new(fault::PANICKED, step, panic.message);
    match panic.place {
        Some(place) => RawFault { file: place.file.into(), line: place.line, column: place.column, ..fault },
        None => fault,
    }
}

fn drop_panicked(panic: Panic) {
    log::drop_panicked(&panicked(step::DROP, panic));
}

fn to_raw(step: u32, error: PolicyError) -> RawFault {
    match error {
        PolicyError::Declined(m) => RawFault::new(fault::DECLINED, step, m),
        PolicyError::Failed(m) => RawFault::new(fault::FAILED, step, m),
        PolicyError::InvalidConfig(m) => RawFault::new(fault::INVALID_CONFIG, step, m),
    }
}

fn unreadable(step: u32, error: impl ToString) -> RawFault {
    RawFault::new(fault::PROTOCOL, step, error.to_string())
}

/// What an instance says that is asked: this version of the API knows no name.
fn no_reply(name: RStr<'_>) -> RawReply {
    RErr(RawFault::new(fault::UNKNOWN_QUESTION, step::ASK, format!("this plugin does not know {name}")))
}

/// An instance with its name and generation.
struct Exported<T> {
    item: Arc<GuardedValue<T>>,
    name: &'static str,
    generation: u64,
}

impl<T: FromConfig> Exported<T> {
    fn new(config: &str, generation: u64) -> Result<Self, RawFault> {
        let config = config::parse::<T::Config>(config).map_err(|e| RawFault {
            line: e.line,
            column: e.column,
            ..RawFault::new(fault::INVALID_CONFIG, step::CONSTRUCT, e.message)
        })?;
        let made = T::from_config(config).map_err(|e| to_raw(step::CONSTRUCT, e))?;
        Ok(Self { item: Arc::new(GuardedValue::new(made, drop_panicked)), name: T::NAME, generation })
    }
}

impl<T> Exported<T> {
    fn call<R>(&self, step: u32, call: impl FnOnce(&T) -> Result<R, RawFault>) -> RResult<R, RawFault> {
        let result = log::on_behalf_of(self.name, self.generation, || guarded(|| call(&self.item)));
        result.map_err(|panic| panicked(step, panic)).and_then(|r| r).into()
    }

    /// Reads a batch and delivers it.
    fn deliver(&self, batch: RawBlock<'_>, to: impl FnOnce(&T, &Observations<'_>)) -> RResult<(), RawFault> {
        self.call(step::OBSERVE, |item| {
            to(item, &Observations::from_block(batch).map_err(|e| unreadable(step::OBSERVE, e))?);
            Ok(())
        })
    }
}

impl<T: Debug> Debug for Exported<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match guarded(|| format!("{:?}", &**self.item)) {
            Ok(text) => f.write_str(&text),
            Err(panic) => write!(f, "{} (its Debug panicked: {})", self.name, panic.message),
        }
    }
}

impl<P: DistributionPolicy + 'static> RawPolicy for Exported<P> {
    fn bind<'a>(
        &'a self,
        round: RawRound<'a>,
        mut slots: RSliceMut<'a, RawSlots>,
    ) -> BorrowingFfiFuture<'a, RResult<RawAnswer, RawFault>> {
        let answer = async move {
            let jobs = round.running_jobs().map_err(|e| unreadable(step::BIND, e))?;
            let slots: &mut [AvailableTaskSlots] = bytemuck::cast_slice_mut(slots.as_mut_slice());
            let bound = self.item.bind_tasks(slots, &jobs).await.map_err(|e| to_raw(step::BIND, e))?;
            let rows = RVec::from(bytemuck::allocation::cast_vec::<BoundTask, RawBinding>(bound));
            Ok(RawAnswer { rows, more: RVec::new() })
        };
        let mut guarded = Box::pin(GuardedFuture::new(answer, drop_panicked));
        std::future::poll_fn(move |cx| {
            let poll = log::on_behalf_of(self.name, self.generation, || guarded.as_mut().poll(cx));
            let flat =
                |r: Result<Result<_, RawFault>, Panic>| r.map_err(|panic| panicked(step::BIND, panic)).and_then(|r| r);
            poll.map(|r| flat(r).into())
        })
        .into_ffi()
    }

    fn observe(&self, batch: RawBlock<'_>) -> RResult<(), RawFault> {
        self.deliver(batch, |policy, batch| policy.observe(batch))
    }

    fn export_state(&self) -> RResult<RawState, RawFault> {
        self.call(step::EXPORT, |policy| {
            let state = policy.export_state();
            let present = state.is_some();
            let PolicyState { version, bytes } = state.unwrap_or_default();
            Ok(RawState { present, version, bytes: bytes.into() })
        })
    }

    fn import_state(&self, state: RawState) -> RResult<(), RawFault> {
        let state = PolicyState { version: state.version, bytes: state.bytes.into() };
        self.call(step::IMPORT, |policy| policy.import_state(&state).map_err(|e| to_raw(step::IMPORT, e)))
    }

    fn ask(&self, name: RStr<'_>, _: RSlice<'_, u64>) -> RawReply {
        no_reply(name)
    }
}

impl<F: TaskFilter + 'static> RawFilter for Exported<F> {
    fn filter(&self, round: RawRound<'_>, slots: RSlice<'_, RawSlots>) -> RResult<RawLimits, RawFault> {
        self.call(step::FILTER, |filter| {
            let jobs = round.running_jobs().map_err(|e| unreadable(step::FILTER, e))?;
            let slots: &[AvailableTaskSlots] = bytemuck::cast_slice(slots.as_slice());
            let mut limits = Limits::unrestricted(jobs.stage_count(), jobs.executors().len());
            filter.filter(slots, &jobs, &mut limits).map_err(|e| to_raw(step::FILTER, e))?;
            if limits.is_unrestricted() {
                return Ok(RawLimits { kind: RawLimits::UNRESTRICTED, words: RVec::new() });
            }
            Ok(RawLimits { kind: RawLimits::LIMITED, words: limits.encode().words().into() })
        })
    }

    fn observe(&self, batch: RawBlock<'_>) -> RResult<(), RawFault> {
        self.deliver(batch, |filter, batch| filter.observe(batch))
    }

    fn ask(&self, name: RStr<'_>, _: RSlice<'_, u64>) -> RawReply {
        no_reply(name)
    }
}

impl<S: TaskScore + 'static> RawScore for Exported<S> {
    fn score(
        &self,
        round: RawRound<'_>,
        candidates: RawCandidates<'_>,
        mut scores: RSliceMut<'_, f32>,
    ) -> RResult<(), RawFault> {
        self.call(step::SCORE, |score| {
            let jobs = round.running_jobs().map_err(|e| unreadable(step::SCORE, e))?;
            let RawCandidates { stage, tasks, row_offsets, rows } = candidates;
            let rows: &[AvailableTaskSlots] = bytemuck::cast_slice(rows.as_slice());
            let candidates = Candidates::new(StageId(stage), tasks.as_slice(), row_offsets.as_slice(), rows);
            let scored = candidates.and_then(|candidates| score.score(&jobs, &candidates, scores.as_mut_slice()));
            scored.map_err(|e| to_raw(step::SCORE, e))
        })
    }

    fn observe(&self, batch: RawBlock<'_>) -> RResult<(), RawFault> {
        self.deliver(batch, |score, batch| score.observe(batch))
    }

    fn ask(&self, name: RStr<'_>, _: RSlice<'_, u64>) -> RawReply {
        no_reply(name)
    }
}

/// What one plugin exports.
pub struct Exports {
    /// The version of the plugin's package.
    pub version: &'static str,
    /// Its policies, filters and scores.
    pub items: &'static [Export],
}

/// A plugin crate, as a type: what its entry points answer from. The macro implements it, once a crate.
pub trait Plugin: 'static {
    /// What the crate exports.
    const EXPORTS: &'static Exports;
    /// The tables that it offers to hosts.
    const TABLES: &'static [Offered] = &[];
}

impl Exports {
    fn describe(&self) -> String {
        let items = self.items.iter().map(|item| {
            let schema: serde_json::Value = serde_json::from_str(&(item.schema)()).unwrap_or_default();
            serde_json::json!({
                "name": item.name, "kind": item.make.kind(), "version": self.version, "config_schema": schema,
                "observes": item.observes,
            })
        });
        serde_json::Value::from_iter(items).to_string()
    }

    fn create<T>(
        &self,
        (name, config, generation): (RStr<'_>, RStr<'_>, u64),
        maker: impl Fn(&Make) -> Option<Maker<T>>,
    ) -> RResult<T, RawFault> {
        let refused = |message: String| RErr(RawFault::new(fault::UNKNOWN_POLICY, step::CONSTRUCT, message));
        let Some(item) = self.items.iter().find(|item| item.name == name.as_str()) else {
            return refused(format!("this plugin exports no {name}"));
        };
        let Some(make) = maker(&item.make) else {
            return refused(format!("{name} is a {}, and was asked to be something else", item.make.kind()));
        };
        let made = log::on_behalf_of(item.name, generation, || guarded(|| make(config.as_str(), generation)));
        made.map_err(|panic| panicked(step::CONSTRUCT, panic)).and_then(|made| made).into()
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
    let described = guarded(|| P::EXPORTS.describe()).map(RString::from);
    described.map_err(|panic| panicked(step::DESCRIBE, panic)).into()
}

/// See [`PluginModule::create_policy`].
extern "C" fn create_policy<P: Plugin>(
    name: RStr<'_>,
    config: RStr<'_>,
    generation: u64,
) -> RResult<PolicyBox, RawFault> {
    P::EXPORTS.create((name, config, generation), |make| match make {
        Make::Policy(make) => Some(*make),
        _ => None,
    })
}

/// See [`PluginModule::create_filter`].
extern "C" fn create_filter<P: Plugin>(
    name: RStr<'_>,
    config: RStr<'_>,
    generation: u64,
) -> RResult<FilterBox, RawFault> {
    P::EXPORTS.create((name, config, generation), |make| match make {
        Make::Filter(make) => Some(*make),
        _ => None,
    })
}

/// See [`PluginModule::create_score`].
extern "C" fn create_score<P: Plugin>(
    name: RStr<'_>,
    config: RStr<'_>,
    generation: u64,
) -> RResult<ScoreBox, RawFault> {
    P::EXPORTS.create((name, config, generation), |make| match make {
        Make::Score(make) => Some(*make),
        _ => None,
    })
}

/// A plugin's [`PluginModule::table`] where it offers none.
pub extern "C" fn no_table(name: RStr<'_>) -> RawTable {
    table::find(&[], name)
}

/// See [`PluginModule::table`].
extern "C" fn table_of<P: Plugin>(name: RStr<'_>) -> RawTable {
    table::find(P::TABLES, name)
}

fn root<P: Plugin>() -> PluginModuleRef {
    PluginModule {
        api_major: super::API_MAJOR,
        api_minor: super::API_MINOR,
        init,
        describe: describe::<P>,
        create_policy: create_policy::<P>,
        create_filter: create_filter::<P>,
        create_score: create_score::<P>,
        table: table_of::<P>,
    }
    .leak_into_prefix()
}

/// Runs the root module's constructor, with panics caught.
extern "C" fn load_root<P: Plugin>() -> RootModuleResult {
    abi_stable::library::__call_root_module_loader(root::<P>)
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
