//! A job that has ended well, as a row: read from Ballista's last state of its graph.
//!
//! - A task is a partition, or all of a collapse stage, as policies see it. Ballista reports one time for a task of
//!   several partitions: each of them has it, since the vcore of each was taken until the slowest had ended.
//! - A task lasts from its placement to the report of its end, by the scheduler's clock: for so long its vcore is taken.
//!   The time that its remote bytes take at the recording's network speed is taken off, at most half of it, because a
//!   simulation adds that again. Ballista counts milliseconds; below half a one, half a one is written.
//! - Of attempts, the one that counted is recorded.

use std::collections::BTreeSet;
use std::sync::Arc;

use ballista_core::execution_plans::{RangeShuffleReaderExec, ShuffleReaderExec};
use ballista_core::serde::protobuf::task_status::Status;
use ballista_scheduler::state::execution_graph::ExecutionGraph;
use ballista_scheduler::state::execution_stage::{ExecutionStage, SuccessfulStage, TaskInfo};
use datafusion::physical_plan::ExecutionPlan;
use policy_host::round::{TaskSpec, UidTable};

use super::placed::Placed;
use super::rows::{InputRow, JobRow, JobRun, StageRow, TaskRow, TaskRun};
use crate::locality;
use crate::rules::is_collapse;
use crate::settings::JobSettings;

/// The shortest task that is written.
const LEAST_US: u64 = 500;

/// Stands for the holder of bytes that are on no executor of the recording.
const ELSEWHERE: &str = "elsewhere";

pub(super) struct Context<'a> {
    pub(super) epoch_ms: u64,
    pub(super) network_mib_per_s: u64,
    /// All executors that were seen, by name.
    pub(super) executors: &'a [String],
    pub(super) policy: String,
}

impl Context<'_> {
    fn us(&self, unix_ms: u128) -> u64 {
        u64::try_from(unix_ms).unwrap_or(u64::MAX).saturating_sub(self.epoch_ms).saturating_mul(1000)
    }
}

/// The row of a job, or why there is none. Costs O(plan nodes + shuffle locations + tasks).
pub(super) fn row(graph: &dyn ExecutionGraph, placed: Placed, context: &Context<'_>) -> Result<JobRow, &'static str> {
    let mut uids = UidTable::default();
    for name in context.executors {
        uids.uid(name);
    }
    let ran = graph.stages().values().filter_map(|stage| match stage {
        ExecutionStage::Successful(stage) => Some(stage),
        _ => None,
    });
    let mut ran: Vec<&SuccessfulStage> = ran.collect();
    ran.sort_unstable_by_key(|s| s.stage_id);
    let known: BTreeSet<usize> = ran.iter().map(|s| s.stage_id).collect();
    let mut stages = Vec::with_capacity(ran.len());
    for stage in ran {
        let mut depends_on = BTreeSet::new();
        read_by(&stage.plan, &mut depends_on);
        depends_on.retain(|id| known.contains(id) && *id != stage.stage_id);
        let tasks = tasks(stage, &placed, &mut uids, context).ok_or("of one of its tasks it is unknown how it ran")?;
        stages.push(StageRow { id: stage.stage_id, depends_on: depends_on.into_iter().collect(), tasks });
    }
    let settings = JobSettings::of(graph);
    let end_us = context.us(u128::from(graph.end_time()));
    Ok(JobRow {
        id: graph.job_id().as_str().to_owned(),
        tenant: settings.tenant,
        submit_us: context.us(u128::from(graph.start_time())),
        priority: settings.priority,
        stages,
        ran: JobRun {
            policy: context.policy.clone(),
            name: graph.job_name().to_owned(),
            end_us,
            rounds: placed.rounds,
        },
    })
}

/// The stages that a plan reads. Ballista's adaptive planner keeps no list of them.
fn read_by(node: &Arc<dyn ExecutionPlan>, stages: &mut BTreeSet<usize>) {
    if let Some(reader) = node.downcast_ref::<ShuffleReaderExec>() {
        stages.insert(reader.stage_id);
    } else if let Some(reader) = node.downcast_ref::<RangeShuffleReaderExec>() {
        stages.insert(reader.stage_id);
    }
    node.children().into_iter().for_each(|child| read_by(child, stages));
}

fn tasks(stage: &SuccessfulStage, placed: &Placed, uids: &mut UidTable, context: &Context<'_>) -> Option<Vec<TaskRow>> {
    let collapse = is_collapse(&stage.plan);
    let specs = locality::tasks(&stage.plan, stage.partitions, collapse, uids);
    let mut rows: Vec<Option<TaskRow>> = specs.iter().map(|_| None).collect();
    for info in &stage.task_infos {
        let Status::Successful(done) = &info.task_status else { continue };
        let run = TaskRun {
            executor: done.executor_id.clone(),
            task: info.task_id,
            bound_us: context.us(info.scheduled_time),
            start_us: context.us(info.start_exec_time),
            end_us: context.us(info.end_exec_time),
            reported_us: context.us(info.finish_time),
            round: placed.by_task.get(&(stage.stage_id, stage.stage_attempt_num, info.task_id)).copied(),
        };
        let whole = [0];
        let partitions: &[usize] = if collapse { &whole } else { &info.global_input_partition_ids };
        for &partition in partitions {
            let row = rows.get_mut(partition)?;
            *row = Some(task(&specs[partition], info, &run, context));
        }
    }
    rows.into_iter().collect()
}

fn task(spec: &TaskSpec, info: &TaskInfo, run: &TaskRun, context: &Context<'_>) -> TaskRow {
    let name = |at: usize| context.executors.get(at).map_or(ELSEWHERE, String::as_str);
    let mut inputs: Vec<InputRow> = Vec::new();
    for (uid, bytes) in &spec.holders {
        let executor = name(uid.index());
        match inputs.iter_mut().find(|i| i.executor == executor) {
            Some(input) => input.bytes = input.bytes.saturating_add(*bytes),
            None => inputs.push(InputRow { executor: executor.to_owned(), bytes: *bytes }),
        }
    }
    inputs.sort_unstable_by(|a, b| a.executor.cmp(&b.executor));
    let remote: u64 = inputs.iter().filter(|i| i.executor != run.executor).map(|i| i.bytes).sum();
    let held_us = context.us(info.finish_time).saturating_sub(context.us(info.scheduled_time));
    let duration_us = without_transfer_us(held_us, remote, context.network_mib_per_s);
    let key = (!spec.key.is_empty()).then(|| spec.key.clone());
    TaskRow { duration_us, inputs, key, ran: run.clone() }
}

fn without_transfer_us(held_us: u64, remote_bytes: u64, network_mib_per_s: u64) -> u64 {
    let per_s = u128::from(network_mib_per_s) << 20;
    let transfer_us = u64::try_from(u128::from(remote_bytes) * 1_000_000 / per_s).unwrap_or(u64::MAX);
    held_us.saturating_sub(transfer_us).max(held_us / 2).max(LEAST_US)
}

#[cfg(test)]
mod tests {
    use super::without_transfer_us;

    #[test]
    fn what_a_simulation_adds_is_taken_off_but_never_more_than_half() {
        let mib = 1 << 20;
        assert_eq!(without_transfer_us(10_000, 0, 1000), 10_000);
        assert_eq!(without_transfer_us(10_000, 2 * mib, 1000), 8_000);
        assert_eq!(without_transfer_us(10_000, 100 * mib, 1000), 5_000);
        assert_eq!(without_transfer_us(0, 100 * mib, 1000), 500);
    }
}
