//! Rounds: describing what is pending and free, and starting what an answer binds.

use std::sync::Arc;

use policy_host::round::{BoundTask, Clock, JobRow, ObservationKind, Round, StageRow, TaskId, TenantId};

use super::metrics::{WaitRecord, record};
use super::{Cluster, HappeningKind, RunningTask, TaskRef};
use crate::limits::MAX_LISTED_RUNS_PER_STAGE;

/// What became of an answer's rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Tasks started.
    pub started: u64,
    /// Rows that named a task that runs already or has finished. Not started again, but counted as duplicated.
    pub duplicated: u64,
    /// Rows that named no task or executor of the round, or an executor without room. Their tasks stay pending.
    pub refused: u64,
}

impl Cluster {
    /// Whether a round is due: something changed since the last one, something is pending, something is free.
    #[must_use]
    pub fn wants_round(&self) -> bool {
        self.changed && self.has_work_and_room()
    }

    /// Whether something is pending and something is free, changed or not.
    #[must_use]
    pub fn has_work_and_room(&self) -> bool {
        self.pending > 0 && self.executors.free_total() > 0
    }

    /// Makes a round due though nothing changed.
    pub fn ask_again(&mut self) {
        self.changed = true;
    }

    /// Rounds begun so far.
    #[must_use]
    pub fn rounds(&self) -> u64 {
        self.rounds.number
    }

    /// Describes the cluster as it stands for a policy. Rounds are numbered from 1; the seed of a round is made of the
    /// cluster's and the number. The answer goes to [`Cluster::apply`] before time goes on.
    ///
    /// Costs O(executors that changed + jobs + stages + runs of pending tasks), over jobs and stages with pending tasks,
    /// when the round before has been dropped; O(executors) more while a reference to it is left.
    pub fn begin_round(&mut self) -> Arc<Round> {
        self.changed = false;
        let state = &mut self.rounds;
        state.number += 1;
        state.listed.clear();
        state.tasks = 0;
        state.tenants.resize(self.tenants.len(), (0, TenantId(0)));
        for &index in self.active.values() {
            let (spec, job) = (&self.workload.jobs[index as usize], self.jobs[index as usize].as_deref());
            let Some(job) = job else { continue };
            let tenant = self.tenant_of[index as usize] as usize;
            if state.tenants[tenant].0 != state.number {
                let t = &self.tenants[tenant];
                let id = state.builder.tenant(&t.name, t.vcores_in_use, t.memory_mib_in_use);
                state.tenants[tenant] = (state.number, id);
            }
            state.builder.job(JobRow {
                key: u64::from(index),
                id: &spec.id,
                tenant: state.tenants[tenant].1,
                priority: spec.priority,
                submit_us: spec.submit_us,
                vcores_in_use: job.vcores_in_use,
            });
            for &at in &job.ready {
                let stage = job.stage(at);
                let Some(tasks) = &stage.tasks else { continue };
                state.listed.push((state.tasks, index, at));
                state.tasks += tasks.len();
                let row = StageRow {
                    number: stage.number,
                    tasks: Arc::clone(tasks),
                    pending: stage.pending.len(),
                    running: stage.running,
                    runnable_since_us: stage.runnable_since_us,
                };
                state.builder.stage(row, stage.pending.iter().take(MAX_LISTED_RUNS_PER_STAGE));
            }
        }
        let clock = Clock { now_us: self.now_us, seed: mix(state.seed, state.number), number: state.number };
        self.executors.close(&mut state.builder, clock)
    }

    /// Starts what the answer to the last round binds, row by row. Every row is checked: a row that names a task
    /// which is not pending, or an executor without room, starts nothing and is counted.
    pub fn apply(&mut self, rows: &[BoundTask]) -> Applied {
        let mut applied = Applied::default();
        for row in rows {
            let executor = self.executors.at(row.executor);
            match (self.locate(row.task), executor) {
                (Some((job, stage, task)), Some(executor)) => self.bind(job, stage, task, executor, &mut applied),
                _ => applied.refused += 1,
            }
        }
        self.metrics.refused_rows += applied.refused;
        applied
    }

    fn locate(&self, task: TaskId) -> Option<(u32, u32, u32)> {
        let listed = &self.rounds.listed;
        let at = listed.partition_point(|&(first, _, _)| first <= task.0).checked_sub(1)?;
        let (first, job, stage) = listed[at];
        (task.0 < self.rounds.tasks).then_some((job, stage, task.0 - first))
    }

