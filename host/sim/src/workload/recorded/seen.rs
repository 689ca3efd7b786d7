//! What a recording shows, collected round by round. Nothing is inferred here.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use policy_host::record::RecordedRound;
use policy_host::round::{
    Block, BlockKind, BlockRef, ExecutorSpec, Observation, ObservationKind, Observations, Roster, RunningJobs,
    StageTasks,
};
use policy_wire::block::BlockView;
use policy_wire::columns::stage as column;

use crate::limits::MAX_TASKS;

/// Everything that a recording has shown so far.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) rounds: u64,
    pub(super) missed: u64,
    pub(super) unmatched: u64,
    /// Tasks of all stages; beyond the limit, stages are not looked at.
    pub(super) tasks: u64,
    /// The first round's time and number.
    pub(super) first: Option<(u64, u64)>,
    /// By lasting number, as first listed.
    pub(super) executors: BTreeMap<u32, ExecutorSpec>,
    /// Executor, lost, back.
    pub(super) outages: Vec<(u32, u64, Option<u64>)>,
    /// Executors that are away, since when.
    pub(super) away: BTreeMap<u32, u64>,
    /// When executors that were not listed yet joined.
    joined: HashMap<u32, u64>,
    roster: Option<Arc<Roster>>,
    /// By the embedder's number.
    pub(super) jobs: BTreeMap<u64, SeenJob>,
}

pub(super) struct SeenJob {
    pub(super) id: String,
    pub(super) tenant: String,
    pub(super) priority: i32,
    pub(super) submit_us: u64,
    /// In the first round of the recording.
    pub(super) from_the_start: bool,
    pub(super) stages: BTreeMap<u32, SeenStage>,
}

pub(super) struct SeenStage {
    pub(super) block: Arc<StageTasks>,
    pub(super) runnable_since_us: u64,
    pub(super) tasks: Vec<SeenTask>,
}

#[derive(Clone, Default)]
pub(super) struct SeenTask {
    /// When its stage was first listed.
    pub(super) pending: bool,
    pub(super) end: Option<End>,
    pub(super) failed_after_us: Vec<u64>,
}

#[derive(Clone, Copy)]
pub(super) struct End {
    pub(super) at_us: u64,
    pub(super) took_us: u64,
    pub(super) executor: u32,
}

impl SeenStage {
    pub(super) fn view(&self) -> BlockView<'_> {
        BlockView::parse(self.block.block().words(), BlockKind::Stage).unwrap_or(BlockView::empty())
    }

    /// When its last task ended; `None` when that is not known of every task.
    pub(super) fn ended_us(&self) -> Option<u64> {
        let ends = self.tasks.iter().filter(|t| t.pending || t.end.is_some()).map(|t| t.end.map(|end| end.at_us));
        ends.collect::<Option<Vec<_>>>()?.into_iter().max()
    }

    /// One value a task, or one for all; `absent` where the column is not there.
    pub(super) fn value(&self, column: u16, task: usize, absent: u32) -> u32 {
        match self.view().column::<u32>(column) {
            [] => absent,
            [one] => *one,
            many => many.get(task).copied().unwrap_or(absent),
        }
    }

    /// The executors that hold a task's input, and how many bytes each.
    pub(super) fn holders(&self, task: usize) -> impl Iterator<Item = (u32, u64)> + use<'_> {
        let view = self.view();
        let offsets = view.column::<u32>(column::HOLDER_OFFSETS);
        let range = match (offsets.get(task), offsets.get(task + 1)) {
            (Some(&from), Some(&to)) => from as usize..to as usize,
            _ => 0..0,
        };
        let uids = view.column::<u32>(column::HOLDER_UID).get(range.clone()).unwrap_or(&[]);
        uids.iter().copied().zip(view.column::<u64>(column::HOLDER_BYTES).get(range).unwrap_or(&[]).iter().copied())
    }
}

impl Seen {
    pub(super) fn round(&mut self, recorded: &RecordedRound) {
        let round = &recorded.round;
        let clock = round.clock();
        self.rounds += 1;
        let start = self.first.is_none();
        self.first.get_or_insert((clock.now_us, clock.number));
        let stages = round.stage_refs();
        let view = round.view(&stages);
        // New executors first, because jobs and observations refer to them; then the executors that are gone.
        let news = self.roster.as_ref().is_none_or(|known| !Arc::ptr_eq(known, round.roster()));
        let new = if news { self.list(&view) } else { Vec::new() };
        self.jobs(&view, round, start);
        if let Some(batch) = &recorded.observations {
            self.observed(batch);
        }
        if news {
            let came_later = new.into_iter().filter(|_| !start).collect();
            self.presence(&view, clock.now_us, came_later);
            self.roster = Some(Arc::clone(round.roster()));
        }
    }

