//! The column numbers of each kind of block. Part of the ABI: numbers are appended, never changed or reused.

/// Columns of [`BlockKind::Roster`](crate::block::BlockKind::Roster); one row an executor unless said otherwise.
pub mod roster {
    #![allow(missing_docs, reason = "the names say it; units and meaning stand at the accessors in `round`")]
    pub const NAME_OFFSETS: u16 = 0;
    pub const NAME_BYTES: u16 = 1;
    pub const UID: u16 = 2;
    pub const VCORES: u16 = 3;
    pub const MEMORY_MIB: u16 = 4;
    pub const RACK: u16 = 5;
    /// One row a rack.
    pub const RACK_OFFSETS: u16 = 6;
    pub const RACK_BYTES: u16 = 7;
    pub const SPEED: u16 = 8;
    pub const LABEL_OFFSETS: u16 = 9;
    /// One row a label.
    pub const LABEL_KEY_OFFSETS: u16 = 10;
    pub const LABEL_KEY_BYTES: u16 = 11;
    pub const LABEL_VALUE_OFFSETS: u16 = 12;
    pub const LABEL_VALUE_BYTES: u16 = 13;
    /// One row a uid ever given; `u32::MAX` for executors that are not in this roster.
    pub const INDEX_BY_UID: u16 = 14;
    pub const COUNT: u16 = 16;
}

/// Columns of [`BlockKind::Stage`](crate::block::BlockKind::Stage); one row a task, or a single row that holds for all.
pub mod stage {
    #![allow(missing_docs, reason = "the names say it; units and meaning stand at the accessors in `round`")]
    /// One row: the number of tasks.
    pub const TASKS: u16 = 0;
    pub const VCORES: u16 = 1;
    pub const MEMORY_MIB: u16 = 2;
    pub const KEY_HASH: u16 = 3;
    pub const KEY_OFFSETS: u16 = 4;
    pub const KEY_BYTES: u16 = 5;
    /// An executor's uid, or `u32::MAX`.
    pub const PIN: u16 = 6;
    pub const HOLDER_OFFSETS: u16 = 7;
    /// One row a (task, holder) pair.
    pub const HOLDER_UID: u16 = 8;
    pub const HOLDER_BYTES: u16 = 9;
    pub const COUNT: u16 = 16;
}

/// Columns of [`BlockKind::Round`](crate::block::BlockKind::Round).
pub mod round {
    #![allow(missing_docs, reason = "the names say it; units and meaning stand at the accessors in `round`")]
    /// Three rows: now, seed, round number.
    pub const CLOCK: u16 = 0;
    // One row an executor of the roster.
    pub const FREE_VCORES: u16 = 1;
    pub const FREE_MEMORY_MIB: u16 = 2;
    pub const RUNNING_TASKS: u16 = 3;
    pub const LOAD: u16 = 4;
    // One row a tenant.
    pub const TENANT_OFFSETS: u16 = 5;
    pub const TENANT_BYTES: u16 = 6;
    pub const TENANT_VCORES_IN_USE: u16 = 7;
    pub const TENANT_MEMORY_MIB_IN_USE: u16 = 8;
    // One row a job.
    pub const JOB_KEY: u16 = 9;
    pub const JOB_ID_OFFSETS: u16 = 10;
    pub const JOB_ID_BYTES: u16 = 11;
    pub const JOB_TENANT: u16 = 12;
    pub const JOB_PRIORITY: u16 = 13;
    pub const JOB_SUBMIT_US: u16 = 14;
    pub const JOB_STAGES: u16 = 15;
    pub const JOB_VCORES_IN_USE: u16 = 16;
    // One row a stage.
    pub const STAGE_NUMBER: u16 = 17;
    pub const STAGE_JOB: u16 = 18;
    pub const STAGE_TASK_BASE: u16 = 19;
    pub const STAGE_PENDING: u16 = 20;
    pub const STAGE_RUNS: u16 = 21;
    /// One row a run of pending tasks.
    pub const RUN_START: u16 = 22;
    pub const RUN_LENGTH: u16 = 23;
    pub const STAGE_RUNNING: u16 = 24;
    pub const STAGE_RUNNABLE_SINCE_US: u16 = 25;
    /// One row an executor with free vcores: its place, ascending. Complete where `FREE_TOTAL` is there.
    pub const FREE_EXECUTORS: u16 = 26;
    /// One row: free vcores of all executors. May be absent.
    pub const FREE_TOTAL: u16 = 27;
    pub const COUNT: u16 = 32;
}

/// Columns of [`BlockKind::Limits`](crate::block::BlockKind::Limits).
pub mod limits {
    #![allow(missing_docs, reason = "the names say it; units and meaning stand at the accessors in `limits`")]
    /// One row a stage: the number of its mask, or `u32::MAX` for every executor.
    pub const STAGE_MASK: u16 = 0;
    /// `ceil(executors / 64)` words a mask.
    pub const MASKS: u16 = 1;
    /// One row a group: vcores that may be bound in this round.
    pub const GROUP_CAP: u16 = 2;
    pub const STAGE_GROUPS: u16 = 3;
    /// One row a (stage, group) pair.
    pub const STAGE_GROUP: u16 = 4;
    pub const COUNT: u16 = 8;
}

/// Columns of [`BlockKind::Observations`](crate::block::BlockKind::Observations); one row a happening.
pub mod observations {
    #![allow(missing_docs, reason = "the names say it; units and meaning stand at the accessors in `observe`")]
    pub const KIND: u16 = 0;
    pub const EXECUTOR_UID: u16 = 1;
    pub const JOB_KEY: u16 = 2;
    pub const STAGE_NUMBER: u16 = 3;
    pub const TASK: u16 = 4;
    pub const AT_US: u16 = 5;
    pub const DURATION_US: u16 = 6;
    pub const QUEUE_WAIT_US: u16 = 7;
    pub const LOCAL_BYTES: u16 = 8;
    pub const REMOTE_BYTES: u16 = 9;
    pub const COUNT: u16 = 16;
}
