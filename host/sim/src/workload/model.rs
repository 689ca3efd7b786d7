//! The model: a cluster, and jobs of stages of tasks, with when they are submitted.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use policy_host::round::ExecutorSpec;

/// The network that a workload gets when it names none, in MiB/s.
pub const DEFAULT_NETWORK_MIB_PER_S: u64 = 1000;

/// A cluster and the jobs that come to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// The cluster.
    pub header: Header,
    /// The jobs, by `submit_us`.
    pub jobs: Vec<Job>,
}

/// The cluster that a workload runs on.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    /// What one task reads from other executors at, in MiB/s. Not shared: there is no contention in the model.
    pub network_mib_per_s: u64,
    /// The executors, in any order; names are unique. Where all have `memory_mib` 0, memory is not accounted for and
    /// what tasks ask for is ignored.
    pub executors: Vec<ExecutorSpec>,
    /// What one task reads from executors of its own rack at, in MiB/s; `None` for no difference.
    pub rack_mib_per_s: Option<u64>,
    /// When executors go away, in any order.
    pub faults: Vec<Outage>,
}

impl Header {
    /// A cluster without racks' own speed and without faults.
    #[must_use]
    pub fn new(network_mib_per_s: u64, executors: Vec<ExecutorSpec>) -> Self {
        Self { network_mib_per_s, executors, rack_mib_per_s: None, faults: Vec::new() }
    }
}

/// One executor goes away, and perhaps comes back, empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outage {
    /// The executor's name.
    pub executor: String,
    /// When it goes away, in virtual microseconds; its running tasks are pending again.
    pub lost_us: u64,
    /// When it comes back; `None` for never. Not before `lost_us`.
    pub back_us: Option<u64>,
}

/// One job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Unique in the workload.
    pub id: String,
    /// Its tenant.
    pub tenant: Arc<str>,
    /// When it comes, in virtual microseconds from the start.
    pub submit_us: u64,
    /// Higher goes first.
    pub priority: i32,
    /// Its stages, in any order; numbers are unique.
    pub stages: Vec<Stage>,
}

/// Tasks that may run side by side once the stages they depend on have finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Its number in its job.
    pub id: u32,
    /// Numbers of the stages that must have finished before.
    pub depends_on: Vec<u32>,
    /// Its tasks. A stage without any has finished as soon as it could start.
    pub tasks: Vec<Task>,
}

/// One task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// How long it runs on an executor of speed 1 that holds all its input, in microseconds.
    pub duration_us: u64,
    /// Vcores that it holds while it runs, at least one.
    pub vcores: u32,
    /// Memory that it holds while it runs, in MiB.
    pub memory_mib: u32,
    /// Where its input lies.
    pub inputs: Vec<Input>,
    /// The key of its data.
    pub key: Option<Arc<str>>,
    /// The executor that it is meant for.
    pub pin: Option<Arc<str>>,
    /// Attempts that fail, in order: each ends after so many microseconds, whatever the executor's speed, and the task
    /// is pending again. Attempts beyond these succeed.
    pub fails_after_us: Box<[u64]>,
}

impl Task {
    /// A task of one vcore without anything else.
    #[must_use]
    pub fn new(duration_us: u64) -> Self {
        Self {
            duration_us,
            vcores: 1,
            memory_mib: 0,
            inputs: Vec::new(),
            key: None,
            pin: None,
            fails_after_us: [].into(),
        }
    }
}

/// Bytes of a task's input on one executor. An executor that is not of the cluster stands for storage outside of it:
/// those bytes always cross the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// The executor that holds them.
    pub executor: Arc<str>,
    /// How many.
    pub bytes: u64,
}

impl Workload {
    /// How many tasks there are.
    #[must_use]
    pub fn task_count(&self) -> u64 {
        self.tasks().count() as u64
    }

    /// The sum of duration times vcores over all tasks, in vcore microseconds at speed 1 with all input local: divided
    /// by the cluster's vcores, the shortest time in which the workload could run.
    #[must_use]
    pub fn work_vcore_us(&self) -> u128 {
        self.tasks().map(|t| u128::from(t.duration_us) * u128::from(t.vcores)).sum()
    }

    /// Vcores of all executors.
    #[must_use]
    pub fn vcores(&self) -> u64 {
        self.header.executors.iter().map(|e| u64::from(e.vcores)).sum()
    }

    /// When the last job comes, in virtual microseconds.
    #[must_use]
    pub fn last_submit_us(&self) -> u64 {
        self.jobs.iter().map(|j| j.submit_us).max().unwrap_or(0)
    }

    fn tasks(&self) -> impl Iterator<Item = &Task> {
        self.jobs.iter().flat_map(|j| &j.stages).flat_map(|s| &s.tasks)
    }
}

impl Job {
    /// The sum of duration times vcores over its tasks, in vcore microseconds at speed 1 with all input local.
    #[must_use]
    pub fn work_vcore_us(&self) -> u128 {
        self.stages.iter().flat_map(|s| &s.tasks).map(|t| u128::from(t.duration_us) * u128::from(t.vcores)).sum()
    }

    /// The longest chain of dependent tasks, in microseconds at speed 1 with all input local: no cluster finishes the
    /// job faster. Costs a pass over the tasks.
    ///
    /// Stages of a workload that was not validated may depend in a circle; those count as nothing.
    #[must_use]
    pub fn critical_path_us(&self) -> u64 {
        let at: HashMap<u32, usize> = self.stages.iter().enumerate().map(|(i, s)| (s.id, i)).collect();
        let Some(order) = topological(&self.stages) else { return 0 };
        let mut end = vec![0u64; self.stages.len()];
        for i in order {
            let stage = &self.stages[i];
            let begin = stage.depends_on.iter().filter_map(|d| at.get(d)).map(|&d| end[d]).max().unwrap_or(0);
            end[i] = begin.saturating_add(stage.tasks.iter().map(|t| t.duration_us).max().unwrap_or(0));
        }
        end.into_iter().max().unwrap_or(0)
    }
}

/// Positions of the stages with every stage after those it depends on; `None` when they depend in a circle.
pub(crate) fn topological(stages: &[Stage]) -> Option<Vec<usize>> {
    let at: HashMap<u32, usize> = stages.iter().enumerate().map(|(i, s)| (s.id, i)).collect();
    let mut waits: Vec<usize> = vec![0; stages.len()];
    let mut dependents: Vec<Vec<usize>> = vec![Vec::new(); stages.len()];
    for (i, stage) in stages.iter().enumerate() {
        for d in stage.depends_on.iter().collect::<HashSet<_>>() {
            if let Some(&d) = at.get(d) {
                waits[i] += 1;
                dependents[d].push(i);
            }
        }
    }
    let mut order: Vec<usize> = (0..stages.len()).filter(|&i| waits[i] == 0).collect();
    let mut next = 0;
    while next < order.len() {
        for &i in &dependents[order[next]] {
            waits[i] -= 1;
            if waits[i] == 0 {
                order.push(i);
            }
        }
        next += 1;
    }
    (order.len() == stages.len()).then_some(order)
}
