//! What `adaptive` sees of the system: signals, measured over an epoch and smoothed over epochs.

use policy_plugin_api::prelude::*;
use schemars::JsonSchema;
use serde::Deserialize;

/// A measured property of the system. An epoch in which a signal cannot be measured leaves it as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// Busy vcores by all vcores, 0 to 1: mean over the rounds of the epoch, each as it was before its bindings.
    Utilisation,
    /// Pending tasks by the cluster's vcores: mean over the rounds of the epoch, as before.
    QueueTasksPerVcore,
    /// Milliseconds that tasks waited between runnable and started: mean over the tasks that finished in the epoch.
    QueueWaitMs,
    /// Standard deviation by mean of how long the tasks ran that finished in the epoch; 0 when all took the same.
    DurationSpread,
    /// Input in MiB, mean over the tasks that finished in the epoch. Depends on the work, not on where it went.
    InputMibPerTask,
    /// Bytes read over the network by all bytes read, 0 to 1, of the tasks that finished in the epoch. A policy that
    /// places by data lowers it: a rule that leaves such a policy at a low share returns to it.
    RemoteBytesShare,
    /// Executors lost in the epoch by executors there are at its end; 0 when none was lost.
    ExecutorsLostShare,
}

impl Signal {
    /// Every signal, in the order of the exported state.
    pub const ALL: [Self; 7] = [
        Self::Utilisation,
        Self::QueueTasksPerVcore,
        Self::QueueWaitMs,
        Self::DurationSpread,
        Self::InputMibPerTask,
        Self::RemoteBytesShare,
        Self::ExecutorsLostShare,
    ];

    /// Its name in configs and events.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Utilisation => "utilisation",
            Self::QueueTasksPerVcore => "queue_tasks_per_vcore",
            Self::QueueWaitMs => "queue_wait_ms",
            Self::DurationSpread => "duration_spread",
            Self::InputMibPerTask => "input_mib_per_task",
            Self::RemoteBytesShare => "remote_bytes_share",
            Self::ExecutorsLostShare => "executors_lost_share",
        }
    }
}

/// The smoothed signals.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Smoothed([Option<f64>; Signal::ALL.len()]);

impl Smoothed {
    pub(crate) fn get(&self, signal: Signal) -> Option<f64> {
        self.0[signal as usize]
    }

    pub(crate) fn set(&mut self, signal: Signal, value: Option<f64>) {
        self.0[signal as usize] = value;
    }

    /// Moves each signal by `smoothing` of the way to what the epoch measured; the first measurement counts in full.
    pub(crate) fn take(&mut self, epoch: &Epoch, smoothing: f64) {
        for signal in Signal::ALL {
            if let Some(measured) = epoch.measure(signal).filter(|value| value.is_finite()) {
                let before = self.get(signal).unwrap_or(measured);
                self.set(signal, Some(before + smoothing * (measured - before)));
            }
        }
    }
}

/// What one epoch has shown so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Epoch {
    rounds: f64,
    busy_share: f64,
    queue_share: f64,
    executors: f64,
    lost: f64,
    finished: f64,
    queue_wait_us: f64,
    /// Mean and sum of squared distances from it, as Welford keeps them: no cancellation with long durations.
    duration_mean_us: f64,
    duration_squares: f64,
    local_bytes: f64,
    remote_bytes: f64,
    rewarded: f64,
    reward: f64,
}

impl Epoch {
    /// Counts a round.
    pub(crate) fn round(&mut self, jobs: &RunningJobs<'_>) {
        let executors = jobs.executors();
        let sum = |column: &[u32]| column.iter().map(|&value| u64::from(value)).sum::<u64>();
        let (all, free) = (sum(executors.vcores()), sum(executors.free_vcores()));
        self.executors = executors.len() as f64;
        if all > 0 {
            self.rounds += 1.0;
            self.busy_share += all.saturating_sub(free) as f64 / all as f64;
            self.queue_share += jobs.pending_tasks() as f64 / all as f64;
        }
    }

