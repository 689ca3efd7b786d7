//! The cluster as a discrete-event state machine: executors, jobs, queues. Pure: it reads no clock and calls no policy.
//!
//! A driver ([`real_time`](crate::real_time), [`virtual_time`](crate::virtual_time)) turns it: [`Cluster::advance_to`]
//! takes in all that is due, [`Cluster::begin_round`] describes the round for a policy, [`Cluster::apply`] starts what
//! the answer binds. Every row of an answer is checked against the queues and the executors, and a
//! ledger of its own counts every task, so that a lost or doubled task is seen.
//!
//! Cost: an event is O(log events + log runs); a round is O(changed executors + jobs + stages + runs of pending
//! tasks).

mod agenda;
mod events;
mod executors;
mod fairness;
mod happening;
mod jobs;
pub(crate) mod ledger;
pub(crate) mod metrics;
mod round_state;
mod rounds;
mod runs;
mod series;
mod slots;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use policy_host::round::Observation;

pub use agenda::{Fault, FaultKind};
pub use happening::{Happening, HappeningKind, TaskRef};
pub use ledger::TaskCounts;
pub use metrics::{JobRecord, Metrics, TenantRecord, WaitRecord};
pub use rounds::Applied;
pub(crate) use rounds::{scaled, transfer_us};
pub use series::{ExecutorRow, Gap, Series, Span, TenantSeries};

use crate::workload::{Place, Workload, WorkloadError};
use agenda::Agenda;
use executors::Executors;
pub(crate) use executors::decimal;
use fairness::Shares;
use jobs::JobState;
use ledger::{Held, Ledger};
use round_state::RoundState;
use series::{Level, Sampler};
use slots::{RunningTask, Slots};

/// What a cluster is made with, besides its workload.
#[derive(Clone, Debug, Default)]
pub struct ClusterOptions {
    /// Where the seeds of its rounds come from.
    pub seed: u64,
    /// What happens to its executors, besides the faults that the workload plans.
    pub faults: Vec<Fault>,
    /// Whether to write down what happens ([`Cluster::take_happenings`]).
    pub record_happenings: bool,
    /// Whether to keep the wait of every started task ([`Metrics::waits`]): 16 bytes each.
    pub record_waits: bool,
    /// Whether to keep what it looked like over time ([`Cluster::take_series`]): below a megabyte.
    pub record_series: bool,
}

/// A cluster with its workload, at one instant of virtual time.
#[derive(Debug)]
pub struct Cluster {
    workload: Arc<Workload>,
    now_us: u64,
    executors: Executors,
    agenda: Agenda,
    /// By index in the workload; there while the job is.
    jobs: Vec<Option<Box<JobState>>>,
    unfinished_jobs: u64,
    /// The contract's order of each job, over the whole workload.
    ranks: Vec<u32>,
    /// Jobs with pending tasks, by rank.
    active: BTreeMap<u32, u32>,
    tenants: Vec<TenantState>,
    /// By job.
    tenant_of: Vec<u32>,
    shares: Shares,
    /// Up to when sums over time have been added up.
    accrued_us: u64,
    running: Slots,
    pending: u64,
    changed: bool,
    ledger: Ledger,
    /// Job and stage position of each stage in the ledger.
    ledger_stages: Vec<(u32, u32)>,
    metrics: Metrics,
    rounds: RoundState,
    observations: Vec<Observation>,
    happenings: Option<Vec<Happening>>,
    record_waits: bool,
    sampler: Option<Box<Sampler>>,
}

#[derive(Debug)]
struct TenantState {
    name: Arc<str>,
    vcores_in_use: u64,
    memory_mib_in_use: u64,
    got: TenantRecord,
}

