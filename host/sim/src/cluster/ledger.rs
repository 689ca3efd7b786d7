//! The ledger: what happened to every task, counted task by task, independent of the queues. It knows no executor, no
//! queue and no clock, so that an error in a queue cannot hide itself.

/// A stage in the ledger, numbered in order of submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct StageKey(pub(crate) u32);

/// Where the queues hold a task at the time of an audit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// In the queue of a stage that may run.
    Pending,
    /// On an executor.
    Running,
    /// In a stage that waits for other stages.
    Blocked,
    /// Nowhere.
    Nowhere,
}

/// What became of the tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TaskCounts {
    /// Tasks of the jobs that have come.
    pub submitted: u64,
    /// Tasks that have finished.
    pub completed: u64,
    /// Tasks that have not, and are pending, running, or wait for other stages.
    pub unfinished: u64,
    /// Tasks that have not, and are nowhere: the worst that can happen.
    pub lost: u64,
    /// Tasks that were bound again, or started again, while they ran or after they had finished.
    pub duplicated: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct TaskRow {
    starts: u32,
    finishes: u32,
    /// Runs that failed, or ended with their executor.
    breaks: u32,
    duplicated: bool,
}

impl TaskRow {
    fn running(&self) -> bool {
        u64::from(self.starts) > u64::from(self.finishes) + u64::from(self.breaks)
    }
}

#[derive(Debug)]
struct StageRow {
    first: usize,
    tasks: u32,
    finished: u32,
    waits_for: Vec<StageKey>,
}

/// One row a task, since its job was submitted. 16 bytes a task; every entry O(1).
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    tasks: Vec<TaskRow>,
    stages: Vec<StageRow>,
    completed: u64,
}

impl Ledger {
    /// Enters a stage of a submitted job. The stages that it waits for must have been entered before.
    pub(crate) fn submit(&mut self, tasks: u32, waits_for: Vec<StageKey>) -> StageKey {
        debug_assert!(waits_for.iter().all(|s| s.0 < self.stages.len() as u32), "entered before");
        let first = self.tasks.len();
        self.tasks.resize(first + tasks as usize, TaskRow::default());
        self.stages.push(StageRow { first, tasks, finished: 0, waits_for });
        StageKey(self.stages.len() as u32 - 1)
    }

    /// Enters a start. `false` when the task runs already or has finished: it is counted as duplicated and must not be
    /// started.
    pub(crate) fn start(&mut self, stage: StageKey, task: u32) -> bool {
        let row = self.row(stage, task);
        if row.running() || row.finishes > 0 {
            row.duplicated = true;
            return false;
        }
        row.starts += 1;
        true
    }

    /// Starts of a task so far.
    pub(crate) fn starts(&self, stage: StageKey, task: u32) -> u32 {
        self.tasks[self.stages[stage.0 as usize].first + task as usize].starts
    }

    /// Enters a binding of a task that the queue did not hold. It counts as duplicated when the task has been started;
    /// `true` then.
    pub(crate) fn bound_again(&mut self, stage: StageKey, task: u32) -> bool {
        let row = self.row(stage, task);
        let again = row.running() || row.finishes > 0;
        row.duplicated |= again;
        again
    }

    /// Enters that a running task failed, or that its executor went away.
    pub(crate) fn broke(&mut self, stage: StageKey, task: u32) {
        self.row(stage, task).breaks += 1;
    }

    /// Enters an end. A second end of one task counts as duplicated.
    pub(crate) fn finish(&mut self, stage: StageKey, task: u32) {
        let row = self.row(stage, task);
        row.finishes += 1;
        let first = row.finishes == 1;
        row.duplicated |= !first;
        if first {
            self.completed += 1;
            self.stages[stage.0 as usize].finished += 1;
        }
    }

    /// Tasks submitted so far.
    pub(crate) fn submitted(&self) -> u64 {
        self.tasks.len() as u64
    }

    /// Tasks finished so far.
    pub(crate) fn completed(&self) -> u64 {
        self.completed
    }

