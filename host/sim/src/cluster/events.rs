//! What happens by itself: jobs come, tasks end, executors go and come back.

use policy_host::round::{ExecutorUid, Observation, ObservationKind};

use super::agenda::{Due, FaultKind};
use super::jobs::JobState;
use super::{Cluster, HappeningKind, JobRecord, RunningTask, Span, TaskRef};
use crate::workload::topological;

impl Cluster {
    /// Takes in everything due up to and including `to_us`, and sets the time to it. Time does not go back: an earlier
    /// `to_us` changes nothing.
    pub fn advance_to(&mut self, to_us: u64) {
        while let Some((at_us, due)) = self.agenda.pop(to_us) {
            self.accrue(at_us);
            match due {
                Due::Arrival { job } => self.arrive(at_us, job),
                Due::End { slot, seq } => self.end(at_us, slot, seq),
                Due::Fault { executor, kind: FaultKind::Lost } => self.lose(at_us, executor),
                Due::Fault { executor, kind: FaultKind::Joined } => self.join(at_us, executor),
            }
        }
        self.now_us = self.now_us.max(to_us);
        self.accrue(self.now_us);
    }

    /// Adds up what grows with time, before anything changes.
    fn accrue(&mut self, at_us: u64) {
        self.sample(at_us);
        self.shares.accrue(at_us);
        self.metrics.job_us += u128::from(at_us.saturating_sub(self.accrued_us)) * u128::from(self.unfinished_jobs);
        self.accrued_us = self.accrued_us.max(at_us);
    }

    fn arrive(&mut self, at_us: u64, index: u32) {
        let workload = std::sync::Arc::clone(&self.workload);
        let job = &workload.jobs[index as usize];
        let mut state = Box::new(JobState::new(job));
        let mut position = vec![0u32; job.stages.len()];
        state.stages.iter().enumerate().for_each(|(at, s)| position[s.spec] = at as u32);
        let mut waits: Vec<Vec<_>> = vec![Vec::new(); job.stages.len()];
        // The ledger needs a stage after those that it waits for.
        for spec in topological(&job.stages).expect("validated: no circles") {
            let at = position[spec];
            let stage = state.stage_mut(at);
            stage.key = self.ledger.submit(stage.left, std::mem::take(&mut waits[at as usize]));
            stage.dependents.iter().for_each(|&d| waits[d as usize].push(stage.key));
            self.ledger_stages.push((index, at));
        }
        if self.happenings.is_some() {
            for stage in &state.stages {
                for task in 0..stage.left {
                    let task = TaskRef { job: index, stage: stage.number, task };
                    self.note(at_us, HappeningKind::Submitted, Some(task), None);
                }
            }
        }
        let first: Vec<u32> = (0..state.stages.len() as u32).filter(|&at| state.stage(at).waits_for == 0).collect();
        self.metrics.first_submit_us.get_or_insert(at_us);
        self.jobs[index as usize] = Some(state);
        self.unfinished_jobs += 1;
        self.changed = true;
        self.open(at_us, index, first);
    }

    /// Makes stages runnable, and those behind them that turn out to have nothing to do.
    fn open(&mut self, at_us: u64, index: u32, mut stages: Vec<u32>) {
        let workload = std::sync::Arc::clone(&self.workload);
        let job = &workload.jobs[index as usize];
        let Some(state) = self.jobs[index as usize].as_deref_mut() else { return };
        while let Some(at) = stages.pop() {
            let stage = state.stage_mut(at);
            let tasks = &job.stages[stage.spec].tasks;
            if tasks.is_empty() {
                close_stage(state, at, &mut stages);
                continue;
            }
            stage.open(tasks, &mut self.executors, at_us);
            self.pending += tasks.len() as u64;
            self.shares.adds_pending(self.tenant_of[index as usize], tasks.len() as u64);
            if state.set_ready(at) {
                self.active.insert(self.ranks[index as usize], index);
            }
        }
        if state.unfinished_stages == 0 {
            self.close_job(at_us, index);
        }
    }

    fn end(&mut self, at_us: u64, slot: u32, seq: u64) {
        // Gone when its executor went away before.
        let Some(run) = self.running.remove(slot, seq) else { return };
        self.release(at_us, &run, run.fails);
        if run.fails {
            return self.retry(at_us, &run, HappeningKind::Failed);
        }
        self.metrics.accrue(at_us, self.executors.alive_vcores());
        self.metrics.last_finish_us = self.metrics.last_finish_us.max(at_us);
        let held = u128::from(at_us - run.started_us) * u128::from(run.vcores);
        self.metrics.busy_vcore_us += held;
        let tenant = &mut self.tenants[self.tenant_of[run.job as usize] as usize];
        tenant.got.tasks += 1;
        tenant.got.vcore_us += held;
        let state = self.jobs[run.job as usize].as_deref_mut().expect("a running task's job is there");
        state.vcore_us += held;
        let stage = state.stage_mut(run.stage);
        stage.left -= 1;
        let (number, key, closed) = (stage.number, stage.key, stage.left == 0);
        let mut opened = Vec::new();
        if closed {
            close_stage(state, run.stage, &mut opened);
        }
        self.ledger.finish(key, run.task);
        let mut observation = self.observation(ObservationKind::Finished, &run, number, at_us);
        observation.duration_us = at_us - run.started_us;
        self.observations.push(observation);
        let task = TaskRef { job: run.job, stage: number, task: run.task };
        self.note(at_us, HappeningKind::Finished, Some(task), Some(run.executor));
        self.changed = true;
        if closed {
            self.open(at_us, run.job, opened);
        }
    }

