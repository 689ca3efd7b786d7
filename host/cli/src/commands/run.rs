//! `run`: the policies of a directory over the embedded cluster.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use policy_host::text::{self, chain};
use policy_host::{Events, HostOptions, PolicyHost, RecordOptions, TaskDistributionPolicy};
use policy_sim::cluster::{Cluster, ClusterOptions};
use policy_sim::outcome::{End, Outcome};
use policy_sim::progress::Progress;
use policy_sim::real_time::{self, RealTimeOptions, Speed};
use policy_sim::summary::Summary;
use policy_sim::workload::{Workload, parse_source};

use super::cluster::{ClusterArgs, workloads_help};
use super::judge;
use super::placement::{Counted, Placement};
use super::progress::{StatusLine, line};
use super::run_events::RunEvents;
use crate::failure::Failure;
use crate::output::OutputFile;
use crate::paths::Place;
use crate::paths::absolute;

/// Hosts the policies of a directory over the embedded cluster, until the workload ends, the time passes, or Ctrl-C.
///
/// WORKLOAD is a workload file (JSON lines), `swim:FILE` (a SWIM Hadoop trace), `openb:PODS.csv,NODES.csv` (the Alibaba
/// GPU trace of 2023), `recorded:FILE` (what `--record` wrote), or `synthetic:SPEC` (seeded; `synthetic:` alone is the
/// default one).
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  policy-host run --plugins plugins.d --workload synthetic:jobs=500 --speed 2 --summary run.json\n  policy-host run --plugins plugins.d --record run.rec",
    after_long_help = concat!(
        "Example:\n  policy-host run --plugins plugins.d --workload synthetic:jobs=500 --speed 2 --summary run.json\n  policy-host run --plugins plugins.d --record run.rec\n\n",
        workloads_help!()
    )
)]
pub(crate) struct Run {
    #[command(flatten)]
    place: Place,
    /// What to run.
    #[arg(long, default_value = "synthetic:", value_name = "WORKLOAD")]
    workload: String,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// End after this many seconds.
    #[arg(long, value_name = "S", value_parser = duration)]
    duration_s: Option<Duration>,
    /// Virtual seconds per second.
    #[arg(long, default_value_t = Speed::default(), value_name = "X")]
    speed: Speed,
    /// Where the seeds of the rounds come from.
    #[arg(long, default_value_t = 0, value_name = "N")]
    seed: u64,
    /// Write the summary as JSON.
    #[arg(long, value_name = "FILE", value_parser = absolute())]
    summary: Option<PathBuf>,
    /// The lane of policies whose active.json names none.
    #[arg(long, default_value = "thread", value_name = "LANE")]
    lane: Lane,
    /// The deadline of a round, in milliseconds, where active.json names none.
    #[arg(long, default_value_t = 50, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=60_000))]
    deadline_ms: u64,
    /// Map new libraries without judging them in a child process first: a little faster, and a library that crashes
    /// while it is loaded takes the host with it.
    #[arg(long)]
    no_judge: bool,
    /// How long a library may take to be examined and its policies to be made, in seconds.
    #[arg(long, default_value = "10", value_name = "S", value_parser = duration)]
    admission_deadline_s: Duration,
    /// How often the directory is read whether or not a file event came, in seconds: what finds changes on file systems
    /// without events.
    #[arg(long, default_value = "1", value_name = "S", value_parser = duration)]
    rescan_s: Duration,
    /// Record every round to this file, which must not be there yet, for `replay` and `evaluate --workload`. Rounds are
    /// never delayed: those that recording cannot keep up with are missing, and counted.
    #[arg(long, value_name = "FILE", value_parser = absolute())]
    record: Option<PathBuf>,
    /// How large the recording may become, in MiB. Then recording stops: the beginning is kept, the rest is counted.
    #[arg(long, default_value_t = 256, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_048_576))]
    record_limit_mib: u64,
    /// Print no events, only the summary.
    #[arg(long)]
    quiet: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Lane {
    Inline,
    Thread,
}

fn duration(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|e: std::num::ParseFloatError| chain(&e))?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(d) if !d.is_zero() => Ok(d),
        _ => Err("must be more than 0".into()),
    }
}

impl Run {
    pub(crate) fn execute(&self) -> Result<(), Failure> {
        let defaults = self.cluster.defaults()?;
        let summary_file = OutputFile::claim_any(self.summary.as_deref(), "summary-unwritable")?;
        let workload = parse_source(&self.workload, &defaults)?;
        let record = self.recording(&workload);
        let options = HostOptions {
            record,
            policy: TaskDistributionPolicy::RoundRobin,
            plugins: Some(self.place.plugins.clone()),
            state_dir: self.place.state_dir.clone(),
            lane: match self.lane {
                Lane::Inline => policy_host::LaneKind::Inline,
                Lane::Thread => policy_host::LaneKind::Thread,
            },
            // The child is cut off first: its verdict says more than a timeout of this process.
            judge: if self.no_judge { None } else { Some(judge(self.admission_deadline_s.as_secs_f64() * 0.8)?) },
            deadline: Duration::from_millis(self.deadline_ms),
            admission_deadline: self.admission_deadline_s,
            rescan: self.rescan_s,
            ..HostOptions::default()
        };
        let job = Job {
            workload: Arc::new(workload),
            seed: self.seed,
            timing: RealTimeOptions { speed: self.speed, duration: self.duration_s, events: None },
            quiet: self.quiet,
            placement: Placement::default(),
        };
        let runtime = runtime()?;
        let (outcome, summary) = runtime.block_on(job.run(options, async |_| Ok(())))?;
        report(&outcome, &summary, summary_file)
    }
}

