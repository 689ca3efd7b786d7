//! What a task-distribution policy sees, what it answers, and how it becomes a plugin.
//!
//! # The contract on one page
//! A scheduler has executors with free slots and jobs with pending tasks. Every time something changed it starts a
//! *round*: it asks the active policy once which pending task goes to which executor.
//!
//! - **Input**: the executors with something free, as scratch the policy may count down ([`AvailableTaskSlots`]); and
//!   everything else ([`RunningJobs`]): executors, tenants, jobs, stages, pending tasks, limits set by filters, the
//!   time, a seed. All of it in a fixed order, all of it borrowed, none of it to be kept beyond the call.
//! - **Output**: rows of (task, executor) ([`BoundTask`]). Intentions, not effects: the host validates all rows
//!   ([`contract`](policy_wire::contract)) and applies all of them or none.
//! - **Determinism**: the same rounds give the same answers. No clock, no I/O, no threads, no blocking: time, seed and
//!   round number are inputs.
//! - **Failure**: an error, a panic or an illegal answer costs one round, bound by the host's fallback, and takes the
//!   policy out of service. A missed deadline costs its round; the third within a minute takes the policy out of service,
//!   unless configured otherwise. [`PolicyError::Declined`] is not a failure.
//! - **Stack**: a policy should need less than 1 MiB. The judge tries it on that much, and refuses one that needs more.
//!
//! Limits, stated first: a plugin is trusted code in the host's process (in the `inline` and `thread` lanes). The host
//! catches panics, refuses illegal answers and cuts off calls that take too long; it cannot survive a plugin that
//! writes over foreign memory, overflows its stack or exits the process. `policy-host check` finds many such plugins
//! beforehand, in a process of its own.
//!
//! # A complete policy
//! ```
//! use policy_plugin_api::prelude::*;
//!
//! /// Fills the first executor that has room, then the next.
//! #[derive(Debug)]
//! struct FirstFit;
//!
//! impl FromConfig for FirstFit {
//!     const NAME: &'static str = "first-fit";
//!     type Config = NoConfig;
//!
//!     fn from_config(_: NoConfig) -> Result<Self> {
//!         Ok(Self)
//!     }
//! }
//!
//! #[async_trait]
//! impl DistributionPolicy for FirstFit {
//!     async fn bind_tasks(
//!         &self,
//!         slots: &mut [AvailableTaskSlots],
//!         running_jobs: &RunningJobs<'_>,
//!     ) -> Result<Vec<BoundTask>> {
//!         let limits = running_jobs.limits();
//!         let mut caps = limits.group_caps().to_vec();
//!         let mut bound = Vec::with_capacity(running_jobs.bindable());
//!         for stage in running_jobs.stages() {
//!             let groups = limits.groups(stage.id());
//!             for task in stage.pending() {
//!                 let (vcores, memory_mib) = (task.vcores(), u64::from(task.memory_mib()));
//!                 // What filters decided: caps on groups of stages, executors that a stage may not use.
//!                 if groups.iter().any(|&group| caps[group as usize] < vcores) {
//!                     break;
//!                 }
//!                 let fits = |s: &&mut AvailableTaskSlots| {
//!                     s.slots >= vcores && s.memory_mib >= memory_mib && limits.allows(stage.id(), s.executor)
//!                 };
//!                 let Some(slot) = slots.iter_mut().find(fits) else { break };
//!                 slot.slots -= vcores;
//!                 slot.memory_mib -= memory_mib;
//!                 groups.iter().for_each(|&group| caps[group as usize] -= vcores);
//!                 bound.push(BoundTask::new(task.id(), slot.executor));
//!             }
//!         }
//!         Ok(bound)
//!     }
//! }
//!
//! // In a crate of `crate-type = ["cdylib"]`:
//! policy_plugin_api::export_policy! { policies: [FirstFit] }
//! # fn main() {}
//! ```
//! Drop the built library into the plugin directory, write `{"policy": "first-fit"}` into its `active.json`, done.
//! (A policy that forgets memory or limits is refused at admission; the test kit's conformance suite finds such things
//! beforehand.)

pub mod abi;
pub mod config;
pub mod error;
pub mod policy;
pub mod score;

pub use error::{PolicyError, Result};
pub use policy::{DistributionPolicy, FromConfig, PolicyState, TaskFilter};
// What authors read of the round as data; hosts and test kits use `policy-wire` itself.
pub use policy_wire::{AvailableTaskSlots, BoundTask, Limits, RunningJobs, key_hash};
pub use policy_wire::{ExecutorId, ExecutorUid, JobId, StageId, TaskId, TenantId};
pub use policy_wire::{ids, limits, observe, round};
pub use score::{Candidates, TaskScore};

/// `schemars`, as this crate uses it: derive `JsonSchema` for a config type with
/// `#[schemars(crate = "policy_plugin_api::schemars")]`, or depend on schemars 1 yourself.
pub use schemars;

/// Everything that a policy's source needs.
pub mod prelude {
    pub use crate::config::NoConfig;
    pub use crate::error::{PolicyError, Result};
    pub use crate::policy::{DistributionPolicy, FromConfig, PolicyState, TaskFilter};
    pub use crate::score::{Candidates, TaskScore};
    pub use async_trait::async_trait;
    pub use policy_wire::observe::{Observation, ObservationKind, Observations};
    pub use policy_wire::round::{AvailableTaskSlots, Executor, Executors, Job, RunningJobs, Stage, Task, Tenant};
    pub use policy_wire::{BoundTask, ExecutorId, ExecutorUid, JobId, Limits, StageId, TaskId, TenantId};
}
