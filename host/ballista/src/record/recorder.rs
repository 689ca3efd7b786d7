//! The recorder: what it sees of executors and rounds, and the row of each job that ends.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use ballista_core::JobId;
use ballista_core::serde::protobuf::job_status::Status;
use ballista_scheduler::cluster::BoundTask;
use ballista_scheduler::state::execution_graph::ExecutionGraph;

use super::error::RecordError;
use super::journal::{Entry, Journal, Recording, finish};
use super::placed::Placed;
use super::rows::{self, Begin, ExecutorRow, LeftOut, RoundRow};
use super::run;

/// A recorder of one run of a scheduler. [`Recorder::watch`] lets it see; [`Recorder::finish`] makes the file.
pub struct Recorder {
    /// Time 0 of the file, in milliseconds since 1970: Ballista's clock.
    epoch_ms: u64,
    network_mib_per_s: u64,
    policy: Mutex<Arc<dyn Fn() -> String + Send + Sync>>,
    seen: Mutex<Seen>,
    journal: Journal,
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("journal", &self.journal).finish_non_exhaustive()
    }
}

/// What is known of the cluster, and of jobs that have not ended.
#[derive(Default)]
struct Seen {
    executors: BTreeMap<String, ExecutorRow>,
    free: BTreeMap<String, i64>,
    rounds: u64,
    jobs: HashMap<JobId, Placed>,
}

impl Recorder {
    /// Opens a recording. `network_mib_per_s` is what simulations of it will read remote bytes at, one task; at least 1.
    ///
    /// # Errors
    /// When the file is there already, a recording into it was cut off and not finished, or nothing can be written
    /// there. Nothing is changed then.
    pub fn create(file: &Path, network_mib_per_s: u64) -> Result<Arc<Self>, RecordError> {
        let epoch_ms = now_ms();
        let network_mib_per_s = network_mib_per_s.max(1);
        let begin = Begin { by: rows::by(), began_unix_us: epoch_ms * 1000, network_mib_per_s };
        let journal = Journal::create(file, begin)?;
        let policy: Arc<dyn Fn() -> String + Send + Sync> = Arc::new(String::new);
        let (policy, seen) = (Mutex::new(policy), Mutex::default());
        Ok(Arc::new(Self { epoch_ms, network_mib_per_s, policy, seen, journal }))
    }

    /// Ends the recording: what is queued is written, and the workload file made. Costs a read and a write of it.
    ///
    /// # Errors
    /// When something could not be written; what was is then still in the file's `.part`.
    pub fn finish(&self) -> Result<Recording, RecordError> {
        self.journal.close()?;
        finish(self.journal.file())
    }

    /// `policy` names what answers right now.
    pub(super) fn set_policy(&self, policy: impl Fn() -> String + Send + Sync + 'static) {
        *self.policy.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(policy);
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn executor(&self, name: &str, host: &str, vcores: u32, free: Option<u32>) {
        let row = ExecutorRow::new(name, host, vcores);
        let mut seen = self.seen();
        if let Some(free) = free {
            seen.free.insert(name.to_owned(), i64::from(free));
        }
        if seen.executors.get(name) != Some(&row) {
            self.journal.write(&Entry::Executor(&row));
            seen.executors.insert(name.to_owned(), row);
        }
    }

    pub(super) fn executor_gone(&self, name: &str) {
        self.seen().free.remove(name);
    }

    pub(super) fn freed(&self, executor: &str, vcores: u32) {
        if let Some(free) = self.seen().free.get_mut(executor) {
            *free += i64::from(vcores);
        }
    }

    /// A round placed these tasks. What came free while it ran counts as free before it.
    pub(super) fn placed(&self, tasks: &[BoundTask]) {
        if tasks.is_empty() {
            return;
        }
        let at_us = now_ms().saturating_sub(self.epoch_ms) * 1000;
        let mut taken: BTreeMap<&str, i64> = BTreeMap::new();
        tasks.iter().for_each(|(on, task)| *taken.entry(on).or_default() += i64::from(task.vcores_consumed));
        let mut seen = self.seen();
        let seen = &mut *seen;
        seen.rounds += 1;
        let round = seen.rounds;
        let mut before: BTreeMap<String, u32> = BTreeMap::new();
        for (executor, free) in &mut seen.free {
            // Vcores that were given back without the recorder's knowledge show when they are taken.
            let vcores = taken.get(executor.as_str()).copied().unwrap_or(0);
            let had = (*free).max(vcores);
            *free = had - vcores;
            if had > 0 {
                before.insert(executor.clone(), had as u32);
            }
        }
        for (_, task) in tasks {
            let job = seen.jobs.entry(task.key.job_id.clone()).or_default();
            job.by_task.insert((task.key.stage_id, task.stage_attempt_num, task.key.task_id), round);
            if job.rounds.last().is_none_or(|r| r.round != round) {
                job.rounds.push(RoundRow { round, at_us, free: before.clone() });
            }
        }
    }

    /// A job's state was saved: for the last time, if it has ended.
    pub(super) fn saved(&self, id: &JobId, graph: &dyn ExecutionGraph) {
        let why = match graph.status().status {
            Some(Status::Successful(_)) => None,
            Some(Status::Failed(_)) => Some("it failed or was cancelled"),
            _ => return,
        };
        let (placed, executors) = {
            let mut seen = self.seen();
            let placed = seen.jobs.remove(id).unwrap_or_default();
            (placed, seen.executors.keys().cloned().collect::<Vec<_>>())
        };
        let policy = Arc::clone(&*self.policy.lock().unwrap_or_else(PoisonError::into_inner));
        let context = run::Context {
            epoch_ms: self.epoch_ms,
            network_mib_per_s: self.network_mib_per_s,
            executors: &executors,
            policy: policy(),
        };
        let row = match why {
            None => run::row(graph, placed, &context),
            Some(why) => Err(why),
        };
        match row {
            Ok(row) => self.journal.write(&Entry::Job(&row)),
            Err(why) => self.journal.write(&Entry::LeftOut(LeftOut { id: id.as_str(), why })),
        }
    }

    pub(super) fn forget(&self, id: &JobId) {
        self.seen().jobs.remove(id);
    }
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}
