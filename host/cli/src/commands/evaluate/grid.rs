//! Every policy over every seed: runs side by side, results in order. A run shares nothing with another but the workload,
//! so the number of threads changes no figure.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use policy_host::round::{Observation, Round};
use policy_host::{Plan, PolicyHost};
use policy_sim::Binder;
use policy_sim::cluster::Series;
use policy_sim::cluster::{Cluster, ClusterOptions};
use policy_sim::evaluate::{Curve, Row, RunFigures, jct_curve, least_jct_curve, lower_bound, recorded_figures};
use policy_sim::event_log::EventLog;
use policy_sim::virtual_time::{self, VirtualTimeOptions};
use policy_sim::workload::{
    ClusterDefaults, FaultPlan, Recorded, Workload, WorkloadError, is_seeded, parse_recorded, parse_seeded,
};

use super::candidate::{Candidate, Plugins};
use crate::commands::progress::Bar;
use crate::failure::Failure;

/// What is run.
pub(crate) struct Grid<'a> {
    pub(crate) source: &'a str,
    pub(crate) defaults: &'a ClusterDefaults,
    pub(crate) faults: Option<&'a FaultPlan>,
    pub(crate) seeds: u64,
    pub(crate) events: Option<&'a Path>,
    /// How many of the candidates were asked for; the rest are references.
    pub(crate) compared: usize,
    pub(crate) threads: Option<usize>,
    /// Whether to keep what a report draws.
    pub(crate) draw: bool,
}

/// What came out.
pub(crate) struct Results {
    /// One row a candidate.
    pub(crate) rows: Vec<Row>,
    /// What no policy can beat.
    pub(crate) bound: Row,
    /// What was measured, where the workload was recorded.
    pub(crate) recorded: Option<Row>,
    /// The first fault of each candidate.
    pub(crate) faults: Vec<Option<FirstFault>>,
    /// Numbers of the seeds, from 0.
    pub(crate) seeds: Vec<u64>,
    /// What a report draws of each candidate, where one was asked for.
    pub(crate) drawn: Vec<Drawn>,
    /// Completion times that no policy can beat, over all seeds; empty without a report.
    pub(crate) least_jct_us: Curve,
}

/// What a report draws of one run, or of all runs of a candidate.
#[derive(Default)]
pub(crate) struct Drawn {
    pub(crate) jct_us: Curve,
    /// What rounds took, wall nanoseconds.
    pub(crate) decision_ns: Curve,
    /// Of the first seed.
    pub(crate) series: Option<Series>,
}

/// Points of a curve that a report draws.
const CURVE_POINTS: usize = 512;

/// A round that a policy did not answer itself.
#[derive(Clone, Debug)]
pub(crate) struct FirstFault {
    pub(crate) seed: u64,
    pub(crate) round: u64,
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

/// One run.
struct Ran {
    figures: RunFigures,
    fault: Option<FirstFault>,
    drawn: Option<Drawn>,
}

/// The workload of a seed, there while runs of it are to come.
struct Shared {
    workload: Option<Arc<Workload>>,
    runs_left: usize,
    bound: Option<(RunFigures, Curve)>,
}

impl Grid<'_> {
    /// The workload of a seed.
    pub(crate) fn workload(&self, seed: u64) -> Result<Arc<Workload>, WorkloadError> {
        let mut workload = parse_seeded(self.source, self.defaults, seed)?;
        if let Some(faults) = self.faults {
            faults.apply(&mut workload, seed)?;
        }
        Ok(Arc::new(workload))
    }

    /// What was measured, where the workload was recorded: a row of one run, under the policies that it ran with.
    pub(super) fn recorded(&self, workload: &Workload) -> Result<Option<Row>, WorkloadError> {
        let row = |recorded: Recorded| Row {
            policy: recorded.policies().join(" "),
            label: "recorded".to_owned(),
            runs: vec![recorded_figures(workload, &recorded)],
        };
        Ok(parse_recorded(self.source)?.map(row))
    }

    /// Whether all seeds have one workload.
    pub(super) fn is_fixed(&self) -> bool {
        !is_seeded(self.source) && !matches!(self.faults, Some(FaultPlan::Random { .. }))
    }

