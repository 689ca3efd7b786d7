//! A policy host: loads task-distribution policies from shared libraries over a stable ABI, watches a plugin
//! directory, and swaps the active policy while work keeps flowing.
//!
//! An embedder starts a [`PolicyHost`], builds a round whenever something changed
//! ([`round`]), and applies the [`Plan`] that [`PolicyHost::bind`] returns:
//!
//! ```
//! use std::sync::Arc;
//! use policy_host::{HostOptions, PolicyHost, TaskDistributionPolicy};
//! use policy_host::round::{Clock, ExecutorSpec, JobRow, Roster, RoundBuilder, StageRow, StageTasks, UidTable};
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

mod artifact;
mod control;
mod core;
mod facade;

pub mod record;
pub mod round;
mod serving;
mod state;

pub use self::core::built_in::{BuiltIn, TaskDistributionPolicy};
pub use self::core::composition::{Composition, Kind, Role, Wanted, Weighted};
pub use self::core::event::{self, Cause, Event, EventKind};
pub use self::core::guard::Guard;
pub use self::core::info::{ActiveInfo, LaneKind, PartInfo};
pub use self::core::{foreign, limits, text};
pub use artifact::watch::concerns_us;
pub use artifact::{load, vet};
pub use control::activation;
pub use control::admit::AdmitError;
pub use control::options::{HostOptions, StartError};
pub use control::request::Refusal;
pub use facade::{Events, PolicyHost};
pub use record::RecordOptions;
pub use serving::placement;
pub use serving::validate::{FallbackReason, Plan};
pub use state::receipt::RecordingReceipt;

/// What an embedder's own policy implements: the author's API. Give it to the host with
/// [`TaskDistributionPolicy::Custom`].
pub mod policy {
    pub use policy_plugin_api::prelude::*;
}

/// The judge: a throw-away child process in which libraries and recipes are tried.
pub mod judge {
    pub use crate::artifact::judge::{Judge, JudgedPolicy, Verdict};
    pub use crate::control::child::child_main;
}

/// The files of the state directory.
pub mod receipt {
    pub use crate::core::event::unix_ms;
    pub use crate::state::directory::*;
    pub use crate::state::receipt::*;
}
