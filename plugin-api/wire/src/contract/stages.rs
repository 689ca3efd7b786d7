//! The stages that an answer names: which of them a task belongs to, and whether the task is pending.
//!
//! Most answers go through stages, and through the runs of pending tasks of a stage, in order: each step is then a
//! comparison. Other answers need searches. Once these have cost about as much as an index, the index is built, and from
//! then on a row costs the same in any order: a look-up for its stage, a bit for its task.

use smallvec::SmallVec;

use super::demand::Demand;
use super::stretch::words_of;
use crate::ids::StageId;
use crate::round::{RunningJobs, StageColumns};

/// Searches that an index of so many entries has to save before it is built, as a part of the entries.
const SEARCHES_PER_INDEX: u32 = 8;

/// What the checker reads of one stage, looked up once.
#[derive(Debug)]
pub(super) struct StageRows<'a> {
    pub(super) id: StageId,
    pub(super) first_task: u32,
    tasks: u32,
    vcores: &'a [u32],
    memory_mib: &'a [u32],
    /// The executors that filters leave to it; `None` for all.
    pub(super) mask: Option<&'a [u64]>,
    /// The capped groups that it belongs to.
    pub(super) groups: &'a [u32],
    run_start: &'a [u32],
    run_length: &'a [u32],
    /// The run of the last row, and its place among the runs.
    run: std::ops::Range<u32>,
    run_at: usize,
    searches: u32,
    /// Whether a bit a task says what is pending.
    has_bits: bool,
}

impl<'a> StageRows<'a> {
    /// Vcores that task `index` takes.
    #[inline]
    pub(super) fn vcores_of(&self, index: u32) -> u32 {
        match self.vcores {
            [] => 1,
            [all] => (*all).max(1),
            each => each.get(index as usize).map_or(1, |&own| own.max(1)),
        }
    }

    /// Memory that task `index` takes, MiB.
    #[inline]
    pub(super) fn memory_mib_of(&self, index: u32) -> u32 {
        match self.memory_mib {
            [] => 0,
            [all] => *all,
            each => each.get(index as usize).copied().unwrap_or(0),
        }
    }

    /// Vcores of `rows` tasks from task `index` on. `None` where the column is too short.
    #[inline]
    pub(super) fn vcores_from(&self, index: u32, rows: usize) -> Option<Demand<'a>> {
        Some(match self.vcores {
            [] => Demand::Same(1),
            [all] => Demand::Same(u64::from((*all).max(1))),
            each => Demand::Each { values: each.get(index as usize..index as usize + rows)?, least: 1 },
        })
    }

    /// Memory of `rows` tasks from task `index` on. `None` where the column is too short.
    #[inline]
    pub(super) fn memory_mib_from(&self, index: u32, rows: usize) -> Option<Demand<'a>> {
        Some(match self.memory_mib {
            [] => Demand::Same(0),
            [all] => Demand::Same(u64::from(*all)),
            each => Demand::Each { values: each.get(index as usize..index as usize + rows)?, least: 0 },
        })
    }

    /// Whether task `index` is in the run of the last row, or has its bit set. `false` may mean that it takes a search.
    #[inline]
    pub(super) fn has_pending(&self, index: u32, pending: &[u64], word: usize, bit: u64) -> bool {
        if self.has_bits {
            return index < self.tasks && pending.get(word).is_some_and(|word| word & bit != 0);
        }
        index.wrapping_sub(self.run.start) < self.run.end - self.run.start
    }

    fn run_number(&self, at: usize) -> Option<std::ops::Range<u32>> {
        let (&start, &length) = (self.run_start.get(at)?, self.run_length.get(at)?);
        Some(start..start.saturating_add(length).min(self.tasks))
    }

    fn next_run_has(&mut self, index: u32) -> bool {
        let next = self.run_at + usize::from(!self.run.is_empty());
        self.enter(next, index)
    }

    fn search(&mut self, index: u32) -> bool {
        let after = self.run_start.partition_point(|&start| start <= index);
        after.checked_sub(1).is_some_and(|at| self.enter(at, index))
    }

    /// Makes run `at` the current one, if it holds task `index`.
    fn enter(&mut self, at: usize, index: u32) -> bool {
        match self.run_number(at) {
            Some(run) if run.contains(&index) => {
                (self.run, self.run_at) = (run, at);
                true
            }
            _ => false,
        }
    }
}

