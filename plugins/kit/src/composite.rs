//! `composite`: filter, score, pick, as in the Kubernetes scheduling framework. Each task goes to the best of a few
//! candidates by the weighted mean of scores; who scores is the caller's business.
//!
//! Candidates are drawn, not enumerated: looking at every executor for every task is what makes schedulers slow
//! (Kubernetes' `percentageOfNodesToScore` stops early for the same reason). A task's candidates are some executors
//! drawn at random, the holders of most of its bytes, and one of the best that earlier tasks of the round left: the
//! power of d choices with memory (Mitzenmacher, Prabhakar, Shah, FOCS 2002).

mod alive;
mod best;
mod binder;
mod judge;

use policy_plugin_api::prelude::*;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::gate::Gate;
use alive::Alive;
use binder::Binder;
use judge::Judge;

pub use judge::ScoreFault;

/// The knobs of [`Composite`].
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CompositeConfig {
    /// Executors drawn for each task, 0 to 1024; 0 asks about every executor with something free, which is exact and
    /// costs as many scores a task as there are executors.
    #[schemars(range(min = 0, max = 1024))]
    pub candidates: u32,
}

impl Default for CompositeConfig {
    fn default() -> Self {
        Self { candidates: 5 }
    }
}

/// Binds each task to the best of its candidates.
///
/// Deterministic, without state. Cost: a few nanoseconds for each (task, candidate, score), and O(free executors) a
/// round.
#[derive(Clone, Debug, Default)]
pub struct Composite {
    config: CompositeConfig,
}

impl FromConfig for Composite {
    const NAME: &'static str = "composite";
    const OBSERVES: bool = false;
    type Config = CompositeConfig;

    fn from_config(config: CompositeConfig) -> Result<Self> {
        if config.candidates > 1_024 {
            let message = format!("candidates is {}, allowed are 0 to 1024", config.candidates);
            return Err(PolicyError::invalid_config(message));
        }
        Ok(Self { config })
    }
}

