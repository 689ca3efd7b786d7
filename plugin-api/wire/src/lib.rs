//! A round as data: what a host puts together, what a policy reads, and the rules of a legal answer.
//!
//! | module | contents |
//! |---|---|
//! | [`block`] | the block: a table of columns in 64-bit words, the same bytes in every process and language |
//! | [`columns`] | the column numbers of each kind of block |
//! | [`round`] | views of a round, as a policy reads it |
//! | [`limits`] | what filters decide |
//! | [`observe`] | what happened to earlier bindings |
//! | [`assemble`] | how a round is put together |
//! | [`contract`] | what makes an answer legal |
//! | [`canned`] | rounds to try a policy on |
//!
//! The crate does no I/O, starts no thread and has no unsafe code. Authors of policies depend on `policy-plugin-api`, which
//! re-exports what they read; embedders depend on `policy-host` and find this crate's types in `policy_host::round`.
#![forbid(unsafe_code)]

pub mod assemble;
pub mod binding;
pub mod block;
pub mod canned;
pub mod columns;
pub mod contract;
pub mod ids;
pub mod limits;
pub mod observe;
pub mod round;

pub use binding::BoundTask;
pub use ids::{ExecutorId, ExecutorUid, JobId, StageId, TaskId, TenantId};
pub use limits::Limits;
pub use round::{AvailableTaskSlots, RunningJobs};

/// The fixed hash of a task's key: XXH3-64 with seed 0. Stable across processes, platforms and versions.
#[must_use]
pub fn key_hash(key: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64(key.as_bytes())
}