/// Memory that a checker keeps between rounds.
#[derive(Debug, Default)]
pub(super) struct StageScratch {
    /// For each stage of the round, one more than its place among the stages kept; 0 for none. Zeros between rounds.
    places: Vec<u32>,
    /// For each few tasks, the stage of the first of them.
    buckets: Vec<u32>,
    /// A bit a task of the round, set where the task is pending. Zeros between rounds.
    pending: Vec<u64>,
}

/// The stages that the rows so far have named.
pub(super) struct Stages<'a, 's> {
    jobs: RunningJobs<'a>,
    columns: StageColumns<'a>,
    bases: &'a [u32],
    scratch: &'s mut StageScratch,
    /// An answer that never goes back to a stage needs one entry. Else every stage named is kept.
    kept: SmallVec<[StageRows<'a>; 2]>,
    keeps_all: bool,
    at: usize,
    searches: u32,
    /// The width of a bucket, as a power of two, once there are buckets.
    bucket_shift: Option<u32>,
    /// Words of `pending` that are in use.
    words: SmallVec<[std::ops::Range<usize>; 1]>,
}

impl<'a, 's> Stages<'a, 's> {
    pub(super) fn new(jobs: &RunningJobs<'a>, scratch: &'s mut StageScratch) -> Self {
        Self {
            jobs: *jobs,
            columns: StageColumns::of(jobs),
            bases: jobs.task_bases(),
            scratch,
            kept: SmallVec::new(),
            keeps_all: false,
            at: 0,
            searches: 0,
            bucket_shift: None,
            words: SmallVec::new(),
        }
    }

    /// Goes to the stage of a task; returns the task's index in it. `None` for a number that is not of the round.
    #[inline]
    pub(super) fn find(&mut self, task: u32) -> Option<u32> {
        let here = self.kept.get(self.at).is_some_and(|s| task.wrapping_sub(s.first_task) < s.tasks);
        if !here {
            self.go_to(task)?;
        }
        Some(task - self.here().first_task)
    }

    /// The stage that was found last.
    #[inline]
    pub(super) fn here(&self) -> &StageRows<'a> {
        &self.kept[self.at]
    }

    /// The stage that was found last, and a bit a task of the round for [`StageRows::has_pending`].
    #[inline]
    pub(super) fn here_with_pending(&self) -> (&StageRows<'a>, &[u64]) {
        (&self.kept[self.at], &self.scratch.pending)
    }

    /// Whether task `index` of this stage is pending.
    #[inline]
    pub(super) fn is_pending(&mut self, index: u32) -> bool {
        self.here().run.contains(&index) || self.look_up_pending(index)
    }

    /// How many tasks of this stage are pending from task `index` on without a gap.
    #[inline]
    pub(super) fn pending_from(&mut self, index: u32) -> usize {
        let stage = &mut self.kept[self.at];
        let found = stage.run.contains(&index) || stage.next_run_has(index) || stage.search(index);
        if found { (stage.run.end - index) as usize } else { 0 }
    }

    /// Whether task `index` of the current stage is pending, though not in the run of the last row.
    fn look_up_pending(&mut self, index: u32) -> bool {
        let stage = &mut self.kept[self.at];
        if stage.has_bits {
            let task = (stage.first_task + index) as usize;
            return self.scratch.pending[task / 64] >> (task % 64) & 1 == 1;
        }
        if stage.next_run_has(index) {
            return true;
        }
        stage.searches += 1;
        if (stage.searches as usize).saturating_mul(SEARCHES_PER_INDEX as usize) > stage.run_start.len().max(64) {
            self.spread();
        }
        self.kept[self.at].search(index)
    }

    /// Sets the bits of the current stage's pending tasks.
    fn spread(&mut self) {
        let tasks = self.bases.last().copied().unwrap_or(0) as usize;
        grow(&mut self.scratch.pending, tasks.div_ceil(64));
        let stage = &mut self.kept[self.at];
        stage.has_bits = true;
        let first = stage.first_task as usize;
        for at in 0..stage.run_start.len() {
            let run = stage.run_number(at).unwrap_or(0..0);
            words_of(first + run.start as usize, run.len()).for_each(|(word, mask)| {
                self.scratch.pending[word] |= mask;
            });
        }
        self.words.push(first / 64..(first + stage.tasks as usize).div_ceil(64));
    }

