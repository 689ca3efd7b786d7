//! The vocabulary of decisions: what a plan decides about a stage, and what was applied of it. Planning makes decisions
//! (`snapshot`, `reservation`), `apply` carries them out, `tracked` follows.

use std::sync::Arc;

use ballista_core::JobId;
use ballista_scheduler::state::execution_graph::ExecutionGraphBox;
use ballista_scheduler::state::execution_stage::RunningStage;
use datafusion::physical_plan::ExecutionPlan;
use policy_host::round::ExecutorUid;
use tokio::sync::RwLock;

use crate::queue::Run;

/// A stage attempt, with what must be unchanged for a decision about it to hold.
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
    /// Whether the graph's stage is still this attempt of this plan.
    pub(crate) fn is_still(&self, stage: &RunningStage) -> bool {
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

/// The decision about one stage: which executor gets which partitions.
#[derive(Clone)]
pub(crate) struct StageDecision {
    pub(crate) stage: StageRef,
    pub(crate) shares: Vec<Share>,
    /// All that the shares name, when that is one run of partitions, each once.
    pub(crate) run: Option<Run>,
}

impl StageDecision {
    /// Vcores that a share costs: one for all of a collapse stage, else one a partition.
    pub(crate) fn vcores(&self, share: &Share) -> u32 {
        if self.stage.collapse { 1 } else { share.partitions.len() as u32 }
    }

    /// Ballista's tasks that a share becomes.
    pub(crate) fn tasks(&self, share: &Share) -> u32 {
        if self.stage.collapse { 1 } else { share.partitions.len().div_ceil(self.stage.partitions_per_task) as u32 }
    }
}

/// Puts the decisions about a job one after another, and leaves their order as it is otherwise.
pub(crate) fn by_job(decided: &mut [StageDecision]) {
    decided.sort_by(|a, b| a.stage.job.cmp(&b.stage.job));
}

/// Partitions that left a stage's queue.
pub(crate) enum Taken {
    /// From its front, one after another.
    Run(Run),
    /// In the queue's order.
    These(Vec<usize>),
}

/// What was applied of a decision about one stage.
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
