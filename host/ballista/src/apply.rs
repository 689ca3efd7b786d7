//! The only code that mutates Ballista's graphs: it sets resolved stages running before a round, and starts the tasks
//! that were decided after it.
//!
//! All locks are taken before the first task is started, and nothing waits after that: a caller that drops the future
//! leaves no task bound without its being returned.

use std::sync::Arc;

use ballista_core::JobId;
use ballista_core::serde::protobuf::{AvailableVcores, job_status};
use ballista_core::serde::scheduler::TaskKey;
use ballista_scheduler::cluster::BoundTask;
use ballista_scheduler::state::execution_graph::{ExecutionGraphBox, TaskDescription, create_task_info};
use ballista_scheduler::state::execution_stage::{ExecutionStage, PendingPartitions, RunningStage};
use policy_host::round::ExecutorUid;
use tokio::sync::{OwnedRwLockWriteGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::budgets::Budgets;
use crate::decision::{Applied, Share, StageDecision, Taken};
use crate::queue::Run;

/// The graph, locked for reading, with all resolved stages running: Ballista sets them running when it looks for work.
pub(crate) async fn revived(graph: &RwLock<ExecutionGraphBox>) -> RwLockReadGuard<'_, ExecutionGraphBox> {
    let read = graph.read().await;
    if !read.stages().values().any(|stage| matches!(stage, ExecutionStage::Resolved(_))) {
        return read;
    }
    drop(read);
    let mut write = graph.write().await;
    if matches!(write.status().status, Some(job_status::Status::Running(_))) {
        write.revive();
    }
    RwLockWriteGuard::downgrade(write)
}

/// Applies decisions: each stage is looked at again under its job's write lock, and what no longer holds is left out and
/// stays pending. The decisions about a job must stand one after another ([`by_job`]): its lock is taken once.
///
/// [`by_job`]: crate::decision::by_job
pub(crate) async fn apply(decided: Vec<StageDecision>, budgets: &mut Budgets<'_>) -> (Vec<BoundTask>, Vec<Applied>) {
    let mut graphs: Vec<OwnedRwLockWriteGuard<ExecutionGraphBox>> = Vec::new();
    let mut graph_of_decision = Vec::with_capacity(decided.len());
    for (i, decision) in decided.iter().enumerate() {
        if i == 0 || !Arc::ptr_eq(&decided[i - 1].stage.graph, &decision.stage.graph) {
            graphs.push(Arc::clone(&decision.stage.graph).write_owned().await);
        }
        graph_of_decision.push(graphs.len() - 1);
    }
    let (mut bound, mut applied) = (Vec::new(), Vec::with_capacity(decided.len()));
    for (decision, at) in decided.into_iter().zip(graph_of_decision) {
        applied.extend(apply_stage(decision, &mut graphs[at], budgets, &mut bound));
    }
    (bound, applied)
}

fn apply_stage(
    decision: StageDecision,
    graph: &mut ExecutionGraphBox,
    budgets: &mut Budgets<'_>,
    bound: &mut Vec<BoundTask>,
) -> Option<Applied> {
    if !matches!(graph.status().status, Some(job_status::Status::Running(_))) {
        return None;
    }
    let StageDecision { stage: of, shares, run } = decision;
    let others: Vec<usize> = graph.running_stages().into_iter().filter(|&id| id != of.stage_id).collect();
    let session_id = graph.session_id().to_owned();
    let stage = graph.fetch_running_stage(&others).filter(|s| of.is_still(s))?;
    let applied = Applied {
        job: of.job.clone(),
        stage_id: of.stage_id,
        attempt: of.attempt,
        first_task: stage.task_infos.len(),
        executors: Vec::new(),
        taken: None,
        bound: 0,
    };
    let starting =
        Starting { stage, session_id, job: of.job, partitions_per_task: of.partitions_per_task, bound, applied };
    if of.collapse {
        starting.collapse(shares.first()?.executor, budgets)
    } else {
        Some(starting.partitions(shares, run, budgets))
    }
}

