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
    use std::io;
    use std::sync::{Arc, Mutex};

    use policy_testkit::spec::{executor, job, round, stage};

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

    /// What a subscriber prints.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_change_is_an_event_with_its_reason() {
        let config = r#"{"epoch_ms": 10, "min_dwell_epochs": 1}"#;
        let policy = Adaptive::from_config(policy_plugin_api::config::parse(config).unwrap()).unwrap();
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).without_time().with_writer(move || writer.clone());
        tracing::subscriber::with_default(subscriber.finish(), || {
            for number in 0..4 {
                let idle = round().number(number).executor(executor("e", 8)).job(job("j").stage(stage(1)));
                idle.build().answer(&policy);
            }
        });
        let lines = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let fields = r#"at_us=1010000 from="round-robin" to="bias" signal="utilisation" value=0.0 threshold=0.3"#;
        assert_eq!(lines, format!(" INFO adaptive: another behaviour takes over {fields}\n"));
        assert_eq!(policy.current(), Behaviour::Bias);
    }
}
