//! Jobs that would never end.
//!
//! Ballista 55 can leave a job without anything to run after an executor was lost: its adaptive planner fails with
//! "Can't find active stage to update stage outputs", and the client waits for ever. No policy can help, for there is
//! nothing to place; but such a job can be told, and cancelled, so that its client gets an error and may ask again.

use std::collections::HashMap;
use std::time::Instant;

use ballista_core::JobId;
use ballista_core::serde::protobuf::{job_status, task_status};
use ballista_scheduler::state::execution_graph::ExecutionGraph;
use ballista_scheduler::state::execution_stage::ExecutionStage;

use crate::limits::STALLED_FOR;

/// Whether a job is running by name only: no task runs, none is pending, no stage could begin to run. So it is for a
/// moment between stages, too. Costs O(tasks of running stages).
pub(crate) fn is_idle(graph: &dyn ExecutionGraph) -> bool {
    let is_running = matches!(graph.status().status, Some(job_status::Status::Running(_)));
    is_running
        && graph.stages().values().all(|stage| match stage {
            ExecutionStage::Resolved(_) => false,
            ExecutionStage::Running(stage) => {
                let runs = |status: &task_status::Status| matches!(status, task_status::Status::Running(_));
                stage.pending.is_empty() && !stage.task_infos.iter().any(|task| runs(&task.task_status))
            }
            _ => true,
        })
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
