//! The only code that mutates Ballista's graphs: Ballista's private rules of binding, restated once.
//!
//! From `cluster/mod.rs` of `ballista-scheduler` 55 (`stage_has_input_collapse`, `bind_one`): a collapse stage goes as
//! one task with all that is pending, and costs one vcore; of other stages a task takes a slice of partitions, at most
//! `max_partitions_per_task` of them, and one vcore each; slices come from the front of the stage's queue, where what
//! must be repeated stands. A policy ranks; what is said here is not its to decide.
//!
//! All locks are taken before anything changes and nothing waits after that, so that a caller who gives up leaves no
//! task bound that nobody was told of.

use std::sync::Arc;

use ballista_core::JobId;
use ballista_core::config::BallistaConfig;
use ballista_core::execution_plans::{RangeShuffleReaderExec, ShuffleReaderExec};
use ballista_core::serde::protobuf::{AvailableVcores, job_status};
use ballista_core::serde::scheduler::TaskKey;
use ballista_scheduler::cluster::BoundTask;
use ballista_scheduler::state::execution_graph::{ExecutionGraphBox, TaskDescription, create_task_info};
use ballista_scheduler::state::execution_stage::{PendingPartitions, RunningStage};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use datafusion::prelude::SessionConfig;
use policy_host::round::ExecutorUid;
use tokio::sync::{OwnedRwLockWriteGuard, RwLock};

use crate::identity::Cluster;
use crate::queue::Run;

/// Whether the stage must go as one task: somewhere below its root it brings all partitions together.
pub(crate) fn is_collapse(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let mut node = match plan.children().as_slice() {
        [child] => *child,
        _ => return false,
    };
    loop {
        if node.is::<ShuffleReaderExec>() || node.is::<RangeShuffleReaderExec>() {
            return false;
        }
        if node.output_partitioning().partition_count() == 1 {
            return true;
        }
        node = match node.children().as_slice() {
            [child] => *child,
            _ => return false,
        };
    }
}

/// The most partitions that a task of a stage that is no collapse takes; `usize::MAX` for no bound.
pub(crate) fn partitions_per_task(config: &SessionConfig) -> usize {
    let configured = config.options().extensions.get::<BallistaConfig>().map(BallistaConfig::max_partitions_per_task);
    configured.filter(|&n| n > 0).unwrap_or(usize::MAX)
}

/// A stage attempt, by what must be unchanged for a decision about it to hold.
#[derive(Clone)]
pub(crate) struct StageRef {
    pub(crate) job: JobId,
    pub(crate) graph: Arc<RwLock<ExecutionGraphBox>>,
    pub(crate) stage_id: usize,
    pub(crate) attempt: usize,
    pub(crate) plan: Arc<dyn ExecutionPlan>,
    pub(crate) collapse: bool,
    pub(crate) partitions_per_task: usize,
}

impl StageRef {
    fn is_still(&self, stage: &RunningStage) -> bool {
        stage.stage_id == self.stage_id
            && stage.stage_attempt_num == self.attempt
            && Arc::ptr_eq(&stage.plan, &self.plan)
    }
}

/// Partitions of a stage for one executor. For a collapse stage the partitions do not matter: it gets all.
#[derive(Clone)]
pub(crate) struct Share {
    pub(crate) executor: ExecutorUid,
    pub(crate) partitions: Vec<usize>,
}

/// What is decided about one stage.
#[derive(Clone)]
pub(crate) struct StageShares {
    pub(crate) stage: StageRef,
    pub(crate) shares: Vec<Share>,
    /// All that the shares name, when that is one run of partitions, each once.
    pub(crate) run: Option<Run>,
}

/// Partitions that left a stage's queue.
pub(crate) enum Taken {
    /// From its front, one after another.
    Run(Run),
    /// In the queue's order.
    These(Vec<usize>),
}

