//! `adaptive`: one of several behaviours binds, whichever the state of the system asks for.
//!
//! Time is cut into epochs. At the end of each, the signals that [`signals`](crate::signals) measured are smoothed, and either rules
//! with hysteresis ([`rules`](crate::rules), the default) or a bandit that learns what pays ([`bandit`](crate::bandit)) say which behaviour is wanted;
//! it takes over once the one at work has had its minimum dwell. Each change is an event.
#![forbid(unsafe_code)]

use std::sync::{Mutex, MutexGuard, PoisonError};

use policy_plugin_api::prelude::*;
use tracing::info;

use crate::bandit::Bandit;
use crate::behaviour::Made;
use crate::control::{Chooser, Control};
use crate::rules::{Reason, Rules};
use crate::state;

pub use crate::behaviour::{Behaviour, BehaviourConfigs};
pub use crate::config::{AdaptiveConfig, MAX_RULES, Mode};
pub use crate::rules::Rule;
pub use crate::signals::Signal;
pub use crate::state::STATE_VERSION;

/// One change of mind.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Change {
    /// The end of the epoch, in microseconds on the clock of the rounds.
    at_us: u64,
    /// The behaviour that was at work.
    from: &'static str,
    /// The one that takes over.
    to: &'static str,
    /// What decided: the name of a [`Signal`], or `reward_bound` for the bandit.
    signal: &'static str,
    /// Its smoothed value, in its unit. For the bandit: the bound of the new behaviour, infinite where it was never
    /// tried.
    value: f64,
    /// What the value has passed: the rule's threshold; for the bandit, the bound of the former behaviour.
    threshold: f64,
}

impl Change {
    fn report(&self) {
        let Self { at_us, from, to, signal, value, threshold } = *self;
        info!(target: "adaptive", at_us, from, to, signal, value, threshold, "another behaviour takes over");
    }
}

/// Chooses among behaviours.
///
/// All behaviours are kept and observe; one binds a round. Deterministic for the same sequence of rounds and
/// observations. Keeps the behaviour at work, signals and statistics, and hands them over with the behaviours' own
/// state. Cost a round: that of the behaviour, and O(executors + stages); O(1) an observation, and what the behaviours
/// take for it.
#[derive(Debug)]
pub struct Adaptive {
    behaviours: Vec<Made>,
    epoch_us: u64,
    floor_us: u64,
    min_dwell_epochs: u32,
    smoothing: f64,
    control: Mutex<Control>,
}

impl Adaptive {
    /// The behaviour at work.
    #[must_use]
    pub fn current(&self) -> Behaviour {
        self.behaviours[self.control().current].0
    }

    /// The smoothed value of a signal, in its unit; `None` before it was measured.
    #[must_use]
    pub fn signal(&self, signal: Signal) -> Option<f64> {
        self.control().signals.get(signal)
    }

    fn control(&self) -> MutexGuard<'_, Control> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the epoch if it is over, and counts the round; returns the behaviour that binds it, and the change that
    /// brought it in with this round.
    fn begin_round(&self, jobs: &RunningJobs<'_>) -> (usize, Option<Change>) {
        let mut control = self.control();
        let now_us = jobs.now_us();
        let start_us = match control.epoch_start_us {
            Some(start_us) if start_us <= now_us => start_us,
            // The first round, or one of a clock that was set back.
            _ => {
                control.since_us = control.since_us.min(now_us);
                now_us
            }
        };
        let elapsed_us = now_us - start_us;
        control.epoch_start_us = Some(now_us - elapsed_us % self.epoch_us);
        let change = if elapsed_us >= self.epoch_us { self.end_epoch(&mut control, now_us) } else { None };
        control.epoch.round(jobs);
        (control.current, change)
    }

    fn end_epoch(&self, control: &mut Control, now_us: u64) -> Option<Change> {
        let epoch = std::mem::take(&mut control.epoch);
        control.signals.take(&epoch, self.smoothing);
        control.dwell_epochs = control.dwell_epochs.saturating_add(1);
        match &mut control.chooser {
            Chooser::Rules(rules) => rules.update(&control.signals),
            Chooser::Bandit(_) => control.earned.extend(epoch.reward()),
        }
        if control.dwell_epochs < self.min_dwell_epochs {
            return None;
        }
        if let Chooser::Bandit(bandit) = &mut control.chooser {
            // A pull is a dwell: what is tried once is tried for so long, and has to count for so much.
            let is_pull = control.dwell_epochs.is_multiple_of(self.min_dwell_epochs);
            let reward = if is_pull { control.earned.take()? } else { return None };
            bandit.learn(control.current, reward);
        }
        let (wanted, reason) = self.wanted(control);
        if wanted == control.current {
            return None;
        }
        let (from, to) = (self.behaviours[control.current].0.name(), self.behaviours[wanted].0.name());
        (control.current, control.since_us, control.dwell_epochs) = (wanted, now_us, 0);
        let Reason { signal, value, threshold } = reason;
        Some(Change { at_us: now_us, from, to, signal, value, threshold })
    }