/// Takes a run out of the queue, when it is the front of the queue and the executors have vcores for all of it. Otherwise
/// returns what was taken out in the attempt. Costs O(what is named).
fn draw_run(
    pending: &mut PendingPartitions,
    shares: &[Share],
    run: Option<Run>,
    budgets: &mut Budgets<'_>,
) -> Result<Run, Vec<usize>> {
    let Some((first, length)) = run else { return Err(Vec::new()) };
    debug_assert!(
        shares.iter().enumerate().all(|(i, s)| shares[..i].iter().all(|other| other.executor != s.executor)),
        "one share an executor: vcores are checked share by share"
    );
    let fits = |share: &Share| budgets.get(share.executor).is_some_and(|b| b.vcores as usize >= share.partitions.len());
    if !shares.iter().all(fits) {
        return Err(Vec::new());
    }
    let front = pending.next_slice(length as usize);
    let is_run = front.len() == length as usize && front.iter().zip(first as usize..).all(|(&p, named)| p == named);
    if is_run { Ok((first, length)) } else { Err(front) }
}

/// Partitions taken out of a stage's queue, in its order, until they are bound or put back.
struct Drawn {
    order: Vec<usize>,
    held: Vec<bool>,
    /// Whether everything that was named was pending.
    complete: bool,
}

impl Drawn {
    fn take(&mut self, partition: usize) -> bool {
        self.held.get_mut(partition).is_some_and(std::mem::take)
    }

    /// Puts back what was not taken. Returns what was taken; nothing if something was put back or was not pending, because
    /// the queue then differs from its mirror.
    fn settle(self, pending: &mut PendingPartitions) -> Option<Vec<usize>> {
        let held = self.held;
        if !self.order.iter().any(|&p| held[p]) {
            return self.complete.then_some(self.order);
        }
        pending.reschedule(self.order.into_iter().filter(|&p| held[p]));
        None
    }
}

/// Takes out of the queue what `shares` name, as far as it is pending; `order` is out already. Costs O(what is named) when
/// that is the front of the queue, otherwise O(pending).
fn draw(pending: &mut PendingPartitions, shares: &[Share], mut order: Vec<usize>) -> Drawn {
    let mut named = vec![false; pending.total_partitions()];
    let mut count = 0;
    for &partition in shares.iter().flat_map(|s| &s.partitions) {
        if let Some(mark) = named.get_mut(partition) {
            count += usize::from(!std::mem::replace(mark, true));
        }
    }
    order.extend(pending.next_slice(count.saturating_sub(order.len())));
    if !order.iter().all(|&p| named[p]) {
        order.extend(pending.next_slice(usize::MAX));
        let (drawn, rest): (Vec<usize>, Vec<usize>) = order.into_iter().partition(|&p| named[p]);
        pending.reschedule(rest);
        order = drawn;
    }
    named.fill(false);
    order.iter().for_each(|&p| named[p] = true);
    Drawn { complete: order.len() == count, order, held: named }
}

/// A stage whose tasks are being started.
struct Starting<'s> {
    stage: &'s mut RunningStage,
    session_id: String,
    job: JobId,
    partitions_per_task: usize,
    bound: &'s mut Vec<BoundTask>,
    applied: Applied,
}

