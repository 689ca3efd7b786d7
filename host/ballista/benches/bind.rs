//! Bind time of a round against Ballista's built-in policies: same process, same graphs, same door
//! (`ClusterState::bind_schedulable_tasks`), by turns.
//!
//! ```sh
//! cargo bench --locked --bench bind [-- "bias inline no bound 1600"]
//! ```
//! One job, one stage, 100 executors. Each turn takes a fresh copy of the job and asks twice: the first round of a stage
//! reads its plan, the second is what all later ones are like; it finds 10,000 partitions pending, and as many tasks
//! running as the first bound. Printed: medians in microseconds, and the median of the ratios within turns with its 95%
//! interval (order statistics).

#[path = "../tests/integration/graphs.rs"]
#[allow(dead_code)]
mod graphs;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use ballista_core::JobId;
use ballista_core::serde::scheduler::ExecutorData;
use ballista_scheduler::cluster::ClusterState;
use ballista_scheduler::cluster::memory::InMemoryClusterState;
use ballista_scheduler::config::TaskDistributionPolicy;
use ballista_scheduler::state::execution_graph::ExecutionGraphBox;
use ballista_scheduler::state::task_manager::JobInfoCache;
use policy_ballista::{Mode, ObservedCluster};

const PENDING: usize = 10_000;
const EXECUTORS: u32 = 100;
const TURNS: usize = 200;
/// The first turns warm memory.
const WARM_UP: usize = 10;

fn main() {
    // As the scheduler has it; the lane of a plugin is a thread of its own.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        println!(
            "{:<12} {:<7} {:>10} {:>6} {:>12} {:>11} {:>6}  {:<14} {:>12} {:>11} {:>6}",
            "policy", "lane", "a task", "free", "Ballista us", "adapter us", "ratio", "95%", "first", "first", "ratio"
        );
        for per_task in [1, 0] {
            for vcores in [16, 1] {
                let partitions = PENDING + (EXECUTORS * vcores) as usize;
                let graph = graphs::graph("job", graphs::GROUP, partitions, per_task).await;
                for lane in ["inline", "thread"] {
                    compare("bias", TaskDistributionPolicy::Bias, lane, &graph, per_task, vcores).await;
                    compare("round-robin", TaskDistributionPolicy::RoundRobin, lane, &graph, per_task, vcores).await;
                }
            }
        }
    });
}

async fn compare(
    name: &str,
    theirs: TaskDistributionPolicy,
    lane: &str,
    graph: &ExecutionGraphBox,
    per_task: usize,
    vcores: u32,
) {
    let bound = if per_task == 0 { "no bound".to_owned() } else { per_task.to_string() };
    let wanted = std::env::args().skip(1).find(|a| !a.starts_with('-')).unwrap_or_default();
    if !format!("{name} {lane} {bound} {}", EXECUTORS * vcores).contains(&wanted) {
        return;
    }
    let active = format!(r#"{{"policy":"{name}","lane":"{lane}","deadline_ms":1000}}"#);
    let adapter = Arc::new(graphs::adapter(&active, Mode::Push).await);
    let stock = InMemoryClusterState::default();
    let ours = ObservedCluster::new(&adapter);
    for cluster in [&stock as &dyn ClusterState, &ours] {
        for i in 0..EXECUTORS {
            let id = format!("executor-{i:04}");
            let data = ExecutorData { executor_id: id.clone(), total_vcores: vcores, available_vcores: vcores };
            cluster.register_executor(graphs::executor(&id, vcores), data).await.expect("registered");
        }
    }
    let custom = TaskDistributionPolicy::Custom(adapter.clone());
    let mut rows = Vec::new();
    for turn in 0..TURNS {
        let (a, b) = if turn % 2 == 0 {
            let a = two_rounds(&stock, &theirs, graph, turn).await;
            (a, two_rounds(&ours, &custom, graph, turn).await)
        } else {
            let b = two_rounds(&ours, &custom, graph, turn).await;
            (two_rounds(&stock, &theirs, graph, turn).await, b)
        };
        assert_eq!(a.1, (EXECUTORS * vcores) as usize, "everything free is bound");
        assert_eq!(a.1, b.1, "both bind as much");
        if turn >= WARM_UP {
            rows.push((a.0, b.0));
        }
    }
    assert_eq!(adapter.counts().fallback_rounds, 0);
    let column = |of: fn(&([f64; 2], [f64; 2])) -> f64| median(rows.iter().map(of).collect()).0;
    let (ratio, low, high) = median(rows.iter().map(|r| r.1[1] / r.0[1]).collect());
    println!(
        "{name:<12} {lane:<7} {bound:>10} {:>6} {:>12.1} {:>11.1} {ratio:>6.2}  [{low:.2}, {high:.2}]   {:>12.1} {:>11.1} {:>6.2}",
        EXECUTORS * vcores,
        column(|r| r.0[1]),
        column(|r| r.1[1]),
        column(|r| r.0[0]),
        column(|r| r.1[0]),
        column(|r| r.1[0] / r.0[0]),
    );
}

/// The first two rounds of a fresh copy of the job: microseconds of each, partitions bound by the second. What is bound
/// is given back at once, so that both find everything free.
async fn two_rounds(
    cluster: &dyn ClusterState,
    policy: &TaskDistributionPolicy,
    graph: &ExecutionGraphBox,
    turn: usize,
) -> ([f64; 2], usize) {
    let job = JobId::from(format!("job-{turn}").as_str());
    let jobs = Arc::new(HashMap::from([(job, JobInfoCache::new(graph.cloned()))]));
    let (mut times, mut partitions) = ([0.0; 2], 0);
    for time in &mut times {
        let (policy, jobs) = (policy.clone(), Arc::clone(&jobs));
        let begun = Instant::now();
        let bound = cluster.bind_schedulable_tasks(policy, jobs, None).await.expect("bound");
        *time = begun.elapsed().as_secs_f64() * 1e6;
        partitions = bound.iter().map(|(_, task)| task.global_input_partition_ids.len()).sum();
        let spent = bound.iter().map(|(executor, task)| (executor.clone(), task.vcores_consumed)).collect();
        cluster.unbind_tasks(spent).await.expect("given back");
    }
    // The job's end is not part of it: an offer without jobs closes the adapter's book on it.
    drop(jobs);
    cluster.bind_schedulable_tasks(policy.clone(), Arc::default(), None).await.expect("nothing to bind");
    (times, partitions)
}

/// The median with its 95% interval.
fn median(mut values: Vec<f64>) -> (f64, f64, f64) {
    values.sort_unstable_by(f64::total_cmp);
    let n = values.len() as f64;
    let at = |rank: f64| values[(rank.max(0.0) as usize).min(values.len() - 1)];
    let half = 0.98 * n.sqrt();
    (at(n / 2.0), at(n / 2.0 - half), at(n / 2.0 + half))
}
