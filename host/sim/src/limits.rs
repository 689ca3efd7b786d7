//! Every limit of this crate, with its unit: what a workload may hold, what a round may list, how long a run may idle.
//! Nothing else lives here.

use std::time::Duration;

/// Longest line of a workload file, in bytes. A job of a million tasks takes some 60 MB.
pub const MAX_LINE_BYTES: usize = 256 << 20;

/// Tasks of one workload: some 10 GB of memory. Rounds number tasks with 32 bits.
pub const MAX_TASKS: u64 = 1 << 27;

/// Stages of one job.
pub const MAX_STAGES_PER_JOB: usize = 10_000;

/// Executors of one cluster.
pub const MAX_EXECUTORS: usize = 1_000_000;

/// Vcores of one executor or one task.
pub const MAX_VCORES: u32 = 1 << 20;

/// Latest submission and longest task, in microseconds: ten years, so that sums stay far from overflow.
pub const MAX_TIME_US: u64 = 315_360_000_000_000;

/// Attempts of one task that the workload may let fail.
pub const MAX_FAILURES_PER_TASK: usize = 1000;

/// Stretches of time that a run is divided into where it is sampled: between half as many and as many.
pub const MAX_SERIES_BUCKETS: usize = 256;

/// Tenants whose shares over time are sampled: those with most work.
pub const MAX_SERIES_TENANTS: usize = 8;

/// Rows of executors in samples; beyond, neighbours share one.
pub const MAX_SERIES_ROWS: usize = 48;

/// Attempts of tasks that samples keep one by one; beyond, they keep none.
pub const MAX_SERIES_SPANS: usize = 8_000;

/// Outages that samples keep.
pub const MAX_SERIES_OUTAGES: usize = 1_000;

/// Outages that `--faults random:…` plans at most.
pub const MAX_PLANNED_OUTAGES: usize = 1_000_000;

/// Slowest executor: a relative speed.
pub const MIN_EXECUTOR_SPEED: f32 = 0.001;

/// Fastest executor: a relative speed.
pub const MAX_EXECUTOR_SPEED: f32 = 1000.0;

/// Runs of pending tasks that a round lists of one stage. What is beyond waits for a later round.
pub const MAX_LISTED_RUNS_PER_STAGE: usize = 65_536;

/// How long after a round that left both pending tasks and free vcores the policy is asked again though nothing
/// changed, in virtual microseconds: a policy that waits on purpose would otherwise wait for ever. Doubles with every
/// round in a row that starts nothing.
pub const IDLE_RETRY_US: u64 = 100_000;

/// Where that doubling ends, in virtual microseconds.
pub const MAX_IDLE_RETRY_US: u64 = 60_000_000;

/// Fruitless rounds in a row, with no event left to come, after which a run in virtual time gives up as stalled.
pub const MAX_FRUITLESS_ROUNDS: u32 = 64;

/// In real time, the shortest wait before the policy is asked again though nothing changed.
pub const MIN_RETRY_WALL: Duration = Duration::from_millis(5);

/// In real time, the longest such wait.
pub const MAX_RETRY_WALL: Duration = Duration::from_secs(1);

/// In real time, how far the cluster may lag behind the clock before it takes in everything that is due at once,
/// instead of instant by instant.
pub const MAX_LAG_WALL: Duration = Duration::from_millis(50);

/// Steps that a run takes before it lets other tasks of its runtime go ahead.
pub const STEPS_PER_YIELD: u32 = 1024;

/// Slowest real-time run: virtual seconds per wall second.
pub const MIN_SPEED: f64 = 0.001;

/// Fastest real-time run: virtual seconds per wall second.
pub const MAX_SPEED: f64 = 1_000_000.0;
/// Tenants that a trace without any may be dealt to: more than a cluster has, few enough that a slip is noticed.
pub const MAX_DEALT_TENANTS: u64 = 100_000;