    fn wanted(&self, control: &Control) -> (usize, Reason) {
        match &control.chooser {
            Chooser::Rules(rules) => {
                let (behaviour, reason) = rules.wanted(self.behaviours[control.current].0, &control.signals);
                let index = self.behaviours.iter().position(|known| known.0 == behaviour);
                (index.unwrap_or(control.current), reason)
            }
            Chooser::Bandit(bandit) => {
                let wanted = bandit.choose();
                let (value, threshold) = (bandit.bound(wanted), bandit.bound(control.current));
                (wanted, Reason { signal: "reward_bound", value, threshold })
            }
        }
    }
}

impl FromConfig for Adaptive {
    const NAME: &'static str = "adaptive";
    type Config = AdaptiveConfig;

    fn from_config(config: AdaptiveConfig) -> Result<Self> {
        config.check()?;
        let (wanted, chooser) = match config.mode {
            Mode::Bandit => {
                let bandit = Bandit::new(config.arms.len(), config.gamma, config.exploration);
                (config.arms, Chooser::Bandit(bandit))
            }
            Mode::Rules => {
                let rules = Rules::new(config.rules, config.otherwise);
                (rules.behaviours().collect(), Chooser::Rules(rules))
            }
        };
        let mut behaviours: Vec<Made> = Vec::new();
        for behaviour in wanted {
            if behaviours.iter().all(|known| known.0 != behaviour) {
                behaviours.push((behaviour, behaviour.make(&config.configs)?));
            }
        }
        let current = match chooser {
            Chooser::Rules(_) => behaviours.iter().position(|known| known.0 == config.otherwise).unwrap_or(0),
            Chooser::Bandit(_) => 0,
        };
        Ok(Self {
            behaviours,
            epoch_us: config.epoch_ms * 1_000,
            floor_us: config.slowdown_floor_ms * 1_000,
            min_dwell_epochs: config.min_dwell_epochs,
            smoothing: config.smoothing,
            control: Mutex::new(Control::new(current, chooser)),
        })
    }
}

#[async_trait]
impl DistributionPolicy for Adaptive {
    async fn bind_tasks(
        &self,
        slots: &mut [AvailableTaskSlots],
        running_jobs: &RunningJobs<'_>,
    ) -> Result<Vec<BoundTask>> {
        let (current, change) = self.begin_round(running_jobs);
        if let Some(change) = change {
            change.report();
        }
        self.behaviours[current].1.bind_tasks(slots, running_jobs).await
    }

    fn observe(&self, observations: &Observations<'_>) {
        for (_, policy) in &self.behaviours {
            policy.observe(observations);
        }
        let mut control = self.control();
        let since_us = control.since_us;
        for seen in observations.iter() {
            control.epoch.observe(&seen, since_us, self.floor_us);
        }
    }

    fn export_state(&self) -> Option<PolicyState> {
        Some(state::export(&self.behaviours, &self.control()))
    }

    fn import_state(&self, state: &PolicyState) -> Result<()> {
        state::import(&self.behaviours, &mut self.control(), state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    policy_testkit::policy_conformance!(
        Adaptive,
        defaults = "{}",
        restless = r#"{"epoch_ms": 1, "min_dwell_epochs": 1, "smoothing": 1, "otherwise": "consistent-hash", "rules": [
            {"signal": "executors_lost_share", "enter": 0.1, "leave": 0.05, "behaviour": "bias"},
            {"signal": "queue_tasks_per_vcore", "enter": 1, "leave": 0.5, "behaviour": "data-locality"},
            {"signal": "utilisation", "enter": 0.5, "leave": 0.6, "behaviour": "resource-aware"}
        ]}"#,
        bandit = r#"{"mode": "bandit", "epoch_ms": 1, "min_dwell_epochs": 1,
                     "arms": ["bias", "round-robin", "consistent-hash", "data-locality", "resource-aware"]}"#,
    );
}
