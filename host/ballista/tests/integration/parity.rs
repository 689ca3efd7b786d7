//! The plugins `bias` and `round-robin`, loaded from their files, place as Ballista's policies do, on the same graphs,
//! wherever Ballista's own result is determined: one job with one stage to bind (hash maps), executors that all differ in
//! what they have free (a sort of a hash map).

use std::collections::HashSet;

use ballista_core::serde::protobuf::AvailableVcores;
use ballista_core::serde::scheduler::ExecutorData;
use ballista_scheduler::cluster::memory::InMemoryClusterState;
use ballista_scheduler::cluster::{BoundTask, ClusterState};
use ballista_scheduler::config::TaskDistributionPolicy;
use ballista_scheduler::state::execution_graph::ExecutionGraphBox;
use policy_ballista::{Mode, PolicyAdapter};
use proptest::prelude::*;
use tokio::sync::OnceCell;

use crate::graphs::{
    COLLAPSE, GROUP, TOTAL, adapter, bind, budgets, executor, finished, graph, jobs, placements, report,
};
use crate::loaded::Loaded;

/// What Ballista's own policy binds.
async fn ballistas(policy: TaskDistributionPolicy, free: &[(String, u32)], graph: ExecutionGraphBox) -> Vec<BoundTask> {
    let cluster = InMemoryClusterState::default();
    for (id, vcores) in free {
        let data = ExecutorData { executor_id: id.clone(), total_vcores: *vcores, available_vcores: *vcores };
        cluster.register_executor(executor(id, *vcores), data).await.unwrap();
    }
    cluster.bind_schedulable_tasks(policy, jobs(vec![graph]), None).await.unwrap()
}

async fn ours(policy: &PolicyAdapter, free: &[(String, u32)], graph: ExecutionGraphBox) -> Vec<BoundTask> {
    let mut rows = budgets(free);
    let bound = bind(policy, &mut rows, &jobs(vec![graph])).await;
    let left = |r: &AvailableVcores| {
        let spent = bound.iter().filter(|(id, _)| *id == r.executor_id).map(|(_, t)| t.vcores_consumed).sum::<u32>();
        (r.executor_id.clone(), r.vcores + spent)
    };
    let before: HashSet<_> = rows.iter().map(left).collect();
    assert_eq!(before, free.iter().cloned().collect(), "vcores are taken from the budgets as bound");
    bound
}

