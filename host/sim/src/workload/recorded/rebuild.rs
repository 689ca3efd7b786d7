//! From what was seen to a workload: times, dependencies, what is left out. Counts everything that it infers.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use policy_host::round::ExecutorSpec;
use policy_wire::block::BlockView;
use policy_wire::columns::stage as column;

use super::super::{Header, Input, Interner, Job, Outage, Stage, Task, Workload};
use super::reconstruction::Reconstruction;
use super::seen::{End, Seen, SeenJob, SeenStage};
use crate::cluster::{decimal, transfer_us};
use crate::limits::MAX_FAILURES_PER_TASK;

/// What moving input costs.
#[derive(Clone, Copy)]
pub(super) struct Network {
    pub(super) mib_per_s: u64,
    pub(super) rack_mib_per_s: Option<u64>,
}

struct Rebuild {
    executors: BTreeMap<u32, ExecutorSpec>,
    network: Network,
    shared: Interner,
    lacks: Reconstruction,
}

pub(super) fn workload(seen: Seen, network: Network) -> (Workload, Reconstruction) {
    let Seen { rounds, missed, unmatched, first, executors, mut outages, away, jobs, .. } = seen;
    outages.extend(away.into_iter().map(|(uid, lost_us)| (uid, lost_us, None)));
    let lacks = Reconstruction {
        rounds,
        rounds_missed: missed,
        observations_unmatched: unmatched,
        ..Reconstruction::default()
    };
    let mut this = Rebuild { executors, network, shared: Interner::default(), lacks };
    let (start_us, number) = first.unwrap_or_default();
    let in_flight = |job: &SeenJob| {
        let late = |s: &SeenStage| s.runnable_since_us > job.submit_us || s.tasks.iter().any(|t| !t.pending);
        job.from_the_start && job.stages.values().any(late)
    };
    let began_mid_flight = number > 1 || jobs.values().any(in_flight);
    let mut ids = HashSet::new();
    let mut rebuilt: Vec<(u64, Job)> = Vec::with_capacity(jobs.len());
    for (key, mut job) in jobs {
        if began_mid_flight && job.from_the_start && job.submit_us < start_us {
            this.lacks.jobs_in_flight_at_start += 1;
            job.submit_us = start_us;
        }
        if !ids.insert(job.id.clone()) {
            job.id = format!("{}#{key}", job.id);
        }
        rebuilt.push((key, this.job(job)));
    }
    rebuilt.sort_by_key(|(key, job)| (job.submit_us, *key));
    let base_us = rebuilt.first().map_or(start_us, |(_, job)| job.submit_us);
    let mut jobs: Vec<Job> = rebuilt.into_iter().map(|(_, job)| job).collect();
    jobs.iter_mut().for_each(|job| job.submit_us -= base_us);
    let mut header = Header::new(network.mib_per_s, Vec::new());
    header.rack_mib_per_s = network.rack_mib_per_s;
    let name = |uid: &u32| this.executors.get(uid).map(|e| e.name.clone());
    header.faults = outages
        .into_iter()
        .filter_map(|(uid, lost_us, back_us)| {
            let back_us = back_us.map(|at| at.saturating_sub(base_us));
            Some(Outage { executor: name(&uid)?, lost_us: lost_us.saturating_sub(base_us), back_us })
        })
        .filter(|outage| outage.back_us != Some(0))
        .collect();
    header.executors = this.executors.into_values().collect();
    let workload = Workload { header, jobs };
    this.lacks.tasks = workload.task_count();
    (workload, this.lacks)
}

impl Rebuild {
    fn job(&mut self, seen: SeenJob) -> Job {
        let depends_on: Vec<Vec<u32>> = seen.stages.keys().map(|&number| self.depends_on(&seen, number)).collect();
        let of_job = median(seen.stages.values().flat_map(|stage| self.durations(stage)));
        let stages = seen.stages.iter().zip(depends_on).map(|((&id, stage), depends_on)| {
            let tasks = self.tasks(stage, of_job);
            Stage { id, depends_on, tasks }
        });
        let stages = stages.collect();
        Job {
            tenant: self.shared.share(&seen.tenant),
            id: seen.id,
            submit_us: seen.submit_us,
            priority: seen.priority,
            stages,
        }
    }

    /// The stages that a stage waits for; the documentation of [`recorded`](super) has the rule.
    fn depends_on(&mut self, job: &SeenJob, number: u32) -> Vec<u32> {
        let since_us = job.stages[&number].runnable_since_us;
        if since_us <= job.submit_us {
            return Vec::new();
        }
        let before = job.stages.iter().filter(|(_, s)| s.runnable_since_us < since_us);
        let ended: Vec<(u32, u64)> = before.filter_map(|(&n, s)| Some((n, s.ended_us()?))).collect();
        let those = |which: &dyn Fn(u64) -> bool| -> Vec<u32> {
            ended.iter().filter(|(_, at)| which(*at)).map(|(n, _)| *n).collect()
        };
        let mut causes = those(&|at| at == since_us);
        if causes.is_empty() {
            causes = those(&|at| at < since_us);
        }
        match causes.is_empty() {
            true => self.lacks.stages_without_known_cause += 1,
            false => self.lacks.stages_with_inferred_dependencies += 1,
        }
        causes
    }

