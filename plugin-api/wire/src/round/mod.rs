//! What a policy sees in one round: free slots, executors, tenants, jobs, stages, pending tasks, limits, clock and seed.
//!
//! Everything here borrows from the round's blocks: reading costs no allocation. An accessor that returns a slice is
//! the fast way through many rows; the row types ([`Executor`], [`Job`], [`Stage`], [`Task`]) read like objects and are
//! views of two words or so. The views hold no state, and nothing here writes.

mod executors;
mod holders;
mod jobs;
mod labels;
mod running;
mod stages;
mod tasks;

pub use executors::{AvailableTaskSlots, Executor, Executors};
pub use holders::Holders;
pub use jobs::{Job, Tenant};
pub use labels::Labels;
pub use running::RunningJobs;
pub use stages::Stage;
pub(crate) use stages::StageColumns;
pub use tasks::Task;