    fn bind(&mut self, index: u32, at: u32, task: u32, executor: u32, applied: &mut Applied) {
        let spec = &self.workload.jobs[index as usize];
        let Some(state) = self.jobs[index as usize].as_deref_mut() else {
            applied.refused += 1;
            return;
        };
        let stage = state.stage_mut(at);
        if !stage.pending.contains(task) {
            match self.ledger.bound_again(stage.key, task) {
                true => applied.duplicated += 1,
                false => applied.refused += 1,
            }
            return;
        }
        let what = &spec.stages[stage.spec].tasks[task as usize];
        let memory_mib = if self.executors.accounts_memory() { what.memory_mib } else { 0 };
        if !self.executors.take(executor, what.vcores, memory_mib) {
            applied.refused += 1;
            return;
        }
        stage.pending.remove(task);
        let emptied = stage.pending.is_empty();
        self.pending -= 1;
        let attempt = self.ledger.starts(stage.key, task) as usize;
        if !self.ledger.start(stage.key, task) {
            // The queue offered a task that the ledger knows as started: it must not run twice.
            self.executors.give_back(executor, what.vcores, memory_mib);
            applied.duplicated += 1;
            self.settle(index, at, emptied);
            return;
        }
        stage.running += 1;
        let split = stage.inputs.split(task, executor, &self.executors);
        let failure = what.fails_after_us.get(attempt).copied();
        let run = RunningTask {
            seq: 0,
            job: index,
            stage: at,
            task,
            executor,
            vcores: what.vcores,
            memory_mib,
            started_us: self.now_us,
            queue_wait_us: self.now_us.saturating_sub(stage.runnable_since_us),
            local_bytes: split.local,
            remote_bytes: split.rack.saturating_add(split.far),
            fails: failure.is_some(),
        };
        let header = &self.workload.header;
        let took_us = failure.unwrap_or_else(|| {
            let run_us = scaled(what.duration_us, self.executors.speed(executor));
            run_us.saturating_add(match header.rack_mib_per_s {
                None => transfer_us(run.remote_bytes, header.network_mib_per_s),
                Some(rack_mib_per_s) => transfer_us(split.far, header.network_mib_per_s)
                    .saturating_add(transfer_us(split.rack, rack_mib_per_s)),
            })
        });
        self.settle(index, at, emptied);
        self.start(run, took_us);
        applied.started += 1;
    }

    /// Keeps the lists of what is ready in step after a task left its queue.
    fn settle(&mut self, index: u32, at: u32, emptied: bool) {
        if !emptied {
            return;
        }
        if self.jobs[index as usize].as_deref_mut().is_some_and(|state| state.clear_ready(at)) {
            self.active.remove(&self.ranks[index as usize]);
        }
    }

    fn start(&mut self, run: RunningTask, took_us: u64) {
        if let Some(sampler) = &mut self.sampler {
            sampler.takes(self.now_us, run.executor, run.vcores);
        }
        self.shares.starts(self.tenant_of[run.job as usize], run.vcores);
        let tenant = &mut self.tenants[self.tenant_of[run.job as usize] as usize];
        tenant.vcores_in_use += u64::from(run.vcores);
        tenant.memory_mib_in_use += u64::from(run.memory_mib);
        let state = self.jobs[run.job as usize].as_deref_mut().expect("just looked up");
        state.vcores_in_use += run.vcores;
        state.first_start_us.get_or_insert(self.now_us);
        let number = state.stage(run.stage).number;
        record(&mut self.metrics.queue_wait_us, run.queue_wait_us);
        if self.record_waits {
            self.metrics.waits.push(WaitRecord { job: run.job, wait_us: run.queue_wait_us });
        }
        self.metrics.local_bytes += u128::from(run.local_bytes);
        self.metrics.remote_bytes += u128::from(run.remote_bytes);
        let (seq, slot) = self.running.insert(run);
        self.agenda.end_at(self.now_us.saturating_add(took_us), seq, slot);
        let observation = self.observation(ObservationKind::Started, &run, number, self.now_us);
        self.observations.push(observation);
        let task = TaskRef { job: run.job, stage: number, task: run.task };
        self.note(self.now_us, HappeningKind::Bound, Some(task), Some(run.executor));
        self.note(self.now_us, HappeningKind::Started, Some(task), Some(run.executor));
    }
}

/// `duration / speed`, rounded; exact at speed 1.
pub(crate) fn scaled(duration_us: u64, speed: f64) -> u64 {
    if speed == 1.0 { duration_us } else { (duration_us as f64 / speed).round() as u64 }
}

/// `bytes / network`, rounded up: a transfer is not over before its last byte.
pub(crate) fn transfer_us(bytes: u64, mib_per_s: u64) -> u64 {
    let us = (u128::from(bytes) * 1_000_000).div_ceil(u128::from(mib_per_s) << 20);
    u64::try_from(us).unwrap_or(u64::MAX)
}

/// SplitMix64 (Steele, Lea, Flood 2014): well-mixed seeds of consecutive numbers.
fn mix(seed: u64, number: u64) -> u64 {
    let mut z = seed.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_contract() {
        assert_eq!(transfer_us(1_048_576, 1000), 1000);
        assert_eq!(transfer_us(1, 1000), 1);
        assert_eq!(transfer_us(0, 1000), 0);
        assert_eq!(scaled(10_000, 1.0), 10_000);
        assert_eq!(scaled(10_000, 2.0), 5_000);
        assert_eq!(scaled(10_000, 0.1), 100_000);
        assert_eq!(scaled(u64::MAX, 0.001), u64::MAX);
    }
}
