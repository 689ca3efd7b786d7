//! Vcores that Ballista forgets to give back, given back.
//!
//! In push mode Ballista counts what is free on each executor, and returns a task's vcores when its report finds the
//! task in its graph (`TaskManager::sum_vcores_for_statuses`). A stage that was rolled back, as when an executor is lost,
//! has forgotten its tasks by then, and a job that has failed or was cancelled is not looked up at all: those vcores
//! never return, and a cluster may end with none. The ledger keeps the same count beside, compares it with what the
//! graphs say is running, and names what has been missing for a while.

use std::collections::HashMap;
use std::time::Instant;

use ballista_core::JobId;
use ballista_core::serde::protobuf::task_status;
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
    free: i64,
    /// Since when vcores have been missing, and the fewest that were at any look since.
    missing: Option<(Instant, i64)>,
}

impl Ledger {
    /// An executor was registered with so many vcores, all of them free.
    pub(crate) fn register(&mut self, executor: &str, vcores: u32) {
        let vcores = i64::from(vcores);
        self.rows.insert(executor.to_owned(), Row { capacity: vcores, free: vcores, missing: None });
    }

    pub(crate) fn remove(&mut self, executor: &str) {
        self.rows.remove(executor);
    }

    /// So many vcores were taken (negative) or given back.
    pub(crate) fn change(&mut self, executor: &str, by: i64) {
        if let Some(row) = self.rows.get_mut(executor) {
            row.free += by;
        }
    }

    /// Compares with what is running; returns what has been missing for [`MISSING_FOR`], and takes it as given back.
    pub(crate) fn missing(&mut self, running: &HashMap<String, i64>, now: Instant) -> Vec<(String, u32)> {
        let mut back = Vec::new();
        for (executor, row) in &mut self.rows {
            let short = row.capacity - running.get(executor).copied().unwrap_or(0) - row.free;
            row.missing = match row.missing {
                _ if short <= 0 => None,
                None => Some((now, short)),
                Some((since, least)) => Some((since, least.min(short))),
            };
            if let Some((since, least)) = row.missing
                && now.duration_since(since) >= MISSING_FOR
            {
                row.free += least;
                row.missing = None;
                back.push((executor.clone(), least as u32));
            }
        }
        back.sort_unstable();
        back
    }

    /// An executor that something is missing from.
    pub(crate) fn suspect(&self) -> Option<&str> {
        self.rows.iter().filter(|(_, row)| row.missing.is_some()).map(|(executor, _)| executor.as_str()).min()
    }
}

/// Vcores of running tasks by executor, as the graphs say. Costs O(tasks of running stages).
pub(crate) async fn running(jobs: &HashMap<JobId, JobInfoCache>) -> HashMap<String, i64> {
    let mut vcores: HashMap<String, i64> = HashMap::new();
    for job in jobs.values() {
        let graph = job.execution_graph.read().await;
        for stage in graph.stages().values() {
            let ExecutionStage::Running(stage) = stage else { continue };
            for task in &stage.task_infos {
                if let task_status::Status::Running(on) = &task.task_status {
                    *vcores.entry(on.executor_id.clone()).or_default() += i64::from(task.vcores_consumed);
                }
            }
        }
    }
    vcores
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_long_enough_comes_back_once() {
        let mut ledger = Ledger::default();
        ledger.register("e0", 4);
        ledger.register("e1", 4);
        ledger.change("e0", -3);
        ledger.change("e1", -2);
        let running = HashMap::from([("e0".to_owned(), 1), ("e1".to_owned(), 2)]);
        let begun = Instant::now();
        assert_eq!(ledger.missing(&running, begun), []);
        assert_eq!(ledger.suspect(), Some("e0"));
        // One of the two comes back by itself; only what was missing all the time counts.
        ledger.change("e0", 1);
        assert_eq!(ledger.missing(&running, begun + MISSING_FOR / 2), []);
        ledger.change("e0", -1);
        assert_eq!(ledger.missing(&running, begun + MISSING_FOR), [("e0".to_owned(), 1)]);
        assert_eq!(ledger.missing(&running, begun + MISSING_FOR), [], "one is still missing, but not for long");
        let all_running = HashMap::from([("e0".to_owned(), 2), ("e1".to_owned(), 2)]);
        assert_eq!(ledger.missing(&all_running, begun + MISSING_FOR * 3), []);
        assert_eq!(ledger.suspect(), None);
    }
}
