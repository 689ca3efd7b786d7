//! Rounds, for embedders: how one is put together, what it says, what makes an answer to it legal, and what to report of
//! earlier bindings. The types are those of `policy-wire`, under one flat path.
//!
//! Build what does not change once and share it: a [`Roster`] until the set of executors changes, a [`StageTasks`] for the
//! life of its stage. A [`Round`] refers to them.

pub use policy_wire::assemble::{
    Clock, ExecutorRows, ExecutorSpec, JobRow, Roster, Round, RoundBuilder, StageRefs, StageRow, StageTasks, TaskSpec,
    UidTable,
};
pub use policy_wire::block::{Block, BlockError, BlockKind, BlockRef};
pub use policy_wire::contract::{Checker, Violation};
pub use policy_wire::limits::{Limits, LimitsView};
pub use policy_wire::observe::{Observation, ObservationKind, Observations};
pub use policy_wire::round::{AvailableTaskSlots, Executor, Executors, Job, RunningJobs, Stage, Task, Tenant};
pub use policy_wire::{BoundTask, ExecutorId, ExecutorUid, JobId, StageId, TaskId, TenantId, canned, key_hash};
