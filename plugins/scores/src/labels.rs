//! `preferred-labels`: hardware by its labels.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use policy_plugin_api::prelude::*;
use policy_plugin_api::round::Labels;
use policy_plugin_api::score::MAX_SCORE;
use schemars::JsonSchema;
use serde::Deserialize;

/// The knobs of [`PreferredLabels`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PreferredLabelsConfig {
    /// Labels by name, with the value that is preferred.
    pub labels: BTreeMap<String, String>,
}

/// Rates an executor by the share of the preferred labels that it carries. Without any in the config, every executor
/// rates 0.
#[derive(Debug)]
pub struct PreferredLabels {
    config: PreferredLabelsConfig,
}

impl FromConfig for PreferredLabels {
    const NAME: &'static str = "preferred-labels";
    const OBSERVES: bool = false;
    type Config = PreferredLabelsConfig;

    fn from_config(config: PreferredLabelsConfig) -> Result<Self> {
        Ok(Self { config })
    }
}

impl PreferredLabels {
    fn rate(&self, labels: &Labels<'_>, executor: ExecutorId) -> f32 {
        let carries = |(name, value): &(&String, &String)| labels.has(executor, name, value);
        let carried = self.config.labels.iter().filter(carries).count();
        MAX_SCORE * carried as f32 / self.config.labels.len().max(1) as f32
    }
}

impl TaskScore for PreferredLabels {
    fn score(&self, running_jobs: &RunningJobs<'_>, candidates: &Candidates<'_>, scores: &mut [f32]) -> Result<()> {
        let labels = running_jobs.executors().labels();
        candidates.rate(scores, |_, row| self.rate(&labels, row.executor));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy_testkit::spec::{executor, job, round, stage};

    policy_testkit::score_conformance!(
        PreferredLabels,
        no_labels = "{}",
        some_labels = r#"{"labels": {"gpu": "v100", "disk": "nvme"}}"#,
    );

    #[test]
    fn each_label_counts_alike() {
        let config = r#"{"labels": {"gpu": "v100", "disk": "nvme"}}"#;
        let score = PreferredLabels::from_config(policy_plugin_api::config::parse(config).unwrap()).unwrap();
        let both = executor("both", 1).label("gpu", "v100").label("disk", "nvme");
        let other = executor("other", 1).label("gpu", "a100").label("disk", "nvme");
        let round = round().executor(both).executor(other).executor(executor("plain", 1)).job(job("j").stage(stage(1)));
        let scores = round.build().scores(&score);
        assert_eq!(scores, [("both", 100.0), ("other", 50.0), ("plain", 0.0)].map(|(e, s)| (e.to_owned(), s)));
    }
}
