//! The policy: [`policy_kit::adaptive`], with an event for each change of behaviour.
#![forbid(unsafe_code)]

use policy_kit::adaptive::{AdaptiveConfig, Behaviour, Change};
use policy_plugin_api::prelude::*;
use tracing::info;

/// Chooses among policies and says so: see [`policy_kit::Adaptive`].
#[derive(Debug)]
pub struct Adaptive(policy_kit::Adaptive);

impl Adaptive {
    /// The behaviour at work.
    #[must_use]
    pub fn current(&self) -> Behaviour {
        self.0.current()
    }
}

fn report(change: &Change) {
    let Change { at_us, from, to, signal, value, threshold } = *change;
    info!(target: "adaptive", at_us, from, to, signal, value, threshold, "another behaviour takes over");
}

impl FromConfig for Adaptive {
    const NAME: &'static str = "adaptive";
    type Config = AdaptiveConfig;

    fn from_config(config: AdaptiveConfig) -> Result<Self> {
        policy_kit::Adaptive::reporting_to(report, config).map(Self)
    }
}

#[async_trait]
impl DistributionPolicy for Adaptive {
    async fn bind_tasks(
        &self,
        slots: &mut [AvailableTaskSlots],
        running_jobs: &RunningJobs<'_>,
    ) -> Result<Vec<BoundTask>> {
        self.0.bind_tasks(slots, running_jobs).await
    }

    fn observe(&self, observations: &Observations<'_>) {
        self.0.observe(observations);
    }

    fn export_state(&self) -> Option<PolicyState> {
        self.0.export_state()
    }

    fn import_state(&self, state: &PolicyState) -> Result<()> {
        self.0.import_state(state)
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