impl Run {
    /// What to record: the header has what a replay needs to know of the cluster.
    fn recording(&self, workload: &Workload) -> Option<RecordOptions> {
        let mut record = RecordOptions::new(self.record.clone()?);
        record.limit_bytes = self.record_limit_mib << 20;
        record.about.insert("workload".into(), self.workload.as_str().into());
        record.about.insert("seed".into(), self.seed.into());
        record.about.insert("network_mib_per_s".into(), workload.header.network_mib_per_s.into());
        if let Some(rack_mib_per_s) = workload.header.rack_mib_per_s {
            record.about.insert("rack_mib_per_s".into(), rack_mib_per_s.into());
        }
        Some(record)
    }
}

pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::because("no-runtime", "cannot start the runtime", &e))
}

/// One run of a workload over a host.
pub(crate) struct Job {
    pub(crate) workload: Arc<Workload>,
    pub(crate) seed: u64,
    pub(crate) timing: RealTimeOptions,
    pub(crate) quiet: bool,
    pub(crate) placement: Placement,
}

impl Job {
    /// Runs it; `meanwhile` runs beside it and sees the host. The run ends when the workload does, whatever it does.
    pub(crate) async fn run(
        self,
        options: HostOptions,
        meanwhile: impl AsyncFnOnce(&PolicyHost) -> Result<(), Failure>,
    ) -> Result<(Outcome, Summary), Failure> {
        let tasks = self.workload.task_count();
        let cluster =
            Cluster::new(Arc::clone(&self.workload), ClusterOptions { seed: self.seed, ..Default::default() })?;
        let host = PolicyHost::start(options)?;
        let mut events = host.events();
        let progress = Progress::new();
        let mut taken = RunEvents::default();
        let counted = Counted::new(&host, self.placement);
        let run = real_time::run(cluster, &counted, self.timing, &progress, interrupted());
        let outcome = {
            let mut run = std::pin::pin!(run);
            let mut beside = std::pin::pin!(meanwhile(&host));
            let mut beside_done = false;
            let mut status = StatusLine::new(tasks, Duration::from_secs(2));
            let mut tick = tokio::time::interval(Duration::from_millis(100));
            loop {
                tokio::select! {
                    outcome = &mut run => {
                        status.finish();
                        break outcome.map_err(|e| Failure::of(e.code(), &e))?;
                    }
                    done = &mut beside, if !beside_done => {
                        done?;
                        beside_done = true;
                    }
                    event = events.next() => if let Some(event) = event {
                        if matches!(event.kind, policy_host::EventKind::Swapped { .. }) {
                            // A new policy may bind what the old one left.
                            progress.nudge();
                        }
                        taken.take(&event, self.quiet);
                    },
                    _ = tick.tick() => if !self.quiet {
                        let active = host.active();
                        status.show(active.policy(), active.generation, progress.snapshot());
                    },
                }
            }
        };
        settle(&host, &mut events, &mut taken, self.quiet).await;
        let recording = host.finish_recording().await;
        host.shutdown().await;
        let (swaps, refusals) = taken.into_parts();
        let summary = Summary { recording, ..outcome.summary(swaps, refusals) };
        Ok((outcome, summary))
    }
}

/// What happened in the last moments belongs to the run.
async fn settle(host: &PolicyHost, events: &mut Events, taken: &mut RunEvents, quiet: bool) {
    let generation = host.active().generation;
    let proved = || host.receipt().active.is_some_and(|a| a.generation == generation);
    let until = tokio::time::Instant::now() + Duration::from_secs(1);
    while !proved() && tokio::time::Instant::now() < until {
        if let Ok(Some(event)) = tokio::time::timeout(Duration::from_millis(50), events.next()).await {
            taken.take(&event, quiet);
        }
    }
    while let Some(event) = events.try_next() {
        taken.take(&event, quiet);
    }
}

/// Ctrl-C, or a polite kill.
async fn interrupted() {
    let ctrl_c = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = ctrl_c => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    let _ = ctrl_c.await;
}

/// Prints the summary and writes it where asked.
pub(crate) fn report(outcome: &Outcome, summary: &Summary, file: Option<OutputFile>) -> Result<(), Failure> {
    let why = match outcome.end {
        End::WorkloadDone => "the workload is done",
        End::TimeUp => "the time is up",
        End::Stopped => "stopped",
        End::Stalled => "nothing can happen any more: no executor is left",
    };
    line("");
    line(&format!("end        {why}, {:.1} virtual seconds", outcome.virtual_us as f64 / 1e6));
    summary.to_string().trim_end().lines().for_each(line);
    if let Some(file) = file {
        let json = serde_json::to_string_pretty(summary).map_err(|e| Failure::of("summary-unwritable", &e))?;
        file.write(text::json(json).as_bytes())?;
    }
    if let Some(recording) = summary.recording.as_ref().filter(|recording| recording.stopped == "unwritable") {
        let message = format!("{}: {}; {} rounds are in it", recording.file, recording.message, recording.rounds);
        return Err(Failure::new("recording-unwritable", message));
    }
    if summary.tasks_lost + summary.tasks_duplicated > 0 {
        let message = format!("{} tasks lost, {} duplicated", summary.tasks_lost, summary.tasks_duplicated);
        return Err(Failure::new("conservation", message));
    }
    Ok(())
}
