//! What policies do to TPC-H on one cluster: the share of shuffle bytes that is read where it lies, beside the most that
//! could have been, and the time of queries; Ballista's own policies beside them.
//!
//! Three clusters of the same size stand side by side: one on hosted policies, two on Ballista's own. Only one of them
//! works at a time. A query runs under every policy in turn before the next one comes, each time in another order.

mod bound;
mod figures;
mod print;
mod truth;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;

use crate::bench::{self, Bench, Shape, run_query};
use crate::{swaps, tpch};
use figures::Row;

/// Between queries.
const SETTLE: Duration = Duration::from_millis(100);

/// Runs TPC-H under each policy, and compares bytes read locally and time.
#[derive(Debug, Args)]
pub(crate) struct Study {
    /// Scale factor of the data.
    #[arg(long, default_value_t = 0.1)]
    scale: f64,
    #[command(flatten)]
    shape: Shape,
    /// How often each query runs under each policy.
    #[arg(long, default_value_t = 3)]
    repeats: usize,
    /// Passes over the queries before anything is counted.
    #[arg(long, default_value_t = 1)]
    warm_up: usize,
    /// Queries: numbers and ranges, as `1-3,5`.
    #[arg(long, default_value = "1-22", value_parser = parse_queries)]
    queries: Queries,
    /// Hosted policies, as names or inline JSON of the shape of active.json.
    #[arg(long = "policy", value_name = "SPEC", num_args = 1..,
          default_values = ["bias", "round-robin", "consistent-hash", "data-locality"])]
    policies: Vec<String>,
    /// Writes the figures as JSON.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Keeps logs, data and recordings here instead of in a directory that is removed. Data that is there is used.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

#[derive(Clone, Debug)]
pub(crate) struct Queries(pub(crate) Vec<usize>);

pub(crate) fn parse_queries(text: &str) -> Result<Queries, String> {
    let mut queries = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| text.trim().parse::<usize>().map_err(|e| format!("`{text}`: {e}"));
        let (first, last) = (number(first)?, number(last)?);
        if first < 1 || last > 22 || first > last {
            return Err(format!("`{part}`: queries are 1 to 22"));
        }
        queries.extend(first..=last);
    }
    Ok(Queries(queries))
}

/// A policy as it is put in service.
#[derive(Clone, Debug)]
struct Candidate {
    /// What tells it from the others.
    label: String,
    /// Which cluster it runs on.
    at: usize,
    /// The `active.json`, of a hosted one.
    active: Option<serde_json::Value>,
}

/// One run of a query.
#[derive(Clone, Copy, Debug)]
struct Sample {
    candidate: usize,
    query: usize,
    repeat: usize,
    ms: f64,
}

pub(crate) async fn run(study: &Study) -> Result<()> {
    let temporary = tempfile::tempdir()?;
    let directory = study.keep.clone().unwrap_or_else(|| temporary.path().to_owned());
    let data = tpch::data(&directory, study.scale)?;
    let candidates = study.candidates()?;
    let mut benches = Vec::new();
    for kind in ["hosted", "bias", "round-robin"] {
        benches.push(Bench::start(&study.shape, &directory, kind, &data).await?);
    }
    let mut samples = Vec::new();
    let mut in_service = None;
    let mut ran = vec![0; benches.len()];
    let passes = study.warm_up + study.repeats;
    for pass in 0..passes {
        for &query in &study.queries.0 {
            for turn in 0..candidates.len() {
                let at = (turn + pass + query) % candidates.len();
                let candidate = &candidates[at];
                let bench = &benches[candidate.at];
                if let Some(active) = candidate.active.as_ref().filter(|_| in_service != Some(at)) {
                    swaps::switch(&bench.plugins, active).await?;
                    in_service = Some(at);
                }
                // What a swap leaves to do in the background must not be in the time of the query.
                tokio::time::sleep(SETTLE).await;
                let name = format!("Q{query} {} {pass}", candidate.label);
                let ms = run_query(&bench.context, &name, query, study.scale).await?.as_secs_f64() * 1e3;
                ran[candidate.at] += 1;
                if let Some(repeat) = pass.checked_sub(study.warm_up) {
                    samples.push(Sample { candidate: at, query, repeat, ms });
                }
            }
        }
        println!("pass {} of {passes} is over", pass + 1);
    }
    let mut recordings = Vec::new();
    for (bench, ran) in benches.into_iter().zip(ran) {
        recordings.push(bench::read(&bench.finish(ran)?)?);
    }
    let rows = figures::rows(study, &candidates, &samples, &recordings);
    let truth = truth::of(&candidates, &recordings).await?;
    print::print(study, &rows, &truth);
    if let Some(out) = &study.out {
        let json = json!({
            "scale": study.scale, "executors": study.shape.executors, "vcores": study.shape.vcores,
            "repeats": study.repeats, "warm_up": study.warm_up, "partitions": study.shape.partitions,
            "policies": rows.iter().map(Row::json).collect::<Vec<_>>(),
            "truth": truth.json(),
        });
        std::fs::write(out, serde_json::to_string_pretty(&json)?)?;
    }
    Ok(())
}

impl Study {
    fn candidates(&self) -> Result<Vec<Candidate>> {
        let own = |label: &str, at| Candidate { label: label.into(), at, active: None };
        let mut candidates = vec![own("ballista:bias", 1), own("ballista:round-robin", 2)];
        for spec in &self.policies {
            let mut active = match spec.starts_with('{') {
                true => serde_json::from_str(spec).with_context(|| spec.clone())?,
                false => json!({ "policy": spec }),
            };
            let name = active["policy"].as_str().context("a SPEC names a policy")?;
            let mut rest = active.clone();
            let more = rest.as_object_mut().is_some_and(|rest| rest.remove("policy").is_some() && !rest.is_empty());
            let label = if more { format!("{name} {rest}") } else { name.to_owned() };
            active["deadline_ms"] = json!(1000);
            candidates.push(Candidate { label, at: 0, active: Some(active) });
        }
        Ok(candidates)
    }
}
