//! Jobs that would never end.
//!
//! Ballista 55 can leave a job without anything to run after an executor was lost: its adaptive planner fails with
//! "Can't find active stage to update stage outputs", and the client waits for ever. No policy can help, for there is
//! nothing to place; but such a job can be told, and cancelled, so that its client gets an error and may ask again. Where the
//! report that fails is the last of its stage, the graph goes on to say that its task runs: a phantom (see `ledger`).

use std::collections::HashMap;
use std::time::Instant;

use ballista_core::JobId;
use ballista_core::serde::protobuf::job_status;
use ballista_scheduler::state::execution_graph::ExecutionGraph;
use ballista_scheduler::state::execution_stage::ExecutionStage;

use crate::ledger;
use crate::limits::STALLED_FOR;

/// What a job waits for that has nothing pending, and no stage that could begin to run: the vcores of its running tasks by
/// executor. `None` for other jobs. Costs O(tasks of running stages).
pub(crate) fn waits_for(graph: &dyn ExecutionGraph) -> Option<HashMap<String, i64>> {
    let is_running = matches!(graph.status().status, Some(job_status::Status::Running(_)));
    let could_begin = graph.stages().values().any(|stage| match stage {
        ExecutionStage::Resolved(_) => true,
        ExecutionStage::Running(stage) => !stage.pending.is_empty(),
        _ => false,
    });
    (is_running && !could_begin).then(|| {
        let mut vcores = HashMap::new();
        ledger::of_graph(graph, &mut vcores);
        vcores
    })
}

/// Of jobs and what they wait for, those that wait for nothing, or for phantoms only. So many vcores of an executor are
/// phantoms as `phantoms` says; where jobs wait for more than that, nobody can tell whose they are.
pub(crate) fn idle(waiting: Vec<(JobId, HashMap<String, i64>)>, phantoms: &HashMap<String, i64>) -> Vec<JobId> {
    let mut claimed: HashMap<&str, i64> = HashMap::new();
    for (executor, vcores) in waiting.iter().flat_map(|(_, on)| on) {
        *claimed.entry(executor).or_default() += vcores;
    }
    let is_phantom = |executor: &str| phantoms.get(executor).is_some_and(|vcores| *vcores >= claimed[executor]);
    let idle = waiting.iter().filter(|(_, on)| on.keys().all(|executor| is_phantom(executor)));
    let mut idle: Vec<JobId> = idle.map(|(job, _)| job.clone()).collect();
    idle.sort_unstable();
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
    fn phantoms_are_waited_for_in_vain_and_tasks_are_not() {
        let on = |rows: &[(&str, i64)]| rows.iter().map(|(e, v)| ((*e).to_owned(), *v)).collect::<HashMap<_, _>>();
        let [a, b] = [JobId::from("a"), JobId::from("b")];
        let idle = |waiting: &[(&JobId, &[(&str, i64)])], phantoms: &[(&str, i64)]| {
            idle(waiting.iter().map(|(job, rows)| ((*job).clone(), on(rows))).collect(), &on(phantoms))
        };
        assert_eq!(idle(&[(&b, &[]), (&a, &[])], &[]), [a.clone(), b.clone()], "nothing at all");
        assert_eq!(idle(&[(&a, &[("e0", 1)])], &[]), []);
        assert_eq!(idle(&[(&a, &[("e0", 1)])], &[("e0", 1)]), std::slice::from_ref(&a));
        assert_eq!(idle(&[(&a, &[("e0", 1), ("e1", 2)])], &[("e0", 1), ("e1", 1)]), [], "one of two on e1 runs");
        // Either of them may be the one that runs.
        assert_eq!(idle(&[(&a, &[("e0", 1)]), (&b, &[("e0", 1)])], &[("e0", 1)]), []);
        assert_eq!(idle(&[(&a, &[("e0", 1)]), (&b, &[("e1", 1)])], &[("e0", 1)]), [a]);
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
