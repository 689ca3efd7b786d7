//! What a run relies on, checked once: limits, order, unique ids, dependencies, tasks that fit. Pure; reads no file.

use std::collections::{HashMap, HashSet};
use std::fmt::Display;

use super::{ExecutorSpec, Job, Place, Stage, Task, Workload, WorkloadError, topological};
use crate::limits;

/// Turns positions in a workload into places in its source.
pub(super) struct Lines<'a> {
    pub(super) source: &'a str,
    /// The line of the first job, where jobs stand one a line, in order; `None` where they do not.
    pub(super) first_job: Option<u64>,
}

impl Lines<'_> {
    fn job(&self, index: usize) -> Place {
        Place {
            source: self.source.to_owned(),
            line: self.first_job.map_or(0, |first| first + index as u64),
            column: 0,
        }
    }

    fn header(&self) -> Place {
        Place { source: self.source.to_owned(), line: self.first_job.map_or(0, |first| first - 1), column: 0 }
    }
}

/// The executors as tasks must fit them.
struct Room<'a> {
    names: HashSet<&'a str>,
    /// (vcores, memory), largest memory for each number of vcores that none with more vcores beats.
    frontier: Vec<(u32, u64)>,
    accounts_memory: bool,
}

impl<'a> Room<'a> {
    fn new(executors: &'a [ExecutorSpec]) -> Self {
        let mut sizes: Vec<(u32, u64)> = executors.iter().map(|e| (e.vcores, e.memory_mib)).collect();
        sizes.sort_unstable_by(|a, b| b.cmp(a));
        let mut frontier: Vec<(u32, u64)> = Vec::new();
        for size in sizes {
            if frontier.last().is_none_or(|last| size.1 > last.1) {
                frontier.push(size);
            }
        }
        Self {
            names: executors.iter().map(|e| e.name.as_str()).collect(),
            frontier,
            accounts_memory: executors.iter().any(|e| e.memory_mib > 0),
        }
    }

    fn holds(&self, task: &Task) -> bool {
        let memory = if self.accounts_memory { u64::from(task.memory_mib) } else { 0 };
        self.frontier.iter().any(|&(vcores, most)| vcores >= task.vcores && most >= memory)
    }
}

impl Workload {
    /// Checks what a run relies on: limits, order, unique ids, dependencies that exist and end, tasks that some
    /// executor can hold, pins to executors of the cluster. Readers, importers and the cluster call it; a
    /// caller that builds a workload by hand may.
    ///
    /// # Errors
    /// The first thing wrong; the workload must then not be run.
    pub fn validate(&self, source: &str) -> Result<(), WorkloadError> {
        workload(self, &Lines { source, first_job: None })
    }
}

pub(super) fn workload(workload: &Workload, lines: &Lines<'_>) -> Result<(), WorkloadError> {
    let executors = &workload.header.executors;
    if executors.is_empty() {
        return Err(WorkloadError::NoExecutors { place: lines.header() });
    }
    let place = || lines.header();
    range(place, "network_mib_per_s", workload.header.network_mib_per_s, 1, u64::MAX)?;
    range(place, "rack_mib_per_s", workload.header.rack_mib_per_s.unwrap_or(1), 1, u64::MAX)?;
    range(place, "the number of executors", executors.len(), 1, limits::MAX_EXECUTORS)?;
    let mut names = HashSet::new();
    for e in executors {
        executor(e, lines)?;
        if !names.insert(e.name.as_str()) {
            return Err(WorkloadError::DuplicateExecutor { place: lines.header(), executor: e.name.clone() });
        }
    }
    for fault in &workload.header.faults {
        if !names.contains(fault.executor.as_str()) {
            return Err(WorkloadError::UnknownExecutor { place: place(), executor: fault.executor.clone() });
        }
        range(place, "a fault's lost_us", fault.lost_us, 0, limits::MAX_TIME_US)?;
        let back_us = fault.back_us.unwrap_or(limits::MAX_TIME_US);
        range(place, "a fault's back_us", back_us, fault.lost_us, limits::MAX_TIME_US)?;
    }
    range(place, "the number of tasks", workload.task_count(), 0, limits::MAX_TASKS)?;
    jobs(workload, &Room::new(executors), lines)
}

