//! Bind time of a round against Ballista's built-in policies, in this process and on the same graphs, by turns.
//!
//! ```sh
//! cargo bench -p policy-ballista
//! ```
//! Prints medians and their ratio. One job, one stage of 10,000 pending partitions, 100 executors.

#[path = "../tests/integration/graphs.rs"]
#[allow(dead_code)]
mod graphs;

use std::sync::Arc;
use std::time::{Duration, Instant};

use ballista_core::serde::scheduler::ExecutorData;
use ballista_scheduler::cluster::ClusterState;
use ballista_scheduler::cluster::memory::InMemoryClusterState;
use ballista_scheduler::config::TaskDistributionPolicy;
use ballista_scheduler::state::execution_graph::ExecutionGraphBox;
use policy_ballista::{Mode, PolicyAdapter};

const PARTITIONS: usize = 10_000;
const EXECUTORS: u32 = 100;
const TURNS: usize = 60;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        println!(
            "{:<12} {:>10} {:>12} {:>12} {:>12} {:>7}",
            "policy", "per task", "free vcores", "Ballista us", "ours us", "ratio"
        );
        for per_task in [1, 0] {
            let graph = graphs::graph("job", graphs::GROUP, PARTITIONS, per_task).await;
            for vcores in [16, 1] {
                compare("bias", TaskDistributionPolicy::Bias, &graph, per_task, vcores).await;
                compare("round-robin", TaskDistributionPolicy::RoundRobin, &graph, per_task, vcores).await;
            }
        }
    });
}

async fn compare(name: &str, theirs: TaskDistributionPolicy, graph: &ExecutionGraphBox, per_task: usize, vcores: u32) {
    let policy = graphs::adapter(&format!(r#"{{"policy":"{name}","lane":"inline"}}"#), Mode::Push).await;
    let free: Vec<(String, u32)> = (0..EXECUTORS).map(|i| (format!("executor-{i:04}"), vcores)).collect();
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for turn in 0..TURNS {
        let a = ballistas(theirs.clone(), &free, graph).await;
        let b = ours(&policy, &free, graph).await;
        assert_eq!(a.1, b.1, "both bind as much");
        // The first turns read the stage and warm memory.
        if turn >= 10 {
            first.push(a.0);
            second.push(b.0);
        }
    }
    let (a, b) = (median(first), median(second));
    let per_task = if per_task == 0 { "no bound".to_owned() } else { per_task.to_string() };
    let total = EXECUTORS * vcores;
    println!("{name:<12} {per_task:>10} {total:>12} {a:>12.1} {b:>12.1} {:>7.2}", b / a);
}

async fn ballistas(
    policy: TaskDistributionPolicy,
    free: &[(String, u32)],
    graph: &ExecutionGraphBox,
) -> (Duration, usize) {
    let cluster = InMemoryClusterState::default();
    for (id, vcores) in free {
        let data = ExecutorData { executor_id: id.clone(), total_vcores: *vcores, available_vcores: *vcores };
        cluster.register_executor(graphs::executor(id, *vcores), data).await.expect("registered");
    }
    let jobs = graphs::jobs(vec![graph.cloned()]);
    let begun = Instant::now();
    let bound = cluster.bind_schedulable_tasks(policy, Arc::clone(&jobs), None).await.expect("bound");
    (begun.elapsed(), bound.iter().map(|(_, task)| task.global_input_partition_ids.len()).sum())
}

async fn ours(policy: &PolicyAdapter, free: &[(String, u32)], graph: &ExecutionGraphBox) -> (Duration, usize) {
    let mut budgets = graphs::budgets(free);
    let jobs = graphs::jobs(vec![graph.cloned()]);
    let begun = Instant::now();
    let bound = graphs::bind(policy, &mut budgets, &jobs).await;
    (begun.elapsed(), bound.iter().map(|(_, task)| task.global_input_partition_ids.len()).sum())
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1e6
}