    fn tasks(&mut self, stage: &SeenStage, of_job: Option<u64>) -> Vec<Task> {
        let of_stage = median(self.durations(stage)).or(of_job);
        let view = stage.view();
        let mut tasks = Vec::with_capacity(stage.tasks.len());
        for (at, seen) in stage.tasks.iter().enumerate() {
            let duration_us = match (seen.end, of_stage) {
                (Some(end), _) => {
                    let (duration_us, whole) = self.duration_us(stage, at, end);
                    self.lacks.durations_below_transfer += u64::from(!whole);
                    duration_us
                }
                (None, _) if !seen.pending => {
                    self.lacks.tasks_left_out_done += 1;
                    continue;
                }
                (None, Some(median)) => {
                    self.lacks.tasks_with_median_duration += 1;
                    median
                }
                (None, None) => {
                    self.lacks.tasks_left_out_unknown += 1;
                    continue;
                }
            };
            let mut task = Task::new(duration_us);
            task.vcores = stage.value(column::VCORES, at, 1).max(1);
            task.memory_mib = stage.value(column::MEMORY_MIB, at, 0);
            task.inputs = stage.holders(at).map(|(uid, bytes)| Input { executor: self.name(uid), bytes }).collect();
            task.key = self.key(view, at);
            task.pin = self.pin(stage.value(column::PIN, at, u32::MAX));
            task.fails_after_us = seen.failed_after_us.iter().copied().take(MAX_FAILURES_PER_TASK).collect();
            tasks.push(task);
        }
        tasks
    }

    fn key(&mut self, view: BlockView<'_>, at: usize) -> Option<Arc<str>> {
        let key = view.string(column::KEY_OFFSETS, column::KEY_BYTES, at);
        (!key.is_empty()).then(|| self.shared.share(key))
    }

    fn pin(&mut self, uid: u32) -> Option<Arc<str>> {
        if uid == u32::MAX {
            return None;
        }
        let pin = self.executors.get(&uid).map(|e| self.shared.share(&e.name));
        self.lacks.pins_dropped += u64::from(pin.is_none());
        pin
    }

    /// Storage outside of the cluster has a number, too.
    fn name(&mut self, uid: u32) -> Arc<str> {
        match self.executors.get(&uid) {
            Some(e) => self.shared.share(&e.name),
            None => self.shared.share(&format!("outside-{uid}")),
        }
    }

    /// The durations that were observed.
    fn durations<'a>(&'a self, stage: &'a SeenStage) -> impl Iterator<Item = u64> + 'a {
        let ends = stage.tasks.iter().enumerate().filter_map(|(at, task)| Some((at, task.end?)));
        ends.map(|(at, end)| self.duration_us(stage, at, end).0)
    }

    /// What a task would take at speed 1 with all its input local; and whether it took that at least.
    fn duration_us(&self, stage: &SeenStage, at: usize, end: End) -> (u64, bool) {
        let executor = self.executors.get(&end.executor);
        let rack = |uid: u32| self.executors.get(&uid).and_then(|e| e.rack.as_deref());
        let (mut near, mut far) = (0u64, 0u64);
        for (uid, bytes) in stage.holders(at).filter(|&(uid, _)| uid != end.executor) {
            let same_rack = rack(uid).is_some() && rack(uid) == rack(end.executor);
            let part = if same_rack { &mut near } else { &mut far };
            *part = part.saturating_add(bytes);
        }
        let moved_us = match self.network.rack_mib_per_s {
            None => transfer_us(near.saturating_add(far), self.network.mib_per_s),
            Some(rack) => transfer_us(far, self.network.mib_per_s).saturating_add(transfer_us(near, rack)),
        };
        let speed = executor.map_or(1.0, |e| decimal(e.speed));
        let ran_us = end.took_us.saturating_sub(moved_us);
        let duration_us = if speed == 1.0 { ran_us } else { (ran_us as f64 * speed).round() as u64 };
        (duration_us, end.took_us >= moved_us)
    }
}

/// The smallest value that half of them do not exceed.
fn median(values: impl Iterator<Item = u64>) -> Option<u64> {
    let mut values: Vec<u64> = values.collect();
    values.sort_unstable();
    values.get(values.len().div_ceil(2).saturating_sub(1)).copied()
}
