//! A filter and a score, for use with any policy and with `composite`.

use policy_plugin_api::prelude::*;
use policy_plugin_api::score::MAX_SCORE;

/// Filter `no-drain`: keeps tasks away from executors that carry the label `drain=yes`.
#[derive(Debug)]
pub struct NoDrain;

impl FromConfig for NoDrain {
    const NAME: &'static str = "no-drain";
    type Config = NoConfig;

    fn from_config(_: NoConfig) -> Result<Self> {
        Ok(Self)
    }
}

impl TaskFilter for NoDrain {
    fn filter(&self, slots: &[AvailableTaskSlots], jobs: &RunningJobs<'_>, limits: &mut Limits) -> Result<()> {
        for slot in slots.iter().filter(|slot| jobs.executors().get(slot.executor).label("drain") == Some("yes")) {
            jobs.stages().for_each(|stage| limits.forbid(stage.id(), slot.executor));
        }
        Ok(())
    }
}

/// Score `faster-first`: rates executors by their speed, the fastest of the cluster 100.
#[derive(Debug)]
pub struct FasterFirst;

impl FromConfig for FasterFirst {
    const NAME: &'static str = "faster-first";
    type Config = NoConfig;

    fn from_config(_: NoConfig) -> Result<Self> {
        Ok(Self)
    }
}

impl TaskScore for FasterFirst {
    fn score(&self, jobs: &RunningJobs<'_>, candidates: &Candidates<'_>, scores: &mut [f32]) -> Result<()> {
        let speed = |executor: ExecutorId| jobs.executors().get(executor).speed();
        let fastest = jobs.executors().iter().map(|executor| executor.speed()).fold(f32::MIN_POSITIVE, f32::max);
        candidates.rate(scores, |_, row| (MAX_SCORE * speed(row.executor) / fastest).clamp(0.0, MAX_SCORE));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy_testkit::spec::{executor, job, round, stage};

    policy_testkit::filter_conformance!(NoDrain, no_drain = "{}");
    policy_testkit::score_conformance!(FasterFirst, faster_first = "{}");

    #[test]
    fn the_fastest_rates_best_and_who_drains_is_closed() {
        let executors = [executor("a", 1).speed(0.5), executor("b", 1).speed(2.0).label("drain", "yes")];
        let round = executors.into_iter().fold(round(), |round, executor| round.executor(executor));
        let round = round.job(job("etl").stage(stage(1))).build();
        assert_eq!(round.scores(&FasterFirst), [("a".to_owned(), 25.0), ("b".to_owned(), 100.0)]);
        let limits = round.ask_filter(&NoDrain).unwrap();
        assert!(!limits.is_unrestricted());
    }
}
