//! A Ballista cluster as processes on loopback: TPC-H again and again while policies are swapped by file every second,
//! an executor is killed and another added, and a hostile plugin is dropped. Every result is compared with single-node
//! DataFusion's.
//!
//! ```sh
//! cargo run --manifest-path host/ballista/Cargo.toml -p example-ballista-cluster -- --scale 0.1 --baseline
//! ```

mod bench;
mod processes;
mod record;
mod study;
mod swaps;
mod tpch;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use ballista::prelude::SessionContextExt;
use clap::{Parser, Subcommand};
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::prelude::SessionContext;
use processes::{Process, Role, Site};
use swaps::Swaps;

/// Runs TPC-H on a cluster whose policies change every second.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    instead: Option<Instead>,
    /// Scale factor of the data.
    #[arg(long, default_value_t = 0.1)]
    scale: f64,
    /// How long to run, in seconds; passes over the queries begun before are finished.
    #[arg(long, default_value_t = 40, value_name = "S")]
    duration_s: u64,
    /// Executors ask for work instead of being sent it.
    #[arg(long)]
    pull: bool,
    /// Runs the same on Ballista's own scheduler first: what the death of an executor costs there.
    #[arg(long)]
    baseline: bool,
    /// Vcores of an executor.
    #[arg(long, default_value_t = 2)]
    vcores: u32,
    /// How long a query may take before it counts as failed, in seconds.
    #[arg(long, default_value_t = 120, value_name = "S")]
    query_limit_s: u64,
    /// Keeps logs and data here instead of in a directory that is removed.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Instead {
    Study(study::Study),
    Record(record::Record),
}

fn main() -> ExitCode {
    let all: Vec<_> = std::env::args_os().collect();
    if all.get(1).is_some_and(|first| first == policy_ballista::command::JUDGE) {
        return policy_ballista::command::main_with(all);
    }
    if let Some(role) = Role::of_this_process() {
        return role.run();
    }
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_stack_size(32 * 1024 * 1024).build();
    let outcome = runtime.map_err(Into::into).and_then(|runtime| {
        runtime.block_on(async {
            match &arguments.instead {
                Some(Instead::Study(study)) => study::run(study).await.map(|()| true),
                Some(Instead::Record(record)) => record::run(record).await.map(|()| true),
                None => run(&arguments).await,
            }
        })
    });
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("error: {e:#}");
            ExitCode::FAILURE
        }
    }
}

/// What a run did.
#[derive(Debug, Default)]
struct Tally {
    queries: usize,
    wrong: usize,
    failed: Vec<String>,
    swaps: usize,
    refused: Vec<String>,
    fallback_rounds: u64,
    rounds: u64,
    longest_ms: u128,
}

async fn run(arguments: &Arguments) -> Result<bool> {
    let temporary = tempfile::tempdir()?;
    let directory = arguments.keep.clone().unwrap_or_else(|| temporary.path().to_owned());
    std::fs::create_dir_all(&directory)?;
    let data = directory.join("data");
    println!("making TPC-H data, scale factor {}", arguments.scale);
    tpch::generate(&data, arguments.scale)?;
    let single = SessionContext::new();
    tpch::register(&single, &data).await?;
    let mut expected = Vec::new();
    for number in 1..=22 {
        expected.push(answer(&single, &tpch::query(number, arguments.scale)).await?);
    }
    println!("single-node DataFusion has answered the 22 queries");
    let mut rows = Vec::new();
    if arguments.baseline {
        rows.push(("Ballista's own", cluster_run(arguments, &directory, &data, &expected, false).await?));
    }
    rows.push(("hosted policies", cluster_run(arguments, &directory, &data, &expected, true).await?));
    Ok(report(&rows))
}

