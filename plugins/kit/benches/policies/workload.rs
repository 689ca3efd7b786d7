//! The work that each policy is made for, in rounds of a given size; and one round bound.

use std::sync::Arc;

use policy_plugin_api::{AvailableTaskSlots, BoundTask, DistributionPolicy, ExecutorUid, TenantId};
use policy_wire::assemble::{
    Clock, ExecutorSpec, JobRow, Roster, Round, RoundBuilder, StageRow, StageTasks, TaskSpec, UidTable,
};

/// What tasks and executors are like. Tasks take one vcore, and no memory unless said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Workload {
    /// Nothing is known about them.
    Plain,
    /// Each task is pinned to an executor, all of them to each in turn.
    Pinned,
    /// Each task has a key of its own.
    Keyed,
    /// Each task has input on three executors.
    Held,
    /// Executors report load, have labels and differ in speed; tasks as `Plain`.
    Loaded,
    /// As `Loaded`, with executors of two memory sizes and tasks that take memory.
    Memory,
    /// A thousand tenants, each with as many tasks.
    Tenants,
    /// Tasks take 1, 2, 1, 2 … vcores.
    Differing,
    /// As `Differing`, and 64, 128, 192, 64 … MiB, of executors of two memory sizes.
    DifferingMemory,
    /// As `DifferingMemory`, in stages of ten tasks.
    ManyStages,
}

impl Workload {
    pub(crate) fn describe(self) -> &'static str {
        match self {
            Self::Plain => "plain tasks",
            Self::Pinned => "every task pinned",
            Self::Keyed => "a key a task",
            Self::Held => "3 holders a task",
            Self::Loaded => "load, labels, two speeds",
            Self::Memory => "the same and memory",
            Self::Tenants => "1,000 tenants",
            Self::Differing => "vcores differ",
            Self::DifferingMemory => "vcores and memory differ",
            Self::ManyStages => "the same, stages of 10 tasks",
        }
    }
}

const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

/// A cluster with pending tasks, of which rounds are made.
pub(crate) struct Cluster {
    workload: Workload,
    executors: u32,
    uids: UidTable,
    stages: Vec<Arc<StageTasks>>,
}

impl Cluster {
    /// `tasks` pending tasks in stages of at most 10,000 (of equal number for each tenant, where there are many).
    pub(crate) fn new(workload: Workload, executors: u32, tasks: u32) -> Self {
        let mut uids = UidTable::default();
        let uid: Vec<ExecutorUid> = (0..executors).map(|i| uids.uid(&name(i))).collect();
        let length = match workload {
            Workload::Tenants => tasks.div_ceil(1_000).max(1),
            Workload::ManyStages => 10,
            _ => 10_000,
        };
        let stages = (0..tasks).step_by(length as usize).map(|from| {
            let range = from..tasks.min(from + length);
            let task = |i: u32| -> TaskSpec {
                let mixed = |n: u64| (u64::from(i) * 3 + n).wrapping_mul(MIX) >> 32;
                let executor = |n: u64| uid[((mixed(n) * u64::from(executors)) >> 32) as usize];
                match workload {
                    Workload::Keyed => TaskSpec { key: format!("part-{i:07}"), ..TaskSpec::default() },
                    Workload::Pinned => TaskSpec { pin: Some(uid[(i % executors) as usize]), ..TaskSpec::default() },
                    Workload::Held => {
                        let holders = (0..3).map(|n| (executor(n), 1_000_000 >> n)).collect();
                        TaskSpec { holders, ..TaskSpec::default() }
                    }
                    Workload::Memory => TaskSpec { memory_mib: 64, ..TaskSpec::default() },
                    Workload::Differing => TaskSpec { vcores: 1 + i % 2, ..TaskSpec::default() },
                    Workload::DifferingMemory | Workload::ManyStages => {
                        TaskSpec { vcores: 1 + i % 2, memory_mib: 64 * (1 + i % 3), ..TaskSpec::default() }
                    }
                    _ => TaskSpec::default(),
                }
            };
            match workload {
                Workload::Plain | Workload::Loaded | Workload::Tenants => {
                    StageTasks::uniform(range.end - range.start, 1)
                }
                _ => StageTasks::new(&range.map(task).collect::<Vec<_>>()),
            }
        });
        let stages = stages.collect();
        Self { workload, executors, uids, stages }
    }

