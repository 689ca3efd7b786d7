//! Rules with hysteresis: which behaviour the state of the system asks for.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::behaviour::Behaviour;
use crate::signals::{Signal, Smoothed};

/// One rule: from where the signal passes `enter` until it passes `leave`, the behaviour is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The signal that is watched, smoothed, in its own unit.
    pub signal: Signal,
    /// The rule comes into force when the signal reaches this value, in the signal's unit. Above `leave`: from below;
    /// below `leave`: from above.
    pub enter: f64,
    /// The rule goes out of force when the signal comes back to this value, in the signal's unit.
    pub leave: f64,
    /// The behaviour that is wanted while the rule is in force.
    pub behaviour: Behaviour,
}

impl Rule {
    fn in_force(&self, before: bool, value: f64) -> bool {
        let (value, enter, leave) = match self.enter > self.leave {
            true => (value, self.enter, self.leave),
            false => (-value, -self.enter, -self.leave),
        };
        if before { value > leave } else { value >= enter }
    }
}

/// The rules and which of them are in force.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    rules: Vec<Rule>,
    in_force: Vec<bool>,
    otherwise: Behaviour,
}

/// What made a behaviour wanted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Reason {
    pub(crate) signal: &'static str,
    pub(crate) value: f64,
    pub(crate) threshold: f64,
}

impl Rules {
    pub(crate) fn new(rules: Vec<Rule>, otherwise: Behaviour) -> Self {
        Self { in_force: vec![false; rules.len()], rules, otherwise }
    }

    pub(crate) fn behaviours(&self) -> impl Iterator<Item = Behaviour> + '_ {
        self.rules.iter().map(|rule| rule.behaviour).chain([self.otherwise])
    }

    /// Which rules are in force: what hysteresis has to remember.
    pub(crate) fn in_force(&self) -> &[bool] {
        &self.in_force
    }

    /// Takes over what was in force; nothing, when there are other rules now.
    pub(crate) fn restore(&mut self, in_force: &[bool]) {
        if in_force.len() == self.in_force.len() {
            self.in_force.copy_from_slice(in_force);
        }
    }

    pub(crate) fn update(&mut self, signals: &Smoothed) {
        for (rule, in_force) in self.rules.iter().zip(&mut self.in_force) {
            if let Some(value) = signals.get(rule.signal) {
                *in_force = rule.in_force(*in_force, value);
            }
        }
    }

    /// The behaviour of the first rule in force, and why it is not `current`.
    pub(crate) fn wanted(&self, current: Behaviour, signals: &Smoothed) -> (Behaviour, Reason) {
        let reason = |rule: &Rule, threshold| {
            let value = signals.get(rule.signal).unwrap_or_default();
            Reason { signal: rule.signal.name(), value, threshold }
        };
        let rules = || self.rules.iter().zip(&self.in_force);
        match rules().find(|&(_, &in_force)| in_force) {
            Some((rule, _)) => (rule.behaviour, reason(rule, rule.enter)),
            None => {
                let left = self.rules.iter().find(|rule| rule.behaviour == current);
                let none = Reason { signal: "none", value: 0.0, threshold: 0.0 };
                (self.otherwise, left.map_or(none, |rule| reason(rule, rule.leave)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_holds_between_its_thresholds_in_either_direction() {
        let rule = |enter, leave| Rule { signal: Signal::Utilisation, enter, leave, behaviour: Behaviour::Bias };
        for (rule, before, value, after) in [
            (rule(0.8, 0.4), false, 0.79, false),
            (rule(0.8, 0.4), false, 0.8, true),
            (rule(0.8, 0.4), true, 0.41, true),
            (rule(0.8, 0.4), true, 0.4, false),
            (rule(0.2, 0.5), false, 0.21, false),
            (rule(0.2, 0.5), false, 0.2, true),
            (rule(0.2, 0.5), true, 0.49, true),
            (rule(0.2, 0.5), true, 0.5, false),
        ] {
            assert_eq!(rule.in_force(before, value), after, "{rule:?} {before} {value}");
        }
    }

    #[test]
    fn the_first_rule_in_force_counts_and_says_why() {
        let rule = |signal, behaviour| Rule { signal, enter: 0.8, leave: 0.4, behaviour };
        let first = rule(Signal::RemoteBytesShare, Behaviour::DataLocality);
        let mut rules = Rules::new(vec![first, rule(Signal::Utilisation, Behaviour::Bias)], Behaviour::RoundRobin);
        let mut signals = Smoothed::default();
        let mut ask = |signal, value, current| {
            signals.set(signal, Some(value));
            rules.update(&signals);
            let (behaviour, reason) = rules.wanted(current, &signals);
            (behaviour, reason.signal, reason.threshold)
        };
        assert_eq!(ask(Signal::Utilisation, 0.9, Behaviour::RoundRobin), (Behaviour::Bias, "utilisation", 0.8));
        let locality = (Behaviour::DataLocality, "remote_bytes_share", 0.8);
        assert_eq!(ask(Signal::RemoteBytesShare, 0.9, Behaviour::Bias), locality);
        assert_eq!(ask(Signal::Utilisation, 0.1, Behaviour::DataLocality), locality);
        let none = (Behaviour::RoundRobin, "remote_bytes_share", 0.4);
        assert_eq!(ask(Signal::RemoteBytesShare, 0.1, Behaviour::DataLocality), none);
    }
}
