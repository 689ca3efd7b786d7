//! A cluster with a recorder, and a client that knows the tables.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use ballista::prelude::SessionContextExt;
use clap::Args;
use datafusion::prelude::SessionContext;
use policy_ballista::record;
use policy_sim::workload::{ClusterDefaults, Recorded, Workload, file};

use crate::processes::{self, Process, Role, Site};
use crate::{swaps, tpch};

/// How long the recorder may take to write what has ended.
const WRITTEN_LIMIT: Duration = Duration::from_secs(10);

/// The size of a cluster, and into how many parts it takes work.
#[derive(Debug, Args)]
pub(crate) struct Shape {
    /// Executors of a cluster.
    #[arg(long, default_value_t = 3)]
    pub(crate) executors: u32,
    /// Vcores of an executor.
    #[arg(long, default_value_t = 2)]
    pub(crate) vcores: u32,
    /// Partitions of shuffles [default: Ballista's].
    #[arg(long, value_name = "N")]
    pub(crate) partitions: Option<usize>,
}

/// A cluster that is recorded.
pub(crate) struct Bench {
    pub(crate) plugins: PathBuf,
    pub(crate) context: SessionContext,
    recording: PathBuf,
    url: String,
    partitions: Option<usize>,
    processes: Vec<Process>,
}

impl Bench {
    /// Starts a cluster: on hosted policies, or as `kind` says on one of Ballista's own.
    pub(crate) async fn start(shape: &Shape, directory: &Path, kind: &str, data: &Path) -> Result<Self> {
        let site = Site {
            directory: directory.join(kind),
            port: processes::free_port()?,
            scheduling: "push-staged",
            vcores: shape.vcores,
            executor_program: None,
        };
        let plugins = site.directory.join("plugins.d");
        std::fs::create_dir_all(&plugins)?;
        let recording = site.directory.join("run.jsonl");
        // Of an earlier run that was kept; not there is fine.
        let _ = std::fs::remove_file(&recording);
        let _ = std::fs::remove_file(part(&recording));
        let file = recording.to_str().context("a path that is text")?;
        let mut processes = vec![if kind == "hosted" {
            swaps::drop_in_all(&plugins)?;
            let path = plugins.to_string_lossy();
            site.scheduler(Role::Scheduler, &["--record", file, "--plugins", &path])?
        } else {
            site.scheduler(Role::StockScheduler, &["--record", file, "--task-distribution", kind])?
        }];
        for at in 0..shape.executors {
            processes.push(site.executor(&format!("e{at:02}"))?);
        }
        let (url, partitions) = (format!("df://127.0.0.1:{}", site.port), shape.partitions);
        let context = client(&url, partitions, data).await?;
        Ok(Self { plugins, context, recording, url, partitions, processes })
    }

    /// Another client.
    pub(crate) async fn client(&self, data: &Path) -> Result<SessionContext> {
        client(&self.url, self.partitions, data).await
    }

    /// Ends the cluster; returns its recording.
    pub(crate) fn finish(self, jobs: usize) -> Result<PathBuf> {
        let part = part(&self.recording);
        let until = Instant::now() + WRITTEN_LIMIT;
        // The scheduler is not asked to stop but killed: what a recorder leaves then is as good.
        while std::fs::read_to_string(&part)?.matches("\n{\"job\":").count() < jobs {
            ensure!(Instant::now() < until, "fewer than {jobs} jobs were recorded in {}", self.recording.display());
            std::thread::sleep(Duration::from_millis(20));
        }
        drop(self.processes);
        let recording = record::finish(&self.recording)?;
        if recording.jobs != jobs as u64 || recording.jobs_left_out > 0 {
            bail!("{jobs} queries ran, but {recording:?}");
        }
        Ok(self.recording)
    }
}

fn part(recording: &Path) -> PathBuf {
    let mut part: OsString = recording.as_os_str().to_owned();
    part.push(".part");
    part.into()
}

async fn client(url: &str, partitions: Option<usize>, data: &Path) -> Result<SessionContext> {
    let context = SessionContext::remote(url).await?;
    if let Some(partitions) = partitions {
        let set = format!("SET datafusion.execution.target_partitions = {partitions}");
        context.sql(&set).await?.collect().await?;
    }
    tpch::register(&context, data).await?;
    Ok(context)
}

/// Runs a query as a job of this name; returns how long the client waited.
pub(crate) async fn run_query(context: &SessionContext, name: &str, query: usize, scale: f64) -> Result<Duration> {
    let set = format!("SET ballista.job.name = '{}'", name.replace('\'', ""));
    context.sql(&set).await?.collect().await?;
    let begun = Instant::now();
    context.sql(&tpch::query(query, scale)).await?.collect().await.with_context(|| name.to_owned())?;
    Ok(begun.elapsed())
}

/// Reads a recording.
pub(crate) fn read(recording: &Path) -> Result<(Workload, Recorded)> {
    let workload = file::read(recording, &ClusterDefaults::uniform(1, 1))?;
    let recorded = file::read_recorded(recording)?.context("the recording says how jobs ran")?;
    Ok((workload, recorded))
}
