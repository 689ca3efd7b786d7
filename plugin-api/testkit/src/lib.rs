//! For authors of policies: rounds to test with, generators of rounds, and the conformance suite.
//!
//! Depends on the plugin API alone, so that a policy is tested without a host. The one line that every policy's crate
//! should have:
//!
//! ```
//! # use policy_plugin_api::prelude::*;
//! # struct MyPolicy;
//! #[cfg(test)]
//! policy_testkit::policy_conformance!(MyPolicy);
//! ```
//!
//! What a policy decides is tested with rounds of one's own:
//!
//! ```
//! use policy_plugin_api::prelude::*;
//! use policy_testkit::spec::{executor, job, round, stage};
//! # #[derive(Debug)]
//! # struct FirstFit;
//! # #[async_trait]
//! # impl DistributionPolicy for FirstFit {
//! #     async fn bind_tasks(&self, slots: &mut [AvailableTaskSlots], jobs: &RunningJobs<'_>) -> Result<Vec<BoundTask>> {
//! #         let slots = slots.iter().flat_map(|s| (0..s.slots).map(|_| s.executor));
//! #         Ok(jobs.stages().flat_map(|s| s.pending()).zip(slots).map(|(t, e)| BoundTask::new(t.id(), e)).collect())
//! #     }
//! # }
//!
//! let round = round().executor(executor("a", 2)).executor(executor("b", 8)).job(job("etl").stage(stage(3))).build();
//! assert_eq!(round.counts(&FirstFit), [("a".to_owned(), 2), ("b".to_owned(), 1)]);
//! ```
#![forbid(unsafe_code)]

pub mod arbitrary;
pub mod asked;
pub mod conformance;
pub mod report;
pub mod spec;

pub use asked::TestRound;
pub use report::{Code, Finding, Report};
