//! Jobs and stages as they stand: what waits for what, what is pending, what runs. Knows no executor but by number.

use std::collections::HashMap;
use std::sync::Arc;

use policy_host::round::{ExecutorUid, StageTasks, TaskSpec};

use super::executors::Executors;
use super::ledger::StageKey;
use super::runs::Runs;
use crate::workload::{Job, Task};

/// A submitted job that has not finished.
#[derive(Debug)]
pub(super) struct JobState {
    /// Its stages by number: a stage's position here is its index everywhere in the cluster.
    pub(super) stages: Vec<StageState>,
    /// Positions of the stages with pending tasks, ascending.
    pub(super) ready: Vec<u32>,
    pub(super) unfinished_stages: u32,
    pub(super) vcores_in_use: u32,
    pub(super) first_start_us: Option<u64>,
    pub(super) vcore_us: u128,
}

/// A stage of such a job.
#[derive(Debug)]
pub(super) struct StageState {
    /// Its position in the workload's job.
    pub(super) spec: usize,
    pub(super) number: u32,
    pub(super) key: StageKey,
    /// Built when the stage may run, gone when it has finished.
    pub(super) tasks: Option<Arc<StageTasks>>,
    pub(super) inputs: Inputs,
    pub(super) pending: Runs,
    pub(super) running: u32,
    /// Tasks that have not finished.
    pub(super) left: u32,
    /// Stages that must finish before this one may run.
    pub(super) waits_for: u32,
    pub(super) dependents: Vec<u32>,
    pub(super) runnable_since_us: u64,
}

impl JobState {
    /// The job as it comes: nothing runnable yet.
    pub(super) fn new(job: &Job) -> Self {
        let mut order: Vec<usize> = (0..job.stages.len()).collect();
        order.sort_by_key(|&i| job.stages[i].id);
        let position: HashMap<u32, u32> =
            order.iter().enumerate().map(|(at, &i)| (job.stages[i].id, at as u32)).collect();
        let mut stages: Vec<StageState> = order.iter().map(|&i| StageState::new(job, i)).collect();
        for at in 0..stages.len() {
            let mut waits: Vec<u32> = job.stages[order[at]].depends_on.iter().map(|d| position[d]).collect();
            waits.sort_unstable();
            waits.dedup();
            stages[at].waits_for = waits.len() as u32;
            for other in waits {
                stages[other as usize].dependents.push(at as u32);
            }
        }
        let unfinished_stages = stages.len() as u32;
        Self { stages, ready: Vec::new(), unfinished_stages, vcores_in_use: 0, first_start_us: None, vcore_us: 0 }
    }

    pub(super) fn stage(&self, at: u32) -> &StageState {
        &self.stages[at as usize]
    }

    pub(super) fn stage_mut(&mut self, at: u32) -> &mut StageState {
        &mut self.stages[at as usize]
    }

    /// Notes that a stage has pending tasks; `true` when it is the job's first.
    pub(super) fn set_ready(&mut self, at: u32) -> bool {
        if let Err(place) = self.ready.binary_search(&at) {
            self.ready.insert(place, at);
        }
        self.ready.len() == 1
    }

    /// Notes that a stage has no pending tasks; `true` when no other stage has.
    pub(super) fn clear_ready(&mut self, at: u32) -> bool {
        if let Ok(place) = self.ready.binary_search(&at) {
            self.ready.remove(place);
        }
        self.ready.is_empty()
    }
}

impl StageState {
    fn new(job: &Job, spec: usize) -> Self {
        Self {
            spec,
            number: job.stages[spec].id,
            key: StageKey(u32::MAX),
            tasks: None,
            inputs: Inputs::default(),
            pending: Runs::default(),
            running: 0,
            left: job.stages[spec].tasks.len() as u32,
            waits_for: 0,
            dependents: Vec::new(),
            runnable_since_us: 0,
        }
    }

    /// Makes every task pending. Costs O(tasks), once a stage.
    pub(super) fn open(&mut self, tasks: &[Task], executors: &mut Executors, at_us: u64) {
        self.inputs = Inputs::new(tasks, executors);
        self.tasks = Some(self.block(tasks, executors));
        self.pending = Runs::full(tasks.len() as u32);
        self.runnable_since_us = at_us;
    }

    fn block(&self, tasks: &[Task], executors: &mut Executors) -> Arc<StageTasks> {
        let memory = executors.accounts_memory();
        let plain =
            |t: &Task| t.key.is_none() && t.pin.is_none() && t.inputs.is_empty() && (t.memory_mib == 0 || !memory);
        if let Some(first) = tasks.first()
            && tasks.iter().all(|t| t.vcores == first.vcores && plain(t))
        {
            return StageTasks::uniform(tasks.len() as u32, first.vcores);
        }
        let spec = |(at, task): (usize, &Task)| TaskSpec {
            vcores: task.vcores,
            memory_mib: if memory { task.memory_mib } else { 0 },
            key: task.key.as_deref().unwrap_or_default().to_owned(),
            pin: task.pin.as_deref().map(|name| executors.uid(name)),
            holders: self.inputs.of(at as u32).to_vec(),
        };
        StageTasks::new(&tasks.iter().enumerate().map(spec).collect::<Vec<_>>())
    }
}

/// Bytes of a task's input by their distance.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Split {
    /// On the executor itself.
    pub(super) local: u64,
    /// On another one of its rack.
    pub(super) rack: u64,
    /// Elsewhere.
    pub(super) far: u64,
}

/// Where the input of a stage's tasks lies, by executor number. Empty where no task has any.
#[derive(Debug, Default)]
pub(super) struct Inputs {
    offsets: Vec<u32>,
    holders: Vec<(ExecutorUid, u64)>,
}

impl Inputs {
    fn new(tasks: &[Task], executors: &mut Executors) -> Self {
        if tasks.iter().all(|t| t.inputs.is_empty()) {
            return Self::default();
        }
        let (mut offsets, mut holders) = (vec![0u32], Vec::new());
        for task in tasks {
            let first = holders.len();
            for input in &task.inputs {
                let uid = executors.uid(&input.executor);
                match holders[first..].iter_mut().find(|(known, _): &&mut (ExecutorUid, u64)| *known == uid) {
                    Some((_, bytes)) => *bytes = bytes.saturating_add(input.bytes),
                    None => holders.push((uid, input.bytes)),
                }
            }
            offsets.push(holders.len() as u32);
        }
        Self { offsets, holders }
    }

    fn of(&self, task: u32) -> &[(ExecutorUid, u64)] {
        let i = task as usize;
        match (self.offsets.get(i), self.offsets.get(i + 1)) {
            (Some(&from), Some(&to)) => &self.holders[from as usize..to as usize],
            _ => &[],
        }
    }

    /// Where a task's input lies, seen from `executor`.
    pub(super) fn split(&self, task: u32, executor: u32, executors: &Executors) -> Split {
        let mut split = Split::default();
        for &(uid, bytes) in self.of(task) {
            let part = match () {
                () if uid.0 == executor => &mut split.local,
                () if executors.same_rack(uid.0, executor) => &mut split.rack,
                () => &mut split.far,
            };
            *part = part.saturating_add(bytes);
        }
        split
    }
}
