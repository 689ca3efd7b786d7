//! What no policy can beat: bounds that follow from the workload and the cluster alone.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

use super::figures::{RunFigures, Spread};
use crate::cluster::{decimal, scaled, transfer_us};
use crate::workload::{Job, Task, Workload, topological};

/// Bounds of a workload, each on its own: no one schedule need reach all of them.
///
/// - Makespan: no job ends before its submission and its critical path on the fastest executor, and from any submission
///   on, all work that comes then or later must go through the whole cluster (the area bound with release times).
/// - Completion time of a job: its critical path, or its work over the whole cluster if that is longer. For the mean
///   also: the cluster as one preemptive machine of all its speed, which serves the shortest remaining job first;
///   nothing is faster in the mean (Schrage 1968).
/// - Waits 0, slowdowns 1; the best share of local bytes, each task on the holder of most of its input; utilisation that
///   of the makespan bound, an upper bound for least work (transfers and slow executors keep vcores busier than that).
///
/// Faults, memory, and vcores that do not divide evenly only make it worse than this. Costs O(tasks + jobs log jobs).
#[must_use]
pub fn lower_bound(workload: &Workload) -> RunFigures {
    let model = Model::new(workload);
    let first_us = workload.jobs.first().map_or(0, |j| j.submit_us);
    let (works, paths_us) = model.works_and_paths(workload);
    let ends_us =
        workload.jobs.iter().zip(&paths_us).map(|(j, path_us)| (j.submit_us - first_us).saturating_add(*path_us));
    let by_path_us = ends_us.max().unwrap_or(0);
    let mut suffix = 0.0;
    let mut makespan_us = by_path_us as f64;
    for (job, work) in workload.jobs.iter().zip(&works).rev() {
        suffix += work;
        makespan_us = f64::max(makespan_us, (job.submit_us - first_us) as f64 + suffix / model.capacity);
    }
    let jct = Spread::of(&mut model.least_jct_us(&works, &paths_us));
    let srpt_us = shortest_remaining_first_us(workload, &works, model.capacity);
    let busy: f64 = works.iter().sum();
    let mut known = vec![
        ("makespan_us", makespan_us),
        ("jct_us.mean", jct.mean.max(srpt_us)),
        ("jct_us.p50", jct.p50),
        ("jct_us.p95", jct.p95),
        ("jct_us.p99", jct.p99),
        ("jct_us.max", jct.max),
        ("locality_bytes_share", model.best_locality(workload)),
        ("utilisation", if makespan_us > 0.0 { busy / (makespan_us * model.capacity) } else { 0.0 }),
    ];
    for group in ["queue_wait_us", "bounded_slowdown"] {
        let best = if group == "queue_wait_us" { 0.0 } else { 1.0 };
        let names = super::METRICS.iter().map(|m| m.name).filter(|n| n.starts_with(group));
        known.extend(names.map(|n| (n, best)));
    }
    known.push(("oldest_wait_us", 0.0));
    RunFigures::known(&known)
}

/// The completion time of each job that no policy can beat, microseconds, as in [`lower_bound`].
pub(super) fn least_jct_us(workload: &Workload) -> Vec<f64> {
    let model = Model::new(workload);
    let (works, paths_us) = model.works_and_paths(workload);
    model.least_jct_us(&works, &paths_us)
}

struct Model<'a> {
    /// Vcores times speed, of all executors.
    capacity: f64,
    fastest: f64,
    uniform_speed: bool,
    network_mib_per_s: u64,
    holders: HashSet<&'a str>,
}

impl<'a> Model<'a> {
    fn new(workload: &'a Workload) -> Self {
        let executors = &workload.header.executors;
        let speeds = || executors.iter().map(|e| decimal(e.speed));
        let network = workload.header.network_mib_per_s;
        Self {
            capacity: executors.iter().map(|e| f64::from(e.vcores) * decimal(e.speed)).sum(),
            fastest: speeds().fold(0.0, f64::max),
            uniform_speed: speeds().all(|s| s == 1.0),
            network_mib_per_s: network.max(workload.header.rack_mib_per_s.unwrap_or(0)),
            holders: executors.iter().map(|e| e.name.as_str()).collect(),
        }
    }

    /// Of each job, the work at speed 1 (vcore microseconds) and the critical path (microseconds).
    fn works_and_paths(&self, workload: &Workload) -> (Vec<f64>, Vec<u64>) {
        let work = |job: &Job| job.stages.iter().flat_map(|s| &s.tasks).map(|t| self.work(t)).sum::<f64>();
        workload.jobs.iter().map(|job| (work(job), self.critical_path_us(job))).unzip()
    }

    fn least_jct_us(&self, works: &[f64], paths_us: &[u64]) -> Vec<f64> {
        paths_us.iter().zip(works).map(|(&path_us, work)| f64::max(path_us as f64, work / self.capacity)).collect()
    }

    /// Vcore microseconds at speed 1 that a task takes at least: what rounding may save is taken off.
    fn work(&self, task: &Task) -> f64 {
        let least_us = match self.uniform_speed {
            true => (task.duration_us + self.transfer_us(task)) as f64,
            false => (task.duration_us as f64 - 0.5 * self.fastest).max(0.0),
        };
        least_us * f64::from(task.vcores)
    }

