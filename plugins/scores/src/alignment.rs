//! `alignment`: what a task takes against what an executor has, as Tetris does (Grandl et al., SIGCOMM 2014, section 3.2).
#![forbid(unsafe_code)]

use policy_plugin_api::prelude::*;
use policy_plugin_api::score::MAX_SCORE;

/// Rates an executor by how well the shape of its free resources fits the shape of the task: the cosine of demand and
/// what is free, each as shares of the executor's capacity. A task of much memory prefers the executor that has memory
/// to spare rather than vcores. Where no memory is accounted for, all executors are equal.
#[derive(Debug)]
pub struct Alignment;

impl FromConfig for Alignment {
    const NAME: &'static str = "alignment";
    const OBSERVES: bool = false;
    type Config = NoConfig;

    fn from_config(_: NoConfig) -> Result<Self> {
        Ok(Self)
    }
}

impl TaskScore for Alignment {
    fn score(&self, running_jobs: &RunningJobs<'_>, candidates: &Candidates<'_>, scores: &mut [f32]) -> Result<()> {
        let stage = running_jobs.stage(candidates.stage());
        let (vcores, memory) = (running_jobs.executors().vcores(), running_jobs.executors().memory_mib());
        candidates.rate(scores, |task, row| {
            let at = row.executor.index();
            let (cpu, mib) = (vcores.get(at).copied().unwrap_or(0), memory.get(at).copied().unwrap_or(0));
            if cpu == 0 || mib == 0 {
                return MAX_SCORE;
            }
            let demand = (stage.vcores_of(task) as f32 / cpu as f32, stage.memory_mib_of(task) as f32 / mib as f32);
            let free = (row.slots as f32 / cpu as f32, row.memory_mib as f32 / mib as f32);
            let lengths = demand.0.hypot(demand.1) * free.0.hypot(free.1);
            let cosine = (demand.0 * free.0 + demand.1 * free.1) / lengths;
            if cosine.is_finite() { MAX_SCORE * cosine.clamp(0.0, 1.0) } else { 0.0 }
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy_testkit::spec::{executor, job, round, stage};

    policy_testkit::score_conformance!(Alignment);

    #[test]
    fn the_shape_that_fits_scores_most() {
        let much_memory = executor("memory", 4).free(1).memory(1_000, 1_000);
        let many_vcores = executor("vcores", 4).memory(1_000, 250);
        let round = |stage| {
            round().executor(much_memory.clone()).executor(many_vcores.clone()).job(job("j").stage(stage)).build()
        };
        let best = |stage| {
            let scores = round(stage).scores(&Alignment);
            scores.into_iter().max_by(|a, b| a.1.total_cmp(&b.1)).map(|(executor, _)| executor)
        };
        assert_eq!(best(stage(1).vcores(1).memory_mib(200)).as_deref(), Some("vcores"));
        assert_eq!(best(stage(1).vcores(1).memory_mib(900)).as_deref(), Some("memory"));
    }
}
