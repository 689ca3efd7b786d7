//! The `policy-host` command. Facts go to standard output, logs and reasons to standard error; exit 0 done, 1 refused
//! or failed, 2 wrong usage.

mod commands;
mod failure;
mod output;
mod paths;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

#[derive(Debug, Parser)]
#[command(name = "policy-host", version, about, long_about = None, max_term_width = 110)]
struct Cli {
    /// Which log lines go to standard error: error, warn, info, debug, trace, or a filter such as `policy_host=debug`.
    /// The environment variable RUST_LOG does the same.
    #[arg(long, global = true, value_name = "FILTER")]
    log: Option<String>,
    #[command(subcommand)]
    command: Command,
}

/// Where the plugins and the host's own files are.
#[derive(Clone, Debug, Args)]
struct Place {
    /// The plugin directory: libraries and active.json.
    #[arg(long, value_name = "DIR", value_parser = paths::absolute())]
    plugins: PathBuf,
    /// The host's own files (staged copies, receipt); for a plugin directory that is read-only.
    #[arg(
        long,
        value_name = "DIR",
        value_parser = paths::absolute(),
        help = "The host's own files [default: <plugins>/.policy-host]"
    )]
    state_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show it all: builds the bundled plugins, runs the embedded cluster, and swaps policies live through files.
    Demo(commands::demo::Demo),
    /// Host the policies of a directory over the embedded cluster.
    Run(commands::run::Run),
    /// What policies do to a workload, in virtual time, with the files that will be deployed.
    Evaluate(commands::evaluate::Evaluate),
    /// What another policy would have done with the rounds of a recording, or the same one again.
    Replay(commands::replay::Replay),
    /// Every policy found in a directory: name, version, kind, file, hash, state.
    List(commands::list::List),
    /// Judge plugin files in a process of their own, without touching any running host.
    Check(commands::check::Check),
    /// Make a running host switch, and wait until the new generation has answered.
    Switch(commands::switch::Switch),
    /// What a running host says is active.
    Status(commands::status::Status),
    /// What is out of service, and putting it back.
    Quarantine(commands::quarantine::Quarantine),
    /// Start the crate of a policy.
    New(commands::new::New),
    /// Build, judge and swap in a policy crate, again on every save.
    Dev(commands::dev::Dev),
    /// Print the JSON Schemas of active.json and of what the commands print.
    Schema(commands::schema::Schema),
    /// The child's side of `check`.
    #[command(hide = true)]
    Judge {
        /// The file.
        file: PathBuf,
    },
}

/// Runs the command that the process was started with.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let quiet = !matches!(cli.command, Command::Run(_));
    log_to_stderr(cli.log.as_deref(), quiet);
    let done = match cli.command {
        Command::Demo(demo) => demo.execute(),
        Command::Run(run) => run.execute(),
        Command::Evaluate(evaluate) => evaluate.execute(),
        Command::Replay(replay) => replay.execute(),
        Command::List(list) => list.execute(),
        Command::Check(check) => check.execute(),
        Command::Switch(switch) => switch.execute(),
        Command::Status(status) => status.execute(),
        Command::Quarantine(quarantine) => quarantine.execute(),
        Command::New(new) => new.execute(),
        Command::Dev(dev) => dev.execute(),
        Command::Schema(schema) => schema.execute(),
        Command::Judge { file } => {
            policy_host::judge::child_main(&file);
            Ok(())
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.tell();
            ExitCode::FAILURE
        }
    }
}

fn log_to_stderr(filter: Option<&str>, quiet: bool) {
    // What `run` prints as facts need not be logged as well.
    let default = if quiet { "error" } else { "warn,policy_host::event=off" };
    let filter = match filter {
        Some(filter) => EnvFilter::new(filter),
        None => EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default)),
    };
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(ansi)
        .with_writer(commands::progress::LogWriter::new)
        .init();
}
