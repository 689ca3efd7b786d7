//! A Ballista cluster as processes on loopback: TPC-H again and again while policies are swapped by file every second,
//! an executor is killed and another added, a file that is no library is refused, and a hostile plugin is put into
//! service and dropped. Every result is compared with single-node DataFusion's.
//!
//! ```sh
//! cargo run --manifest-path host/ballista/Cargo.toml -p example-ballista-cluster -- --scale 0.1 --baseline
//! ```
//! Ends with 0 when nothing was wrong: no wrong result, swaps done, the hostile plugin dropped at the price of one
//! fallback round at most, no query failed but around the death of the executor, and there not more than with Ballista's
//! own scheduler, or one: the query that ran when the executor died.

mod bench;
mod processes;
mod ranking;
mod record;
mod simulate;
mod study;
mod swaps;
mod tpch;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use ballista::prelude::SessionContextExt;
use clap::{Parser, Subcommand};
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::prelude::SessionContext;
use processes::{Process, Role, Site};
use swaps::Swaps;

/// The runs, as the table names them.
const STOCK: &str = "Ballista's own";
const HOSTED: &str = "hosted policies";
/// By then the scheduler knows that an executor is dead: the time-outs that `processes` sets, and some more.
const DEATH_IS_KNOWN_AFTER: Duration = Duration::from_secs(15);

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
    /// Plans stages once instead of anew after each of them. In Ballista 55, answers may then be wrong after an executor was
    /// lost.
    #[arg(long)]
    static_planner: bool,
    /// Vcores of an executor.
    #[arg(long, default_value_t = 2)]
    vcores: u32,
    /// A `ballista-executor` to run as executors, instead of this program with Ballista's executor in it.
    #[arg(long, value_name = "PROGRAM")]
    executor: Option<PathBuf>,
    /// How long a query may take before it counts as failed, in seconds.
    #[arg(long, default_value_t = 120, value_name = "S")]
    query_limit_s: u64,
    /// Keeps logs and data here instead of in a directory that is removed; those of a run before are replaced.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Instead {
    Study(study::Study),
    Ranking(ranking::Ranking),
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
                Some(Instead::Ranking(ranking)) => ranking::run(ranking).await.map(|()| true),
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
    /// Queries that ran around the death of the executor and failed.
    lost: Vec<String>,
    /// Other queries that failed.
    failed: Vec<String>,
    swaps: usize,
    refused: Vec<String>,
    dropped: Vec<String>,
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
        rows.push((STOCK, cluster_run(arguments, &directory, &data, &expected, false).await?));
    }
    rows.push((HOSTED, cluster_run(arguments, &directory, &data, &expected, true).await?));
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
        executor_program: arguments.executor.clone(),
    };
    // What a host wrote there in a run before, its quarantine list for one, is not of this run.
    if site.directory.exists() {
        std::fs::remove_dir_all(&site.directory)?;
    }
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
    if arguments.static_planner {
        context.sql("SET ballista.planner.adaptive.enabled = false").await?;
    }

    let begun = Instant::now();
    let length = Duration::from_secs(arguments.duration_s);
    let (over, death) = (AtomicBool::new(false), OnceLock::new());
    let mut tally = Tally::default();
    let queries = async {
        let mut pass = 0;
        // All queries once on hosted policies; the comparison may end in the middle, for some hang there.
        let is_over = |whole: bool| !(whole && hosted) && begun.elapsed() >= length;
        while !is_over(pass == 0) {
            for number in 1..=expected.len() {
                if is_over(pass == 0) {
                    break;
                }
                one_query(arguments, &context, number, &expected[number - 1], &death, &mut tally).await;
            }
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
    let (swaps, (), failures) = tokio::join!(swaps, queries, misfortunes(&site, &mut executors, length, &death));
    failures?;
    let swaps = swaps?;
    (tally.swaps, tally.refused, tally.dropped) = (swaps.done, swaps.refused, swaps.dropped);
    (tally.rounds, tally.fallback_rounds) = (swaps.rounds, swaps.fallback_rounds);
    Ok(tally)
}

async fn one_query(
    arguments: &Arguments,
    context: &SessionContext,
    number: usize,
    expected: &str,
    death: &OnceLock<Instant>,
    tally: &mut Tally,
) {
    let sql = tpch::query(number, arguments.scale);
    let begun = Instant::now();
    let limit = Duration::from_secs(arguments.query_limit_s);
    let failure = match tokio::time::timeout(limit, answer(context, &sql)).await {
        Ok(Ok(rows)) => {
            tally.queries += 1;
            if rows != *expected {
                tally.wrong += 1;
                eprintln!("Q{number}: WRONG RESULT");
            }
            None
        }
        Ok(Err(e)) => Some(format!("Q{number}: {}", first_line(&e.to_string()))),
        Err(_) => Some(format!("Q{number}: no answer within {limit:?}")),
    };
    // It ran when the executor died, or began before the scheduler can have known.
    let is_around = |&died: &Instant| died.elapsed() < begun.elapsed() + DEATH_IS_KNOWN_AFTER;
    match failure {
        Some(failure) if death.get().is_some_and(is_around) => tally.lost.push(failure),
        failure => tally.failed.extend(failure),
    }
    tally.longest_ms = tally.longest_ms.max(begun.elapsed().as_millis());
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or("").chars().take(200).collect()
}

/// A third into the run an executor is killed; half way another one comes.
async fn misfortunes(
    site: &Site,
    executors: &mut Vec<Process>,
    length: Duration,
    death: &OnceLock<Instant>,
) -> Result<()> {
    tokio::time::sleep(length / 3).await;
    ensure!(!executors.is_empty(), "there are executors");
    // Before it dies, so that no query can fail of it earlier.
    death.get_or_init(Instant::now);
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
        "\n{:<16} {:>8} {:>6} {:>7} {:>9} {:>8} {:>8} {:>6} {:>8} {:>7} {:>11}",
        "scheduler",
        "queries",
        "swaps",
        "rounds",
        "fallback",
        "refused",
        "dropped",
        "wrong",
        "at death",
        "failed",
        "longest ms"
    );
    for (name, t) in rows {
        println!(
            "{name:<16} {:>8} {:>6} {:>7} {:>9} {:>8} {:>8} {:>6} {:>8} {:>7} {:>11}",
            t.queries,
            t.swaps,
            t.rounds,
            t.fallback_rounds,
            t.refused.len(),
            t.dropped.len(),
            t.wrong,
            t.lost.len(),
            t.failed.len(),
            t.longest_ms
        );
    }
    for (name, t) in rows {
        t.lost.iter().for_each(|lost| println!("{name}: failed around the executor's death: {lost}"));
        t.failed.iter().for_each(|failed| println!("{name}: failed: {failed}"));
        t.refused.iter().for_each(|refused| println!("{name}: refused: {refused}"));
        t.dropped.iter().for_each(|dropped| println!("{name}: dropped: {dropped}"));
    }
    let faults: Vec<String> = rows.iter().flat_map(|(name, tally)| faults(name, tally, rows)).collect();
    faults.iter().for_each(|fault| println!("NOT WELL: {fault}"));
    faults.is_empty()
}

/// What of a run should not be.
fn faults(name: &str, tally: &Tally, rows: &[(&str, Tally)]) -> Vec<String> {
    let of_stock = |number: fn(&Tally) -> usize| rows.iter().find(|r| r.0 == STOCK).map_or(0, |r| number(&r.1));
    let mut rules = vec![("no query was answered", tally.queries == 0), ("a result is wrong", tally.wrong > 0)];
    if name == HOSTED {
        rules.extend([
            ("more queries failed around the executor's death", tally.lost.len() > of_stock(|t| t.lost.len()).max(1)),
            ("queries failed that did not with Ballista's own", tally.failed.len() > of_stock(|t| t.failed.len())),
            ("no policy was swapped", tally.swaps == 0),
            ("the file that is no library was not refused", !tally.refused.iter().any(|r| r == "not-a-library")),
            ("the hostile plugin is still there", tally.dropped.len() != 1),
            ("the hostile plugin cost more than one round", tally.fallback_rounds > 1),
        ]);
    }
    rules.into_iter().filter(|rule| rule.1).map(|rule| format!("{name}: {}", rule.0)).collect()
}