    fn go_to(&mut self, task: u32) -> Option<()> {
        let (&first, &end) = (self.bases.first()?, self.bases.last()?);
        if !(first..end).contains(&task) {
            return None;
        }
        let id = self.stage_of(task);
        if !self.keeps_all {
            match self.kept.first_mut() {
                None => {
                    let stage = self.stage(id);
                    self.kept.push(stage);
                    return Some(());
                }
                Some(last) if last.id.index() < id => {
                    self.kept[0] = self.stage(id);
                    return Some(());
                }
                Some(last) => {
                    self.keeps_all = true;
                    grow(&mut self.scratch.places, self.bases.len());
                    self.scratch.places[last.id.index()] = 1;
                }
            }
        }
        self.at = match self.scratch.places[id] {
            0 => {
                let stage = self.stage(id);
                self.kept.push(stage);
                self.scratch.places[id] = self.kept.len() as u32;
                self.kept.len() - 1
            }
            place => place as usize - 1,
        };
        Some(())
    }

    fn stage(&self, id: usize) -> StageRows<'a> {
        let id = StageId::from_index(id);
        let (stage, limits) = (self.columns.stage(&self.jobs, id), self.jobs.limits());
        let (run_start, run_length) = stage.run_columns();
        let (vcores, memory_mib) = (stage.vcores_column(), stage.memory_mib_column());
        StageRows {
            id,
            first_task: stage.first_task().0,
            tasks: stage.task_count(),
            vcores,
            memory_mib,
            mask: limits.mask(id),
            groups: limits.groups(id),
            run_start,
            run_length,
            run: 0..0,
            run_at: 0,
            searches: 0,
            has_bits: false,
        }
    }

    /// The stage of a task of the round.
    fn stage_of(&mut self, task: u32) -> usize {
        let bases = self.bases;
        let next = self.kept.get(self.at).map_or(0, |s| s.id.index() + 1);
        if let Some(&[from, to]) = bases.get(next..next + 2)
            && (from..to).contains(&task)
        {
            return next;
        }
        let stages = bases.len() - 1;
        if self.bucket_shift.is_none() {
            self.searches += 1;
            if (self.searches as usize).saturating_mul(SEARCHES_PER_INDEX as usize) > stages.max(64) {
                self.fill_buckets();
            }
        }
        let (low, high) = match self.bucket_shift {
            None => (0, stages - 1),
            Some(shift) => {
                let bucket = (task >> shift) as usize;
                (self.scratch.buckets[bucket] as usize, self.scratch.buckets[bucket + 1] as usize)
            }
        };
        low + bases[low + 1..=high].partition_point(|&base| base <= task)
    }

    /// One or two buckets a stage.
    fn fill_buckets(&mut self) {
        let (bases, stages) = (self.bases, self.bases.len() - 1);
        let tasks = bases[stages];
        let width = (tasks / u32::try_from(stages).unwrap_or(u32::MAX)).max(1);
        let shift = width.ilog2();
        self.scratch.buckets.clear();
        let mut stage = 0;
        for bucket in 0..=u64::from(tasks >> shift) + 1 {
            let task = (bucket << shift).min(u64::from(tasks - 1)) as u32;
            while bases[stage + 1] <= task {
                stage += 1;
            }
            self.scratch.buckets.push(stage as u32);
        }
        self.bucket_shift = Some(shift);
    }

    /// Leaves the scratch memory clean.
    pub(super) fn finish(self) {
        if self.keeps_all {
            self.kept.iter().for_each(|s| self.scratch.places[s.id.index()] = 0);
        }
        for words in self.words {
            self.scratch.pending[words].fill(0);
        }
    }
}

/// Makes scratch memory large enough.
pub(super) fn grow<T: Clone + Default>(scratch: &mut Vec<T>, to: usize) {
    if scratch.len() < to {
        scratch.resize(to, T::default());
    }
}