    /// Compares the ledger with the queues: `held` says where they hold a task. Costs O(tasks), and one call of `held`
    /// for every task that has not finished.
    pub(crate) fn audit(&self, mut held: impl FnMut(StageKey, u32) -> Held) -> TaskCounts {
        let mut counts = TaskCounts { submitted: self.submitted(), ..TaskCounts::default() };
        let mut done: Vec<bool> = Vec::with_capacity(self.stages.len());
        for (at, stage) in self.stages.iter().enumerate() {
            let key = StageKey(at as u32);
            let may_wait = stage.waits_for.iter().any(|other| !done[other.0 as usize]);
            done.push(stage.finished == stage.tasks && (stage.tasks > 0 || !may_wait));
            for (index, row) in self.tasks[stage.first..stage.first + stage.tasks as usize].iter().enumerate() {
                counts.duplicated += u64::from(row.duplicated);
                if row.finishes > 0 {
                    counts.completed += 1;
                    continue;
                }
                let found = match held(key, index as u32) {
                    Held::Running => row.running(),
                    Held::Pending => !row.running(),
                    Held::Blocked => may_wait && row.starts == 0,
                    Held::Nowhere => false,
                };
                if found {
                    counts.unfinished += 1;
                } else {
                    counts.lost += 1;
                }
            }
        }
        counts
    }

    fn row(&mut self, stage: StageKey, task: u32) -> &mut TaskRow {
        let stage = &self.stages[stage.0 as usize];
        debug_assert!(task < stage.tasks, "a task of its stage");
        &mut self.tasks[stage.first + task as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_stage(tasks: u32) -> (Ledger, StageKey) {
        let mut ledger = Ledger::default();
        let key = ledger.submit(tasks, Vec::new());
        (ledger, key)
    }

    #[test]
    fn a_task_that_no_queue_holds_is_lost() {
        let (mut ledger, key) = one_stage(3);
        assert!(ledger.start(key, 0));
        ledger.finish(key, 0);
        let counts = ledger.audit(|_, task| if task == 1 { Held::Pending } else { Held::Nowhere });
        assert_eq!(counts, TaskCounts { submitted: 3, completed: 1, unfinished: 1, lost: 1, duplicated: 0 });
    }

    #[test]
    fn a_task_that_runs_by_the_books_but_not_on_an_executor_is_lost() {
        let (mut ledger, key) = one_stage(1);
        assert!(ledger.start(key, 0));
        assert_eq!(ledger.audit(|_, _| Held::Nowhere).lost, 1);
        assert_eq!(ledger.audit(|_, _| Held::Running).unfinished, 1);
    }

    #[test]
    fn a_start_while_running_or_after_the_end_is_duplicated_once_a_task() {
        let (mut ledger, key) = one_stage(2);
        assert!(ledger.start(key, 0));
        assert!(!ledger.start(key, 0));
        assert!(ledger.bound_again(key, 0));
        ledger.finish(key, 0);
        assert!(!ledger.start(key, 0));
        assert!(ledger.start(key, 1));
        ledger.finish(key, 1);
        ledger.finish(key, 1);
        let counts = ledger.audit(|_, _| Held::Nowhere);
        assert_eq!(counts, TaskCounts { submitted: 2, completed: 2, unfinished: 0, lost: 0, duplicated: 2 });
    }

    #[test]
    fn a_start_after_a_lost_executor_is_no_duplicate() {
        let (mut ledger, key) = one_stage(1);
        assert!(ledger.start(key, 0));
        ledger.broke(key, 0);
        assert!(!ledger.bound_again(key, 0));
        assert!(ledger.start(key, 0));
        ledger.finish(key, 0);
        assert_eq!(ledger.audit(|_, _| Held::Nowhere).duplicated, 0);
    }

    #[test]
    fn a_stage_that_waits_for_nothing_any_more_is_lost() {
        let mut ledger = Ledger::default();
        let first = ledger.submit(1, Vec::new());
        ledger.submit(2, vec![first]);
        let blocked = |key: StageKey, _| if key == first { Held::Pending } else { Held::Blocked };
        assert_eq!(ledger.audit(blocked).lost, 0);
        ledger.start(first, 0);
        ledger.finish(first, 0);
        assert_eq!(ledger.audit(blocked).lost, 2);
    }
}
