//! `composite` with three scores, linked in: free share, local bytes and a label. And how close drawn candidates come to
//! asking about every executor.

use std::hint::black_box;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use policy_kit::Composite;
use policy_kit::composite::CompositeConfig;
use policy_plugin_api::prelude::*;

use crate::paired::quantile;
use crate::workload::{Cluster, Workload, bind};

/// Free share, local bytes, label.
const WEIGHTS: [u32; 3] = [2, 1, 1];

/// A composite as a policy of its own.
#[derive(Debug)]
pub(crate) struct Scored(Composite, OnceLock<Vec<bool>>);

impl FromConfig for Scored {
    const NAME: &'static str = Composite::NAME;
    type Config = CompositeConfig;

    fn from_config(config: CompositeConfig) -> Result<Self> {
        Ok(Self(Composite::from_config(config)?, OnceLock::new()))
    }
}

#[async_trait]
impl DistributionPolicy for Scored {
    async fn bind_tasks(&self, slots: &mut [AvailableTaskSlots], jobs: &RunningJobs<'_>) -> Result<Vec<BoundTask>> {
        // Executors do not change here: looked up once, as a score that keeps them by their lasting number would.
        let ssd = self.1.get_or_init(|| jobs.executors().iter().map(|e| e.label("disk") == Some("ssd")).collect());
        let bound = self.0.bind(slots, jobs, &WEIGHTS, |place, candidates, scores| -> Result<()> {
            match place {
                0 => candidates.rate(scores, |_, row| row.slots.min(100) as f32),
                1 => local_bytes(jobs, candidates, scores),
                _ => candidates.rate(scores, |_, row| if ssd[row.executor.index()] { 100.0 } else { 0.0 }),
            }
            Ok(())
        });
        bound.map_err(|fault| PolicyError::failed(format!("{fault:?}")))
    }
}

fn local_bytes(jobs: &RunningJobs<'_>, candidates: &Candidates<'_>, scores: &mut [f32]) {
    let (stage, executors) = (jobs.stage(candidates.stage()), jobs.executors());
    if !stage.has_holders() {
        return;
    }
    let (held, index_by_uid, mut scores) = (stage.holders(), executors.index_by_uid(), scores);
    for (task, rows) in candidates.iter() {
        let (own, rest) = scores.split_at_mut(rows.len());
        let (uids, bytes) = held.of(task);
        for (uid, &bytes) in uids.iter().zip(bytes) {
            let holder = index_by_uid.get(uid.index()).copied().unwrap_or(u32::MAX);
            if let Some(at) = rows.iter().position(|row| row.executor.0 == holder) {
                own[at] = bytes as f32 / 20_000.0;
            }
        }
        scores = rest;
    }
}

/// The weighted scores of an answer, added up task by task as the executors fill.
fn worth(round: &policy_wire::assemble::Round, answer: &[BoundTask]) -> f64 {
    let stages = round.stage_refs();
    let jobs = round.view(&stages);
    let mut free = jobs.executors().free_vcores().to_vec();
    let mut all = 0.0;
    for row in answer {
        let at = row.executor.index();
        let (stage, task) = jobs.locate(row.task).expect("a task of the round");
        let ssd = jobs.executors().get(row.executor).label("disk") == Some("ssd");
        let mut held = jobs.stage(stage).task(task).holders().filter(|(uid, _)| uid.0 == jobs.executors().uids()[at]);
        let local = held.next().map_or(0.0, |(_, bytes)| bytes as f64 / 20_000.0);
        all += 2.0 * f64::from(free[at].min(100)) + local + if ssd { 100.0 } else { 0.0 };
        free[at] -= 1;
    }
    all
}

/// Drawn candidates against every executor: 10,000 executors, 2,000 tasks.
pub(crate) fn quality() {
    println!("| work | candidates | ns a task | worth / worth of asking about all | all / drawn, time |");
    println!("|---|---|---|---|---|");
    let free = |executor: u32| 1 + executor.wrapping_mul(2_654_435_761) % 100;
    for workload in [Workload::Loaded, Workload::Held] {
        let round = Cluster::new(workload, 10_000, 2_000).round(free, None);
        let timed = |candidates: u32, times: usize| {
            let policy = Scored::from_config(CompositeConfig { candidates }).expect("in range");
            let mut slots = Vec::new();
            let mut answer = bind(&policy, &round, &mut slots);
            let nanos: Vec<f64> = (0..times)
                .map(|_| {
                    let start = Instant::now();
                    answer = black_box(bind(&policy, &round, &mut slots));
                    start.elapsed().max(Duration::from_nanos(1)).as_nanos() as f64
                })
                .collect();
            (quantile(&nanos, 0.5) / answer.len() as f64, worth(&round, &answer))
        };
        let exhaustive = timed(0, 3);
        for candidates in [4, 5, 6, 8, 16] {
            let drawn = timed(candidates, 21);
            println!(
                "| {} | {candidates} | {:.0} | {:.4} | {:.0} |",
                workload.describe(),
                drawn.0,
                drawn.1 / exhaustive.1,
                exhaustive.0 / drawn.0
            );
        }
    }
}
