//! The `policy-host` command. Facts go to standard output, logs and reasons to standard error; exit 0 done, 1 refused
//! or failed, 2 wrong usage.

mod commands;
mod exit_guard;
mod facts;
mod failure;
mod logs;
mod output;
mod paths;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue};
use clap::{Parser, Subcommand};
use policy_host::text::{is_unsafe, shown};

use exit_guard::ExitGuard;
use failure::{FAILED, Failure, complain};

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
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(usage) => return print_usage(usage),
    };
    let quiet = !matches!(cli.command, Command::Run(_));
    logs::to_stderr(cli.log.as_deref(), quiet);
    if let Command::Judge { file } = &cli.command {
        // The parent reads what this process prints, and judges how it ends.
        policy_host::judge::child_main(file);
        return ExitCode::SUCCESS;
    }
    let guard = ExitGuard::arm();
    let code = match facts::set_apart().and_then(|()| cli.command.execute()) {
        Ok(()) if facts::are_lost() => FAILED,
        Ok(()) => 0,
        Err(failure) => {
            failure.print();
            failure.exit_code()
        }
    };
    guard.release(code);
    ExitCode::from(code)
}

impl Command {
    fn execute(&self) -> Result<(), Failure> {
        match self {
            Self::Demo(demo) => demo.execute(),
            Self::Run(run) => run.execute(),
            Self::Evaluate(evaluate) => evaluate.execute(),
            Self::Replay(replay) => replay.execute(),
            Self::List(list) => list.execute(),
            Self::Check(check) => check.execute(),
            Self::Switch(switch) => switch.execute(),
            Self::Status(status) => status.execute(),
            Self::Quarantine(quarantine) => quarantine.execute(),
            Self::New(new) => new.execute(),
            Self::Dev(dev) => dev.execute(),
            Self::Schema(schema) => schema.execute(),
            Self::Judge { .. } => Ok(()),
        }
    }
}

/// Prints help, the version, or what is wrong with the command line.
fn print_usage(mut usage: clap::Error) -> ExitCode {
    if usage.use_stderr() {
        escape_arguments(&mut usage);
        // The reason why a value is refused is text of its own, with the value in it.
        let reason = std::error::Error::source(&usage).map(ToString::to_string).unwrap_or_default();
        if reason.contains(is_unsafe) {
            let argument = usage.get(ContextKind::InvalidArg).map(ToString::to_string).unwrap_or_default();
            complain(&format!("error: invalid value for '{argument}': {}", shown(reason)));
        } else {
            let _ = usage.print();
        }
        return ExitCode::from(2);
    }
    match usage.print().and_then(|()| std::io::stdout().flush()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
            Failure::because("output-lost", "standard output cannot be written", &e).print();
            ExitCode::from(FAILED)
        }
        _ => ExitCode::SUCCESS,
    }
}

/// An argument may be the name of a file, which may hold anything.
fn escape_arguments(usage: &mut clap::Error) {
    let context: Vec<(ContextKind, ContextValue)> =
        usage.context().map(|(kind, value)| (kind, value.clone())).collect();
    for (kind, value) in context {
        let escaped = match value {
            ContextValue::String(text) => ContextValue::String(shown(text)),
            ContextValue::Strings(texts) => ContextValue::Strings(texts.into_iter().map(shown).collect()),
            _ => continue,
        };
        usage.insert(kind, escaped);
    }
}