    /// Counts a happening. Tasks that started before `since_us`, under another behaviour, earn it no reward.
    pub(crate) fn observe(&mut self, seen: &Observation, since_us: u64, floor_us: u64) {
        match seen.kind {
            ObservationKind::ExecutorLost => self.lost += 1.0,
            ObservationKind::Finished => {
                let duration_us = seen.duration_us as f64;
                self.finished += 1.0;
                self.queue_wait_us += seen.queue_wait_us as f64;
                let distance = duration_us - self.duration_mean_us;
                self.duration_mean_us += distance / self.finished;
                self.duration_squares += distance * (duration_us - self.duration_mean_us);
                self.local_bytes += seen.local_bytes as f64;
                self.remote_bytes += seen.remote_bytes as f64;
                if seen.at_us.saturating_sub(seen.duration_us) >= since_us {
                    let floor_us = duration_us.max(floor_us as f64).max(1.0);
                    self.rewarded += 1.0;
                    // The inverse of bounded slowdown: 1 for a task that did not wait.
                    self.reward += (floor_us / (seen.queue_wait_us as f64 + duration_us).max(1.0)).min(1.0);
                }
            }
            _ => {}
        }
    }

    fn measure(&self, signal: Signal) -> Option<f64> {
        let by = |value: f64, count: f64| (count > 0.0).then(|| value / count);
        match signal {
            Signal::Utilisation => by(self.busy_share, self.rounds),
            Signal::QueueTasksPerVcore => by(self.queue_share, self.rounds),
            Signal::QueueWaitMs => by(self.queue_wait_us / 1e3, self.finished),
            Signal::DurationSpread => {
                by((self.duration_squares / self.finished.max(1.0)).sqrt(), self.duration_mean_us)
            }
            Signal::InputMibPerTask => by((self.local_bytes + self.remote_bytes) / 1_048_576.0, self.finished),
            Signal::RemoteBytesShare => by(self.remote_bytes, self.local_bytes + self.remote_bytes),
            Signal::ExecutorsLostShare => by(self.lost.min(self.executors), self.executors),
        }
    }

    /// What the behaviour at work has earned in this epoch: the mean over the tasks that started and finished under it.
    pub(crate) fn reward(&self) -> Option<f64> {
        (self.rewarded > 0.0).then(|| self.reward / self.rewarded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finished(duration_us: u64, queue_wait_us: u64, local_bytes: u64, remote_bytes: u64) -> Observation {
        let seen = Observation::new(ObservationKind::Finished, ExecutorUid(0), 1_000_000);
        Observation { duration_us, queue_wait_us, local_bytes, remote_bytes, ..seen }
    }

    #[test]
    fn signals_are_what_they_say() {
        let mut epoch = Epoch { executors: 4.0, ..Epoch::default() };
        assert!(Signal::ALL.iter().all(|&s| s == Signal::ExecutorsLostShare || epoch.measure(s).is_none()));
        epoch.observe(&finished(1_000, 4_000, 3 << 20, 1 << 20), 0, 0);
        epoch.observe(&finished(3_000, 0, 0, 4 << 20), 0, 0);
        epoch.observe(&Observation::new(ObservationKind::ExecutorLost, ExecutorUid(9), 5), 0, 0);
        let of = |signal| epoch.measure(signal).unwrap();
        assert_eq!(of(Signal::QueueWaitMs), 2.0);
        assert_eq!(of(Signal::DurationSpread), 0.5);
        assert_eq!(of(Signal::InputMibPerTask), 4.0);
        assert_eq!(of(Signal::RemoteBytesShare), 0.625);
        assert_eq!(of(Signal::ExecutorsLostShare), 0.25);
        assert_eq!(epoch.reward(), Some((0.2 + 1.0) / 2.0));
        assert_eq!(epoch.measure(Signal::Utilisation), None, "no round yet");
    }

    #[test]
    fn tasks_of_an_earlier_behaviour_earn_nothing() {
        let mut epoch = Epoch::default();
        epoch.observe(&finished(600_000, 0, 0, 0), 500_000, 0);
        assert_eq!(epoch.reward(), None);
        epoch.observe(&finished(400_000, 400_000, 0, 0), 500_000, 0);
        assert_eq!(epoch.reward(), Some(0.5));
    }

    #[test]
    fn smoothing_moves_part_of_the_way() {
        let mut smoothed = Smoothed::default();
        let epoch = |executors, lost| Epoch { executors, lost, ..Epoch::default() };
        smoothed.take(&epoch(2.0, 1.0), 0.25);
        assert_eq!(smoothed.get(Signal::ExecutorsLostShare), Some(0.5), "the first counts in full");
        smoothed.take(&epoch(2.0, 0.0), 0.25);
        assert_eq!(smoothed.get(Signal::ExecutorsLostShare), Some(0.375));
        smoothed.take(&Epoch::default(), 0.25);
        assert_eq!(smoothed.get(Signal::ExecutorsLostShare), Some(0.375), "not measured");
    }
}
