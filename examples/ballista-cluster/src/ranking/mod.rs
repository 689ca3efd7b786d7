//! Do simulations rank policies as the real engine does? The same queries come at the same moments under each policy, in
//! more haste than the cluster has room for, so that it matters who waits; then all policies are simulated on the
//! recording of one, and the two orders are compared.

mod compare;
mod print;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use futures::future::try_join_all;
use policy_sim::workload::{Recorded, Workload};
use serde_json::{Value, json};

use crate::bench::{self, Bench, Shape, run_query};
use crate::simulate::simulate;
use crate::{swaps, tpch};
use compare::Comparison;

/// Tenants: many short queries, and now and then a few long ones.
const TENANTS: [&str; 2] = ["dashboard", "batch"];
/// The dashboard's, in turn: those that take least of the 22.
const SHORT: [usize; 6] = [6, 14, 19, 12, 4, 22];
/// The batch's, in turn: those that take most.
const LONG: [usize; 4] = [9, 18, 21, 1];
/// Between two runs.
const SETTLE: Duration = Duration::from_millis(500);

/// Runs the same arrivals under each policy, simulates them on one recording, and compares the two rankings.
#[derive(Debug, Args)]
pub(crate) struct Ranking {
    /// Scale factor of the data.
    #[arg(long, default_value_t = 0.5)]
    scale: f64,
    #[command(flatten)]
    shape: Shape,
    /// Batches of long queries in a run.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    batches: u32,
    /// Long queries in a batch, all at once.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=100))]
    burst: u32,
    /// From one batch to the next, milliseconds.
    #[arg(long, default_value_t = 6000, value_name = "MS")]
    every_ms: u64,
    /// From one short query to the next, milliseconds.
    #[arg(long, default_value_t = 600, value_name = "MS")]
    short_every_ms: u64,
    /// Runs under each policy that count; one before them does not.
    #[arg(long, default_value_t = 5)]
    repeats: usize,
    /// Policies, as names or inline JSON of the shape of active.json; the others are compared with the first, whose
    /// recordings are simulated.
    #[arg(long = "policy", value_name = "SPEC", num_args = 2.., default_values = [
        "bias", "round-robin", "data-locality", "consistent-hash", "tenant-fair",
        r#"{"policy":"tenant-fair","config":{"between":"jobs"}}"#,
        r#"{"policy":"bias","filters":[{"policy":"tenant-quota","config":{"quotas":{"batch":2}}}]}"#,
    ])]
    policies: Vec<String>,
    /// Writes the figures as JSON.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Keeps logs, data and recordings here instead of in a directory that is removed. Data that is there is used.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

/// A query that comes at a moment of every run.
#[derive(Clone, Copy, Debug)]
struct Arrival {
    at: Duration,
    tenant: usize,
    query: usize,
}

/// Job times of one run, milliseconds: of all jobs, and by tenant.
#[derive(Clone, Debug, Default)]
struct Times {
    all: Vec<f64>,
    by_tenant: [Vec<f64>; TENANTS.len()],
}

impl Times {
    fn push(&mut self, tenant: usize, ms: f64) {
        self.all.push(ms);
        self.by_tenant[tenant].push(ms);
    }
}

