//! Rounds described the short way, for tests: executors, jobs, stages, tasks.
//!
//! Everything has a default, and every builder method takes and returns `self`, so that a test says only what it is
//! about.

use std::collections::BTreeMap;
use std::sync::Arc;

use policy_plugin_api::prelude::*;
use policy_wire::assemble::{
    Clock, ExecutorSpec, JobRow, Roster, RoundBuilder, StageRow, StageTasks, TaskSpec, UidTable,
};
use policy_wire::key_hash;

use crate::asked::TestRound;

/// A round as a test describes it; [`RoundSpec::build`] makes it.
///
/// ```
/// use policy_testkit::spec::{executor, job, round, stage};
///
/// let round = round()
///     .executors(3, 4)
///     .executor(executor("big", 16).free(10).rack("r1"))
///     .job(job("etl").tenant("team-a").priority(1).stage(stage(100)))
///     .job(job("report").stage(stage(5).vcores(2).pending([(0, 2), (4, 1)])))
///     .build();
/// assert_eq!(round.with(|slots, jobs| (slots.len(), jobs.bindable())), (4, 22));
/// ```
#[derive(Clone, Debug, PartialEq, Default)]
pub struct RoundSpec {
    /// The executors, in any order.
    pub executors: Vec<ExecutorState>,
    /// Vcores and memory (MiB) in use by tenant; a tenant that is not named here uses none.
    pub tenants: BTreeMap<String, (u64, u64)>,
    /// The jobs, in any order.
    pub jobs: Vec<JobSpec>,
    /// Time, seed and number.
    pub clock: Clock,
}

/// Starts the description of a round.
#[must_use]
pub fn round() -> RoundSpec {
    RoundSpec { clock: Clock { now_us: 1_000_000, seed: 42, number: 1 }, ..RoundSpec::default() }
}

impl RoundSpec {
    /// Adds `count` executors of `vcores` vcores, all free: `executor-0`, `executor-1` and so on.
    #[must_use]
    pub fn executors(self, count: usize, vcores: u32) -> Self {
        (0..count).fold(self, |this, i| this.executor(executor(format!("executor-{i}"), vcores)))
    }

    /// Adds one executor.
    #[must_use]
    pub fn executor(mut self, executor: ExecutorState) -> Self {
        self.executors.push(executor);
        self
    }

    /// Says what a tenant's running tasks hold.
    #[must_use]
    pub fn tenant(mut self, name: impl Into<String>, vcores_in_use: u64, memory_mib_in_use: u64) -> Self {
        self.tenants.insert(name.into(), (vcores_in_use, memory_mib_in_use));
        self
    }

    /// Adds one job.
    #[must_use]
    pub fn job(mut self, job: JobSpec) -> Self {
        self.jobs.push(job);
        self
    }

    /// Sets the round's number; the clock moves on by 10 ms a round.
    #[must_use]
    pub fn number(mut self, number: u64) -> Self {
        self.clock.number = number;
        self.clock.now_us = 1_000_000 + number.saturating_mul(10_000);
        self
    }

    /// Sets the seed.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.clock.seed = seed;
        self
    }

    /// Makes the round.
    #[must_use]
    pub fn build(self) -> TestRound {
        self.build_with(&mut UidTable::default())
    }

    /// Makes the round as one of several that one policy sees: they share the executors' lasting numbers.
    #[must_use]
    pub fn build_with(self, uids: &mut UidTable) -> TestRound {
        let specs: Vec<ExecutorSpec> = self.executors.iter().map(|e| e.spec.clone()).collect();
        // Stages first: a pin or a holder may name an executor that is gone.
        let blocks: Vec<Vec<Arc<StageTasks>>> =
            self.jobs.iter().map(|job| job.stages.iter().map(|stage| stage.tasks(uids)).collect()).collect();
        let roster = Roster::new(&specs, uids);
        let by_name: BTreeMap<&str, &ExecutorState> =
            self.executors.iter().rev().map(|e| (e.spec.name.as_str(), e)).collect();
        let rows: Vec<&ExecutorState> = by_name.into_values().collect();
        let mut builder = RoundBuilder::new();
        builder.free_vcores(&rows.iter().map(|e| e.free_vcores).collect::<Vec<_>>());
        if rows.iter().any(|e| e.spec.memory_mib > 0) {
            builder.free_memory_mib(&rows.iter().map(|e| e.free_memory_mib).collect::<Vec<_>>());
        }
        builder.running_tasks(&rows.iter().map(|e| e.spec.vcores.saturating_sub(e.free_vcores)).collect::<Vec<_>>());
        if rows.iter().any(|e| e.load > 0.0) {
            builder.load(&rows.iter().map(|e| e.load).collect::<Vec<_>>());
        }
        let mut tenants: BTreeMap<&str, TenantId> = BTreeMap::new();
        for (job, blocks) in self.jobs.iter().zip(blocks) {
            let (vcores, memory) = self.tenants.get(&job.tenant).copied().unwrap_or_default();
            let tenant = *tenants.entry(&job.tenant).or_insert_with(|| builder.tenant(&job.tenant, vcores, memory));
            job.add(tenant, blocks, &mut builder);
        }
        let round = builder.finish(&roster, self.clock);
        TestRound::new(self, round)
    }
}

