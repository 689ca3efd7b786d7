//! The ledger of vcores: finds those that Ballista forgets to give back.
//!
//! In push mode Ballista counts what is free on each executor, and returns a task's vcores when its report finds the
//! task in its graph (`TaskManager::sum_vcores_for_statuses`). A stage that was rolled back, as when an executor is lost,
//! has forgotten its tasks by then, and a job that has failed or was cancelled is not looked up at all: those vcores
//! never return, and a cluster may end with none. The ledger keeps the same count beside, compares it with what the
//! graphs say is running, and names what has been missing for a while.
//!
//! It names the opposite, too: vcores that are free and that graphs say run a task. Ballista gives the vcores back before it
//! takes the report into the graph, and where that fails (its adaptive planner's "Can't find active stage to update stage
//! outputs") the graph says for ever that the task runs: a phantom. Its job never ends (see `stall`).

use std::collections::HashMap;
use std::time::Instant;

use ballista_core::JobId;
use ballista_core::serde::protobuf::task_status;
use ballista_scheduler::state::execution_graph::ExecutionGraph;
use ballista_scheduler::state::execution_stage::ExecutionStage;
use ballista_scheduler::state::task_manager::JobInfoCache;
use foldhash::fast::RandomState;

use crate::limits::MISSING_FOR;

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    rows: HashMap<String, Row, RandomState>,
}

#[derive(Debug)]
struct Row {
    capacity: i64,
    /// As Ballista has it.
    free: i64,
    /// So much of what comes back next has been given back before.
    owed: i64,
    missing: Standing,
    phantom: Standing,
}

/// An amount that should be none: since when there has been some, and the least that there was at any look since.
#[derive(Debug, Default)]
struct Standing(Option<(Instant, i64)>);

impl Standing {
    fn look(&mut self, amount: i64, now: Instant) {
        self.0 = match self.0 {
            _ if amount <= 0 => None,
            None => Some((now, amount)),
            Some((since, least)) => Some((since, least.min(amount))),
        };
    }

    /// What has been there for [`MISSING_FOR`].
    fn lasting(&self, now: Instant) -> Option<i64> {
        self.0.filter(|(since, _)| now.duration_since(*since) >= MISSING_FOR).map(|(_, least)| least)
    }
}

impl Ledger {
    /// An executor comes with so many vcores, all of them free. Returns whether it was not there.
    pub(crate) fn register(&mut self, executor: &str, vcores: u32) -> bool {
        if self.rows.contains_key(executor) {
            return false;
        }
        let vcores = i64::from(vcores);
        let (missing, phantom) = Default::default();
        self.rows.insert(executor.to_owned(), Row { capacity: vcores, free: vcores, owed: 0, missing, phantom });
        true
    }

    pub(crate) fn remove(&mut self, executor: &str) {
        self.rows.remove(executor);
    }

    /// So many vcores were taken.
    pub(crate) fn take(&mut self, executor: &str, vcores: u32) {
        if let Some(row) = self.rows.get_mut(executor) {
            row.free -= i64::from(vcores);
        }
    }

    /// So many vcores come back; returns how many of them Ballista may count.
    pub(crate) fn give_back(&mut self, executor: &str, vcores: u32) -> u32 {
        let Some(row) = self.rows.get_mut(executor) else { return vcores };
        let kept = row.owed.clamp(0, i64::from(vcores));
        let counted = i64::from(vcores) - kept;
        row.owed -= kept;
        row.free += counted;
        counted as u32
    }

    /// Vcores of phantoms will be given back once more, with their job.
    pub(crate) fn expect_again(&mut self, vcores: &HashMap<String, i64>) {
        for (executor, vcores) in vcores {
            if let Some(row) = self.rows.get_mut(executor) {
                row.owed += vcores;
            }
        }
    }

    /// Compares with what is running, by the graphs; returns what has been missing for [`MISSING_FOR`], and takes it as
    /// given back.
    pub(crate) fn compare(&mut self, running: &HashMap<String, i64>, now: Instant) -> Vec<(String, u32)> {
        let mut back = Vec::new();
        for (executor, row) in &mut self.rows {
            let running = running.get(executor).copied().unwrap_or(0);
            let short = row.capacity - running - (row.free - row.owed);
            row.missing.look(short, now);
            row.phantom.look(-short, now);
            // More than all tasks that run here could be phantoms of: given back twice, as Ballista does for late reports.
            if let Some(twice) = row.phantom.lasting(now).map(|least| least - running).filter(|twice| *twice > 0) {
                row.owed += twice;
                row.phantom = Standing::default();
            }
            if let Some(least) = row.missing.lasting(now) {
                row.missing = Standing::default();
                // What is owed makes up for it first.
                let made_up = least.min(row.owed);
                row.owed -= made_up;
                row.free += least - made_up;
                if least > made_up {
                    back.push((executor.clone(), (least - made_up) as u32));
                }
            }
        }
        back.sort_unstable();
        back
    }

    /// Vcores that have been free for [`MISSING_FOR`] although graphs say that tasks run on them, by executor.
    pub(crate) fn phantoms(&self, now: Instant) -> HashMap<String, i64> {
        let row = |(executor, row): (&String, &Row)| Some((executor.clone(), row.phantom.lasting(now)?));
        self.rows.iter().filter_map(row).collect()
    }