    /// A round in which executor `i` has `free(i)` of 100 vcores free; in place of executor 5,000 (or the middle one),
    /// there is another one when `replaced` says so.
    pub(crate) fn round(&mut self, free: impl Fn(u32) -> u32, replaced: Option<u32>) -> Arc<Round> {
        let differing = matches!(self.workload, Workload::DifferingMemory | Workload::ManyStages);
        let memory = differing || self.workload == Workload::Memory;
        let loaded = matches!(self.workload, Workload::Memory | Workload::Loaded);
        let memory_mib = |i: u32| if i.is_multiple_of(3) { 8_000 } else { 16_000 } * if differing { 2 } else { 1 };
        let spec = |i: u32| {
            let name =
                replaced.filter(|_| i == self.executors / 2).map_or(name(i), |other| format!("{}-{other}", name(i)));
            let mut spec = ExecutorSpec::new(name, 100);
            spec.memory_mib = if memory { memory_mib(i) } else { 0 };
            if loaded {
                spec.speed = if i.is_multiple_of(10) { 0.5 } else { 1.0 };
                spec.labels = vec![("disk".to_owned(), if i.is_multiple_of(2) { "ssd" } else { "hdd" }.to_owned())];
            }
            spec
        };
        let specs: Vec<_> = (0..self.executors).map(spec).collect();
        let roster = Roster::new(&specs, &mut self.uids);
        let mut builder = RoundBuilder::new();
        builder.free_vcores(&(0..self.executors).map(free).collect::<Vec<_>>());
        if memory {
            builder.free_memory_mib(&(0..self.executors).map(memory_mib).collect::<Vec<_>>());
        }
        if loaded {
            let load = |i: u32| (u64::from(i).wrapping_mul(MIX) >> 58) as f32;
            builder.load(&(0..self.executors).map(load).collect::<Vec<_>>());
        }
        let tenants = if self.workload == Workload::Tenants { self.stages.len() } else { 1 };
        let tenants: Vec<TenantId> = (0..tenants).map(|i| builder.tenant(&format!("team-{i}"), 0, 0)).collect();
        for (key, stage) in (0u64..).zip(&self.stages) {
            let (id, tenant) = (format!("j{key:06}"), tenants[key as usize % tenants.len()]);
            builder.job(JobRow { key, id: &id, tenant, priority: 0, submit_us: key, vcores_in_use: 0 });
            let (tasks, pending) = (Arc::clone(stage), stage.len());
            let row = StageRow { number: 0, tasks, pending, running: 0, runnable_since_us: 0 };
            builder.stage(row, [(0, pending)]);
        }
        builder.finish(&roster, Clock { now_us: 1_000_000, seed: 42, number: 1 })
    }
}

/// The name of executor `i`; in order of `i`.
pub(crate) fn name(i: u32) -> String {
    format!("executor-{i:06}.rack-{:02}.example.net", i % 40)
}

/// Binds a round; `slots` is scratch.
pub(crate) fn bind(
    policy: &dyn DistributionPolicy,
    round: &Round,
    slots: &mut Vec<AvailableTaskSlots>,
) -> Vec<BoundTask> {
    let stages = round.stage_refs();
    let view = round.view(&stages);
    view.available_slots(slots);
    let mut answer = std::pin::pin!(policy.bind_tasks(slots, &view));
    match answer.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())) {
        std::task::Poll::Ready(rows) => rows.expect("it binds"),
        std::task::Poll::Pending => panic!("policies have nothing to wait for"),
    }
}

/// A policy with the work that it is made for.
pub(crate) struct Subject {
    pub(crate) name: &'static str,
    pub(crate) workload: Workload,
    pub(crate) make: fn() -> Box<dyn DistributionPolicy>,
}
