//! `local-bytes`: tasks near their input.
#![forbid(unsafe_code)]

use policy_plugin_api::prelude::*;
use policy_plugin_api::score::MAX_SCORE;

/// Rates an executor by the share of the task's input bytes that lie on it. Tasks without known input rate every
/// executor 0.
#[derive(Debug)]
pub struct LocalBytes;

impl FromConfig for LocalBytes {
    const NAME: &'static str = "local-bytes";
    const OBSERVES: bool = false;
    type Config = NoConfig;

    fn from_config(_: NoConfig) -> Result<Self> {
        Ok(Self)
    }
}

impl TaskScore for LocalBytes {
    fn score(&self, running_jobs: &RunningJobs<'_>, candidates: &Candidates<'_>, scores: &mut [f32]) -> Result<()> {
        scores.fill(0.0);
        let stage = running_jobs.stage(candidates.stage());
        if !stage.has_holders() {
            return Ok(());
        }
        let (held, index_by_uid) = (stage.holders(), running_jobs.executors().index_by_uid());
        let mut scores = scores;
        for (task, rows) in candidates.iter() {
            let (own, rest) = scores.split_at_mut(rows.len());
            let (uids, bytes) = held.of(task);
            let all = bytes.iter().copied().fold(0, u64::saturating_add).max(1);
            for (uid, &bytes) in uids.iter().zip(bytes) {
                let holder = index_by_uid.get(uid.index()).copied().unwrap_or(u32::MAX);
                if let Some(at) = rows.iter().position(|row| row.executor.0 == holder) {
                    own[at] = (own[at] + MAX_SCORE * (bytes as f64 / all as f64) as f32).min(MAX_SCORE);
                }
            }
            scores = rest;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy_testkit::spec::{job, round, task, tasks};

    policy_testkit::score_conformance!(LocalBytes);

    #[test]
    fn the_share_of_the_bytes_is_the_score() {
        let stage = tasks([task().holder("a", 300).holder("b", 100)]);
        let executors = ["a", "b", "c"].map(|name| policy_testkit::spec::executor(name, 1));
        let round = executors.into_iter().fold(round(), |round, executor| round.executor(executor));
        let scores = round.job(job("j").stage(stage)).build().scores(&LocalBytes);
        assert_eq!(scores, [("a", 75.0), ("b", 25.0), ("c", 0.0)].map(|(e, s)| (e.to_owned(), s)));
    }
}
