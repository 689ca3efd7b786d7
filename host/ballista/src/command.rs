//! The command `ballista-policy-scheduler`: Ballista's own flags, and those of the policy host.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use ballista_core::BALLISTA_VERSION;
use ballista_core::config::LogRotationPolicy;
use ballista_core::error::BallistaError;
use ballista_core::object_store::{session_config_with_s3_support, session_state_with_s3_support};
use ballista_scheduler::config::{Config, SchedulerConfig, TaskDistribution};
use clap::Parser;
use policy_host::judge::{self, Judge};
use policy_host::{BuiltIn, HostOptions, PolicyHost, TaskDistributionPolicy};
use tokio::net::TcpListener;
use tracing_subscriber::EnvFilter;

use crate::record::{self, DEFAULT_NETWORK_MIB_PER_S, RecordError, Recorder, Recording};
use crate::serve::{install, serve};

/// Ballista's scheduler, on policies from a plugin directory.
///
/// Ballista's own flags keep their meaning; `--task-distribution` names what answers until an `active.json` in the
/// plugin directory says otherwise.
///
/// `policy-host switch` and `policy-host status` work on that directory while the scheduler runs.
#[derive(Debug, Parser)]
#[command(name = "ballista-policy-scheduler", version = VERSION, after_help = EXAMPLE, after_long_help = EXAMPLE, next_line_help = true)]
struct Arguments {
    #[command(flatten)]
    ballista: Config,
    /// Plugin directory; it may appear later. Without one, the built-in policy answers.
    #[arg(long, value_name = "DIR")]
    plugins: Option<PathBuf>,
    /// The host's own files; by default `.policy-host` in the plugin directory.
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Records jobs, tasks and placements as a workload file for `policy-host evaluate`. It is there when the scheduler
    /// has ended (SIGTERM, Ctrl-C); until then, FILE.part is. An existing file is refused.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// What one task reads from another executor at in simulations of the recording, MiB/s.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_NETWORK_MIB_PER_S, requires = "record",
          value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    record_network_mib_per_s: u64,
    /// Makes the workload file of a recording that was cut off, from FILE.part, and ends.
    #[arg(long, value_name = "FILE", conflicts_with = "record")]
    finish_recording: Option<PathBuf>,
}

const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " for Ballista 55");

const EXAMPLE: &str = "\
Example:
  ballista-policy-scheduler --scheduler-policy push-staged --plugins plugins.d
  ballista-executor --task-scheduling-policy push-staged
  policy-host switch data-locality --plugins plugins.d";

/// The first argument of the child process that judges a plugin file.
pub const JUDGE: &str = "__judge-plugin";

/// Runs the command with the arguments of this process.
#[must_use]
pub fn main() -> ExitCode {
    main_with(std::env::args_os().collect())
}

/// Runs the command with these arguments, the first being the program's name. Plugin files are judged in a child process:
/// this program, started with [`JUDGE`] and the file. A program that is more than this command must come here then, too.
#[must_use]
pub fn main_with(arguments: Vec<OsString>) -> ExitCode {
    if let [_, first, file] = arguments.as_slice()
        && first == JUDGE
    {
        judge::child_main(file.as_ref());
        return ExitCode::SUCCESS;
    }
    let arguments = Arguments::parse_from(arguments);
    if let Some(file) = &arguments.finish_recording {
        return match record::finish(file) {
            Ok(recording) => {
                println!("{}", describe(file, recording));
                ExitCode::SUCCESS
            }
            Err(e) => Failure::from(e).print(),
        };
    }
    // As Ballista's own binary has it: its planner recurses deeply.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_stack_size(32 * 1024 * 1024).build();
    let outcome = match runtime {
        Ok(runtime) => {
            let outcome = runtime.block_on(run(arguments));
            // Tasks that still run there are of no use any more.
            runtime.shutdown_background();
            outcome
        }
        Err(e) => Err(Failure("no-thread", e.to_string())),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.print(),
    }
}

