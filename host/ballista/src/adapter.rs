//! Ballista's `DistributionPolicy` over a policy host: snapshot → round → plan → check → apply.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use ballista_core::JobId;
use ballista_core::serde::protobuf::AvailableVcores;
use ballista_scheduler::cluster::{BoundTask, DistributionPolicy};
use ballista_scheduler::state::task_manager::JobInfoCache;
use policy_host::PolicyHost;
use policy_host::round::{Clock, ExecutorUid, Observation, RoundBuilder};

use crate::apply::apply;
use crate::budgets::Budgets;
use crate::decision::{StageDecision, by_job};
use crate::identity::{Cluster, ClusterView};
use crate::ledger::Ledger;
use crate::reoffer::Reoffers;
use crate::reservation::Reservations;
use crate::snapshot::{Snapshot, Source, shares};
use crate::stall::{JobActivity, idle};
use crate::tracked::{TaskEvents, TrackedJobs};

/// Which side begins: the scheduler, or executors that ask for work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The scheduler sends tasks; a round offers every executor with something free.
    Push,
    /// Executors ask one by one. The policy still plans for the whole cluster: what it gives to others is kept for them
    /// until they ask, [`crate::limits::RESERVED_FOR`] at most.
    Pull,
}

/// What the adapter counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Rounds asked of the host.
    pub rounds: u64,
    /// Of them, bound by the fallback.
    pub fallback_rounds: u64,
    /// Bindings in plans, one a partition or collapse stage.
    pub planned: u64,
    /// Tasks given to Ballista.
    pub tasks: u64,
    /// Partitions given to Ballista.
    pub partitions: u64,
}

#[derive(Debug, Default)]
struct Counters {
    rounds: AtomicU64,
    fallback_rounds: AtomicU64,
    planned: AtomicU64,
    tasks: AtomicU64,
    partitions: AtomicU64,
}

/// A policy host as a distribution policy of Ballista.
///
/// Ballista calls it once for every offer, under its lock of the executors' free vcores in push mode. Job graphs are
/// locked for reading while a round is collected and for writing while a plan is applied, never while a policy runs.
/// Whatever the policy does, the host answers within its deadline with a legal plan; what no longer holds when the plan
/// is applied stays pending.
pub struct PolicyAdapter {
    host: Arc<PolicyHost>,
    mode: Mode,
    view: Arc<ClusterView>,
    reoffers: Arc<Reoffers>,
    ledger: Arc<Mutex<Ledger>>,
    round: tokio::sync::Mutex<RoundState>,
    counters: Counters,
}

/// What rounds work with, one at a time.
#[derive(Default)]
struct RoundState {
    jobs: TrackedJobs,
    builder: RoundBuilder,
    reservations: Reservations,
    rounds: u64,
    /// Free vcores, a row for each executor of the cluster.
    free: Vec<u32>,
}

/// What was given to Ballista in answer to an offer.
struct Bound {
    tasks: Vec<BoundTask>,
    /// How many of the policy's tasks that are.
    planned: u64,
}

impl fmt::Debug for PolicyAdapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PolicyAdapter")
            .field("mode", &self.mode)
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

impl PolicyAdapter {
    /// An adapter over this host. Without [`crate::ObservedCluster`], executors are known only while something is free
    /// on them; unless the embedder serves [`PolicyAdapter::reoffers`], tasks that a policy keeps waiting wait for
    /// Ballista's next event. [`crate::serve`] sees to both. One adapter a host: the lasting numbers of executors, which
    /// policies remember them by, are the adapter's.
    #[must_use]
    pub fn new(host: Arc<PolicyHost>, mode: Mode) -> Self {
        Self {
            host,
            mode,
            view: Arc::default(),
            reoffers: Arc::default(),
            ledger: Arc::default(),
            round: tokio::sync::Mutex::default(),
            counters: Counters::default(),
        }
    }

    /// The host.
    #[must_use]
    pub fn host(&self) -> &Arc<PolicyHost> {
        &self.host
    }

    /// Its view of the cluster, for [`crate::ObservedCluster`].
    #[must_use]
    pub fn view(&self) -> Arc<ClusterView> {
        Arc::clone(&self.view)
    }

    /// The further offers that it asks for.
    #[must_use]
    pub fn reoffers(&self) -> Arc<Reoffers> {
        Arc::clone(&self.reoffers)
    }

    /// Its ledger of vcores, which [`crate::ObservedCluster`] keeps.
    pub(crate) fn ledger(&self) -> Arc<Mutex<Ledger>> {
        Arc::clone(&self.ledger)
    }

