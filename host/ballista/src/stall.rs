//! Stalled jobs: jobs that would never end.
//!
//! Ballista 55 can leave a job without anything to run after an executor was lost: its adaptive planner fails with
//! "Can't find active stage to update stage outputs", and the client waits for ever. No policy can help, for there is
//! nothing to place; but such a job can be detected and cancelled, so that its client gets an error and may retry. Where the
//! report that fails is the last of its stage, the graph goes on to say that its task runs: a phantom (see `ledger`).

use std::collections::HashMap;
use std::time::Instant;

use ballista_core::JobId;
use ballista_core::serde::protobuf::{failed_task, job_status, task_status};
use ballista_scheduler::state::execution_graph::ExecutionGraph;
use ballista_scheduler::state::execution_stage::ExecutionStage;

use crate::ledger;
use crate::limits::STALLED_FOR;

/// What shows whether a job makes progress.
#[derive(Debug)]
pub(crate) struct JobActivity {
    pub(crate) id: JobId,
    /// Whether it waits for running tasks at most: nothing is pending, and no stage could begin to run.
    waits: bool,
    /// Whether it lost results with an executor. Other jobs have no phantoms, whatever the ledger says.
    was_hit: bool,
    /// Vcores of its running tasks, by executor.
    pub(crate) on: HashMap<String, i64>,
}

impl JobActivity {
    /// Costs O(tasks).
    pub(crate) fn of(id: JobId, graph: &dyn ExecutionGraph) -> Self {
        let is_running = matches!(graph.status().status, Some(job_status::Status::Running(_)));
        let could_begin = graph.stages().values().any(|stage| match stage {
            ExecutionStage::Resolved(_) => true,
            ExecutionStage::Running(stage) => !stage.pending.is_empty(),
            _ => false,
        });
        let was_hit = graph.stages().values().any(|stage| {
            let tasks = match stage {
                ExecutionStage::Running(stage) => &stage.task_infos,
                ExecutionStage::Successful(stage) => &stage.task_infos,
                _ => return false,
            };
            tasks.iter().any(|task| is_lost(&task.task_status))
        });
        let mut on = HashMap::new();
        ledger::of_graph(graph, &mut on);
        Self { id, waits: is_running && !could_begin, was_hit, on }
    }
}

fn is_lost(status: &task_status::Status) -> bool {
    let task_status::Status::Failed(failed) = status else { return false };
    matches!(failed.failed_reason, Some(failed_task::FailedReason::ResultLost(_)))
}

/// Of all jobs, those that wait for nothing, or for phantoms only. So many vcores of an executor are phantoms as `phantoms`
/// says; where tasks hold more than that there, it is unknown which of them are.
pub(crate) fn idle(jobs: Vec<JobActivity>, phantoms: &HashMap<String, i64>) -> Vec<JobActivity> {
    let mut held: HashMap<String, i64> = HashMap::new();
    for (executor, vcores) in jobs.iter().flat_map(|job| &job.on) {
        *held.entry(executor.clone()).or_default() += vcores;
    }
    let are_phantoms = |executor: &String| phantoms.get(executor) >= held.get(executor);
    let mut idle = jobs;
    idle.retain(|job| job.waits && (job.on.is_empty() || job.was_hit && job.on.keys().all(are_phantoms)));
    idle.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    idle
}

/// Since when jobs have been idle.
#[derive(Debug, Default)]
pub(crate) struct Stalls {
    since: HashMap<JobId, Instant>,
}

impl Stalls {
    /// Takes note of the jobs that are idle now; returns those that were at every look for [`STALLED_FOR`], each once.
    pub(crate) fn look(&mut self, idle: &[JobId], now: Instant) -> Vec<JobId> {
        self.since.retain(|job, _| idle.contains(job));
        let mut stalled = Vec::new();
        for job in idle {
            let since = *self.since.entry(job.clone()).or_insert(now);
            if now.duration_since(since) >= STALLED_FOR {
                stalled.push(job.clone());
                // Again, should the cancellation not reach it.
                self.since.insert(job.clone(), now);
            }
        }
        stalled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_waits_for_phantoms_only_is_idle() {
        let on = |rows: &[(&str, i64)]| rows.iter().map(|(e, v)| ((*e).to_owned(), *v)).collect::<HashMap<_, _>>();
        let job = |id: &str, rows: &[(&str, i64)]| JobActivity {
            id: JobId::from(id),
            waits: true,
            was_hit: true,
            on: on(rows),
        };
        let idle = |jobs: Vec<JobActivity>, phantoms: &[(&str, i64)]| {
            idle(jobs, &on(phantoms)).into_iter().map(|job| job.id.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(idle(vec![job("b", &[]), job("a", &[])], &[]), ["a", "b"], "nothing at all");
        let none: [&str; 0] = [];
        assert_eq!(idle(vec![job("a", &[("e0", 1)])], &[]), none);
        assert_eq!(idle(vec![job("a", &[("e0", 1)])], &[("e0", 1)]), ["a"]);
        assert_eq!(
            idle(vec![job("a", &[("e0", 1), ("e1", 2)])], &[("e0", 1), ("e1", 1)]),
            none,
            "one of two on e1 runs"
        );
        let two = |a: JobActivity| vec![a, job("b", &[("e0", 1)])];
        assert_eq!(idle(two(job("a", &[("e0", 1)])), &[("e0", 1)]), none, "either may be the one that runs");
        let goes_on = JobActivity { waits: false, ..job("a", &[("e0", 1)]) };
        assert_eq!(idle(two(goes_on), &[("e0", 1)]), none, "also when the other has something pending");
        assert_eq!(idle(two(job("a", &[("e1", 1)])), &[("e0", 1)]), ["b"]);
        let sound = JobActivity { was_hit: false, ..job("a", &[("e0", 1)]) };
        assert_eq!(idle(vec![sound], &[("e0", 1)]), none, "no executor of its was lost");
    }

    #[test]
    fn a_job_is_stalled_when_it_was_idle_all_the_time() {
        let both = [JobId::from("a"), JobId::from("b")];
        let mut stalls = Stalls::default();
        let begun = Instant::now();
        assert!(stalls.look(&both, begun).is_empty());
        // "b" was between two stages.
        assert!(stalls.look(&both[..1], begun + STALLED_FOR / 2).is_empty());
        assert_eq!(stalls.look(&both, begun + STALLED_FOR), both[..1]);
        assert!(stalls.look(&both, begun + STALLED_FOR).is_empty(), "once");
        assert_eq!(stalls.look(&both, begun + STALLED_FOR * 2), both);
    }
}