/// Starts a cluster and keeps it busy; with `hosted`, swaps policies under it.
async fn cluster_run(
    arguments: &Arguments,
    directory: &Path,
    data: &Path,
    expected: &[String],
    hosted: bool,
) -> Result<Tally> {
    let site = Site {
        directory: directory.join(if hosted { "hosted" } else { "stock" }),
        port: processes::free_port()?,
        scheduling: if arguments.pull { "pull-staged" } else { "push-staged" },
        vcores: arguments.vcores,
    };
    let plugins = site.directory.join("plugins.d");
    std::fs::create_dir_all(&plugins)?;
    let path = plugins.to_string_lossy();
    let _scheduler = if hosted {
        site.scheduler(Role::Scheduler, &["--plugins", &path])?
    } else {
        site.scheduler(Role::StockScheduler, &[])?
    };
    let mut executors = Vec::new();
    for name in ["e0", "e1", "e2"] {
        executors.push(site.executor(name)?);
    }
    let context = SessionContext::remote(&format!("df://127.0.0.1:{}", site.port)).await?;
    tpch::register(&context, data).await?;

    let begun = Instant::now();
    let length = Duration::from_secs(arguments.duration_s);
    let over = AtomicBool::new(false);
    let mut tally = Tally::default();
    let queries = async {
        let mut pass = 0;
        while pass == 0 || begun.elapsed() < length {
            one_pass(arguments, &context, expected, &mut tally).await;
            pass += 1;
            println!("{:4.0} s: {} queries answered in {pass} passes", begun.elapsed().as_secs_f64(), tally.queries);
        }
        over.store(true, Ordering::SeqCst);
    };
    let swaps = async {
        if !hosted {
            return Ok(Swaps::default());
        }
        swaps::run(&plugins, &over).await
    };
    let (swaps, (), failures) = tokio::join!(swaps, queries, misfortunes(&site, &mut executors, length));
    failures?;
    let swaps = swaps?;
    tally.swaps = swaps.done;
    tally.refused = swaps.refused;
    (tally.rounds, tally.fallback_rounds) = (swaps.rounds, swaps.fallback_rounds);
    Ok(tally)
}

async fn one_pass(arguments: &Arguments, context: &SessionContext, expected: &[String], tally: &mut Tally) {
    for (number, expected) in (1..).zip(expected) {
        let sql = tpch::query(number, arguments.scale);
        let begun = Instant::now();
        let limit = Duration::from_secs(arguments.query_limit_s);
        match tokio::time::timeout(limit, answer(context, &sql)).await {
            Ok(Ok(rows)) if rows == *expected => tally.queries += 1,
            Ok(Ok(_)) => {
                tally.queries += 1;
                tally.wrong += 1;
                eprintln!("Q{number}: WRONG RESULT");
            }
            Ok(Err(e)) => tally.failed.push(format!("Q{number}: {}", first_line(&e.to_string()))),
            Err(_) => tally.failed.push(format!("Q{number}: no answer within {limit:?}")),
        }
        tally.longest_ms = tally.longest_ms.max(begun.elapsed().as_millis());
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or("").chars().take(200).collect()
}

/// A third into the run an executor is killed; half way another one comes.
async fn misfortunes(site: &Site, executors: &mut Vec<Process>, length: Duration) -> Result<()> {
    tokio::time::sleep(length / 3).await;
    ensure!(!executors.is_empty(), "there are executors");
    drop(executors.remove(0));
    println!("executor e0 was killed");
    tokio::time::sleep(length / 6).await;
    executors.push(site.executor("e3")?);
    println!("executor e3 was added");
    Ok(())
}

/// The rows of an answer, as lines, sorted: queries leave the order of equals open.
async fn answer(context: &SessionContext, sql: &str) -> Result<String> {
    let batches = context.sql(sql).await?.collect().await?;
    let text = pretty_format_batches(&batches)?.to_string();
    let mut lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('+')).collect();
    lines.sort_unstable();
    Ok(lines.join("\n"))
}

/// Prints the table; says whether all is well.
fn report(rows: &[(&str, Tally)]) -> bool {
    println!(
        "\n{:<16} {:>8} {:>6} {:>7} {:>9} {:>7} {:>7} {:>11}",
        "scheduler", "queries", "swaps", "rounds", "fallback", "wrong", "failed", "longest ms"
    );
    for (name, t) in rows {
        println!(
            "{name:<16} {:>8} {:>6} {:>7} {:>9} {:>7} {:>7} {:>11}",
            t.queries,
            t.swaps,
            t.rounds,
            t.fallback_rounds,
            t.wrong,
            t.failed.len(),
            t.longest_ms
        );
    }
    for (name, t) in rows {
        t.failed.iter().for_each(|failed| println!("{name}: failed: {failed}"));
        t.refused.iter().for_each(|refused| println!("{name}: refused: {refused}"));
    }
    let failed_by_stock = rows.iter().filter(|r| r.0 != "hosted policies").map(|r| r.1.failed.len()).max();
    rows.iter().all(|(_, t)| t.wrong == 0 && t.queries > 0 && t.failed.len() <= failed_by_stock.unwrap_or(0))
}