    /// An executor that something is missing from.
    pub(crate) fn suspect(&self) -> Option<&str> {
        let short = self.rows.iter().filter(|(_, row)| row.missing.0.is_some());
        short.map(|(executor, _)| executor.as_str()).min()
    }
}

/// Vcores of running tasks by executor, as the graphs say. Costs O(tasks of running stages).
pub(crate) async fn running(jobs: &HashMap<JobId, JobInfoCache>) -> HashMap<String, i64> {
    let mut vcores: HashMap<String, i64> = HashMap::new();
    for job in jobs.values() {
        of_graph(job.execution_graph.read().await.as_ref(), &mut vcores);
    }
    vcores
}

/// Adds the vcores of a job's running tasks, by executor.
pub(crate) fn of_graph(graph: &dyn ExecutionGraph, vcores: &mut HashMap<String, i64>) {
    for stage in graph.stages().values() {
        let ExecutionStage::Running(stage) = stage else { continue };
        for task in &stage.task_infos {
            if let task_status::Status::Running(on) = &task.task_status {
                *vcores.entry(on.executor_id.clone()).or_default() += i64::from(task.vcores_consumed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_long_enough_comes_back_once() {
        let mut ledger = Ledger::default();
        ledger.register("e0", 4);
        ledger.register("e1", 4);
        ledger.take("e0", 3);
        ledger.take("e1", 2);
        let running = HashMap::from([("e0".to_owned(), 1), ("e1".to_owned(), 2)]);
        let begun = Instant::now();
        assert_eq!(ledger.compare(&running, begun), []);
        assert_eq!(ledger.suspect(), Some("e0"));
        // One of the two comes back by itself; only what was missing all the time counts.
        ledger.give_back("e0", 1);
        assert_eq!(ledger.compare(&running, begun + MISSING_FOR / 2), []);
        ledger.take("e0", 1);
        assert_eq!(ledger.compare(&running, begun + MISSING_FOR), [("e0".to_owned(), 1)]);
        assert_eq!(ledger.compare(&running, begun + MISSING_FOR), [], "one is still missing, but not for long");
        let all_running = HashMap::from([("e0".to_owned(), 2), ("e1".to_owned(), 2)]);
        assert_eq!(ledger.compare(&all_running, begun + MISSING_FOR * 3), []);
        assert_eq!(ledger.suspect(), None);
    }

    #[test]
    fn what_is_free_and_said_to_run_long_enough_is_a_phantom() {
        let mut ledger = Ledger::default();
        ledger.register("e0", 4);
        let running = |vcores: i64| HashMap::from([("e0".to_owned(), vcores)]);
        let begun = Instant::now();
        // Two tasks run; the vcores of one are free.
        ledger.take("e0", 1);
        assert_eq!(ledger.compare(&running(2), begun), []);
        assert!(ledger.phantoms(begun).is_empty());
        let later = begun + MISSING_FOR;
        ledger.compare(&running(2), later);
        assert_eq!(ledger.phantoms(later), running(1));
        ledger.compare(&running(1), later);
        assert!(ledger.phantoms(later).is_empty(), "it was on its way");
        assert_eq!(ledger.suspect(), None);
    }

    /// Ballista gives back what a cancelled job's tasks hold: for phantoms, that is once too often.
    #[test]
    fn what_is_given_back_twice_is_counted_once() {
        let mut ledger = Ledger::default();
        ledger.register("e0", 4);
        let running = |vcores: i64| HashMap::from([("e0".to_owned(), vcores)]);
        let begun = Instant::now();
        // A task of two vcores reports, and goes on by name.
        ledger.take("e0", 2);
        assert_eq!(ledger.give_back("e0", 2), 2);
        ledger.compare(&running(2), begun);
        ledger.compare(&running(2), begun + MISSING_FOR);
        assert_eq!(ledger.phantoms(begun + MISSING_FOR), running(2));
        ledger.expect_again(&running(2));
        assert_eq!(ledger.give_back("e0", 2), 0, "it is free already");
        ledger.compare(&running(0), begun + MISSING_FOR);
        assert!(ledger.phantoms(begun + MISSING_FOR * 2).is_empty());
        // What was expected and does not come is not missing.
        ledger.expect_again(&running(1));
        let at = |times: u32| begun + MISSING_FOR * times;
        assert_eq!([ledger.compare(&running(0), at(3)), ledger.compare(&running(0), at(4))], [[], []]);
        assert_eq!(ledger.suspect(), None);
        // Nothing shows that a report is counted twice, unless more is free than all tasks of the executor hold.
        ledger.take("e0", 1);
        assert_eq!((ledger.give_back("e0", 1), ledger.give_back("e0", 1)), (1, 1));
        ledger.compare(&running(0), at(5));
        ledger.compare(&running(0), at(6));
        assert!(ledger.phantoms(at(9)).is_empty(), "no task is a phantom of it");
        ledger.take("e0", 2);
        assert_eq!(ledger.give_back("e0", 2), 1, "one is owed");
        assert_eq!(ledger.compare(&running(0), at(7)), []);
    }
}