/// A graph whose next stage to bind is of the wanted kind, with some of it bound already.
async fn prepared(shape: Shape, partitions: usize, per_task: usize, bound_before: u32) -> ExecutionGraphBox {
    let sql = match shape {
        Shape::Scan | Shape::Shuffle => GROUP,
        Shape::Collapse => COLLAPSE,
        Shape::Single => TOTAL,
    };
    let jobs = jobs(vec![graph("job", sql, partitions, per_task).await]);
    let filler = adapter(r#"{"policy":"bias","lane":"inline"}"#, Mode::Push).await;
    if matches!(shape, Shape::Shuffle | Shape::Single) {
        let bound = bind(&filler, &mut budgets(&[("other".into(), 1_000)]), &jobs).await;
        report(&jobs, &bound, |id, task| finished(task, id, 10)).await;
    }
    if matches!(shape, Shape::Scan | Shape::Shuffle) && bound_before > 0 {
        bind(&filler, &mut budgets(&[("other".into(), bound_before)]), &jobs).await;
    }
    let mut graph = jobs.values().next().unwrap().execution_graph.write().await;
    graph.revive();
    graph.cloned()
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Shape {
    /// The first stage: it reads a table.
    Scan,
    /// The second: it reads a shuffle.
    Shuffle,
    /// A stage of many partitions that brings them all together.
    Collapse,
    /// The second stage, of one partition: it reads everything.
    Single,
}

fn shapes() -> impl Strategy<Value = Shape> {
    prop_oneof![Just(Shape::Scan), Just(Shape::Shuffle), Just(Shape::Collapse), Just(Shape::Single)]
}

/// Free vcores, all different.
fn frees() -> impl Strategy<Value = Vec<u32>> {
    proptest::sample::subsequence((1..24).collect::<Vec<u32>>(), 1..9).prop_shuffle()
}

/// A host for all cases of a property; `round-robin`, which remembers whose turn it is, has a new instance in each.
static BIAS: OnceCell<Loaded> = OnceCell::const_new();
static ROUND_ROBIN: OnceCell<Loaded> = OnceCell::const_new();
static AS_MUCH: OnceCell<Loaded> = OnceCell::const_new();

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bias_places_as_ballistas(
        shape in shapes(), partitions in 2usize..40, per_task in 0usize..5, before in 0u32..6, free in frees(),
    ) {
        runtime().block_on(async {
            let graph = prepared(shape, partitions, per_task, before).await;
            let free: Vec<_> = free.iter().enumerate().map(|(i, v)| (format!("e{i}"), *v)).collect();
            let theirs = ballistas(TaskDistributionPolicy::Bias, &free, graph.cloned()).await;
            let policy = BIAS.get_or_init(|| Loaded::start("bias")).await.adapter(Mode::Push);
            let pending = graph.available_tasks();
            assert!(pending == 0 || !theirs.is_empty());
            assert_eq!(placements(&ours(&policy, &free, graph).await), placements(&theirs));
            assert_eq!(policy.counts().fallback_rounds, 0);
        });
    }
}

// Fewer cases: a new instance for each takes 0.4 s.
proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    /// With one partition a task. With more, Ballista gives the executor whose turn it is all that it has room for,
    /// which is no turn any more; the policy deals partitions one by one, and each executor's are then made one task.
    #[test]
    fn round_robin_places_as_ballistas(
        shape in shapes(), partitions in 2usize..40, before in 0u32..6, mut free in frees(),
    ) {
        runtime().block_on(async {
            let graph = prepared(shape, partitions, 1, before).await;
            // Ballista begins with the executor that has most free, the policy with the first name.
            free.sort_unstable_by(|a, b| b.cmp(a));
            let free: Vec<_> = free.iter().enumerate().map(|(i, v)| (format!("e{i}"), *v)).collect();
            let theirs = ballistas(TaskDistributionPolicy::RoundRobin, &free, graph.cloned()).await;
            let policy = ROUND_ROBIN.get_or_init(|| Loaded::start("round-robin")).await.fresh_adapter(Mode::Push).await;
            assert_eq!(placements(&ours(&policy, &free, graph).await), placements(&theirs));
            assert_eq!(policy.counts().fallback_rounds, 0);
        });
    }

    /// Whatever the shape, the number of partitions that go to each executor is as even as what is free allows.
    #[test]
    fn round_robin_binds_as_much_as_ballistas(
        shape in shapes(), partitions in 2usize..40, per_task in 0usize..5, free in frees(),
    ) {
        runtime().block_on(async {
            let graph = prepared(shape, partitions, per_task, 0).await;
            let free: Vec<_> = free.iter().enumerate().map(|(i, v)| (format!("e{i}"), *v)).collect();
            let theirs = ballistas(TaskDistributionPolicy::RoundRobin, &free, graph.cloned()).await;
            let policy = AS_MUCH.get_or_init(|| Loaded::start("round-robin")).await.fresh_adapter(Mode::Push).await;
            let mine = ours(&policy, &free, graph).await;
            let covered = |bound: &[BoundTask]| {
                let ids = bound.iter().flat_map(|(_, t)| t.global_input_partition_ids.clone());
                let mut ids: Vec<usize> = ids.collect();
                ids.sort_unstable();
                ids
            };
            assert_eq!(covered(&mine), covered(&theirs));
        });
    }
}

/// The properties above are about something.
#[tokio::test]
async fn every_shape_has_something_to_bind() {
    for (shape, expected) in
        [(Shape::Scan, (3, 3)), (Shape::Shuffle, (3, 3)), (Shape::Collapse, (8, 1)), (Shape::Single, (1, 1))]
    {
        let graph = prepared(shape, 8, 0, 0).await;
        assert_eq!(graph.available_tasks(), if shape == Shape::Single { 1 } else { 8 }, "{shape:?}");
        let bound = ballistas(TaskDistributionPolicy::Bias, &[("e".into(), 3)], graph).await;
        let (_, task) = &bound[0];
        assert_eq!((task.global_input_partition_ids.len(), task.vcores_consumed), expected, "{shape:?}");
    }
}