/// One executor and how it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct ExecutorState {
    /// What of it does not change.
    pub spec: ExecutorSpec,
    /// Free vcores.
    pub free_vcores: u32,
    /// Free memory, MiB.
    pub free_memory_mib: u64,
    /// Reported load in busy vcores.
    pub load: f32,
}

/// An executor of `vcores` vcores, all free.
#[must_use]
pub fn executor(name: impl Into<String>, vcores: u32) -> ExecutorState {
    ExecutorState { spec: ExecutorSpec::new(name, vcores), free_vcores: vcores, free_memory_mib: 0, load: 0.0 }
}

impl ExecutorState {
    /// Free vcores, where not all are.
    #[must_use]
    pub fn free(mut self, vcores: u32) -> Self {
        self.free_vcores = vcores;
        self
    }

    /// Memory in MiB: all of it, and what of it is free.
    #[must_use]
    pub fn memory(mut self, all_mib: u64, free_mib: u64) -> Self {
        (self.spec.memory_mib, self.free_memory_mib) = (all_mib, free_mib);
        self
    }

    /// Its rack.
    #[must_use]
    pub fn rack(mut self, rack: impl Into<String>) -> Self {
        self.spec.rack = Some(rack.into());
        self
    }

    /// Its relative speed.
    #[must_use]
    pub fn speed(mut self, speed: f32) -> Self {
        self.spec.speed = speed;
        self
    }

    /// One more label.
    #[must_use]
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.spec.labels.push((key.into(), value.into()));
        self
    }

    /// Its reported load, in busy vcores.
    #[must_use]
    pub fn load(mut self, busy_vcores: f32) -> Self {
        self.load = busy_vcores;
        self
    }
}

/// One job.
#[derive(Clone, Debug, PartialEq)]
pub struct JobSpec {
    /// Its name; its lasting number is the hash of it.
    pub name: String,
    /// Its tenant.
    pub tenant: String,
    /// Higher goes first.
    pub priority: i32,
    /// When it was submitted, in microseconds.
    pub submit_us: u64,
    /// Vcores that its running tasks hold.
    pub vcores_in_use: u32,
    /// Its stages, numbered from 0 in this order.
    pub stages: Vec<StageSpec>,
}

/// A job of tenant `default`, priority 0, submitted at 0.
#[must_use]
pub fn job(name: impl Into<String>) -> JobSpec {
    let (name, tenant) = (name.into(), "default".to_owned());
    JobSpec { name, tenant, priority: 0, submit_us: 0, vcores_in_use: 0, stages: Vec::new() }
}

impl JobSpec {
    /// Its tenant.
    #[must_use]
    pub fn tenant(mut self, tenant: impl Into<String>) -> Self {
        self.tenant = tenant.into();
        self
    }

    /// Its priority.
    #[must_use]
    pub fn priority(mut self, priority: i32) -> Self {
        self.priority = priority;
        self
    }

    /// When it was submitted, in microseconds.
    #[must_use]
    pub fn submitted(mut self, at_us: u64) -> Self {
        self.submit_us = at_us;
        self
    }

    /// One more stage.
    #[must_use]
    pub fn stage(mut self, stage: StageSpec) -> Self {
        self.stages.push(stage);
        self
    }

    fn add(&self, tenant: TenantId, blocks: Vec<Arc<StageTasks>>, builder: &mut RoundBuilder) {
        builder.job(JobRow {
            key: key_hash(&self.name),
            id: &self.name,
            tenant,
            priority: self.priority,
            submit_us: self.submit_us,
            vcores_in_use: self.vcores_in_use,
        });
        for (number, (stage, tasks)) in self.stages.iter().zip(blocks).enumerate() {
            let runs = stage.runs();
            let pending: u32 = runs.iter().map(|&(_, length)| length).sum();
            let running = stage.running.min(tasks.len() - pending);
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            let row = StageRow { number, tasks, pending, running, runnable_since_us: stage.runnable_since_us };
            if pending > 0 {
                builder.stage(row, runs);
            }
        }
    }
}