    fn least_us(&self, task: &Task) -> u64 {
        scaled(task.duration_us, self.fastest).saturating_add(self.transfer_us(task))
    }

    fn transfer_us(&self, task: &Task) -> u64 {
        if task.inputs.is_empty() {
            return 0;
        }
        let (best, all) = self.input(task);
        transfer_us(all - best, self.network_mib_per_s)
    }

    /// Bytes on the executor that holds most of a task's input, and all bytes.
    fn input(&self, task: &Task) -> (u64, u64) {
        let on = |name: &str| task.inputs.iter().filter(|i| &*i.executor == name).map(|i| i.bytes).sum::<u64>();
        let here = task.inputs.iter().filter(|i| self.holders.contains(&*i.executor));
        let best = here.map(|i| on(&i.executor)).max().unwrap_or(0);
        (best, task.inputs.iter().map(|i| i.bytes).sum())
    }

    fn critical_path_us(&self, job: &Job) -> u64 {
        let at: HashMap<u32, usize> = job.stages.iter().enumerate().map(|(i, s)| (s.id, i)).collect();
        let mut end = vec![0u64; job.stages.len()];
        for i in topological(&job.stages).unwrap_or_default() {
            let stage = &job.stages[i];
            let begin = stage.depends_on.iter().filter_map(|d| at.get(d)).map(|&d| end[d]).max().unwrap_or(0);
            end[i] = begin.saturating_add(stage.tasks.iter().map(|t| self.least_us(t)).max().unwrap_or(0));
        }
        end.into_iter().max().unwrap_or(0)
    }

    fn best_locality(&self, workload: &Workload) -> f64 {
        let tasks = workload.jobs.iter().flat_map(|j| &j.stages).flat_map(|s| &s.tasks);
        let inputs = tasks.filter(|t| !t.inputs.is_empty()).map(|t| self.input(t));
        let (best, all) = inputs.fold((0u128, 0u128), |(b, a), i| (b + u128::from(i.0), a + u128::from(i.1)));
        if all == 0 { 1.0 } else { best as f64 / all as f64 }
    }
}

/// Mean completion time on one machine of speed `capacity`, shortest remaining work first, preemptive.
fn shortest_remaining_first_us(workload: &Workload, works: &[f64], capacity: f64) -> f64 {
    // Non-negative floats order as their bits do.
    let mut waiting: BinaryHeap<Reverse<(u64, usize)>> = BinaryHeap::new();
    let (mut now, mut total) = (0.0f64, 0.0);
    for next in (0..workload.jobs.len()).map(Some).chain([None]) {
        let until = next.map_or(f64::INFINITY, |i| workload.jobs[i].submit_us as f64);
        while let Some(Reverse((bits, index))) = waiting.pop() {
            let left = f64::from_bits(bits);
            let end = now + left / capacity;
            if end > until {
                waiting.push(Reverse(((left - (until - now) * capacity).max(0.0).to_bits(), index)));
                break;
            }
            now = end;
            total += now - workload.jobs[index].submit_us as f64;
        }
        now = if until.is_finite() { now.max(until) } else { now };
        if let Some(index) = next {
            waiting.push(Reverse((works[index].to_bits(), index)));
        }
    }
    if works.is_empty() { 0.0 } else { total / works.len() as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::metric;
    use crate::workload::{ClusterDefaults, Stage};

    fn bound(executors: u32, jobs: &[(u64, &[u64])]) -> impl Fn(&str) -> f64 {
        let cluster = ClusterDefaults::uniform(executors, 1);
        let jobs = jobs.iter().enumerate().map(|(i, (submit_us, durations))| Job {
            id: format!("j{i}"),
            tenant: "t".into(),
            submit_us: *submit_us,
            priority: 0,
            stages: vec![Stage { id: 0, depends_on: vec![], tasks: durations.iter().map(|&d| Task::new(d)).collect() }],
        });
        let workload = Workload { header: cluster.cluster, jobs: jobs.collect() };
        let figures = lower_bound(&workload);
        move |name| figures.values[metric(name).unwrap()]
    }

    #[test]
    fn bounds_are_those_of_the_books() {
        let area = bound(2, &[(0, &[3, 3, 2])]);
        assert_eq!((area("makespan_us"), area("utilisation")), (4.0, 1.0));
        let longest = bound(4, &[(0, &[10, 1])]);
        assert_eq!((longest("makespan_us"), longest("p50_jct_us")), (10.0, 10.0));
        let late = bound(1, &[(0, &[1]), (100, &[5, 5])]);
        assert_eq!(late("makespan_us"), 110.0);
        assert_eq!(late("jct_us.mean"), 5.5);
        // One machine, shortest first: 1 at 1, 2 at 3, 3 at 6.
        let queue = bound(1, &[(0, &[3]), (0, &[1]), (0, &[2])]);
        assert!((queue("jct_us.mean") - 10.0 / 3.0).abs() < 1e-9);
        // A short job that comes later overtakes: it ends at 3, the long one at 11.
        let overtaken = bound(1, &[(0, &[10]), (2, &[1])]);
        assert!((overtaken("jct_us.mean") - (11.0 + 1.0) / 2.0).abs() < 1e-9);
    }
}
