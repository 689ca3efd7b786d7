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

use crate::apply::{Budgets, StageShares, apply};
use crate::books::{Books, Seen};
use crate::identity::{Cluster, ClusterView};
use crate::ledger::Ledger;
use crate::reoffer::Reoffers;
use crate::reservation::Reservations;
use crate::snapshot::{Snapshot, Source, shares};
use crate::stall::{Standstill, idle};

/// Who begins: the scheduler, or executors that ask for work.
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
    desk: tokio::sync::Mutex<Desk>,
    counters: Counters,
}

/// What one round at a time works with.
#[derive(Default)]
struct Desk {
    books: Books,
    builder: RoundBuilder,
    reservations: Reservations,
    rounds: u64,
    free: Vec<u32>,
}

/// What one plan became.
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
    /// on them; without somebody who serves [`PolicyAdapter::reoffers`], tasks that a policy keeps waiting wait for
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
            desk: tokio::sync::Mutex::default(),
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

    /// Offers that it wishes for.
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

    /// The same, with what their tasks hold by name.
    pub(crate) async fn idle(&self) -> Vec<Standstill> {
        let graphs = self.desk.lock().await.books.graphs();
        let mut jobs = Vec::new();
        for (id, graph) in graphs {
            jobs.push(Standstill::of(id, graph.read().await.as_ref()));
        }
        let phantoms = self.locked_ledger().phantoms(Instant::now());
        idle(jobs, &phantoms)
    }

    /// This job will be cancelled: Ballista gives back what its tasks hold by name, though it is free.
    pub(crate) fn will_be_cancelled(&self, job: &Standstill) {
        self.locked_ledger().expect_again(&job.on);
    }

    fn locked_ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reports what came to light while a round was collected, and who came and went.
    fn observe(&self, seen: Seen, now_us: u64) {
        let changes = self.view.take_changes();
        let Some(mut batch) = seen.into_batch() else { return };
        batch.extend(changes.into_iter().map(|(kind, uid)| Observation::new(kind, uid, now_us)));
        if !batch.is_empty() {
            self.host.observe(batch);
        }
    }

    /// Asks the host about what is pending, given what is free. `only_repeats`: about what must be repeated.
    async fn ask(
        &self,
        desk: &mut Desk,
        snapshot: &Snapshot,
        cluster: &Cluster,
        only_repeats: bool,
        now_us: u64,
    ) -> Vec<StageShares> {
        desk.rounds += 1;
        // Weyl sequence: a fixed, spread seed for each number.
        let seed = desk.rounds.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let clock = Clock { now_us, seed, number: desk.rounds };
        let (round, listed) = snapshot.round(&mut desk.builder, cluster, &desk.free, clock, only_repeats);
        if listed.is_empty() {
            return Vec::new();
        }
        let plan = self.host.bind(round).await;
        self.counters.rounds.fetch_add(1, Ordering::Relaxed);
        self.counters.fallback_rounds.fetch_add(u64::from(plan.fallback().is_some()), Ordering::Relaxed);
        self.counters.planned.fetch_add(plan.bindings().len() as u64, Ordering::Relaxed);
        shares(&listed, cluster, plan.bindings())
    }

    /// Gives Ballista what was decided.
    async fn carry_out(&self, desk: &mut Desk, decided: Vec<StageShares>, budgets: &mut Budgets<'_>) -> Bound {
        let (tasks, applied) = apply(decided, budgets).await;
        let planned = applied.iter().map(|a| a.bound).sum();
        applied.into_iter().for_each(|applied| desk.books.bound(applied));
        let partitions = tasks.iter().map(|(_, task)| task.global_input_partition_ids.len() as u64).sum();
        self.counters.tasks.fetch_add(tasks.len() as u64, Ordering::Relaxed);
        self.counters.partitions.fetch_add(partitions, Ordering::Relaxed);
        Bound { tasks, planned }
    }

    async fn push(&self, budgets: &mut Budgets<'_>, jobs: &HashMap<JobId, JobInfoCache>) -> Vec<BoundTask> {
        let mut desk = self.desk.lock().await;
        let desk = &mut *desk;
        let cluster = budgets.cluster().clone();
        let mut bound = Vec::new();
        let mut left = false;
        // Twice when partitions must be repeated and not everything fits: first those, then the rest.
        for pass in 0..2 {
            budgets.free_rows(&mut desk.free);
            let now_us = unix_us();
            let mut seen = Seen::new(self.host.wants_observations());
            let source = Source { jobs, view: &self.view, cluster: &cluster, reservations: &desk.reservations, now_us };
            let snapshot = Snapshot::take(&source, &mut desk.books, &mut seen).await;
            self.observe(seen, now_us);
            let only_repeats = pass == 0 && snapshot.has_repeats && snapshot.pending > budgets.free();
            let decided = self.ask(desk, &snapshot, &cluster, only_repeats, now_us).await;
            let now_bound = self.carry_out(desk, decided, budgets).await;
            left = snapshot.pending > now_bound.planned;
            if bound.is_empty() {
                bound = now_bound.tasks;
            } else {
                bound.extend(now_bound.tasks);
            }
            if !only_repeats || budgets.free() == 0 {
                break;
            }
        }
        match budgets.iter().find(|row| row.vcores > 0) {
            Some(row) if left => self.reoffers.ask(&row.executor_id, !bound.is_empty()),
            _ => self.reoffers.reset(),
        }
        bound
    }

    /// The budgets in the cluster of this moment, with everybody in it who has one.
    fn placed<'b>(&self, rows: Vec<&'b mut AvailableVcores>) -> Budgets<'b> {
        let (budgets, strangers) = Budgets::new(rows, self.view.cluster());
        if strangers.is_empty() {
            return budgets;
        }
        strangers.iter().for_each(|row| self.view.learn(&row.executor_id, row.vcores));
        Budgets::new(budgets.into_rows().chain(strangers), self.view.cluster()).0
    }

    /// One executor asks. What was kept for it and what is decided now are given to Ballista together and at last, so
    /// that a caller who gives up before leaves no task bound that nobody was told of.
    async fn pull(&self, budgets: &mut Budgets<'_>, jobs: &HashMap<JobId, JobInfoCache>) -> Vec<BoundTask> {
        let mut desk = self.desk.lock().await;
        let desk = &mut *desk;
        let Some((asking, free)) = budgets.iter().next().map(|row| (self.view.uid(&row.executor_id), row.vcores))
        else {
            return Vec::new();
        };
        // It may have waited for its turn, and others may have thought that it was gone.
        budgets.iter().for_each(|row| self.view.learn(&row.executor_id, row.vcores));
        for late in desk.reservations.expire(Instant::now()) {
            if late != asking {
                self.view.distrust(late);
            }
        }
        if free == 0 {
            return Vec::new();
        }
        let kept: u32 = desk.reservations.vcores().filter(|(executor, _)| *executor == asking).map(|(_, v)| v).sum();
        let decided = if kept < free { self.plan_for(desk, asking, budgets, jobs).await } else { Vec::new() };
        let mut mine = desk.reservations.take(asking);
        mine.extend(decided);
        // The stages of a job one after another: its lock is taken once.
        mine.sort_by(|a, b| (&a.stage.job, a.stage.stage_id).cmp(&(&b.stage.job, b.stage.stage_id)));
        let bound = self.carry_out(desk, mine, budgets).await.tasks;
        for (executor, task) in &bound {
            self.view.spend(executor, task.vcores_consumed);
        }
        bound
    }

    /// Plans for the whole cluster, around what is kept for somebody; returns the asking executor's part and keeps the
    /// rest.
    async fn plan_for(
        &self,
        desk: &mut Desk,
        asking: ExecutorUid,
        budgets: &Budgets<'_>,
        jobs: &HashMap<JobId, JobInfoCache>,
    ) -> Vec<StageShares> {
        let cluster = budgets.cluster().clone();
        self.view.free(&cluster, &mut desk.free);
        for (executor, vcores) in desk.reservations.vcores() {
            if let Some(position) = cluster.position(executor) {
                let row = &mut desk.free[position];
                *row = row.saturating_sub(vcores);
            }
        }
        let now_us = unix_us();
        let mut seen = Seen::new(self.host.wants_observations());
        let source = Source { jobs, view: &self.view, cluster: &cluster, reservations: &desk.reservations, now_us };
        let snapshot = Snapshot::take(&source, &mut desk.books, &mut seen).await;
        self.observe(seen, now_us);
        let free: u64 = desk.free.iter().map(|&row| u64::from(row)).sum();
        let only_repeats = snapshot.has_repeats && snapshot.pending > free;
        let decided = self.ask(desk, &snapshot, &cluster, only_repeats, now_us).await;
        let (mut mine, now) = (Vec::new(), Instant::now());
        for StageShares { stage, shares, .. } in decided {
            let (own, others): (Vec<_>, Vec<_>) = shares.into_iter().partition(|s| s.executor == asking);
            if !own.is_empty() {
                mine.push(StageShares { stage: stage.clone(), shares: own, run: None });
            }
            desk.reservations.keep(StageShares { stage, shares: others, run: None }, now);
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