impl Cluster {
    /// The cluster at time 0, before anything has happened.
    ///
    /// # Errors
    /// When the workload cannot run, or a fault names an executor that is not of it.
    pub fn new(workload: Arc<Workload>, options: ClusterOptions) -> Result<Self, WorkloadError> {
        workload.validate("workload")?;
        let executors = Executors::new(&workload.header.executors);
        let planned = options.faults.iter().cloned().chain(workload.header.faults.iter().flat_map(planned));
        let faults = planned.map(|f| match executors.find(&f.executor) {
            Some(index) => Ok((f.at_us, index, f.kind)),
            None => {
                let place = Place { source: "faults".to_owned(), line: 0, column: 0 };
                Err(WorkloadError::UnknownExecutor { place, executor: f.executor })
            }
        });
        let faults = faults.collect::<Result<Vec<_>, _>>()?;
        let (tenants, tenant_of) = tenants(&workload);
        let sampler = options.record_series.then(|| {
            let names: Vec<&str> = tenants.iter().map(|t| &*t.name).collect();
            Box::new(Sampler::new(&workload, &names, &tenant_of, |name| executors.find(name)))
        });
        Ok(Self {
            now_us: 0,
            agenda: Agenda::new(workload.jobs.iter().map(|j| j.submit_us).collect(), faults),
            jobs: workload.jobs.iter().map(|_| None).collect(),
            unfinished_jobs: 0,
            ranks: ranks(&workload),
            active: BTreeMap::new(),
            shares: Shares::new(tenants.len()),
            accrued_us: 0,
            tenants,
            tenant_of,
            running: Slots::default(),
            pending: 0,
            changed: false,
            ledger: Ledger::default(),
            ledger_stages: Vec::new(),
            metrics: Metrics::default(),
            rounds: RoundState::new(options.seed),
            observations: Vec::new(),
            happenings: options.record_happenings.then(Vec::new),
            record_waits: options.record_waits,
            sampler,
            executors,
            workload,
        })
    }

    /// Virtual time, microseconds.
    #[must_use]
    pub fn now_us(&self) -> u64 {
        self.now_us
    }

    /// The workload.
    #[must_use]
    pub fn workload(&self) -> &Arc<Workload> {
        &self.workload
    }

    /// When something is due next, without any further round; `None` when nothing ever is.
    #[must_use]
    pub fn next_event_us(&self) -> Option<u64> {
        self.agenda.next_us()
    }