    /// Notes executors; returns those that are new.
    fn list(&mut self, view: &RunningJobs<'_>) -> Vec<u32> {
        let mut new = Vec::new();
        for e in view.executors().iter() {
            let uid = e.uid().0;
            if self.executors.contains_key(&uid) {
                continue;
            }
            let spec = ExecutorSpec {
                name: e.name().to_owned(),
                vcores: e.vcores(),
                memory_mib: e.memory_mib(),
                rack: e.rack().map(str::to_owned),
                speed: e.speed(),
                labels: e.labels().map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
            };
            self.executors.insert(uid, spec);
            new.push(uid);
        }
        new
    }

    /// Updates outages from the executors that are listed now.
    fn presence(&mut self, view: &RunningJobs<'_>, now_us: u64, came_later: Vec<u32>) {
        for uid in came_later {
            let at_us = self.joined.remove(&uid).unwrap_or(now_us);
            self.away.remove(&uid);
            self.outages.push((uid, 0, Some(at_us)));
        }
        let listed: BTreeSet<u32> = view.executors().uids().iter().copied().collect();
        for &uid in self.executors.keys() {
            if !listed.contains(&uid) {
                self.away.entry(uid).or_insert(now_us);
            } else if let Some(lost_us) = self.away.remove(&uid) {
                self.outages.push((uid, lost_us, Some(now_us)));
            }
        }
    }

    fn jobs(&mut self, view: &RunningJobs<'_>, round: &policy_host::round::Round, start: bool) {
        for job in view.jobs() {
            let seen = self.jobs.entry(job.key()).or_insert_with(|| SeenJob {
                id: job.name().to_owned(),
                tenant: job.tenant().name().to_owned(),
                priority: job.priority(),
                submit_us: job.submit_us(),
                from_the_start: start,
                stages: BTreeMap::new(),
            });
            for stage in job.stages() {
                if seen.stages.contains_key(&stage.number()) {
                    continue;
                }
                let Some(block) = round.stage_tasks(stage.id()) else { continue };
                self.tasks += u64::from(stage.task_count());
                if self.tasks > MAX_TASKS {
                    return;
                }
                let all = stage.pending_count() == stage.task_count();
                let mut tasks = vec![SeenTask { pending: all, ..SeenTask::default() }; stage.task_count() as usize];
                for (first, length) in stage.pending_runs().filter(|_| !all) {
                    let run = first as usize..(first as usize).saturating_add(length as usize);
                    tasks.get_mut(run).into_iter().flatten().for_each(|task| task.pending = true);
                }
                let (block, runnable_since_us) = (Arc::clone(block), stage.runnable_since_us());
                seen.stages.insert(stage.number(), SeenStage { block, runnable_since_us, tasks });
            }
        }
    }

    pub(super) fn observed(&mut self, batch: &Block) {
        let Ok(batch) = Observations::from_block(BlockRef::new(batch)) else { return };
        batch.iter().for_each(|happening| self.happened(&happening));
    }

    fn happened(&mut self, o: &Observation) {
        match o.kind {
            ObservationKind::ExecutorLost => {
                self.away.entry(o.executor.0).or_insert(o.at_us);
            }
            ObservationKind::ExecutorJoined => match self.away.remove(&o.executor.0) {
                Some(lost_us) => self.outages.push((o.executor.0, lost_us, Some(o.at_us))),
                None => drop(self.joined.insert(o.executor.0, o.at_us)),
            },
            ObservationKind::Finished | ObservationKind::Failed => {
                let stage = self.jobs.get_mut(&o.job_key).and_then(|job| job.stages.get_mut(&o.stage_number));
                let Some(task) = stage.and_then(|stage| stage.tasks.get_mut(o.task as usize)) else {
                    self.unmatched += 1;
                    return;
                };
                match o.kind {
                    ObservationKind::Failed => task.failed_after_us.push(o.duration_us),
                    _ => {
                        let (at_us, took_us, executor) = (o.at_us, o.duration_us, o.executor.0);
                        task.end = Some(End { at_us, took_us, executor });
                    }
                }
            }
            _ => {}
        }
    }
}