    /// What it has counted.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let c = &self.counters;
        Counts {
            rounds: read(&c.rounds),
            fallback_rounds: read(&c.fallback_rounds),
            planned: read(&c.planned),
            tasks: read(&c.tasks),
            partitions: read(&c.partitions),
        }
    }

    /// Jobs that run by name only: nothing of them is pending, and no task runs, or only tasks that have ended by all other
    /// signs. Between stages that is so for a moment; a job of which it stays so will never end. Costs O(tasks).
    pub async fn idle_jobs(&self) -> Vec<JobId> {
        self.idle().await.into_iter().map(|job| job.id).collect()
    }

    /// The same, with the vcores that their tasks hold by name.
    pub(crate) async fn idle(&self) -> Vec<JobActivity> {
        let graphs = self.round.lock().await.jobs.graphs();
        let mut jobs = Vec::new();
        for (id, graph) in graphs {
            jobs.push(JobActivity::of(id, graph.read().await.as_ref()));
        }
        let phantoms = self.locked_ledger().phantoms(Instant::now());
        idle(jobs, &phantoms)
    }

    /// This job will be cancelled: Ballista gives back what its tasks hold by name, though it is free.
    pub(crate) fn will_be_cancelled(&self, job: &JobActivity) {
        self.locked_ledger().expect_again(&job.on);
    }

    fn locked_ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reports what happened to tasks, as a snapshot showed it, and which executors came and went.
    fn observe(&self, events: TaskEvents, now_us: u64) {
        let changes = self.view.take_changes();
        let Some(mut batch) = events.into_batch() else { return };
        batch.extend(changes.into_iter().map(|(kind, uid)| Observation::new(kind, uid, now_us)));
        if !batch.is_empty() {
            self.host.observe(batch);
        }
    }

    /// Has the host plan what is pending on what is free. `only_repeats`: only what must be repeated.
    async fn plan(
        &self,
        state: &mut RoundState,
        snapshot: &Snapshot,
        cluster: &Cluster,
        only_repeats: bool,
        now_us: u64,
    ) -> Vec<StageDecision> {
        state.rounds += 1;
        // Weyl sequence: a fixed, spread seed for each number.
        let seed = state.rounds.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let clock = Clock { now_us, seed, number: state.rounds };
        let (round, listed) = snapshot.round(&mut state.builder, cluster, &state.free, clock, only_repeats);
        if listed.is_empty() {
            return Vec::new();
        }
        let plan = self.host.bind(round).await;
        self.counters.rounds.fetch_add(1, Ordering::Relaxed);
        self.counters.fallback_rounds.fetch_add(u64::from(plan.fallback().is_some()), Ordering::Relaxed);
        self.counters.planned.fetch_add(plan.bindings().len() as u64, Ordering::Relaxed);
        shares(&listed, cluster, plan.bindings())
    }

    /// Gives Ballista what was decided. Nothing waits once the first task is bound.
    async fn carry_out(&self, state: &mut RoundState, decided: Vec<StageDecision>, budgets: &mut Budgets<'_>) -> Bound {
        let (tasks, applied) = apply(decided, budgets).await;
        let planned = applied.iter().map(|a| a.bound).sum();
        applied.into_iter().for_each(|applied| state.jobs.bound(applied));
        let partitions = tasks.iter().map(|(_, task)| task.global_input_partition_ids.len() as u64).sum();
        self.counters.tasks.fetch_add(tasks.len() as u64, Ordering::Relaxed);
        self.counters.partitions.fetch_add(partitions, Ordering::Relaxed);
        Bound { tasks, planned }
    }

    /// Reads the running jobs, and reports what happened to their tasks.
    async fn snapshot(
        &self,
        state: &mut RoundState,
        jobs: &HashMap<JobId, JobInfoCache>,
        cluster: &Cluster,
        now_us: u64,
    ) -> Snapshot {
        let mut events = TaskEvents::new(self.host.wants_observations());
        let source = Source { jobs, view: &self.view, cluster, reservations: &state.reservations, now_us };
        let snapshot = Snapshot::take(&source, &mut state.jobs, &mut events).await;
        self.observe(events, now_us);
        snapshot
    }

    /// The scheduler offers every executor with something free.
    ///
    /// When partitions must be repeated and not everything fits, those are planned first, and the rest on what they leave
    /// free. Both plans are made before either is applied, so that a caller that drops the future meanwhile leaves nothing
    /// bound.
    async fn push(&self, budgets: &mut Budgets<'_>, jobs: &HashMap<JobId, JobInfoCache>) -> Vec<BoundTask> {
        let mut state = self.round.lock().await;
        let state = &mut *state;
        let cluster = budgets.cluster().clone();
        budgets.free_rows(&mut state.free);
        let now_us = unix_us();
        let mut snapshot = self.snapshot(state, jobs, &cluster, now_us).await;
        let pending = snapshot.pending;
        let only_repeats = snapshot.has_repeats && pending > budgets.free();
        let mut decided = self.plan(state, &snapshot, &cluster, only_repeats, now_us).await;
        if only_repeats {
            snapshot.assume(&decided, &cluster, &mut state.free);
            if state.free.iter().any(|&vcores| vcores > 0) {
                decided.extend(self.plan(state, &snapshot, &cluster, false, unix_us()).await);
                by_job(&mut decided);
            }
        }
        let bound = self.carry_out(state, decided, budgets).await;
        match budgets.iter().find(|row| row.vcores > 0) {
            Some(row) if pending > bound.planned => self.reoffers.ask(&row.executor_id, !bound.tasks.is_empty()),
            _ => self.reoffers.reset(),
        }
        bound.tasks
    }

    /// The budgets in the cluster of this moment, to which executors that have a budget are added.
    fn placed<'b>(&self, rows: Vec<&'b mut AvailableVcores>) -> Budgets<'b> {
        let (budgets, unknown) = Budgets::new(rows, self.view.cluster());
        if unknown.is_empty() {
            return budgets;
        }
        unknown.iter().for_each(|row| self.view.learn(&row.executor_id, row.vcores));
        Budgets::new(budgets.into_rows().chain(unknown), self.view.cluster()).0
    }

    /// One executor asks. What was reserved for it and what is decided now are given to Ballista together, at the end, so
    /// that a caller that drops the future before leaves nothing bound.
    async fn pull(&self, budgets: &mut Budgets<'_>, jobs: &HashMap<JobId, JobInfoCache>) -> Vec<BoundTask> {
        let mut state = self.round.lock().await;
        let state = &mut *state;
        let Some((asking, free)) = budgets.iter().next().map(|row| (self.view.uid(&row.executor_id), row.vcores))
        else {
            return Vec::new();
        };
        // It may have waited for the lock, while other rounds took it for gone.
        budgets.iter().for_each(|row| self.view.learn(&row.executor_id, row.vcores));
        for late in state.reservations.expire(Instant::now()) {
            if late != asking {
                self.view.mark_full(late);
            }
        }
        if free == 0 {
            return Vec::new();
        }
        let reserved: u32 =
            state.reservations.vcores().filter(|(executor, _)| *executor == asking).map(|(_, v)| v).sum();
        let decided = if reserved < free { self.plan_for(state, asking, budgets, jobs).await } else { Vec::new() };
        let mut mine = state.reservations.take(asking);
        mine.extend(decided);
        mine.sort_by_key(|decision| decision.stage.stage_id);
        by_job(&mut mine);
        let bound = self.carry_out(state, mine, budgets).await.tasks;
        for (executor, task) in &bound {
            self.view.spend(executor, task.vcores_consumed);
        }
        bound
    }

    /// Plans for the whole cluster, without what is reserved already; returns the asking executor's part and reserves the
    /// rest.
    async fn plan_for(
        &self,
        state: &mut RoundState,
        asking: ExecutorUid,
        budgets: &Budgets<'_>,
        jobs: &HashMap<JobId, JobInfoCache>,
    ) -> Vec<StageDecision> {
        let cluster = budgets.cluster().clone();
        self.view.free(&cluster, &mut state.free);
        for (executor, vcores) in state.reservations.vcores() {
            if let Some(position) = cluster.position(executor) {
                let row = &mut state.free[position];
                *row = row.saturating_sub(vcores);
            }
        }
        let now_us = unix_us();
        let snapshot = self.snapshot(state, jobs, &cluster, now_us).await;
        let free: u64 = state.free.iter().map(|&row| u64::from(row)).sum();
        let only_repeats = snapshot.has_repeats && snapshot.pending > free;
        let decided = self.plan(state, &snapshot, &cluster, only_repeats, now_us).await;
        let (mut mine, now) = (Vec::new(), Instant::now());
        for StageDecision { stage, shares, .. } in decided {
            let (own, others): (Vec<_>, Vec<_>) = shares.into_iter().partition(|s| s.executor == asking);
            if !own.is_empty() {
                mine.push(StageDecision { stage: stage.clone(), shares: own, run: None });
            }
            state.reservations.keep(StageDecision { stage, shares: others, run: None }, now);
        }
        mine
    }
}

#[async_trait]
impl DistributionPolicy for PolicyAdapter {
    async fn bind_tasks(
        &self,
        budgets: Vec<&mut AvailableVcores>,
        running_jobs: Arc<HashMap<JobId, JobInfoCache>>,
    ) -> datafusion::error::Result<Vec<BoundTask>> {
        if self.mode == Mode::Pull {
            budgets.iter().for_each(|row| self.view.learn(&row.executor_id, row.vcores));
        }
        let mut budgets = self.placed(budgets);
        Ok(match self.mode {
            Mode::Push if budgets.free() == 0 => Vec::new(),
            Mode::Push => self.push(&mut budgets, &running_jobs).await,
            Mode::Pull => self.pull(&mut budgets, &running_jobs).await,
        })
    }

    fn name(&self) -> &str {
        "policy-host"
    }
}

fn unix_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| u64::try_from(d.as_micros()).unwrap_or(u64::MAX))
}