impl Composite {
    /// Answers a round. `score` is asked with the place of a score in `weights`, candidates, and where to write; a
    /// score of weight 0 is not asked. Without any weight, the candidates are all equal.
    ///
    /// # Errors
    /// The first fault of a score; then nothing is bound.
    pub fn bind<E>(
        &self,
        slots: &mut [AvailableTaskSlots],
        running_jobs: &RunningJobs<'_>,
        weights: &[u32],
        score: impl FnMut(usize, &Candidates<'_>, &mut [f32]) -> std::result::Result<(), E>,
    ) -> std::result::Result<Vec<BoundTask>, ScoreFault<E>> {
        let mut answer = Vec::with_capacity(running_jobs.bindable());
        let mut gate = Gate::new(running_jobs);
        let alive = Alive::new(slots, running_jobs.seed());
        let judge = Judge::new(weights, score);
        let mut binder = Binder::new(running_jobs, alive, judge, self.config.candidates as usize);
        for stage in running_jobs.stages() {
            if binder.is_exhausted() {
                break;
            }
            let pass = gate.pass(stage.id());
            binder.bind(&stage, &mut gate, &pass, &mut answer)?;
        }
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy_testkit::TestRound;
    use policy_testkit::spec::{executor, job, round, stage, task, tasks};

    type Rows = Vec<(String, u32, u32, String)>;

    /// Binds with scores that are functions of (task, row).
    fn bind(
        round: &TestRound,
        candidates: u32,
        weights: &[u32],
        rate: impl Fn(usize, u32, &AvailableTaskSlots) -> f32,
    ) -> Rows {
        let composite = Composite::from_config(CompositeConfig { candidates }).unwrap();
        let rows = round.with(|slots, jobs| {
            composite.bind(slots, jobs, weights, |place, candidates, scores| {
                candidates.rate(scores, |task, row| rate(place, task, row));
                Ok::<(), ()>(())
            })
        });
        let rows = rows.expect("no fault");
        round.check(&rows).expect("a legal answer");
        round.names(&rows)
    }

    fn executors(rows: &Rows) -> Vec<&str> {
        rows.iter().map(|row| row.3.as_str()).collect()
    }

    #[test]
    fn the_best_executor_gets_the_task_and_weights_decide_what_is_best() {
        let round = round().executors(4, 1).job(job("j").stage(stage(1))).build();
        // The first score likes the first executor, the second the last one.
        let rate = |place: usize, _: u32, row: &AvailableTaskSlots| match place {
            0 => 100.0 - 25.0 * row.executor.0 as f32,
            _ => 25.0 * row.executor.0 as f32,
        };
        for candidates in [0, 8] {
            let best = |weights: &[u32]| executors(&bind(&round, candidates, weights, rate)).join(" ");
            assert_eq!(best(&[1, 0]), best(&[3, 1]));
            assert_eq!(best(&[0, 1]), best(&[1, 3]));
            assert_ne!(best(&[1, 0]), best(&[0, 1]));
            assert_eq!(best(&[2, 6]), best(&[1, 3]), "weights are relative");
        }
    }

    #[test]
    fn everything_that_fits_is_bound_whatever_is_drawn() {
        let mixed = round().executors(40, 3).job(job("j").stage(stage(30).vcores(2)).stage(stage(200))).build();
        for candidates in [0, 1, 2, 8] {
            let rows = bind(&mixed, candidates, &[1], |_, task, row| ((task * 7 + row.executor.0 * 13) % 101) as f32);
            assert_eq!(
                rows.len(),
                30 + 60,
                "{candidates} candidates: thirty of two vcores, sixty of one, none left free"
            );
        }
    }

    #[test]
    fn a_score_out_of_range_is_a_fault_that_names_it() {
        let round = round().executors(2, 1).job(job("j").stage(stage(1))).build();
        for wrong in [-0.5, 100.5, f32::NAN, f32::INFINITY] {
            let fault = round.with(|slots, jobs| {
                Composite::default().bind(slots, jobs, &[1, 1], |place, _, scores| {
                    scores.fill(if place == 1 { wrong } else { 1.0 });
                    Ok::<(), ()>(())
                })
            });
            assert!(matches!(fault, Err(ScoreFault::OutOfRange { score: 1, .. })), "{fault:?}");
        }
        let failed = round.with(|slots, jobs| Composite::default().bind(slots, jobs, &[1], |_, _, _| Err("no")));
        assert_eq!(failed, Err(ScoreFault::Failed { score: 0, error: "no" }));
    }

    #[test]
    fn drawn_candidates_come_close_to_all_of_them() {
        // Each executor is worth something else: a fixed number, hashed from its own.
        let worth = |_: usize, _: u32, row: &AvailableTaskSlots| {
            (row.executor.0.wrapping_mul(2_654_435_761) >> 8) as f32 % 100.0
        };
        let round = round().executors(2_000, 4).job(job("j").stage(stage(1_000))).build();
        let total = |candidates| {
            let rows = bind(&round, candidates, &[1], worth);
            assert_eq!(rows.len(), 1_000);
            rows.iter()
                .map(|row| {
                    f64::from(worth(
                        0,
                        0,
                        &AvailableTaskSlots {
                            executor: round.with(|_, jobs| jobs.executors().by_name(&row.3).unwrap()),
                            slots: 0,
                            memory_mib: 0,
                        },
                    ))
                })
                .sum::<f64>()
        };
        let share = total(8) / total(0);
        assert!(share >= 0.98, "{share}");
        assert!(total(1) < total(8));
    }

    #[test]
    fn holders_of_bytes_are_always_candidates() {
        let far = tasks([task().holder("last", 1 << 30)]);
        let round = round().executors(2_000, 1).executor(executor("last", 1)).job(job("j").stage(far)).build();
        let last = round.with(|_, jobs| jobs.executors().by_name("last").unwrap());
        let rows = bind(&round, 1, &[1], |_, _, row| if row.executor == last { 100.0 } else { 0.0 });
        assert_eq!(executors(&rows), ["last"]);
    }

    #[test]
    fn too_many_candidates_are_refused() {
        assert!(
            Composite::from_config(CompositeConfig { candidates: 1_025 }).unwrap_err().to_string().contains("1024")
        );
    }
}
