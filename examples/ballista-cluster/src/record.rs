//! Records TPC-H under one policy as a workload file, with several clients at a time: each is a tenant.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::json;

use crate::bench::{Bench, Shape, run_query};
use crate::study::{Queries, parse_queries};
use crate::{swaps, tpch};

/// Records TPC-H under one policy as a workload file for `policy-host evaluate`.
#[derive(Debug, Args)]
pub(crate) struct Record {
    /// Scale factor of the data.
    #[arg(long, default_value_t = 0.01)]
    scale: f64,
    #[command(flatten)]
    shape: Shape,
    /// Clients at a time; each runs its share of the queries, one after another.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=64))]
    clients: u16,
    /// Queries: numbers and ranges, as `1-3,5`.
    #[arg(long, default_value = "1-22", value_parser = parse_queries)]
    queries: Queries,
    /// The policy, by name.
    #[arg(long, default_value = "data-locality")]
    policy: String,
    /// The workload file; it must not be there.
    file: PathBuf,
}

pub(crate) async fn run(record: &Record) -> Result<()> {
    ensure!(!record.file.exists(), "{} is there already", record.file.display());
    let directory = tempfile::tempdir()?;
    let data = tpch::data(directory.path(), record.scale)?;
    // Once for the files and the processes to be warm, once for the recording: a cluster of its own.
    for warm in [false, true] {
        let bench = Bench::start(&record.shape, directory.path(), "hosted", &data).await?;
        let active = json!({ "policy": record.policy, "deadline_ms": 1000 });
        let mut clients = Vec::new();
        for _ in 0..record.clients {
            clients.push(bench.client(&data).await?);
        }
        swaps::switch(&bench.plugins, &active).await?;
        let (clients, step) = (&clients, clients.len());
        let work = clients.iter().enumerate().map(|(at, client)| async move {
            let own = record.queries.0.iter().skip(at).step_by(step);
            for &query in own {
                let name = format!("[tenant=client-{at}] Q{query}");
                run_query(client, &name, query, record.scale).await?;
            }
            anyhow::Ok(())
        });
        futures::future::try_join_all(work).await?;
        let recording = bench.finish(record.queries.0.len())?;
        if warm {
            // Keys name files: those of a directory that is about to go.
            let made_in = data.to_string_lossy();
            let text = std::fs::read_to_string(recording)?.replace(made_in.trim_start_matches('/'), "tpch");
            std::fs::write(&record.file, text).with_context(|| record.file.display().to_string())?;
        }
    }
    println!("recorded {} queries in {}", record.queries.0.len(), record.file.display());
    Ok(())
}
