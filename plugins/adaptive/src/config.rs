//! The knobs of `adaptive`.

use std::fmt;

use policy_plugin_api::prelude::*;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::behaviour::{Behaviour, BehaviourConfigs};
use crate::rules::Rule;
use crate::signals::Signal;

/// Rules that a config may have.
pub const MAX_RULES: usize = 64;

/// The knobs of [`Adaptive`](crate::policy::Adaptive).
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AdaptiveConfig {
    /// How the behaviour is chosen. Default: `rules`.
    pub mode: Mode,
    /// Length of an epoch in milliseconds, 1 to 3600000; it ends with the first round after that time. Default: 1000.
    pub epoch_ms: u64,
    /// Epochs that a behaviour stays at work at least, 1 to 100000. Default: 5.
    pub min_dwell_epochs: u32,
    /// How far a signal moves to what an epoch measured, above 0 (not at all) and up to 1 (all the way). Default: 0.3.
    pub smoothing: f64,
    /// Rules in order of precedence, at most 64; for mode `rules`. Default: much input a task asks for `data-locality`,
    /// durations that differ much for `resource-aware`, a cluster that is mostly idle for `bias`.
    pub rules: Vec<Rule>,
    /// The behaviour while no rule is in force, and the one to start with in mode `rules`. Default: `round-robin`.
    pub otherwise: Behaviour,
    /// The behaviours to choose from in mode `bandit`, each once; it starts with the first. Default: `round-robin`,
    /// `bias`, `data-locality`, `resource-aware`.
    pub arms: Vec<Behaviour>,
    /// What a pull (`min_dwell_epochs` epochs of one behaviour) counts after each later pull, for mode `bandit`: 0.5 to
    /// 1; with 1 nothing is forgotten. Default: 0.95.
    pub gamma: f64,
    /// Factor of the bandit's confidence bound, 0 to 10: how much is tried again. Default: 0.05.
    pub exploration: f64,
    /// Tasks shorter than this count as so long in the bandit's reward, in milliseconds, 0 to 3600000. Default: 10.
    pub slowdown_floor_ms: u64,
    /// Configs of the behaviours, by name. Default: their own defaults.
    pub configs: BehaviourConfigs,
}

/// How the behaviour is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// By rules with hysteresis.
    #[default]
    Rules,
    /// By what paid: discounted UCB1, with the inverse of bounded slowdown as reward.
    Bandit,
}

impl Default for AdaptiveConfig {
    fn default() -> Self {
        let rule = |signal, enter, leave, behaviour| Rule { signal, enter, leave, behaviour };
        Self {
            mode: Mode::default(),
            epoch_ms: 1_000,
            min_dwell_epochs: 5,
            smoothing: 0.3,
            rules: vec![
                rule(Signal::InputMibPerTask, 64.0, 32.0, Behaviour::DataLocality),
                rule(Signal::DurationSpread, 1.0, 0.5, Behaviour::ResourceAware),
                rule(Signal::Utilisation, 0.3, 0.5, Behaviour::Bias),
            ],
            otherwise: Behaviour::RoundRobin,
            arms: vec![Behaviour::RoundRobin, Behaviour::Bias, Behaviour::DataLocality, Behaviour::ResourceAware],
            gamma: 0.95,
            exploration: 0.05,
            slowdown_floor_ms: 10,
            configs: BehaviourConfigs::default(),
        }
    }
}

impl AdaptiveConfig {
    pub(crate) fn check(&self) -> Result<()> {
        in_range("epoch_ms", self.epoch_ms, 1, 3_600_000)?;
        in_range("min_dwell_epochs", self.min_dwell_epochs, 1, 100_000)?;
        in_range("smoothing", self.smoothing, f64::MIN_POSITIVE, 1.0)?;
        in_range("gamma", self.gamma, 0.5, 1.0)?;
        in_range("exploration", self.exploration, 0.0, 10.0)?;
        in_range("slowdown_floor_ms", self.slowdown_floor_ms, 0, 3_600_000)?;
        in_range("the number of rules", self.rules.len(), 0, MAX_RULES)?;
        in_range("the number of arms", self.arms.len(), 1, Behaviour::ALL.len())?;
        for (i, arm) in self.arms.iter().enumerate() {
            if self.arms[..i].contains(arm) {
                return Err(PolicyError::invalid_config(format!("arms[{i}] is {} again", arm.name())));
            }
        }
        for (i, Rule { enter, leave, .. }) in self.rules.iter().enumerate() {
            if !enter.is_finite() || !leave.is_finite() || enter == leave {
                let message = format!("rules[{i}]: enter is {enter} and leave {leave}, must be finite and differ");
                return Err(PolicyError::invalid_config(message));
            }
        }
        Ok(())
    }
}

fn in_range<T: PartialOrd + fmt::Display>(field: &str, value: T, low: T, high: T) -> Result<()> {
    if (&low..=&high).contains(&&value) {
        return Ok(());
    }
    Err(PolicyError::invalid_config(format!("{field} is {value}, must be from {low} to {high}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Adaptive;

    #[test]
    fn what_is_out_of_range_is_refused_by_name() {
        let parse = |config: &str| policy_plugin_api::config::parse::<AdaptiveConfig>(config).unwrap();
        for (config, names) in [
            (r#"{"epoch_ms": 0}"#, "epoch_ms is 0, must be from 1 to 3600000"),
            (r#"{"min_dwell_epochs": 0}"#, "min_dwell_epochs is 0"),
            (r#"{"smoothing": 0}"#, "smoothing is 0"),
            (r#"{"smoothing": 1.1}"#, "smoothing is 1.1"),
            (r#"{"gamma": 0.4}"#, "gamma is 0.4, must be from 0.5 to 1"),
            (r#"{"exploration": -1}"#, "exploration is -1"),
            (r#"{"slowdown_floor_ms": 3600001}"#, "slowdown_floor_ms is 3600001"),
            (r#"{"arms": []}"#, "the number of arms is 0"),
            (r#"{"arms": ["bias", "bias"]}"#, "arms[1] is bias again"),
            (
                r#"{"rules": [{"signal": "utilisation", "enter": 1, "leave": 1, "behaviour": "bias"}]}"#,
                "rules[0]: enter is 1 and leave 1",
            ),
        ] {
            let message = Adaptive::from_config(parse(config)).expect_err(config).to_string();
            assert!(message.contains(names), "{config}: {message}");
        }
        for config in [r#"{"arms": ["greedy"]}"#, r#"{"configs": {"greedy": {}}}"#, r#"{"rules": [{}]}"#] {
            assert!(policy_plugin_api::config::parse::<AdaptiveConfig>(config).is_err(), "{config}");
        }
    }

    #[test]
    fn a_config_of_a_behaviour_reaches_it() {
        let config =
            r#"{"mode": "bandit", "arms": ["consistent-hash"], "configs": {"consistent-hash": {"points": 0}}}"#;
        let config = policy_plugin_api::config::parse::<AdaptiveConfig>(config).unwrap();
        assert!(Adaptive::from_config(config).is_err(), "no points");
    }
}