    /// Runs everything. `first` is the workload of the first seed.
    pub(crate) fn run(
        &self,
        first: Arc<Workload>,
        candidates: &[Candidate],
        plugins: &Plugins,
    ) -> Result<Results, Failure> {
        let (n, seeds) = (candidates.len(), self.seeds as usize);
        let known = |at: usize| (at == 0 || self.is_fixed()).then(|| Arc::clone(&first));
        let shared: Vec<Mutex<Shared>> =
            (0..seeds).map(|at| Mutex::new(Shared { workload: known(at), runs_left: n, bound: None })).collect();
        let cells: Vec<OnceLock<Result<Ran, Failure>>> = (0..n * seeds).map(|_| OnceLock::new()).collect();
        let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = self.threads.unwrap_or(cores).min(n * seeds);
        let bar = Bar::new(first.task_count() * (n * seeds) as u64, n * seeds);
        drop(first);
        std::thread::scope(|scope| {
            let work = || {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= n * seeds || failed.load(Ordering::Relaxed) {
                        return;
                    }
                    // Seed by seed, so that few workloads are there at one time.
                    let (seed, at) = (number / n, number % n);
                    let ran = self.one(&shared[seed], seed as u64, at, candidates, plugins, &bar);
                    failed.fetch_or(ran.is_err(), Ordering::Relaxed);
                    let _ = cells[number].set(ran);
                }
            };
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            bar.follow(|| workers.iter().all(std::thread::ScopedJoinHandle::is_finished));
        });
        bar.finish();
        Self::collect(candidates, seeds, cells, shared)
    }

    fn collect(
        candidates: &[Candidate],
        seeds: usize,
        cells: Vec<OnceLock<Result<Ran, Failure>>>,
        shared: Vec<Mutex<Shared>>,
    ) -> Result<Results, Failure> {
        let row = |c: &Candidate| Row { policy: c.policy.clone(), label: c.label.clone(), runs: Vec::new() };
        let mut rows: Vec<Row> = candidates.iter().map(row).collect();
        let mut faults = vec![None; candidates.len()];
        let mut drawn: Vec<Vec<Drawn>> = candidates.iter().map(|_| Vec::new()).collect();
        for (number, cell) in cells.into_iter().enumerate() {
            // One that was not run comes after one that failed.
            let Some(ran) = cell.into_inner() else { continue };
            let (ran, at) = (ran?, number % candidates.len());
            rows[at].runs.push(ran.figures);
            drawn[at].extend(ran.drawn);
            faults[at] = faults[at].take().or(ran.fault);
        }
        let bounds = shared.into_iter().map(|s| s.into_inner().unwrap_or_else(PoisonError::into_inner).bound);
        let name = "lower-bound".to_owned();
        let (runs, least): (_, Vec<Curve>) = bounds.flatten().unzip();
        let bound = Row { policy: name.clone(), label: name, runs };
        let drawn = drawn.into_iter().map(together).collect();
        let least_jct_us = Curve::merged(&least, CURVE_POINTS);
        Ok(Results { rows, bound, recorded: None, faults, seeds: (0..seeds as u64).collect(), drawn, least_jct_us })
    }

    /// Points of one run's curves: fewer where there are many seeds, since all are held until the end.
    fn points(&self) -> usize {
        if self.draw { (16 * CURVE_POINTS / self.seeds.max(1) as usize).clamp(8, CURVE_POINTS) } else { 0 }
    }

    fn one(
        &self,
        shared: &Mutex<Shared>,
        seed: u64,
        at: usize,
        candidates: &[Candidate],
        plugins: &Plugins,
        bar: &Bar,
    ) -> Result<Ran, Failure> {
        let workload = {
            let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
            let workload = match &shared.workload {
                Some(workload) => Arc::clone(workload),
                None => self.workload(seed)?,
            };
            let least = || if self.draw { least_jct_curve(&workload, self.points()) } else { Curve::default() };
            shared.bound.get_or_insert_with(|| (lower_bound(&workload), least()));
            shared.runs_left -= 1;
            shared.workload = (shared.runs_left > 0).then(|| Arc::clone(&workload));
            workload
        };
        let events = match self.events {
            Some(file) if seed == 0 && at < self.compared => Some(event_log(file, at, candidates)?),
            _ => None,
        };
        let options = ClusterOptions {
            seed,
            record_happenings: events.is_some(),
            record_waits: true,
            record_series: self.draw && seed == 0,
            ..ClusterOptions::default()
        };
        let cluster = Cluster::new(Arc::clone(&workload), options)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| Failure::because("no-runtime", "cannot start a runtime", &e))?;
        let number = seed as usize * candidates.len() + at;
        runtime.block_on(async {
            let state_dir = plugins.state_dir(number);
            let (host, generation) = candidates[at].host(&plugins.path(), &state_dir).await?;
            let watched = Watched::new(&host, generation);
            let progress = bar.begin();
            let options = VirtualTimeOptions { events, until_us: None, progress: Some(progress) };
            let mut outcome =
                virtual_time::run(cluster, &watched, options).await.map_err(|e| Failure::of(e.code(), &e))?;
            bar.end(workload.task_count());
            let (invalid, others) = (watched.invalid.load(Ordering::Relaxed), watched.others.load(Ordering::Relaxed));
            let fault = watched.first.into_inner().map(|fault| FirstFault { seed, ..fault });
            let figures = RunFigures::of(&workload, &outcome, invalid, others);
            let series = outcome.series.take();
            let drawn = self.draw.then(|| Drawn {
                jct_us: jct_curve(&outcome, self.points()),
                decision_ns: Curve::of_histogram(&outcome.round_latency_ns, self.points()),
                series,
            });
            host.shutdown().await;
            let _ = std::fs::remove_dir_all(state_dir);
            Ok(Ran { figures, fault, drawn })
        })
    }
}

