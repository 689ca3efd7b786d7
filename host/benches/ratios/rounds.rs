//! Rounds of a given size and shape.
#![allow(dead_code, reason = "each bench uses a part")]

use std::sync::Arc;

use policy_wire::assemble::{
    Clock, ExecutorSpec, JobRow, Roster, Round, RoundBuilder, StageRow, StageTasks, TaskSpec, UidTable,
};
use policy_wire::{ExecutorUid, TenantId};

/// What a round is like. Tasks take one vcore and no memory unless said.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) executors: u32,
    /// Free vcores of each executor.
    pub(crate) vcores: u32,
    pub(crate) tasks: u32,
    /// Jobs of one stage each, and of one tenant each.
    pub(crate) jobs: u32,
    /// Tasks take 1, 2, 1, 2 … vcores.
    pub(crate) differ: bool,
    /// Tasks take 64, 128, 192, 64 … MiB, and executors have enough for 100 of the largest.
    pub(crate) memory: bool,
    /// Holders of each task's input.
    pub(crate) holders: u32,
    /// Every third task is not pending.
    pub(crate) holes: bool,
}

impl Shape {
    /// Tasks that are all alike, in one stage, over a hundred executors with room for all of them.
    pub(crate) fn plain(tasks: u32) -> Self {
        let vcores = 2 * tasks.div_ceil(100);
        Self { executors: 100, vcores, tasks, jobs: 1, differ: false, memory: false, holders: 0, holes: false }
    }

    pub(crate) fn round(&self) -> Arc<Round> {
        let mut uids = UidTable::default();
        let specs = (0..self.executors).map(|i| {
            let mut spec = ExecutorSpec::new(name(i), self.vcores);
            spec.memory_mib = self.memory_mib();
            spec
        });
        let roster = Roster::new(&specs.collect::<Vec<_>>(), &mut uids);
        let mut builder = RoundBuilder::new();
        builder.free_vcores(&vec![self.vcores; roster.len()]);
        if self.memory {
            builder.free_memory_mib(&vec![self.memory_mib(); roster.len()]);
        }
        let tenants: Vec<TenantId> = (0..self.jobs).map(|i| builder.tenant(&format!("team-{i}"), 0, 0)).collect();
        let each = self.tasks.div_ceil(self.jobs);
        for (key, from) in (0u64..).zip((0..self.tasks).step_by(each as usize)) {
            let (id, tenant) = (format!("j{key:06}"), tenants[key as usize]);
            builder.job(JobRow { key, id: &id, tenant, priority: 0, submit_us: key, vcores_in_use: 0 });
            let all = from..self.tasks.min(from + each);
            let tasks = self.stage(all.clone(), &mut |i| uids.uid(&name(i)));
            let runs: Vec<(u32, u32)> = match self.holes {
                false => vec![(0, tasks.len())],
                true => (0..tasks.len()).step_by(3).map(|at| (at, 2.min(tasks.len() - at))).collect(),
            };
            let pending = runs.iter().map(|run| run.1).sum();
            builder.stage(StageRow { number: 0, tasks, pending, running: 0, runnable_since_us: 0 }, runs);
        }
        builder.finish(&roster, Clock::default())
    }

    fn memory_mib(&self) -> u64 {
        if self.memory { u64::from(self.vcores) * 192 } else { 0 }
    }

    fn stage(&self, tasks: std::ops::Range<u32>, uid: &mut dyn FnMut(u32) -> ExecutorUid) -> Arc<StageTasks> {
        if !self.differ && !self.memory && self.holders == 0 {
            return StageTasks::uniform(tasks.end - tasks.start, 1);
        }
        let task = |i: u32| {
            let executor = |n: u32| i.wrapping_mul(2_654_435_761).wrapping_add(n * 40_503) % self.executors;
            TaskSpec {
                vcores: if self.differ { 1 + i % 2 } else { 1 },
                memory_mib: if self.memory { 64 * (1 + i % 3) } else { 0 },
                holders: (0..self.holders).map(|n| (uid(executor(n)), 1_000_000 >> n)).collect(),
                ..TaskSpec::default()
            }
        };
        StageTasks::new(&tasks.map(task).collect::<Vec<_>>())
    }
}

/// `tasks` pending one-vcore tasks in stages of at most 10,000, over `executors` executors of `vcores`.
pub(crate) fn round(executors: u32, vcores: u32, tasks: u32) -> Arc<Round> {
    built(&roster(executors, vcores, &mut UidTable::default()), vcores, tasks, |range| {
        StageTasks::uniform(range.end - range.start, 1)
    })
}

/// As [`round`], every other executor with a label, and each task with so many holders.
pub(crate) fn scored(executors: u32, vcores: u32, tasks: u32, holders: u32) -> Arc<Round> {
    let mut uids = UidTable::default();
    let roster = roster(executors, vcores, &mut uids);
    let mut state = 1u64;
    let mut draw = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        uids.uid(&name((state >> 33) as u32 % executors))
    };
    let mut task = |_| {
        let holders = (0..holders).map(|n| (draw(), 1_000_000 >> n)).collect();
        TaskSpec { holders, ..TaskSpec::default() }
    };
    built(&roster, vcores, tasks, |range| StageTasks::new(&range.map(&mut task).collect::<Vec<_>>()))
}

fn name(executor: u32) -> String {
    format!("e{executor:06}")
}

fn roster(executors: u32, vcores: u32, uids: &mut UidTable) -> Arc<Roster> {
    let spec = |i: u32| {
        let mut spec = ExecutorSpec::new(name(i), vcores);
        spec.labels = vec![("disk".to_owned(), if i.is_multiple_of(2) { "ssd" } else { "hdd" }.to_owned())];
        spec
    };
    Roster::new(&(0..executors).map(spec).collect::<Vec<_>>(), uids)
}

fn built(
    roster: &Arc<Roster>,
    vcores: u32,
    tasks: u32,
    mut stage: impl FnMut(std::ops::Range<u32>) -> Arc<StageTasks>,
) -> Arc<Round> {
    let mut builder = RoundBuilder::new();
    builder.free_vcores(&vec![vcores; roster.len()]);
    let tenant = builder.tenant("team-a", 0, 0);
    for (key, from) in (0..).zip((0..tasks).step_by(10_000)) {
        let (id, to) = (format!("j{key:06}"), tasks.min(from + 10_000));
        builder.job(JobRow { key, id: &id, tenant, priority: 0, submit_us: key, vcores_in_use: 0 });
        let (tasks, pending) = (stage(from..to), to - from);
        builder.stage(StageRow { number: 0, tasks, pending, running: 0, runnable_since_us: 0 }, [(0, pending)]);
    }
    builder.finish(roster, Clock::default())
}