/// Why the command ended: stable code, message.
struct Failure(&'static str, String);

impl Failure {
    fn print(&self) -> ExitCode {
        eprintln!("error[{}]: {}", self.0, self.1);
        ExitCode::FAILURE
    }
}

impl From<RecordError> for Failure {
    fn from(e: RecordError) -> Self {
        Self(e.code(), e.to_string())
    }
}

async fn run(arguments: Arguments) -> Result<(), Failure> {
    let Arguments { mut ballista, plugins, state_dir, record, record_network_mib_per_s, .. } = arguments;
    log_to(&ballista);
    let mut stop = Stop::listen()?;
    let address = format!("{}:{}", ballista.bind_host, ballista.bind_port);
    let cannot_listen =
        |e: std::io::Error| Failure("cannot-listen", format!("{address}: {e}; name another --bind-port"));
    let listener = TcpListener::bind(&address).await.map_err(cannot_listen)?;
    let local = listener.local_addr().map_err(cannot_listen)?;
    // For port 0, which lets the system choose.
    ballista.bind_port = local.port();
    let host = Arc::new(host(plugins, state_dir, &ballista.task_distribution)?);
    let invalid = |e: BallistaError| Failure("invalid-configuration", e.to_string());
    let config: SchedulerConfig = ballista.try_into().map_err(invalid)?;
    config.validate().map_err(invalid)?;
    let config = config
        .with_override_config_producer(Arc::new(session_config_with_s3_support))
        .with_override_session_builder(Arc::new(session_state_with_s3_support));
    let (adapter, mut cluster, config) = install(Arc::clone(&host), config);
    // After what else may keep the scheduler from starting: a recording that was begun must be finished.
    let recorder = record.as_deref().map(|file| Recorder::create(file, record_network_mib_per_s)).transpose()?;
    if let Some(recorder) = &recorder {
        let host = Arc::clone(&host);
        cluster = recorder.watch(&cluster, move || host.active().policy().to_owned());
    }
    tracing::info!("Ballista Scheduler v{BALLISTA_VERSION} on hosted policies, listening on {local}");
    let served = tokio::select! {
        ended = serve(adapter, cluster, config, listener) => ended,
        () = stop.requested() => {
            tracing::info!("stop requested");
            Ok(())
        }
    };
    if let (Some(recorder), Some(file)) = (recorder, record) {
        let recording = recorder.finish()?;
        tracing::info!("{}", describe(&file, recording));
    }
    // Ballista's event loops still hold references to the host, so it is stopped, not dropped.
    host.stop().await;
    served.map_err(|e| Failure("scheduler-failed", e.to_string()))
}

/// A recording as a line for the operator.
fn describe(file: &Path, recording: Recording) -> String {
    let Recording { jobs, jobs_left_out, cut } = recording;
    let cut = if cut { ", cut off in the middle of a line" } else { "" };
    format!("recorded {jobs} jobs in {}, {jobs_left_out} left out{cut}", file.display())
}

/// Starts the host, and says what answers.
fn host(
    plugins: Option<PathBuf>,
    state_dir: Option<PathBuf>,
    distribution: &TaskDistribution,
) -> Result<PolicyHost, Failure> {
    let (policy, fallback) = match distribution {
        TaskDistribution::Bias => (TaskDistributionPolicy::Bias, BuiltIn::Bias),
        TaskDistribution::RoundRobin => (TaskDistributionPolicy::RoundRobin, BuiltIn::RoundRobin),
    };
    let mut options = HostOptions { plugins: plugins.clone(), state_dir, fallback, ..HostOptions::with_policy(policy) };
    if plugins.is_some() {
        let program = std::env::current_exe().map_err(|e| Failure("no-program", e.to_string()))?;
        options.judge = Some(Judge::new(program, [JUDGE.into()]));
    }
    let host = PolicyHost::start(options).map_err(|e| Failure(e.code(), policy_host::text::chain(&e)))?;
    let has_active = plugins.as_ref().is_some_and(|p| p.join(policy_host::activation::ACTIVE_FILE).exists());
    let policy = host.active().policy().to_owned();
    match &plugins {
        None => tracing::warn!(policy, "no --plugins DIR: the built-in policy answers every round"),
        Some(directory) if !directory.exists() => tracing::warn!(
            policy,
            directory = %directory.display(),
            "the plugin directory is not there: the built-in policy answers until it appears"
        ),
        Some(directory) if !has_active => tracing::warn!(
            policy,
            directory = %directory.display(),
            "no active.json in the plugin directory: the built-in policy answers until there is one"
        ),
        Some(directory) => tracing::info!(directory = %directory.display(), "policies come from the plugin directory"),
    }
    Ok(host)
}

/// Ctrl-C or SIGTERM, noticed from the moment that this is made.
struct Stop {
    #[cfg(unix)]
    signals: [tokio::signal::unix::Signal; 2],
}

impl Stop {
    fn listen() -> Result<Self, Failure> {
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            let failed = |e: std::io::Error| Failure("no-signals", e.to_string());
            let listen = |kind| signal(kind).map_err(failed);
            Ok(Self { signals: [listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?] })
        }
        #[cfg(not(unix))]
        Ok(Self {})
    }

    async fn requested(&mut self) {
        #[cfg(unix)]
        {
            let [terminate, interrupt] = &mut self.signals;
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        }
        #[cfg(not(unix))]
        let _ = tokio::signal::ctrl_c().await;
    }
}

/// Logs as Ballista's own binary does: its flags, its file names, its rotation.
fn log_to(options: &Config) {
    let filter = std::env::var(EnvFilter::DEFAULT_ENV).unwrap_or_else(|_| options.log_level_setting.clone());
    let log = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_thread_names(options.print_thread_info)
        .with_thread_ids(options.print_thread_info)
        .with_env_filter(EnvFilter::new(filter));
    let Some(directory) = &options.log_dir else {
        return log.with_writer(std::io::stdout).init();
    };
    let prefix = format!("scheduler_{}_{}_{}", options.namespace, options.external_host, options.bind_port);
    let file = match options.log_rotation_policy {
        LogRotationPolicy::Minutely => tracing_appender::rolling::minutely(directory, prefix),
        LogRotationPolicy::Hourly => tracing_appender::rolling::hourly(directory, prefix),
        LogRotationPolicy::Daily => tracing_appender::rolling::daily(directory, prefix),
        LogRotationPolicy::Never => tracing_appender::rolling::never(directory, prefix),
    };
    log.with_writer(file).init();
}
