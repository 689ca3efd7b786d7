//! The cluster's processes: this program again, as scheduler or as stock executor.

use std::ffi::OsString;
use std::fs::File;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use ballista_core::error::BallistaError;
use ballista_core::object_store::{
    runtime_env_with_s3_support, session_config_with_s3_support, session_state_with_s3_support,
};
use ballista_executor::executor_process::{ExecutorProcessConfig, start_executor_process};
use ballista_scheduler::cluster::BallistaCluster;
use ballista_scheduler::config::SchedulerConfig;
use ballista_scheduler::scheduler_process::start_server;
use clap::Parser;
use policy_ballista::record::{DEFAULT_NETWORK_MIB_PER_S, Recorder};

/// How long a process may take to listen.
const START_LIMIT: Duration = Duration::from_secs(60);

/// What this program is when its first argument says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Ballista's scheduler on hosted policies.
    Scheduler,
    /// Ballista's scheduler as it is.
    StockScheduler,
    /// Ballista's executor as it is.
    Executor,
}

impl Role {
    const ALL: [(Self, &'static str); 3] =
        [(Self::Scheduler, "__scheduler"), (Self::StockScheduler, "__stock-scheduler"), (Self::Executor, "__executor")];

    /// The role that this process was started in.
    pub(crate) fn of_this_process() -> Option<Self> {
        let first = std::env::args().nth(1)?;
        Self::ALL.into_iter().find(|(_, name)| *name == first).map(|(role, _)| role)
    }

    fn argument(self) -> &'static str {
        Self::ALL.into_iter().find(|(role, _)| *role == self).map_or("", |(_, name)| name)
    }

    /// Runs it.
    pub(crate) fn run(self) -> ExitCode {
        let arguments: Vec<OsString> =
            std::env::args_os().enumerate().filter(|(i, _)| *i != 1).map(|(_, argument)| argument).collect();
        if self == Self::Scheduler {
            return policy_ballista::command::main_with(arguments);
        }
        let runtime =
            tokio::runtime::Builder::new_multi_thread().enable_all().thread_stack_size(32 * 1024 * 1024).build();
        let ended = match runtime {
            Ok(runtime) => runtime.block_on(async {
                if self == Self::Executor { executor(arguments).await } else { stock_scheduler(arguments).await }
            }),
            Err(e) => Err(e.into()),
        };
        match ended {
            Ok(()) => ExitCode::SUCCESS,
            Err(e) => {
                eprintln!("{}: {e}", self.argument());
                ExitCode::FAILURE
            }
        }
    }
}

/// As the `ballista-executor` binary runs it, without its health server.
async fn executor(arguments: Vec<OsString>) -> Result<(), BallistaError> {
    let mut config: ExecutorProcessConfig = ballista_executor::config::Config::parse_from(arguments).try_into()?;
    config.override_config_producer = Some(Arc::new(session_config_with_s3_support));
    config.override_runtime_producer = Some(Arc::new(runtime_env_with_s3_support));
    start_executor_process(Arc::new(config)).await
}

/// Ballista's own flags, and a recorder.
#[derive(Debug, Parser)]
struct Stock {
    #[command(flatten)]
    ballista: ballista_scheduler::config::Config,
    #[arg(long)]
    record: Option<PathBuf>,
}

/// As the `ballista-scheduler` binary runs it, a recorder looking on.
async fn stock_scheduler(arguments: Vec<OsString>) -> Result<(), BallistaError> {
    let Stock { ballista: options, record } = Stock::parse_from(arguments);
    let address = format!("{}:{}", options.bind_host, options.bind_port);
    let address = address.parse().map_err(|e: std::net::AddrParseError| BallistaError::Configuration(e.to_string()))?;
    let config: SchedulerConfig = options.try_into()?;
    let config = config
        .with_override_config_producer(Arc::new(session_config_with_s3_support))
        .with_override_session_builder(Arc::new(session_state_with_s3_support));
    let mut cluster = BallistaCluster::new_from_config(&config).await?;
    if let Some(file) = record {
        let distribution = format!("ballista:{:?}", config.task_distribution);
        cluster = Recorder::create(&file, DEFAULT_NETWORK_MIB_PER_S)?.watch(&cluster, move || distribution.clone());
    }
    start_server(cluster, address, Arc::new(config)).await
}

/// A process that ends with its owner.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
}

impl Drop for Process {
    fn drop(&mut self) {
        // Gone already is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where a cluster lives.
#[derive(Debug)]
pub(crate) struct Site {
    /// Logs and shuffle files.
    pub(crate) directory: PathBuf,
    /// The scheduler's port.
    pub(crate) port: u16,
    /// `push-staged` or `pull-staged`.
    pub(crate) scheduling: &'static str,
    /// Vcores of an executor.
    pub(crate) vcores: u32,
    /// The executors' program; without, this one in the role of one.
    pub(crate) executor_program: Option<PathBuf>,
}

impl Site {
    /// Starts a scheduler and waits until it listens.
    pub(crate) fn scheduler(&self, role: Role, more: &[&str]) -> Result<Process> {
        let port = self.port.to_string();
        let own = ["--bind-host", "127.0.0.1", "--external-host", "127.0.0.1", "--bind-port", &port];
        let patience = ["--executor-timeout-seconds", "10", "--expire-dead-executor-interval-seconds", "1"];
        let own = [&own[..], &patience, &["--scheduler-policy", self.scheduling], more].concat();
        let mut process = spawn(None, Some(role), &own, &self.directory.join("scheduler.log"))?;
        let until = Instant::now() + START_LIMIT;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            if let Some(status) = process.child.try_wait()? {
                bail!("the scheduler ended with {status}; see {}", self.directory.join("scheduler.log").display());
            }
            if Instant::now() > until {
                bail!("the scheduler does not listen after {START_LIMIT:?}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(process)
    }

    /// Starts an executor.
    pub(crate) fn executor(&self, name: &str) -> Result<Process> {
        let work = self.directory.join(name);
        std::fs::create_dir_all(&work)?;
        let (port, grpc, scheduler) = (free_port()?.to_string(), free_port()?.to_string(), self.port.to_string());
        let vcores = self.vcores.to_string();
        let arguments = [
            ["--id", name],
            ["--bind-host", "127.0.0.1"],
            ["--external-host", "127.0.0.1"],
            ["--bind-port", &port],
            ["--bind-grpc-port", &grpc],
            ["--scheduler-host", "127.0.0.1"],
            ["--scheduler-port", &scheduler],
            ["--scheduler-connect-timeout-seconds", "30"],
            ["--task-scheduling-policy", self.scheduling],
            ["--executor-heartbeat-interval-seconds", "2"],
            ["--vcores", &vcores],
            ["--work-dir", work.to_str().context("a path that is text")?],
        ];
        let program = self.executor_program.as_deref();
        let role = program.is_none().then_some(Role::Executor);
        spawn(program, role, &arguments.concat(), &self.directory.join(format!("{name}.log")))
    }
}

/// Starts a program; without one, this.
fn spawn(program: Option<&Path>, role: Option<Role>, arguments: &[&str], log: &Path) -> Result<Process> {
    let log = File::create(log)?;
    let program = program.map_or_else(std::env::current_exe, |program| Ok(program.to_owned()))?;
    let child = Command::new(&program)
        .args(role.map(Role::argument))
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| program.display().to_string())?;
    Ok(Process { child })
}

/// A port that nobody listens on right now.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