/// One stage.
#[derive(Clone, Debug, PartialEq)]
pub struct StageSpec {
    /// Its tasks.
    pub tasks: Vec<TestTask>,
    /// The pending ones as runs (first, length), ascending and apart; all of them, where left out.
    pub pending: Option<Vec<(u32, u32)>>,
    /// Tasks running.
    pub running: u32,
    /// Since when it has been runnable, in microseconds.
    pub runnable_since_us: u64,
}

/// A stage of `count` tasks of one vcore, all pending.
#[must_use]
pub fn stage(count: usize) -> StageSpec {
    tasks(vec![TestTask::default(); count])
}

/// A stage of these tasks, all pending.
#[must_use]
pub fn tasks(tasks: impl Into<Vec<TestTask>>) -> StageSpec {
    StageSpec { tasks: tasks.into(), pending: None, running: 0, runnable_since_us: 0 }
}

impl StageSpec {
    /// What each of its tasks takes, in vcores.
    #[must_use]
    pub fn vcores(self, vcores: u32) -> Self {
        self.each(|_, task| task.vcores(vcores))
    }

    /// What each of its tasks takes, in MiB.
    #[must_use]
    pub fn memory_mib(self, memory_mib: u32) -> Self {
        self.each(|_, task| task.memory_mib(memory_mib))
    }

    /// Changes each task, told its index.
    #[must_use]
    pub fn each(mut self, change: impl Fn(u32, TestTask) -> TestTask) -> Self {
        self.tasks = (0..).zip(self.tasks).map(|(i, task)| change(i, task)).collect();
        self
    }

    /// Which tasks are pending, as runs (first, length), ascending and apart.
    #[must_use]
    pub fn pending(mut self, runs: impl Into<Vec<(u32, u32)>>) -> Self {
        self.pending = Some(runs.into());
        self
    }

    /// How many tasks are running; no more than are not pending.
    #[must_use]
    pub fn running(mut self, tasks: u32) -> Self {
        self.running = tasks;
        self
    }

    /// Since when it has been runnable, in microseconds.
    #[must_use]
    pub fn runnable_since(mut self, at_us: u64) -> Self {
        self.runnable_since_us = at_us;
        self
    }

    fn runs(&self) -> Vec<(u32, u32)> {
        let count = u32::try_from(self.tasks.len()).unwrap_or(u32::MAX);
        self.pending.clone().unwrap_or(if count == 0 { Vec::new() } else { vec![(0, count)] })
    }

    fn tasks(&self, uids: &mut UidTable) -> Arc<StageTasks> {
        let tasks: Vec<TaskSpec> = self.tasks.iter().map(|task| task.build(uids)).collect();
        StageTasks::new(&tasks)
    }
}

/// One task; executors by name.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct TestTask {
    /// Vcores; 0 stands for 1.
    pub vcores: u32,
    /// Memory, MiB.
    pub memory_mib: u32,
    /// The key of its data; empty for none.
    pub key: String,
    /// The executor that it is pinned to.
    pub pin: Option<String>,
    /// Who holds how many bytes of its input.
    pub holders: Vec<(String, u64)>,
}

/// A task of one vcore.
#[must_use]
pub fn task() -> TestTask {
    TestTask::default()
}

impl TestTask {
    /// What it takes, in vcores.
    #[must_use]
    pub fn vcores(mut self, vcores: u32) -> Self {
        self.vcores = vcores;
        self
    }

    /// What it takes, in MiB.
    #[must_use]
    pub fn memory_mib(mut self, memory_mib: u32) -> Self {
        self.memory_mib = memory_mib;
        self
    }

    /// The key of its data.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = key.into();
        self
    }

    /// The executor that it is pinned to; it need not exist.
    #[must_use]
    pub fn pin(mut self, executor: impl Into<String>) -> Self {
        self.pin = Some(executor.into());
        self
    }

    /// One more holder of its input; the executor need not exist.
    #[must_use]
    pub fn holder(mut self, executor: impl Into<String>, bytes: u64) -> Self {
        self.holders.push((executor.into(), bytes));
        self
    }

    fn build(&self, uids: &mut UidTable) -> TaskSpec {
        TaskSpec {
            vcores: self.vcores.max(1),
            memory_mib: self.memory_mib,
            key: self.key.clone(),
            pin: self.pin.as_ref().map(|name| uids.uid(name)),
            holders: self.holders.iter().map(|(name, bytes)| (uids.uid(name), *bytes)).collect(),
        }
    }
}