fn executor(e: &ExecutorSpec, lines: &Lines<'_>) -> Result<(), WorkloadError> {
    let place = || lines.header();
    range(place, "an executor's vcores", e.vcores, 1, limits::MAX_VCORES)?;
    range(place, "an executor's speed", e.speed, limits::MIN_EXECUTOR_SPEED, limits::MAX_EXECUTOR_SPEED)
}

fn jobs(workload: &Workload, room: &Room<'_>, lines: &Lines<'_>) -> Result<(), WorkloadError> {
    let mut ids = HashSet::new();
    let mut before_us = 0;
    for (index, job) in workload.jobs.iter().enumerate() {
        let place = || lines.job(index);
        if !ids.insert(job.id.as_str()) {
            return Err(WorkloadError::DuplicateJob { place: place(), job: job.id.clone() });
        }
        range(place, "submit_us", job.submit_us, 0, limits::MAX_TIME_US)?;
        if job.submit_us < before_us {
            let (job, submit_us) = (job.id.clone(), job.submit_us);
            return Err(WorkloadError::OutOfOrder { place: place(), job, submit_us, before_us });
        }
        before_us = job.submit_us;
        range(place, "the number of stages", job.stages.len(), 0, limits::MAX_STAGES_PER_JOB)?;
        dependencies(job).map_err(|reason| WorkloadError::BadStages { place: place(), job: job.id.clone(), reason })?;
        for stage in &job.stages {
            tasks(job, stage, room, place)?;
        }
    }
    Ok(())
}

fn dependencies(job: &Job) -> Result<(), String> {
    let mut numbers: HashMap<u32, usize> = HashMap::new();
    for (i, stage) in job.stages.iter().enumerate() {
        if numbers.insert(stage.id, i).is_some() {
            return Err(format!("there are two stages {}", stage.id));
        }
    }
    for stage in &job.stages {
        if let Some(missing) = stage.depends_on.iter().find(|d| !numbers.contains_key(d)) {
            return Err(format!("stage {} depends on stage {missing}, which does not exist", stage.id));
        }
    }
    match topological(&job.stages) {
        Some(_) => Ok(()),
        None => Err("its stages depend on each other in a circle".to_owned()),
    }
}

fn tasks(job: &Job, stage: &Stage, room: &Room<'_>, place: impl Fn() -> Place) -> Result<(), WorkloadError> {
    for (index, task) in stage.tasks.iter().enumerate() {
        range(&place, "duration_us", task.duration_us, 0, limits::MAX_TIME_US)?;
        range(&place, "the number of a task's failures", task.fails_after_us.len(), 0, limits::MAX_FAILURES_PER_TASK)?;
        for &after_us in &task.fails_after_us {
            range(&place, "fails_after_us", after_us, 0, limits::MAX_TIME_US)?;
        }
        range(&place, "a task's vcores", task.vcores, 1, limits::MAX_VCORES)?;
        if !room.holds(task) {
            return Err(WorkloadError::NeverFits {
                place: place(),
                job: job.id.clone(),
                stage: stage.id,
                task: index as u32,
                vcores: task.vcores,
                memory_mib: task.memory_mib,
                most_vcores: room.frontier.first().map_or(0, |f| f.0),
                most_memory_mib: room.frontier.last().map_or(0, |f| f.1),
            });
        }
        if let Some(pin) = task.pin.as_deref().filter(|p| !room.names.contains(p)) {
            return Err(WorkloadError::UnknownExecutor { place: place(), executor: pin.to_owned() });
        }
    }
    Ok(())
}

fn range<T: PartialOrd + Display>(
    place: impl Fn() -> Place,
    what: &'static str,
    found: T,
    least: T,
    most: T,
) -> Result<(), WorkloadError> {
    if found >= least && found <= most {
        return Ok(());
    }
    let (found, range) = (found.to_string(), format!("{least} to {most}"));
    Err(WorkloadError::OutOfRange { place: place(), what, found, range })
}
