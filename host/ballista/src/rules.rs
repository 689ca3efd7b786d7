//! Ballista's private rules of binding, restated once.
//!
//! From `cluster/mod.rs` of `ballista-scheduler` 55 (`stage_has_input_collapse`, `bind_one`): a collapse stage goes as
//! one task with all that is pending, and costs one vcore; of other stages a task takes a slice of partitions, at most
//! `max_partitions_per_task` of them, and one vcore each; slices come from the front of the stage's queue, where the
//! partitions to be repeated are. A policy ranks executors; it cannot change these rules.

use std::sync::Arc;

use ballista_core::config::BallistaConfig;
use ballista_core::execution_plans::{RangeShuffleReaderExec, ShuffleReaderExec};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use datafusion::prelude::SessionConfig;

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
