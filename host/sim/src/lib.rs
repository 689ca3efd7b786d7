//! The embedded cluster: workloads, executors and time for the policy host.
//!
//! A [`Workload`](workload::Workload) comes from a file, a trace importer or the seeded generator
//! ([`workload::parse_source`]). A [`Cluster`](cluster::Cluster) is the state machine that runs it. [`real_time`] turns
//! it on the clock, [`virtual_time`] as fast as possible; both ask a [`Binder`] in every round, and end in an
//! [`Outcome`](outcome::Outcome) that a [`Summary`](summary::Summary) is made of.
//!
//! ```
//! use std::sync::Arc;
//! use policy_host::round::{AvailableTaskSlots, BoundTask, Observation, Round};
//! use policy_sim::cluster::{Cluster, ClusterOptions};
//! use policy_sim::workload::{ClusterDefaults, parse_source};
//! use policy_sim::{Answer, Binder, virtual_time};
//!
//! /// Fills the first executor that has room, then the next.
//! struct FirstFit;
//! struct Rows(Vec<BoundTask>);
//!
//! impl Answer for Rows {
//!     fn rows(&self) -> &[BoundTask] { &self.0 }
//!     fn policy(&self) -> &str { "first-fit" }
//! }
//!
//! impl Binder for FirstFit {
//!     type Answer = Rows;
//!
//!     async fn bind(&self, round: Arc<Round>) -> Rows {
//!         let stages = round.stage_refs();
//!         let jobs = round.view(&stages);
//!         let mut slots: Vec<AvailableTaskSlots> = Vec::new();
//!         jobs.available_slots(&mut slots);
//!         let mut rows = Vec::new();
//!         for task in jobs.stages().flat_map(|s| s.pending()) {
//!             let Some(slot) = slots.iter_mut().find(|s| s.slots >= task.vcores()) else { break };
//!             slot.slots -= task.vcores();
//!             rows.push(BoundTask::new(task.id(), slot.executor));
//!         }
//!         Rows(rows)
//!     }
//!
//!     fn observe(&self, _: Vec<Observation>) {}
//! }
//!
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let workload = parse_source("synthetic:jobs=20", &ClusterDefaults::default())?;
//! let cluster = Cluster::new(Arc::new(workload), ClusterOptions::default())?;
//! let outcome = virtual_time::run(cluster, &FirstFit, Default::default()).await?;
//! assert_eq!(outcome.counts.completed, outcome.counts.submitted);
//! println!("{}", outcome.summary(Vec::new(), Vec::new()));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```

pub mod bind;
pub mod cluster;
mod drive;
pub mod evaluate;
pub mod event_log;
mod hosted;
pub mod limits;
pub mod outcome;
pub mod progress;
pub mod real_time;
pub mod summary;
pub mod virtual_time;
pub mod workload;

pub use bind::{Answer, Binder};
pub use drive::RunError;
