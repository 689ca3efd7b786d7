//! Every limit of the adapter, in one place: name, unit, default, and what happens when it is reached.

use std::time::Duration;

/// How soon executors are offered again after a round that bound something and left both work and free vcores. Ballista
/// has no timer of its own: without it, tasks that a policy keeps waiting would wait for the next event.
pub const REOFFER_AFTER: Duration = Duration::from_millis(25);
/// The longest wait between two such offers: it doubles with every round that binds nothing.
pub const REOFFER_AFTER_AT_MOST: Duration = Duration::from_secs(1);
/// After so many of these offers in a row that bound nothing, some seven seconds, the log says that work waits though
/// vcores are free.
pub const REOFFERS_BEFORE_WARNING: u32 = 12;
/// Pull mode: how long partitions are kept for the executor that the policy chose. Past it they are pending again, and
/// the executor counts as full until it asks again.
pub const RESERVED_FOR: Duration = Duration::from_secs(1);
/// Pull mode: an executor that has not asked for this long counts as full. Idle executors ask ten times a second.
pub const SILENT_AFTER: Duration = Duration::from_secs(3);
/// An executor that was never registered, only seen, is forgotten when it has not been seen for this long.
pub const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);
/// Longest tenant name taken from a job's settings, in characters; longer ones are cut.
pub const MAX_TENANT_CHARS: usize = 64;
/// Push mode: vcores that neither are free nor run a task for this long are given back: Ballista forgets some when stages
/// are rolled back. Tasks that run on vcores that are free are phantoms after as long. Long enough for reports that are on
/// their way.
pub const MISSING_FOR: Duration = Duration::from_secs(5);
/// How often at most that is looked at: it costs a look at every running task.
pub const LOOK_FOR_MISSING_EVERY: Duration = Duration::from_secs(1);
/// Lines of a recording that wait to be written, one a job; past it, jobs are left out and counted.
pub const MAX_QUEUED_LINES: usize = 1024;
/// A job that has no task pending and runs none, or only phantoms, for this long is cancelled: Ballista makes no progress
/// with it.
pub const STALLED_FOR: Duration = Duration::from_secs(20);
/// How often that is looked at: it costs a look at every running task.
pub const LOOK_FOR_STALLED_EVERY: Duration = Duration::from_secs(5);