    /// Whether every job has come and finished.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.agenda.all_arrived() && self.unfinished_jobs == 0
    }

    /// Tasks that could start now, if there were room.
    #[must_use]
    pub fn pending_tasks(&self) -> u64 {
        self.pending
    }

    /// Tasks on executors.
    #[must_use]
    pub fn running_tasks(&self) -> u64 {
        self.running.len() as u64
    }

    /// Vcores that no task holds, of executors that are there.
    #[must_use]
    pub fn free_vcores(&self) -> u64 {
        self.executors.free_total()
    }

    /// Vcores of executors that are there.
    #[must_use]
    pub fn alive_vcores(&self) -> u64 {
        self.executors.alive_vcores()
    }

    /// Tasks of the jobs that have come.
    #[must_use]
    pub fn submitted_tasks(&self) -> u64 {
        self.ledger.submitted()
    }

    /// Tasks that have finished.
    #[must_use]
    pub fn completed_tasks(&self) -> u64 {
        self.ledger.completed()
    }

    /// An executor's name, by index as in [`Happening::executor`].
    #[must_use]
    pub fn executor_name(&self, index: u32) -> &str {
        self.executors.name(index)
    }

    /// What was collected so far. What is still waiting is not in it.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        let mut metrics = self.metrics.clone();
        let with_work = self.tenants.iter().filter(|t| t.got.tasks > 0);
        metrics.tenants = with_work.map(|t| (t.name.to_string(), t.got)).collect();
        metrics.jain_contested = self.shares.index();
        metrics
    }

    /// The longest that any task has waited, started or not, in microseconds.
    #[must_use]
    pub fn oldest_wait_us(&self) -> u64 {
        let jobs = self.active.values().filter_map(|&job| self.jobs[job as usize].as_deref());
        let since = jobs.flat_map(|job| job.ready.iter().map(|&at| job.stage(at).runnable_since_us));
        let waiting = since.map(|since| self.now_us.saturating_sub(since)).max().unwrap_or(0);
        waiting.max(self.metrics.queue_wait_us.max())
    }

    /// The happenings to policies that were not yet taken, oldest first.
    pub fn take_observations(&mut self) -> Vec<Observation> {
        std::mem::take(&mut self.observations)
    }

    /// Drops the happenings to policies that were not yet taken, where no policy reads them.
    pub fn forget_observations(&mut self) {
        self.observations.clear();
    }

    /// What happened since the last call, oldest first; empty unless it was asked for at the start.
    pub fn take_happenings(&mut self) -> Vec<Happening> {
        self.happenings.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// What the run looked like over time up to now; `None` unless it was asked for at the start, and the second time.
    pub fn take_series(&mut self) -> Option<Series> {
        self.sample(self.now_us);
        self.sampler.take().map(|sampler| sampler.finish(self.now_us))
    }

    /// Has the sampler add up the time to `at_us`, in which nothing has changed.
    #[inline]
    fn sample(&mut self, at_us: u64) {
        let Some(sampler) = self.sampler.as_deref_mut().filter(|s| !s.is_at(at_us)) else { return };
        let alive_vcores = self.executors.alive_vcores();
        let level = Level {
            busy_vcores: alive_vcores - self.executors.free_total(),
            alive_vcores,
            pending_tasks: self.pending,
            jain: self.shares.now(),
        };
        let tenants = &self.tenants;
        sampler.pass(at_us, level, |t| (tenants[t as usize].vcores_in_use, tenants[t as usize].memory_mib_in_use));
    }

    /// Holds the ledger against the queues, task by task. Costs O(tasks).
    #[must_use]
    pub fn audit(&self) -> TaskCounts {
        let running: HashSet<(u32, u32, u32)> = self.running.iter().map(|(_, t)| (t.job, t.stage, t.task)).collect();
        self.ledger.audit(|key, task| {
            let (job, at) = self.ledger_stages[key.0 as usize];
            let Some(state) = self.jobs[job as usize].as_deref() else { return Held::Nowhere };
            let stage = state.stage(at);
            if running.contains(&(job, at, task)) {
                Held::Running
            } else if stage.waits_for > 0 {
                Held::Blocked
            } else if state.ready.binary_search(&at).is_ok() && stage.pending.contains(task) {
                Held::Pending
            } else {
                Held::Nowhere
            }
        })
    }

    fn note(&mut self, at_us: u64, kind: HappeningKind, task: Option<TaskRef>, executor: Option<u32>) {
        if let Some(happenings) = &mut self.happenings {
            happenings.push(Happening { at_us, kind, task, executor });
        }
    }
}

/// An outage as what happens at its two ends.
fn planned(outage: &crate::workload::Outage) -> impl Iterator<Item = Fault> + use<> {
    let fault = |at_us, kind| Fault { at_us, executor: outage.executor.clone(), kind };
    let back = outage.back_us.map(|at_us| fault(at_us, FaultKind::Joined));
    [Some(fault(outage.lost_us, FaultKind::Lost)), back].into_iter().flatten()
}

fn tenants(workload: &Workload) -> (Vec<TenantState>, Vec<u32>) {
    let mut tenants: Vec<TenantState> = Vec::new();
    let mut known: HashMap<&str, u32> = HashMap::new();
    let of = |job: &'_ crate::workload::Job| job.tenant.clone();
    let mut tenant_of = Vec::with_capacity(workload.jobs.len());
    for job in &workload.jobs {
        let index = *known.entry(&job.tenant).or_insert_with(|| {
            let (name, got) = (of(job), TenantRecord::default());
            tenants.push(TenantState { name, vcores_in_use: 0, memory_mib_in_use: 0, got });
            tenants.len() as u32 - 1
        });
        tenant_of.push(index);
    }
    (tenants, tenant_of)
}

/// The contract's order: priority (higher first), submission, id.
fn ranks(workload: &Workload) -> Vec<u32> {
    let jobs = &workload.jobs;
    let mut order: Vec<u32> = (0..jobs.len() as u32).collect();
    let key = |&i: &u32| (std::cmp::Reverse(jobs[i as usize].priority), jobs[i as usize].submit_us);
    order.sort_by(|a, b| key(a).cmp(&key(b)).then_with(|| jobs[*a as usize].id.cmp(&jobs[*b as usize].id)));
    let mut ranks = vec![0; jobs.len()];
    order.iter().enumerate().for_each(|(rank, &job)| ranks[job as usize] = rank as u32);
    ranks
}