/// What is drawn of all runs of a candidate.
fn together(mut runs: Vec<Drawn>) -> Drawn {
    let series = runs.first_mut().and_then(|first| first.series.take());
    let jct_us = Curve::merged(runs.iter().map(|r| &r.jct_us), CURVE_POINTS);
    let decision_ns = Curve::merged(runs.iter().map(|r| &r.decision_ns), CURVE_POINTS);
    Drawn { jct_us, decision_ns, series }
}

fn event_log(file: &Path, at: usize, candidates: &[Candidate]) -> Result<EventLog, Failure> {
    let path: PathBuf = match at {
        0 => file.to_owned(),
        _ => {
            let mut name = file.as_os_str().to_owned();
            name.push(format!("-{}", file_label(candidates, at)));
            name.into()
        }
    };
    let unwritable = |e| Failure::because("event-log-unwritable", path.display(), &e);
    File::create(&path).map(|f| EventLog::new(BufWriter::with_capacity(1 << 18, f))).map_err(unwritable)
}

/// A candidate's label as part of a file's name: what a file system may not take is `_`, and what would be long or another
/// candidate's is cut and numbered.
fn file_label(candidates: &[Candidate], at: usize) -> String {
    const LONGEST: usize = 64;
    let plain = |candidate: &Candidate| -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
        candidate.label.chars().map(plain).take(LONGEST).collect()
    };
    let label = plain(&candidates[at]);
    let is_another = candidates.iter().enumerate().any(|(other, c)| other != at && plain(c) == label);
    if is_another || candidates[at].label.chars().count() > LONGEST { format!("{label}-{at}") } else { label }
}

/// A host that counts the rounds which the candidate did not answer itself.
struct Watched<'a> {
    host: &'a PolicyHost,
    generation: u64,
    rounds: AtomicU64,
    others: AtomicU64,
    invalid: AtomicU64,
    first: OnceLock<FirstFault>,
}

impl<'a> Watched<'a> {
    fn new(host: &'a PolicyHost, generation: u64) -> Self {
        let zero = || AtomicU64::new(0);
        Self { host, generation, rounds: zero(), others: zero(), invalid: zero(), first: OnceLock::new() }
    }

    fn note(&self, plan: &Plan, round: u64) {
        self.others.fetch_add(1, Ordering::Relaxed);
        let Some(reason) = plan.fallback() else { return };
        self.invalid.fetch_add(u64::from(is_violation(reason.code)), Ordering::Relaxed);
        let (code, message) = (reason.code, reason.message.clone());
        let _ = self.first.set(FirstFault { seed: 0, round, code, message });
    }
}

/// Whether a fallback's code is that of an answer which broke the contract.
pub(crate) fn is_violation(code: &str) -> bool {
    const CODES: [&str; 9] = [
        "too-many-rows",
        "unknown-task",
        "unknown-executor",
        "task-not-pending",
        "task-bound-twice",
        "executor-overbooked",
        "memory-overbooked",
        "ineligible-pair",
        "over-cap",
    ];
    CODES.contains(&code)
}

impl Binder for Watched<'_> {
    type Answer = Plan;

    async fn bind(&self, round: Arc<Round>) -> Plan {
        let plan = self.host.bind(round).await;
        let number = self.rounds.fetch_add(1, Ordering::Relaxed) + 1;
        if plan.fallback().is_some() || plan.answered_by().generation != self.generation {
            self.note(&plan, number);
        }
        plan
    }

    fn wants_observations(&self) -> bool {
        self.host.wants_observations()
    }

    fn observe(&self, batch: Vec<Observation>) {
        self.host.observe(batch);
    }
}
