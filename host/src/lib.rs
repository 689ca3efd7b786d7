//! A policy host: loads task-distribution policies from shared libraries over a stable ABI, watches a plugin
//! directory, and swaps the active policy while work keeps flowing.
//!
//! An embedder starts a [`PolicyHost`], builds a round whenever something changed
//! ([`policy_plugin_api::assemble`]), and applies the [`Plan`] that [`PolicyHost::bind`] returns:
//!
//! ```
//! use std::sync::Arc;
//! use policy_host::{HostOptions, PolicyHost, TaskDistributionPolicy};
//! use policy_plugin_api::assemble::{Clock, ExecutorSpec, JobRow, Roster, RoundBuilder, StageRow, StageTasks, UidTable};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! let host = PolicyHost::start(HostOptions::with_policy(TaskDistributionPolicy::RoundRobin))?;
//! let roster = Roster::new(&[ExecutorSpec::new("e0", 4), ExecutorSpec::new("e1", 4)], &mut UidTable::default());
//! let mut round = RoundBuilder::new();
//! round.free_vcores(&[4, 4]);
//! let tenant = round.tenant("team-a", 0, 0);
//! round.job(JobRow { key: 1, id: "j1", tenant, priority: 0, submit_us: 0, vcores_in_use: 0 });
//! let tasks = StageTasks::uniform(6, 1);
//! round.stage(StageRow { number: 0, tasks, pending: 6, running: 0, runnable_since_us: 0 }, [(0, 6)]);
//! let plan = host.bind(round.finish(&roster, Clock::default())).await;
//! assert_eq!(plan.bindings().len(), 6);
//! # Ok::<(), policy_host::StartError>(()) }).unwrap();
//! ```
//!
//! The promise: nothing restarts, no task is lost or run twice, a bad answer costs one fallback round and missed
//! deadlines cost their budget ([`Guard`]) at most, and the host says truthfully which code is answering. Its limits: a
//! plugin in the host's process is trusted code, see [`policy_plugin_api`]. The map of this crate is
//! `host/ARCHITECTURE.md`.

pub mod activation;
mod admit;
mod background;
mod bind;
mod control;
pub mod event;
mod fallback;
mod feedback;
mod guard;
mod host;
pub mod judge;
mod lane;
pub mod limits;
pub mod load;
pub mod placement;
pub mod receipt;
pub mod record;
mod registry;
mod shadow;
mod slot;
pub mod text;
mod validate;
pub mod vet;
mod watch;

pub use activation::LaneKind;
pub use admit::AdmitError;
pub use event::{Cause, Event, EventKind};
pub use fallback::{BuiltIn, TaskDistributionPolicy};
pub use guard::Guard;
pub use host::{Events, HostOptions, PolicyHost, Refusal, StartError};
pub use record::{RecordOptions, RecordingReceipt};
pub use slot::{ActiveInfo, PartInfo, ShadowInfo};
pub use validate::{FallbackReason, Plan};
pub use watch::concerns_us;
