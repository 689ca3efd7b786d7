//! How a run is doing, for a status line: written by the driver after every step, read by anyone, without locks.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use crate::cluster::Cluster;

/// Figures of a run that goes on, and a way to have its policy asked again. Share it in an `Arc`.
#[derive(Debug, Default)]
pub struct Progress {
    virtual_us: AtomicU64,
    lag_us: AtomicU64,
    rounds: AtomicU64,
    fallback_rounds: AtomicU64,
    submitted: AtomicU64,
    completed: AtomicU64,
    running: AtomicU64,
    pending: AtomicU64,
    free_vcores: AtomicU64,
    alive_vcores: AtomicU64,
    nudged: AtomicBool,
    wake: Notify,
}

/// The figures at one moment; each is exact, but they may be a step apart from each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProgressSnapshot {
    /// Virtual time, microseconds.
    pub virtual_us: u64,
    /// How far the cluster lags behind the clock, in wall time.
    pub lag: Duration,
    /// Rounds asked for.
    pub rounds: u64,
    /// Rounds that the fallback bound.
    pub fallback_rounds: u64,
    /// Tasks of the jobs that have come.
    pub submitted: u64,
    /// Tasks that have finished.
    pub completed: u64,
    /// Tasks on executors.
    pub running: u64,
    /// Tasks that could start if there were room.
    pub pending: u64,
    /// Vcores that no task holds.
    pub free_vcores: u64,
    /// Vcores that are there.
    pub alive_vcores: u64,
}

impl Progress {
    /// All zero.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The figures now.
    #[must_use]
    pub fn snapshot(&self) -> ProgressSnapshot {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ProgressSnapshot {
            virtual_us: read(&self.virtual_us),
            lag: Duration::from_micros(read(&self.lag_us)),
            rounds: read(&self.rounds),
            fallback_rounds: read(&self.fallback_rounds),
            submitted: read(&self.submitted),
            completed: read(&self.completed),
            running: read(&self.running),
            pending: read(&self.pending),
            free_vcores: read(&self.free_vcores),
            alive_vcores: read(&self.alive_vcores),
        }
    }

    /// Has the policy asked again as soon as something is pending and free, though nothing changed in the cluster: call
    /// it when the policy changed. Never blocks.
    pub fn nudge(&self) {
        self.nudged.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    pub(crate) fn is_nudged(&self) -> bool {
        self.nudged.load(Ordering::Acquire)
    }

    pub(crate) fn take_nudge(&self) -> bool {
        self.nudged.swap(false, Ordering::AcqRel)
    }

    pub(crate) async fn nudged(&self) {
        self.wake.notified().await;
    }

    pub(crate) fn update(&self, cluster: &Cluster, fallback_rounds: u64, lag: Duration) {
        let write = |counter: &AtomicU64, value| counter.store(value, Ordering::Relaxed);
        write(&self.virtual_us, cluster.now_us());
        write(&self.lag_us, u64::try_from(lag.as_micros()).unwrap_or(u64::MAX));
        write(&self.rounds, cluster.rounds());
        write(&self.fallback_rounds, fallback_rounds);
        write(&self.submitted, cluster.submitted_tasks());
        write(&self.completed, cluster.completed_tasks());
        write(&self.running, cluster.running_tasks());
        write(&self.pending, cluster.pending_tasks());
        write(&self.free_vcores, cluster.free_vcores());
        write(&self.alive_vcores, cluster.alive_vcores());
    }
}