impl Starting<'_> {
    /// Starts a collapse stage, if its executor has a vcore free.
    fn collapse(mut self, executor: ExecutorUid, budgets: &mut Budgets<'_>) -> Option<Applied> {
        let budget = budgets.get(executor).filter(|b| b.vcores > 0)?;
        let all = self.stage.pending.next_slice(usize::MAX);
        if !all.is_empty() {
            self.start(budget, all, 1);
            self.applied.executors.push(executor);
            self.applied.bound = 1;
        }
        Some(self.applied)
    }

    /// Starts partitions, as far as they are pending and their executors have room.
    fn partitions(mut self, shares: Vec<Share>, run: Option<Run>, budgets: &mut Budgets<'_>) -> Applied {
        let named: usize = shares.iter().map(|s| s.partitions.len()).sum();
        let most = named.min(shares.len() + named / self.partitions_per_task);
        self.stage.task_infos.reserve(most);
        self.bound.reserve(most);
        let mut drawn = match draw_run(&mut self.stage.pending, &shares, run, budgets) {
            Ok(run) => {
                for Share { executor, partitions } in shares {
                    let Some(budget) = budgets.get(executor) else { continue };
                    self.share(budget, executor, partitions);
                }
                self.applied.taken = Some(Taken::Run(run));
                return self.applied;
            }
            Err(front) => draw(&mut self.stage.pending, &shares, front),
        };
        for Share { executor, mut partitions } in shares {
            let Some(budget) = budgets.get(executor) else { continue };
            let mut free = budget.vcores as usize;
            partitions.retain(|&p| {
                free > 0 && drawn.take(p) && {
                    free -= 1;
                    true
                }
            });
            self.share(budget, executor, partitions);
        }
        self.applied.taken = drawn.settle(&mut self.stage.pending).map(Taken::These);
        self.applied
    }

    /// Starts an executor's partitions, in tasks of at most so many as Ballista allows.
    fn share(&mut self, budget: &mut AvailableVcores, executor: ExecutorUid, taken: Vec<usize>) {
        self.applied.bound += taken.len() as u64;
        let tasks = taken.len().div_ceil(self.partitions_per_task);
        self.applied.executors.extend(std::iter::repeat_n(executor, tasks));
        if tasks == 1 {
            let cost = taken.len() as u32;
            self.start(budget, taken, cost);
        } else {
            taken.chunks(self.partitions_per_task).for_each(|c| self.start(budget, c.to_vec(), c.len() as u32));
        }
    }

    /// Adds a task to the stage and takes its vcores.
    fn start(&mut self, budget: &mut AvailableVcores, partitions: Vec<usize>, vcores: u32) {
        let stage = &mut *self.stage;
        let executor = budget.executor_id.clone();
        // Ballista numbers the tasks of a stage by their place in this list.
        let task_id = stage.task_infos.len();
        let failures = |p: &usize| stage.task_failure_numbers.get(*p).copied().unwrap_or(0);
        let task_attempt = partitions.iter().map(failures).max().unwrap_or(0);
        let mut info = create_task_info(executor.clone(), task_id);
        info.global_input_partition_ids.clone_from(&partitions);
        info.vcores_consumed = vcores;
        stage.task_infos.push(info);
        budget.vcores -= vcores;
        let task = TaskDescription {
            session_id: self.session_id.clone(),
            key: TaskKey { job_id: self.job.clone(), stage_id: stage.stage_id, task_id },
            stage_attempt_num: stage.stage_attempt_num,
            task_attempt,
            global_input_partition_ids: partitions,
            vcores_consumed: vcores,
            plan: Arc::clone(&stage.plan),
            session_config: Arc::clone(&stage.session_config),
        };
        self.bound.push((executor, task));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(partitions: &[usize]) -> Share {
        Share { executor: ExecutorUid(0), partitions: partitions.to_vec() }
    }

    #[test]
    fn what_is_drawn_and_not_taken_goes_back_in_order() {
        for wanted in [vec![0, 1, 2], vec![4, 1, 9], vec![7, 7], vec![]] {
            let mut pending = PendingPartitions::new(6);
            pending.next_slice(1);
            pending.reschedule([5]);
            let before = pending.clone().next_slice(usize::MAX);
            let drawn = draw(&mut pending, &[share(&wanted)], Vec::new());
            assert_eq!(pending.remaining() + drawn.order.len(), before.len());
            drawn.settle(&mut pending);
            let mut after = pending.next_slice(usize::MAX);
            after.sort_unstable();
            let mut sorted = before.clone();
            sorted.sort_unstable();
            assert_eq!(after, sorted, "nothing is lost or doubled, {wanted:?}");
        }
    }

    /// What was taken out in the attempt to take a run counts as drawn; after a name that is not pending, the queue is unknown.
    #[test]
    fn what_was_drawn_in_a_failed_attempt_is_not_lost() {
        let mut pending = PendingPartitions::new(6);
        let front = pending.next_slice(3);
        let mut drawn = draw(&mut pending, &[share(&[1, 2, 3])], front);
        assert!(drawn.take(1) && drawn.take(2) && drawn.take(3) && !drawn.take(0));
        assert_eq!(drawn.settle(&mut pending), Some(vec![1, 2, 3]));
        assert_eq!(pending.next_slice(usize::MAX), [0, 4, 5]);
        let mut pending = PendingPartitions::new(3);
        pending.next_slice(1);
        let mut drawn = draw(&mut pending, &[share(&[0, 1])], Vec::new());
        assert!(drawn.take(1) && !drawn.take(0));
        assert_eq!(drawn.settle(&mut pending), None, "0 was named and is not pending");
        assert_eq!(pending.next_slice(usize::MAX), [2]);
    }

    #[test]
    fn a_partition_is_taken_once() {
        let mut pending = PendingPartitions::new(4);
        let mut drawn = draw(&mut pending, &[share(&[2, 3]), share(&[3])], Vec::new());
        assert!(drawn.take(3) && !drawn.take(3) && !drawn.take(0) && !drawn.take(99));
        drawn.settle(&mut pending);
        assert_eq!(pending.next_slice(usize::MAX), [2, 0, 1]);
    }
}
