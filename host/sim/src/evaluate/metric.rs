//! The names of the figures, and what becomes of each over several runs.

/// What one figure of several runs is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// Their mean.
    Mean,
    /// Their sum: what is counted, and should be 0.
    Sum,
}

/// One figure.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name: `GROUP.PART` where it is one number of a distribution.
    pub name: &'static str,
    /// What it is over several runs.
    pub over: Over,
}

const fn mean(name: &'static str) -> Metric {
    Metric { name, over: Over::Mean }
}

const fn sum(name: &'static str) -> Metric {
    Metric { name, over: Over::Sum }
}

/// Every figure. Times are virtual microseconds, but for `decision_us`: what a round took, in wall microseconds.
///
/// - `makespan_us`: first submission to last end; `jct_us`: a job's submission to its end; `queue_wait_us`: a task's,
///   from when its stage could run; `oldest_wait_us`: the longest of them, of tasks that never started too;
/// - `bounded_slowdown`: `max(1, jct / max(run, 10 s))`, run from a job's first start to its end (Feitelson). It
///   takes a job for one that runs as a whole: a policy that starts one task early and the others late looks better by it
///   than by `jct_us`;
/// - `utilisation`: vcore time of finished tasks over vcore time that was there; `locality_bytes_share`: of input bytes;
/// - `jain_tenants`: Jain's index of the vcore time that tenants got in all; `jain_contested`: of the vcores that they
///   held while two or more had pending tasks, averaged over that time;
/// - `jobs_in_system`: jobs submitted and not finished, averaged over the makespan.
pub const METRICS: &[Metric] = &[
    mean("makespan_us"),
    mean("jct_us.mean"),
    mean("jct_us.p50"),
    mean("jct_us.p95"),
    mean("jct_us.p99"),
    mean("jct_us.max"),
    mean("queue_wait_us.mean"),
    mean("queue_wait_us.p50"),
    mean("queue_wait_us.p95"),
    mean("queue_wait_us.p99"),
    mean("queue_wait_us.max"),
    mean("bounded_slowdown.mean"),
    mean("bounded_slowdown.p50"),
    mean("bounded_slowdown.p95"),
    mean("bounded_slowdown.p99"),
    mean("bounded_slowdown.max"),
    mean("utilisation"),
    mean("locality_bytes_share"),
    mean("jain_tenants"),
    mean("jain_contested"),
    mean("oldest_wait_us"),
    mean("jobs_in_system"),
    mean("decision_us.p50"),
    mean("decision_us.p99"),
    mean("decision_us.max"),
    mean("busy_vcore_us"),
    mean("wasted_vcore_us"),
    mean("rounds"),
    sum("invalid_bindings"),
    sum("fallback_rounds"),
    sum("retries"),
    sum("jobs_completed"),
    sum("tasks_completed"),
    sum("tasks_unfinished"),
    sum("tasks_lost"),
    sum("tasks_duplicated"),
    sum("stalled_runs"),
];

/// The place of a name in [`METRICS`]. Takes `p99_jct_us` for `jct_us.p99` as well, and `jct_us` for its mean.
#[must_use]
pub fn metric(name: &str) -> Option<usize> {
    let find = |name: &str| METRICS.iter().position(|m| m.name == name);
    let turned = || name.split_once('_').and_then(|(part, group)| find(&format!("{group}.{part}")));
    find(name).or_else(turned).or_else(|| find(&format!("{name}.mean")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_either_way() {
        let name = |text| metric(text).map(|at| METRICS[at].name);
        assert_eq!(name("p99_jct_us"), Some("jct_us.p99"));
        assert_eq!(name("mean_queue_wait_us"), Some("queue_wait_us.mean"));
        assert_eq!(name("jct_us"), Some("jct_us.mean"));
        assert_eq!(name("makespan_us"), Some("makespan_us"));
        assert_eq!(name("max_decision_us"), Some("decision_us.max"));
        assert_eq!(name("p98_jct_us"), None);
    }

    #[test]
    fn every_figure_has_a_value_in_a_run() {
        use crate::cluster::{Cluster, ClusterOptions};
        use crate::workload::{ClusterDefaults, parse_source};
        let workload = std::sync::Arc::new(parse_source("synthetic:jobs=3", &ClusterDefaults::default()).unwrap());
        let cluster = Cluster::new(workload.clone(), ClusterOptions::default()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let host = policy_host::PolicyHost::start(policy_host::HostOptions::default()).unwrap();
        let outcome = runtime.block_on(crate::virtual_time::run(cluster, &host, Default::default())).unwrap();
        let figures = crate::evaluate::RunFigures::of(&workload, &outcome, 0, 0);
        let without: Vec<&str> =
            METRICS.iter().zip(&figures.values).filter(|(_, v)| v.is_nan()).map(|(m, _)| m.name).collect();
        // Its waits were not kept, so they have no spread.
        assert!(without.iter().all(|n| n.starts_with("queue_wait_us.") || *n == "jain_contested"), "{without:?}");
    }
}
