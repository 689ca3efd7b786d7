//! Apache DataFusion Ballista on hot-swapped policies: a [`policy_host::PolicyHost`] as Ballista's `DistributionPolicy`.
//!
//! ```text
//! Ballista's offer → snapshot → round → host.bind → plan → apply → Ballista's tasks
//!                    read locks         no lock            write locks, checked again
//! ```
//! [`install`] puts a host into a scheduler's configuration, [`serve`] runs the scheduler; the binary
//! `ballista-policy-scheduler` does both behind Ballista's own flags. What may be locked while what runs stands in
//! [`PolicyAdapter`], what a policy sees of a job in `README.md`.

mod adapter;
mod apply;
mod budgets;
mod cluster;
pub mod command;
mod decision;
mod identity;
mod ledger;
pub mod limits;
mod locality;
mod queue;
pub mod record;
mod reoffer;
mod reservation;
mod rules;
mod serve;
mod settings;
mod snapshot;
mod stall;
mod tracked;

pub use adapter::{Counts, Mode, PolicyAdapter};
pub use cluster::ObservedCluster;
pub use identity::ClusterView;
pub use reoffer::Reoffers;
pub use serve::{Scheduler, install, serve};
pub use settings::{DEFAULT_TENANT, PolicyOptions};