    fn close_job(&mut self, at_us: u64, index: u32) {
        let Some(state) = self.jobs[index as usize].take() else { return };
        let submit_us = self.workload.jobs[index as usize].submit_us;
        self.unfinished_jobs -= 1;
        self.metrics.jobs.push(JobRecord {
            job: index,
            submit_us,
            first_start_us: state.first_start_us.unwrap_or(submit_us),
            finish_us: at_us,
            vcore_us: state.vcore_us,
        });
    }

    fn lose(&mut self, at_us: u64, executor: u32) {
        if !self.executors.is_alive(executor) {
            return;
        }
        self.metrics.accrue(at_us, self.executors.alive_vcores());
        let mut gone: Vec<(u32, u64)> =
            self.running.iter().filter(|(_, t)| t.executor == executor).map(|(slot, t)| (slot, t.seq)).collect();
        gone.sort_unstable_by_key(|&(_, seq)| seq);
        let lost = Observation::new(ObservationKind::ExecutorLost, ExecutorUid(executor), at_us);
        self.observations.push(lost);
        self.note(at_us, HappeningKind::ExecutorLost, None, Some(executor));
        for (slot, seq) in gone {
            self.requeue(at_us, slot, seq);
        }
        self.executors.lose(executor);
        if let Some(sampler) = &mut self.sampler {
            sampler.loses(at_us, executor);
        }
        self.changed = true;
    }

    fn requeue(&mut self, at_us: u64, slot: u32, seq: u64) {
        let Some(run) = self.running.remove(slot, seq) else { return };
        self.release(at_us, &run, true);
        self.retry(at_us, &run, HappeningKind::Requeued);
    }

    /// An attempt has come to nothing: the task is pending again.
    fn retry(&mut self, at_us: u64, run: &RunningTask, why: HappeningKind) {
        self.metrics.retries += 1;
        self.metrics.wasted_vcore_us += u128::from(at_us.saturating_sub(run.started_us)) * u128::from(run.vcores);
        let state = self.jobs[run.job as usize].as_deref_mut().expect("a running task's job is there");
        let stage = state.stage_mut(run.stage);
        stage.pending.insert(run.task);
        let (number, key) = (stage.number, stage.key);
        if state.set_ready(run.stage) {
            self.active.insert(self.ranks[run.job as usize], run.job);
        }
        self.pending += 1;
        self.shares.adds_pending(self.tenant_of[run.job as usize], 1);
        self.ledger.broke(key, run.task);
        if why == HappeningKind::Failed {
            let mut observation = self.observation(ObservationKind::Failed, run, number, at_us);
            observation.duration_us = at_us - run.started_us;
            self.observations.push(observation);
        }
        let task = TaskRef { job: run.job, stage: number, task: run.task };
        self.note(at_us, why, Some(task), Some(run.executor));
        self.changed = true;
    }

    fn join(&mut self, at_us: u64, executor: u32) {
        if self.executors.is_alive(executor) {
            return;
        }
        self.metrics.accrue(at_us, self.executors.alive_vcores());
        self.executors.join(executor);
        if let Some(sampler) = &mut self.sampler {
            sampler.joins(at_us, executor);
        }
        let joined = Observation::new(ObservationKind::ExecutorJoined, ExecutorUid(executor), at_us);
        self.observations.push(joined);
        self.note(at_us, HappeningKind::ExecutorJoined, None, Some(executor));
        self.changed = true;
    }

    /// Gives back what a task held; `broken` when it has not finished.
    fn release(&mut self, at_us: u64, run: &RunningTask, broken: bool) {
        if let Some(sampler) = &mut self.sampler {
            let (executor, vcores, start_us) = (run.executor, run.vcores, run.started_us);
            let span = Span { executor, tenant: None, vcores, start_us, end_us: at_us, broken };
            sampler.gives_back(span, self.tenant_of[run.job as usize]);
        }
        self.executors.give_back(run.executor, run.vcores, run.memory_mib);
        let tenant = &mut self.tenants[self.tenant_of[run.job as usize] as usize];
        self.shares.ends(self.tenant_of[run.job as usize], run.vcores);
        tenant.vcores_in_use -= u64::from(run.vcores);
        tenant.memory_mib_in_use -= u64::from(run.memory_mib);
        if let Some(state) = self.jobs[run.job as usize].as_deref_mut() {
            state.vcores_in_use -= run.vcores;
            state.stage_mut(run.stage).running -= 1;
        }
    }

    pub(super) fn observation(
        &self,
        kind: ObservationKind,
        run: &RunningTask,
        stage_number: u32,
        at_us: u64,
    ) -> Observation {
        let mut observation = Observation::new(kind, ExecutorUid(run.executor), at_us);
        observation.job_key = u64::from(run.job);
        observation.stage_number = stage_number;
        observation.task = run.task;
        observation.queue_wait_us = run.queue_wait_us;
        observation.local_bytes = run.local_bytes;
        observation.remote_bytes = run.remote_bytes;
        observation
    }
}

/// Notes that a stage has finished; stages that waited for nothing else join `opened`.
fn close_stage(state: &mut JobState, at: u32, opened: &mut Vec<u32>) {
    let stage = state.stage_mut(at);
    stage.tasks = None;
    stage.inputs = Default::default();
    let dependents = std::mem::take(&mut stage.dependents);
    state.unfinished_stages -= 1;
    for other in dependents {
        let stage = state.stage_mut(other);
        stage.waits_for -= 1;
        if stage.waits_for == 0 {
            opened.push(other);
        }
    }
}
