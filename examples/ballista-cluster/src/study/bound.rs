//! The most local bytes that the run of a job could have had: what no policy beats, with hindsight.
//!
//! Given are the rounds as they were: how many vcores each executor had free, how many tasks were placed, and which
//! stages had tasks placed. Each task may go to any round that placed tasks of its stage, on any executor with something
//! free in that round, and each round places as many tasks as it did. Of all such assignments, one with the most local
//! bytes is found: an assignment problem (Kuhn 1955, Munkres 1957), with a row for each task and for each vcore that a
//! round left free. That later rounds would have had other vcores free after other choices is not part of it, nor is
//! where outputs lie that others read: both are taken as they were.

use std::collections::{BTreeMap, BTreeSet};

use pathfinding::kuhn_munkres::kuhn_munkres;
use pathfinding::matrix::Matrix;
use policy_sim::workload::ran::RecordedJob;
use policy_sim::workload::{Job, Task};

/// What may not be: worse than anything that may, and far enough from overflow.
const NEVER: i64 = -(1 << 48);

/// Bytes of a job's shuffle inputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bytes {
    /// Read on the executor that held them.
    pub(crate) local: u64,
    /// The most that could have been, given the rounds.
    pub(crate) bound: u64,
    /// With every task on the executor that holds most of its input, whatever is free.
    pub(crate) unlimited: u64,
    /// All of them.
    pub(crate) all: u64,
}

impl std::ops::AddAssign for Bytes {
    fn add_assign(&mut self, more: Self) {
        self.local += more.local;
        self.bound += more.bound;
        self.unlimited += more.unlimited;
        self.all += more.all;
    }
}

fn held(task: &Task, executor: &str) -> u64 {
    task.inputs.iter().filter(|i| &*i.executor == executor).map(|i| i.bytes).sum()
}

/// Counts the bytes of a job. `None` when it was recorded without rounds.
pub(crate) fn bytes(job: &Job, recorded: &RecordedJob) -> Option<Bytes> {
    let mut bytes = Bytes::default();
    let mut rows: Vec<(&Task, usize)> = Vec::new();
    let mut placed: BTreeMap<u64, usize> = BTreeMap::new();
    let mut rounds_of: Vec<BTreeSet<u64>> = vec![BTreeSet::new(); job.stages.len()];
    for (at, (stage, runs)) in job.stages.iter().zip(&recorded.stages).enumerate() {
        for (task, run) in stage.tasks.iter().zip(runs) {
            let run = run.as_ref()?;
            bytes.all += task.inputs.iter().map(|i| i.bytes).sum::<u64>();
            bytes.local += held(task, &run.executor);
            bytes.unlimited += task.inputs.iter().map(|i| held(task, &i.executor)).max().unwrap_or(0);
            let round = run.round?;
            *placed.entry(round).or_default() += 1;
            rounds_of[at].insert(round);
            rows.push((task, at));
        }
    }
    let mut columns: Vec<(u64, &str)> = Vec::new();
    let mut idle: Vec<u64> = Vec::new();
    for seen in &recorded.run.rounds {
        let slots = seen.free.iter().flat_map(|(e, &free)| std::iter::repeat_n(e.as_str(), free as usize));
        let before = columns.len();
        columns.extend(slots.map(|executor| (seen.round, executor)));
        let left = (columns.len() - before).checked_sub(placed.get(&seen.round).copied().unwrap_or(0))?;
        idle.extend(std::iter::repeat_n(seen.round, left));
    }
    if rows.is_empty() {
        return Some(bytes);
    }
    let weight = |row: usize, column: usize| {
        let (round, executor) = columns[column];
        match rows.get(row) {
            Some((task, stage)) if rounds_of[*stage].contains(&round) => {
                i64::try_from(held(task, executor)).unwrap_or(i64::MAX >> 16)
            }
            None if idle[row - rows.len()] == round => 0,
            _ => NEVER,
        }
    };
    let n = columns.len();
    if n < rows.len() {
        return None;
    }
    let weights = Matrix::from_fn(n, n, |(row, column)| weight(row, column));
    let (total, _) = kuhn_munkres(&weights);
    bytes.bound = u64::try_from(total).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use policy_sim::workload::ran::{JobRun, RoundSeen, TaskRun};
    use policy_sim::workload::{Input, Stage};

    use super::*;

    /// Tasks: what they hold on a and b, and the round and executor that they went to.
    fn job(tasks: &[((u64, u64), u64, &str)], rounds: &[(u64, u32, u32)]) -> Option<Bytes> {
        let task = |&((a, b), ..): &((u64, u64), u64, &str)| Task {
            inputs: vec![Input { executor: "a".into(), bytes: a }, Input { executor: "b".into(), bytes: b }],
            ..Task::new(1)
        };
        let stage = Stage { id: 0, depends_on: vec![], tasks: tasks.iter().map(task).collect() };
        let job = Job { id: "j".into(), tenant: "t".into(), submit_us: 0, priority: 0, stages: vec![stage] };
        let run = |&(_, round, executor): &((u64, u64), u64, &str)| {
            let (executor, round) = (executor.to_owned(), Some(round));
            Some(TaskRun { executor, task: 0, bound_us: 0, start_us: 0, end_us: 0, reported_us: 0, round })
        };
        let seen = |&(round, a, b): &(u64, u32, u32)| RoundSeen {
            round,
            at_us: 0,
            free: [("a".to_owned(), a), ("b".to_owned(), b)].into(),
        };
        let run_of_job =
            JobRun { policy: "p".into(), name: String::new(), end_us: 1, rounds: rounds.iter().map(seen).collect() };
        bytes(&job, &RecordedJob { run: run_of_job, stages: vec![tasks.iter().map(run).collect()] })
    }

    #[test]
    fn the_bound_is_the_best_that_the_rounds_allowed() {
        // Both want a, which has room for one; the second gains more by it.
        let crossed = job(&[((9, 0), 1, "a"), ((20, 1), 1, "b")], &[(1, 1, 1)]).unwrap();
        assert_eq!(crossed, Bytes { local: 10, bound: 20, unlimited: 29, all: 30 });
        // There was room for both, and an idle vcore that need not be used.
        let roomy = job(&[((9, 0), 1, "b"), ((20, 1), 1, "b")], &[(1, 2, 2)]).unwrap();
        assert_eq!((roomy.local, roomy.bound), (1, 29));
        // Of two rounds, each placed one task: the task that wants b could have gone in the second.
        let late = job(&[((0, 5), 1, "a"), ((7, 0), 2, "b")], &[(1, 1, 0), (2, 0, 1)]).unwrap();
        assert_eq!((late.local, late.bound), (0, 12));
        // One task a round, though the first had room for both: not both go where it is best.
        let one_each = job(&[((8, 0), 1, "a"), ((6, 1), 2, "b")], &[(1, 2, 0), (2, 0, 1)]).unwrap();
        assert_eq!((one_each.local, one_each.bound, one_each.unlimited), (9, 9, 14));
    }

    #[test]
    fn without_rounds_there_is_no_bound() {
        assert_eq!(job(&[((1, 1), 3, "a")], &[]), None);
    }
}
