//! What a scheduler pays that names things by strings: the shape, not the code, of Apache DataFusion Ballista 55's
//! `bind_task_bias`.
//!
//! A round sorts the executors, walks the jobs in the order of a hash map under a lock each, and makes for every task a
//! description of its own: executor id (twice), job id and session id as strings, one vector and two shared pointers.
//! What Ballista does besides (walking the plan of a stage for every task) is left out, in its favour.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use crate::workload::name;

/// A bound task as such a scheduler describes it.
#[allow(dead_code, reason = "made, not read")]
pub(crate) struct Described {
    executor: String,
    task: Task,
}

#[allow(dead_code, reason = "made, not read")]
struct Task {
    executor: String,
    job: String,
    session: String,
    stage: usize,
    partitions: Vec<usize>,
    plan: Arc<()>,
    properties: Arc<()>,
}

struct Job {
    session: String,
    pending: usize,
    plan: Arc<()>,
    properties: Arc<()>,
}

struct Budget {
    executor: String,
    vcores: u32,
}

/// A cluster of the same size as a [`Cluster`](crate::workload::Cluster) of plain tasks.
pub(crate) struct Strings {
    executors: Vec<(String, u32)>,
    jobs: HashMap<String, Arc<RwLock<Job>>>,
}

impl Strings {
    pub(crate) fn new(executors: u32, free: impl Fn(u32) -> u32, tasks: u32) -> Self {
        let executors = (0..executors).map(|i| (name(i), free(i))).collect();
        let job = |from: u32| {
            let pending = tasks.min(from + 10_000) - from;
            let session = format!("6f1c2f0e-93d4-4a6c-8a43-{from:012}");
            let job = Job { session, pending: pending as usize, plan: Arc::new(()), properties: Arc::new(()) };
            (format!("j{from:07}"), Arc::new(RwLock::new(job)))
        };
        Self { executors, jobs: (0..tasks).step_by(10_000).map(job).collect() }
    }

    /// One round. The pending tasks are not marked, so that the next round is the same.
    pub(crate) fn bind(&self) -> Vec<Described> {
        let budget = |e: &(String, u32)| Budget { executor: e.0.clone(), vcores: e.1 };
        let mut budgets: Vec<Budget> = self.executors.iter().filter(|e| e.1 > 0).map(budget).collect();
        budgets.sort_by_key(|budget| std::cmp::Reverse(budget.vcores));
        let (mut bound, mut at) = (Vec::new(), 0);
        for (id, job) in &self.jobs {
            let job = job.write().unwrap_or_else(PoisonError::into_inner);
            for partition in 0..job.pending {
                while budgets.get(at).is_some_and(|budget| budget.vcores == 0) {
                    at += 1;
                }
                let Some(budget) = budgets.get_mut(at) else { return bound };
                budget.vcores -= 1;
                let task = Task {
                    executor: budget.executor.clone(),
                    job: id.clone(),
                    session: job.session.clone(),
                    stage: 0,
                    partitions: vec![partition],
                    plan: Arc::clone(&job.plan),
                    properties: Arc::clone(&job.properties),
                };
                bound.push(Described { executor: budget.executor.clone(), task });
            }
        }
        bound
    }
}
