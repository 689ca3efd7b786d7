//! `least-allocated` and `most-allocated`: spread load, or fill executors up.
#![forbid(unsafe_code)]

use policy_plugin_api::prelude::*;
use policy_plugin_api::score::MAX_SCORE;

/// Rates an executor by the share of its vcores (and memory, where it is accounted for) that the task would leave free:
/// load is spread.
#[derive(Debug)]
pub struct LeastAllocated;

impl FromConfig for LeastAllocated {
    const NAME: &'static str = "least-allocated";
    const OBSERVES: bool = false;
    type Config = NoConfig;

    fn from_config(_: NoConfig) -> Result<Self> {
        Ok(Self)
    }
}

impl TaskScore for LeastAllocated {
    fn score(&self, running_jobs: &RunningJobs<'_>, candidates: &Candidates<'_>, scores: &mut [f32]) -> Result<()> {
        rate(running_jobs, candidates, scores, |free| MAX_SCORE * free);
        Ok(())
    }
}

/// Rates an executor by the share of its vcores (and memory) that would be in use with the task: executors are filled
/// up, others stay empty.
#[derive(Debug)]
pub struct MostAllocated;

impl FromConfig for MostAllocated {
    const NAME: &'static str = "most-allocated";
    const OBSERVES: bool = false;
    type Config = NoConfig;

    fn from_config(_: NoConfig) -> Result<Self> {
        Ok(Self)
    }
}

impl TaskScore for MostAllocated {
    fn score(&self, running_jobs: &RunningJobs<'_>, candidates: &Candidates<'_>, scores: &mut [f32]) -> Result<()> {
        rate(running_jobs, candidates, scores, |free| MAX_SCORE * (1.0 - free));
        Ok(())
    }
}

/// Writes `of(share left free)` for each row.
fn rate(jobs: &RunningJobs<'_>, candidates: &Candidates<'_>, scores: &mut [f32], of: impl Fn(f32) -> f32) {
    let stage = jobs.stage(candidates.stage());
    let (vcores, memory) = (jobs.executors().vcores(), jobs.executors().memory_mib());
    let left = |free: f32, capacity: f32| if capacity > 0.0 { (free / capacity).clamp(0.0, 1.0) } else { 0.0 };
    let uniform = stage.uniform_vcores().zip(stage.uniform_memory_mib());
    candidates.rate(scores, |task, row| {
        let (takes, takes_mib) = uniform.unwrap_or_else(|| (stage.vcores_of(task), stage.memory_mib_of(task)));
        let at = row.executor.index();
        let by_vcores = left(row.slots.saturating_sub(takes) as f32, vcores.get(at).copied().unwrap_or(0) as f32);
        let capacity = memory.get(at).copied().unwrap_or(0);
        if capacity == 0 {
            return of(by_vcores);
        }
        let by_memory = left(row.memory_mib.saturating_sub(u64::from(takes_mib)) as f32, capacity as f32);
        of(f32::midpoint(by_vcores, by_memory))
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy_testkit::spec::{executor, job, round, stage};

    policy_testkit::score_conformance!(LeastAllocated, least_allocated = "{}");
    policy_testkit::score_conformance!(MostAllocated, most_allocated = "{}");

    #[test]
    fn what_is_left_is_measured_against_capacity_and_includes_the_task() {
        let empty = executor("a", 4);
        let busy = executor("b", 4).free(2);
        let small = executor("c", 2).memory(100, 50);
        let round =
            round().executor(empty).executor(busy).executor(small).job(job("j").stage(stage(1).vcores(2))).build();
        assert_eq!(
            round.scores(&LeastAllocated),
            [("a", 50.0), ("b", 0.0), ("c", 25.0)].map(|(e, s)| (e.to_owned(), s))
        );
        assert_eq!(
            round.scores(&MostAllocated),
            [("a", 50.0), ("b", 100.0), ("c", 75.0)].map(|(e, s)| (e.to_owned(), s))
        );
    }
}
