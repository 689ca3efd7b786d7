//! What each task of a stage reads, from the stage's plan: which executors hold how many bytes of its shuffle inputs, and the file
//! that its scan begins with.
//!
//! Follows the scopes of Ballista's task builder (`state/task_builder.rs`): a leaf below a collapse, or on a side that
//! an operator collects, is read whole by every task. Such inputs, and broadcasts, are the same for all tasks; they count
//! for the one task of a collapse stage only.

use std::any::Any;
use std::sync::Arc;

use ballista_core::execution_plans::{RangeShuffleReaderExec, ShuffleReaderExec};
use ballista_core::serde::scheduler::PartitionLocation;
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_expr::Distribution;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use policy_host::round::{ExecutorUid, TaskSpec, UidTable};

/// The tasks of a stage: one a partition, or one for all of a collapse stage. Cost: O(plan nodes + shuffle locations),
/// once a stage attempt.
pub(crate) fn tasks(
    plan: &Arc<dyn ExecutionPlan>,
    partitions: usize,
    collapse: bool,
    uids: &mut UidTable,
) -> Vec<TaskSpec> {
    let mut reader = Reader {
        uids,
        collapse,
        tasks: vec![TaskSpec::default(); if collapse { 1 } else { partitions }],
        scanned: vec![0; partitions],
    };
    reader.walk(plan, Scope::Own { first: 0 });
    reader.tasks
}

/// How tasks read what is below a node.
#[derive(Clone, Copy)]
enum Scope {
    /// Task `first + i` reads partition `i`.
    Own { first: usize },
    /// Every task reads everything.
    Whole,
}

struct Reader<'u> {
    uids: &'u mut UidTable,
    collapse: bool,
    tasks: Vec<TaskSpec>,
    /// Bytes of the scan that gave a task its key: of several scans, the largest does.
    scanned: Vec<u64>,
}

impl Reader<'_> {
    fn walk(&mut self, node: &Arc<dyn ExecutionPlan>, scope: Scope) {
        if let Some(reader) = node.downcast_ref::<ShuffleReaderExec>() {
            let scope = if reader.broadcast { Scope::Whole } else { scope };
            return self.shuffle(&reader.partition, scope);
        }
        if let Some(reader) = node.downcast_ref::<RangeShuffleReaderExec>() {
            return self.shuffle(&reader.partition, scope);
        }
        if let Some(scan) = node.downcast_ref::<DataSourceExec>() {
            return self.scan(scan, scope);
        }
        let mut first = 0;
        for (child, collected) in node.children().into_iter().zip(collected_children(node)) {
            let below = match scope {
                Scope::Own { first: own } if !collected => Scope::Own { first: own + first },
                _ => Scope::Whole,
            };
            self.walk(child, below);
            if node.is::<UnionExec>() {
                first += child.output_partitioning().partition_count();
            }
        }
    }

    fn shuffle(&mut self, partitions: &[Vec<PartitionLocation>], scope: Scope) {
        if self.collapse {
            return partitions.iter().for_each(|locations| self.hold(0, locations));
        }
        if let Scope::Own { first } = scope {
            partitions.iter().enumerate().for_each(|(i, locations)| self.hold(first + i, locations));
        }
    }

    fn hold(&mut self, task: usize, locations: &[PartitionLocation]) {
        let Some(task) = self.tasks.get_mut(task) else { return };
        let mut last: Option<(&str, ExecutorUid)> = None;
        for location in locations {
            let bytes = location.partition_stats.num_bytes().unwrap_or(0);
            if bytes == 0 {
                continue;
            }
            let name = location.executor_meta.id.as_str();
            let uid = match last {
                Some((known, uid)) if known == name => uid,
                _ => self.uids.uid(name),
            };
            last = Some((name, uid));
            match task.holders.iter_mut().find(|h| h.0 == uid) {
                Some(held) => held.1 = held.1.saturating_add(bytes),
                None => task.holders.push((uid, bytes)),
            }
        }
    }

    fn scan(&mut self, scan: &DataSourceExec, scope: Scope) {
        let source: &dyn Any = scan.data_source().as_ref();
        let (Some(config), Scope::Own { first }) = (source.downcast_ref::<FileScanConfig>(), scope) else { return };
        if self.collapse {
            return;
        }
        for (i, group) in config.file_groups.iter().enumerate() {
            let bytes = group.files().iter().map(|f| f.effective_size()).sum::<u64>();
            let (Some(file), Some(task)) = (group.files().first(), self.tasks.get_mut(first + i)) else { continue };
            if task.key.is_empty() || bytes > self.scanned[first + i] {
                let from = file.range.as_ref().map_or(0, |r| r.start);
                task.key = format!("{}#{from}", file.object_meta.location);
                self.scanned[first + i] = bytes;
            }
        }
    }
}

/// Per child: whether every task reads it whole.
fn collected_children(node: &Arc<dyn ExecutionPlan>) -> Vec<bool> {
    let children = node.children().len();
    if node.is::<CoalescePartitionsExec>() || node.is::<SortPreservingMergeExec>() {
        return vec![true; children];
    }
    let required = node.input_distribution_requirements();
    let collected: Vec<bool> =
        required.per_child_distributions().map(|d| matches!(d, Distribution::SinglePartition)).collect();
    if collected.len() == children { collected } else { vec![false; children] }
}
