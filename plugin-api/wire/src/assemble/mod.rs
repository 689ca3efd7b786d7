//! Building rounds: for hosts, embedders and test kits. A policy author needs nothing from here but the test kit.
//!
//! What does not change is built once and shared: a [`Roster`] until the set of executors changes, a [`StageTasks`] for
//! the life of its stage. A [`Round`] refers to them and costs O(executors + jobs + stages + runs of pending tasks).

mod builder;
mod executors;
mod restore;
mod roster;
mod round;
mod stage;

pub use builder::{JobRow, RoundBuilder, StageRow};
pub use executors::ExecutorRows;
pub use roster::{ExecutorSpec, Roster, UidTable};
pub use round::{Clock, Round, StageRefs};
pub use stage::{StageTasks, TaskSpec};
