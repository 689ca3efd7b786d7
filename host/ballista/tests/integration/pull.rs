//! In pull mode Ballista asks for one executor at a time; policies that are about the whole cluster must mean there what
//! they mean in push mode. Plugins from files, on graphs without a cluster.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use ballista_core::JobId;
use ballista_scheduler::cluster::BoundTask;
use ballista_scheduler::state::task_manager::JobInfoCache;
use policy_ballista::{Mode, PolicyAdapter};

use crate::graphs::{GROUP, Placement, bind, budgets, finished, graph, graph_of_files, jobs, placements, report};
use crate::loaded::Loaded;

type Jobs = Arc<HashMap<JobId, JobInfoCache>>;

fn free(executors: &[&str], vcores: u32) -> Vec<(String, u32)> {
    executors.iter().map(|id| ((*id).to_owned(), vcores)).collect()
}

/// In push mode all executors are offered at once; in pull mode they ask in this order, as idle executors do, until
/// everything is bound.
async fn bind_all(policy: &PolicyAdapter, mode: Mode, executors: &[&str], vcores: u32, jobs: &Jobs) -> Vec<BoundTask> {
    if mode == Mode::Push {
        return bind(policy, &mut budgets(&free(executors, vcores)), jobs).await;
    }
    let mut bound = Vec::new();
    for id in executors {
        bound.extend(bind(policy, &mut budgets(&free(&[id], vcores)), jobs).await);
    }
    bound
}

/// Executors become known by asking while there is nothing to do.
async fn meet(policy: &PolicyAdapter, mode: Mode, executors: &[&str], vcores: u32) {
    bind_all(policy, mode, executors, vcores, &jobs(Vec::new())).await;
}

/// Executor by partition, of a stage.
fn homes(placed: &[Placement]) -> HashMap<usize, &str> {
    placed.iter().flat_map(|row| row.3.iter().map(|&p| (p, row.0.as_str()))).collect()
}

/// Who asks first in pull mode does not matter; push mode says what is right.
const RUNS: [(Mode, [&str; 4]); 3] = [
    (Mode::Push, ["e0", "e1", "e2", "e3"]),
    (Mode::Pull, ["e0", "e1", "e2", "e3"]),
    (Mode::Pull, ["e3", "e1", "e0", "e2"]),
];

#[tokio::test]
async fn consistent_hash_gives_a_file_to_the_executor_of_its_key_whoever_asks_first() {
    let files = tempfile::tempdir().unwrap();
    let policy = Loaded::start("consistent-hash").await;
    let mut placed = Vec::new();
    for (mode, order) in RUNS {
        let policy = policy.fresh_adapter(mode).await;
        meet(&policy, mode, &order, 24).await;
        let jobs = jobs(vec![graph_of_files("job", GROUP, 24, files.path()).await]);
        placed.push(placements(&bind_all(&policy, mode, &order, 24, &jobs).await));
        assert_eq!(policy.counts().fallback_rounds, 0);
    }
    let homes = homes(&placed[0]);
    assert_eq!(homes.len(), 24, "{homes:?}");
    assert!(homes.values().collect::<HashSet<_>>().len() > 1, "{homes:?}");
    assert_eq!(placed[1], placed[0]);
    assert_eq!(placed[2], placed[0]);
}

#[tokio::test]
async fn data_locality_keeps_tasks_for_the_executor_that_holds_their_inputs_whoever_asks_first() {
    let policy = Loaded::start("data-locality").await;
    for (mode, order) in RUNS {
        let policy = policy.fresh_adapter(mode).await;
        meet(&policy, mode, &order, 1).await;
        let jobs = jobs(vec![graph("job", GROUP, 2, 0).await]);
        let first = bind_all(&policy, mode, &order, 1, &jobs).await;
        let [most, least] = [&first[0].0, &first[1].0].map(String::clone);
        assert_ne!(most, least, "{mode:?}: {:?}", placements(&first));
        // As executors do: each reports, then asks. The one that holds most was ready first.
        report(&jobs, &first[..1], |id, task| finished(task, id, 1_000)).await;
        assert!(bind_all(&policy, mode, &[&most], 2, &jobs).await.is_empty(), "{mode:?}");
        report(&jobs, &first[1..], |id, task| finished(task, id, 10)).await;
        let mut asking = order.to_vec();
        asking.sort_by_key(|id| (*id == most, *id != least));
        let second = placements(&bind_all(&policy, mode, &asking, 2, &jobs).await);
        let homes = homes(&second);
        assert_eq!(homes.len(), 2, "{mode:?}: {second:?}");
        assert!(homes.values().all(|id| *id == most), "{mode:?}: {second:?}");
        assert_eq!(policy.counts().fallback_rounds, 0);
    }
}