/// What became of a decision about one stage.
pub(crate) struct Applied {
    pub(crate) job: JobId,
    pub(crate) stage_id: usize,
    pub(crate) attempt: usize,
    /// Where its new tasks begin in Ballista's list of them.
    pub(crate) first_task: usize,
    /// The executor of each new task.
    pub(crate) executors: Vec<ExecutorUid>,
    /// The partitions that left the stage's queue, if the rest of it is as it was.
    pub(crate) taken: Option<Taken>,
    /// How many of the tasks that the policy saw were bound.
    pub(crate) bound: u64,
}

/// Free vcores by executor: Ballista's own counts, by the executor's place in a roster.
pub(crate) struct Budgets<'b> {
    cluster: Cluster,
    rows: Vec<Option<&'b mut AvailableVcores>>,
}

impl<'b> Budgets<'b> {
    /// Rows of executors that are not in the cluster are given back.
    pub(crate) fn new(
        given: impl IntoIterator<Item = &'b mut AvailableVcores>,
        cluster: Cluster,
    ) -> (Self, Vec<&'b mut AvailableVcores>) {
        let mut rows: Vec<Option<&mut AvailableVcores>> = Vec::new();
        rows.resize_with(cluster.roster.len(), || None);
        let mut strangers = Vec::new();
        for row in given {
            match cluster.place(&row.executor_id) {
                Some(place) => rows[place] = Some(row),
                None => strangers.push(row),
            }
        }
        (Self { cluster, rows }, strangers)
    }

    /// The rows, to be placed anew.
    pub(crate) fn into_rows(self) -> impl Iterator<Item = &'b mut AvailableVcores> {
        self.rows.into_iter().flatten()
    }

    /// The executors that the rows are of.
    pub(crate) fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    pub(crate) fn get(&mut self, executor: ExecutorUid) -> Option<&mut AvailableVcores> {
        self.rows.get_mut(self.cluster.position(executor)?)?.as_deref_mut()
    }

    /// The rows, ordered by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &AvailableVcores> {
        self.rows.iter().flatten().map(|row| &**row)
    }

    /// Free vcores, one row an executor of the cluster; none where none were given.
    pub(crate) fn free_rows(&self, rows: &mut Vec<u32>) {
        rows.clear();
        rows.extend(self.rows.iter().map(|row| row.as_ref().map_or(0, |row| row.vcores)));
    }

    pub(crate) fn free(&self) -> u64 {
        self.iter().map(|row| u64::from(row.vcores)).sum()
    }
}

/// Applies decisions: each stage is looked at again under its job's write lock, and what no longer holds is left out
/// and stays pending. `decided` lists the stages of a job one after another.
pub(crate) async fn apply(decided: Vec<StageShares>, budgets: &mut Budgets<'_>) -> (Vec<BoundTask>, Vec<Applied>) {
    let mut jobs: Vec<OwnedRwLockWriteGuard<ExecutionGraphBox>> = Vec::new();
    let mut job_of_stage = Vec::with_capacity(decided.len());
    for (i, shares) in decided.iter().enumerate() {
        if i == 0 || !Arc::ptr_eq(&decided[i - 1].stage.graph, &shares.stage.graph) {
            jobs.push(Arc::clone(&shares.stage.graph).write_owned().await);
        }
        job_of_stage.push(jobs.len() - 1);
    }
    let (mut bound, mut applied) = (Vec::new(), Vec::with_capacity(decided.len()));
    for (shares, job) in decided.into_iter().zip(job_of_stage) {
        applied.extend(apply_stage(shares, &mut jobs[job], budgets, &mut bound));
    }
    (bound, applied)
}