/// What is compared: its name, and the job times whose mean it is.
type Measure = (&'static str, fn(&Times) -> &[f64]);

const MEASURES: [Measure; 3] = [
    ("mean JCT", |times| &times.all),
    ("mean JCT of dashboard", |times| &times.by_tenant[0]),
    ("mean JCT of batch", |times| &times.by_tenant[1]),
];

pub(crate) async fn run(ranking: &Ranking) -> Result<()> {
    ensure!(ranking.repeats >= 2, "an interval needs two repeats at least");
    let temporary = tempfile::tempdir()?;
    let directory = ranking.keep.clone().unwrap_or_else(|| temporary.path().to_owned());
    let data = tpch::data(&directory, ranking.scale)?;
    let policies: Vec<Value> = ranking.policies.iter().map(|spec| parse(spec)).collect::<Result<_>>()?;
    let arrivals = ranking.arrivals();
    let bench = Bench::start(&ranking.shape, &directory, "hosted", &data).await?;
    // A session a query: the job's name is the session's.
    let mut clients = Vec::new();
    for _ in &arrivals {
        clients.push(bench.client(&data).await?);
    }
    let mut jobs = 0;
    for pass in 0..=ranking.repeats {
        for turn in 0..policies.len() {
            let policy = (turn + pass) % policies.len();
            let mut active = policies[policy].clone();
            active["deadline_ms"] = json!(1000);
            swaps::switch(&bench.plugins, &active).await?;
            tokio::time::sleep(SETTLE).await;
            let begun = tokio::time::Instant::now();
            let queries = arrivals.iter().zip(&clients).enumerate().map(|(at, (arrival, client))| async move {
                tokio::time::sleep_until(begun + arrival.at).await;
                let tenant = TENANTS[arrival.tenant];
                let name = format!("[tenant={tenant}] {policy} {pass} {at}");
                run_query(client, &name, arrival.query, ranking.scale).await
            });
            try_join_all(queries).await?;
            jobs += arrivals.len();
        }
        println!("pass {} of {} is over", pass + 1, ranking.repeats + 1);
    }
    let (workload, recorded) = bench::read(&bench.finish(jobs)?)?;
    let (mut measured, mut simulated) = (Vec::new(), Vec::new());
    for (at, policy) in policies.iter().enumerate() {
        let (mut was, mut would) = (Vec::new(), Vec::new());
        for pass in 1..=ranking.repeats {
            was.push(times(&recorded, &part(&recorded, at, pass), &workload));
            would.push(simulate_run(policy, &workload, &recorded, pass).await?);
        }
        measured.push(was);
        simulated.push(would);
    }
    let comparisons: Vec<Comparison> =
        MEASURES.iter().map(|&(name, of)| Comparison::new(name, of, &measured, &simulated)).collect();
    print::print(ranking, &arrivals, &comparisons);
    if let Some(out) = &ranking.out {
        std::fs::write(out, serde_json::to_string_pretty(&print::json(ranking, &comparisons))?)?;
    }
    Ok(())
}

impl Ranking {
    /// In the order in which they come.
    fn arrivals(&self) -> Vec<Arrival> {
        let mut arrivals = Vec::new();
        for batch in 0..self.batches {
            let at = Duration::from_millis(u64::from(batch) * self.every_ms);
            for i in 0..self.burst {
                let query = LONG[(batch * self.burst + i) as usize % LONG.len()];
                arrivals.push(Arrival { at, tenant: 1, query });
            }
        }
        let length_ms = u64::from(self.batches) * self.every_ms;
        let shorts = (0..length_ms).step_by(self.short_every_ms.max(1) as usize);
        arrivals.extend(shorts.zip(SHORT.iter().cycle()).map(|(ms, &query)| Arrival {
            at: Duration::from_millis(ms),
            tenant: 0,
            query,
        }));
        arrivals.sort_by_key(|arrival| arrival.at);
        arrivals
    }
}

fn parse(spec: &str) -> Result<Value> {
    if !spec.starts_with('{') {
        return Ok(json!({ "policy": spec }));
    }
    let active: Value = serde_json::from_str(spec).with_context(|| spec.to_owned())?;
    ensure!(active["policy"].is_string(), "{spec} names no policy");
    Ok(active)
}

/// The jobs of one run: where they stand in the recording.
fn part(recorded: &Recorded, policy: usize, pass: usize) -> Vec<usize> {
    let middle = format!("] {policy} {pass} ");
    let of_run = recorded.jobs.iter().enumerate().filter(|(_, job)| job.run.name.contains(&middle));
    of_run.map(|(at, _)| at).collect()
}

fn tenant(name: &str) -> usize {
    TENANTS.iter().position(|tenant| *tenant == name).unwrap_or_default()
}

fn times(recorded: &Recorded, part: &[usize], workload: &Workload) -> Times {
    let mut times = Times::default();
    for &at in part {
        let (job, run) = (&workload.jobs[at], &recorded.jobs[at].run);
        times.push(tenant(&job.tenant), run.end_us.saturating_sub(job.submit_us) as f64 / 1e3);
    }
    times
}

/// What a policy would have done with what came in a run under the first one.
async fn simulate_run(policy: &Value, workload: &Workload, recorded: &Recorded, pass: usize) -> Result<Times> {
    let mut jobs: Vec<_> = part(recorded, 0, pass).into_iter().map(|at| workload.jobs[at].clone()).collect();
    let first_us = jobs.first().map_or(0, |job| job.submit_us);
    jobs.iter_mut().for_each(|job| job.submit_us -= first_us);
    let tenants: Vec<usize> = jobs.iter().map(|job| tenant(&job.tenant)).collect();
    let simulated = simulate(policy, Workload { header: workload.header.clone(), jobs }).await?;
    let mut times = Times::default();
    tenants.into_iter().zip(simulated.jcts_ms).for_each(|(tenant, ms)| times.push(tenant, ms));
    Ok(times)
}
