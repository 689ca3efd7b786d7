//! The knobs of `data-locality`.

use schemars::JsonSchema;
use serde::Deserialize;

/// The most that `wait_ms` and `rack_wait_ms` can be: an hour.
pub const MAX_WAIT_MS: u32 = 3_600_000;

/// What is fetched faster than this is not waited for, microseconds: rounds are not closer together.
pub const LEAST_WAIT_US: u64 = 10_000;

/// The most that `holders` can be.
pub const MAX_HOLDERS: u32 = 16;

/// The knobs of [`DataLocality`](super::DataLocality).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DataLocalityConfig {
    /// How long a stage may leave slots alone, in all its life, to get its tasks to executors that hold their data;
    /// milliseconds, 0 to 3,600,000, default 300. 0: never.
    pub wait_ms: u32,
    /// How long it may then leave slots alone that are not in a rack with such an executor; milliseconds, 0 to
    /// 3,600,000, default 100. Without meaning where no executor has a rack.
    pub rack_wait_ms: u32,
    /// How many holders of a task count, largest first; 1 to 16, default 3.
    pub holders: u32,
    /// A holder is worth waiting for if it has at least this share of the bytes that all holders of the task have;
    /// percent, 0 to 100, default 20.
    pub min_share_percent: u32,
    /// What a task reads from elsewhere at, MiB/s; default 1,000. A stage waits no longer than one of its tasks takes to
    /// fetch what its largest holder has, and not at all for less than 10 ms of that. 0: bytes do not matter.
    pub network_mib_per_s: u32,
}

impl Default for DataLocalityConfig {
    fn default() -> Self {
        Self { wait_ms: 300, rack_wait_ms: 100, holders: 3, min_share_percent: 20, network_mib_per_s: 1_000 }
    }
}