fn apply_stage(
    decided: StageShares,
    graph: &mut ExecutionGraphBox,
    budgets: &mut Budgets<'_>,
    bound: &mut Vec<BoundTask>,
) -> Option<Applied> {
    if !matches!(graph.status().status, Some(job_status::Status::Running(_))) {
        return None;
    }
    let StageShares { stage: of, shares, run } = decided;
    let others: Vec<usize> = graph.running_stages().into_iter().filter(|&id| id != of.stage_id).collect();
    let session_id = graph.session_id().to_owned();
    let stage = graph.fetch_running_stage(&others).filter(|s| of.is_still(s))?;
    let mut applied = Applied {
        job: of.job.clone(),
        stage_id: of.stage_id,
        attempt: of.attempt,
        first_task: stage.task_infos.len(),
        executors: Vec::new(),
        taken: None,
        bound: 0,
    };
    let mut stage = Starting { stage, session_id, job: of.job, bound };
    if of.collapse {
        let share = shares.first()?;
        let budget = budgets.get(share.executor).filter(|b| b.vcores > 0)?;
        let all = stage.stage.pending.next_slice(usize::MAX);
        if !all.is_empty() {
            stage.start(budget, all, 1);
            applied.executors.push(share.executor);
            applied.bound = 1;
        }
        return Some(applied);
    }
    let named: usize = shares.iter().map(|s| s.partitions.len()).sum();
    let most = named.min(shares.len() + named / of.partitions_per_task);
    stage.stage.task_infos.reserve(most);
    stage.bound.reserve(most);
    let mut start = |stage: &mut Starting<'_>, budget: &mut AvailableVcores, share: ExecutorUid, taken: Vec<usize>| {
        applied.bound += taken.len() as u64;
        let tasks = taken.len().div_ceil(of.partitions_per_task);
        applied.executors.extend(std::iter::repeat_n(share, tasks));
        if tasks == 1 {
            let cost = taken.len() as u32;
            stage.start(budget, taken, cost);
        } else {
            taken.chunks(of.partitions_per_task).for_each(|c| stage.start(budget, c.to_vec(), c.len() as u32));
        }
    };
    let mut drawn = match draw_run(&mut stage.stage.pending, &shares, run, budgets) {
        Ok(run) => {
            for Share { executor, partitions } in shares {
                let Some(budget) = budgets.get(executor) else { continue };
                start(&mut stage, budget, executor, partitions);
            }
            applied.taken = Some(Taken::Run(run));
            return Some(applied);
        }
        Err(front) => draw(&mut stage.stage.pending, &shares, front),
    };
    for Share { executor, mut partitions } in shares {
        let Some(budget) = budgets.get(executor) else { continue };
        let mut room = budget.vcores as usize;
        partitions.retain(|&p| {
            room > 0 && drawn.take(p) && {
                room -= 1;
                true
            }
        });
        start(&mut stage, budget, executor, partitions);
    }
    applied.taken = drawn.settle(&mut stage.stage.pending).map(Taken::These);
    Some(applied)
}

/// Draws a run, when it is the front of the queue and there is room for all of it: nothing can be left over then. Else
/// what was drawn in looking. Costs O(what is named).
fn draw_run(
    pending: &mut PendingPartitions,
    shares: &[Share],
    run: Option<Run>,
    budgets: &mut Budgets<'_>,
) -> Result<Run, Vec<usize>> {
    let Some((first, length)) = run else { return Err(Vec::new()) };
    debug_assert!(
        shares.iter().enumerate().all(|(i, s)| shares[..i].iter().all(|other| other.executor != s.executor)),
        "one share an executor: room is looked at share by share"
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
    /// Whether all that was named was there.
    complete: bool,
}

impl Drawn {
    fn take(&mut self, partition: usize) -> bool {
        self.held.get_mut(partition).is_some_and(std::mem::take)
    }

    /// Puts back what was not taken. Returns what was, unless something was put back or had not been there: the queue is
    /// not then what it was thought to be.
    fn settle(self, pending: &mut PendingPartitions) -> Option<Vec<usize>> {
        let held = self.held;
        if !self.order.iter().any(|&p| held[p]) {
            return self.complete.then_some(self.order);
        }
        pending.reschedule(self.order.into_iter().filter(|&p| held[p]));
        None
    }
}

/// Draws what `shares` name, as far as it is pending; `order` has been drawn already. Costs O(what is named) when that is
/// the front of the queue, otherwise O(pending).
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
    bound: &'s mut Vec<BoundTask>,
}

impl Starting<'_> {
    /// Writes a task down and takes its vcores.
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

    /// What was drawn in looking for a run is drawn; what is named and not there is told by the queue being unknown.
    #[test]
    fn what_was_drawn_in_looking_is_not_lost() {
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
