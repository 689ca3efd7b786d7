//! What an operator does while the cluster works: drops plugin files, edits `active.json`, reads the receipt.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// A swap every so often.
const EVERY: Duration = Duration::from_secs(1);
/// How long a swap may take to be receipted.
const RECEIPT_LIMIT: Duration = Duration::from_secs(20);

/// The policies that follow each other, as `active.json` names them.
const POLICIES: [&str; 4] = ["bias", "round-robin", "consistent-hash", "data-locality"];
/// Their libraries.
pub(crate) const LIBRARIES: [&str; 4] =
    ["policy_bias", "policy_round_robin", "policy_consistent_hash", "policy_data_locality"];
/// Comes once, after so many swaps: a policy that panics in every round.
const HOSTILE_AFTER: usize = 6;

/// Behaves in the rounds of its admission. Ballista's job ids begin with a zero: ids made of the time.
const HOSTILE: &[u8] = br#"{"policy":"hostile","config":{"bind":"panic","job":"0"}}"#;

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Swaps {
    /// Swaps that the receipt confirms.
    pub(crate) done: usize,
    /// Changes that the host refused, by its own word.
    pub(crate) refused: Vec<String>,
    /// Rounds that the policies answered, as far as receipts tell.
    pub(crate) rounds: u64,
    /// Rounds that the fallback bound.
    pub(crate) fallback_rounds: u64,
}

/// Swaps until `over`.
pub(crate) async fn run(plugins: &Path, over: &AtomicBool) -> Result<Swaps> {
    for library in LIBRARIES {
        drop_in(plugins, library)?;
    }
    let mut swaps = Swaps::default();
    let mut next = 0;
    let mut was_hostile = false;
    while !over.load(Ordering::SeqCst) {
        let begun = Instant::now();
        if swaps.done == HOSTILE_AFTER && !was_hostile {
            was_hostile = true;
            drop_in(plugins, "fixture_hostile")?;
            let before = changed_at(&receipt(plugins)?);
            put(plugins, "active.json", HOSTILE)?;
            receipted(plugins, "hostile", before, over).await?;
            println!("a hostile plugin was dropped");
        } else {
            let policy = POLICIES[next % POLICIES.len()];
            next += 1;
            let before = changed_at(&receipt(plugins)?);
            put(plugins, "active.json", format!(r#"{{"policy":"{policy}","deadline_ms":1000}}"#).as_bytes())?;
            match receipted(plugins, policy, before, over).await? {
                Outcome::Done => swaps.done += 1,
                Outcome::Refused(why) => swaps.refused.push(why),
                Outcome::Over => {}
            }
        }
        // The rounds of a generation end with it: read before the next swap.
        tokio::time::sleep(EVERY.saturating_sub(begun.elapsed())).await;
        let receipt = receipt(plugins)?;
        swaps.rounds += receipt["active"]["rounds_answered"].as_u64().unwrap_or(0);
        swaps.fallback_rounds = receipt["fallback_rounds"].as_u64().unwrap_or(swaps.fallback_rounds);
    }
    Ok(swaps)
}

enum Outcome {
    Done,
    Refused(String),
    Over,
}

/// The library of a policy.
pub(crate) fn library_of(policy: &str) -> Option<&'static str> {
    POLICIES.iter().position(|p| *p == policy).map(|at| LIBRARIES[at])
}

/// Puts a policy in service, as `active.json` names it, and waits for the receipt. A policy whose library has not been
/// admitted yet is asked for again.
pub(crate) async fn switch(plugins: &Path, active: &Value) -> Result<()> {
    let policy = active["policy"].as_str().context("a policy is named")?;
    let until = Instant::now() + RECEIPT_LIMIT;
    loop {
        let before = changed_at(&receipt(plugins)?);
        put(plugins, "active.json", active.to_string().as_bytes())?;
        match receipted(plugins, policy, before, &AtomicBool::new(false)).await? {
            Outcome::Done => return Ok(()),
            Outcome::Refused(why) if !why.contains("no policy is called") || Instant::now() > until => {
                bail!("{policy} was refused: {why}");
            }
            Outcome::Refused(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            Outcome::Over => bail!("{policy}: the host is gone"),
        }
    }
}

/// Waits until the receipt names the policy.
async fn receipted(plugins: &Path, policy: &str, before: u64, over: &AtomicBool) -> Result<Outcome> {
    let until = Instant::now() + RECEIPT_LIMIT;
    while Instant::now() < until {
        let receipt = receipt(plugins)?;
        if receipt["active"]["policy"] == policy {
            return Ok(Outcome::Done);
        }
        if over.load(Ordering::SeqCst) {
            return Ok(Outcome::Over);
        }
        let change = &receipt["last_change"];
        if change["ok"] == false && changed_at(&receipt) > before {
            return Ok(Outcome::Refused(change["message"].to_string()));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    bail!("{policy} was not receipted within {RECEIPT_LIMIT:?}")
}

fn changed_at(receipt: &Value) -> u64 {
    receipt["last_change"]["at_unix_ms"].as_u64().unwrap_or(0)
}

fn receipt(plugins: &Path) -> Result<Value> {
    match std::fs::read(plugins.join(".policy-host/receipt.json")) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
        Err(_) => Ok(Value::Null),
    }
}

pub(crate) fn drop_in(plugins: &Path, name: &str) -> Result<()> {
    let path = library(name)?;
    let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
    put(plugins, &path.file_name().unwrap_or_default().to_string_lossy(), &bytes)
}

/// Writes beside, renames.
pub(crate) fn put(directory: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let beside = directory.join(format!(".{name}.new"));
    std::fs::write(&beside, bytes)?;
    Ok(std::fs::rename(beside, directory.join(name))?)
}

/// Where cargo put a shared library: beside this program, or beside what it was built from.
pub(crate) fn library(name: &str) -> Result<PathBuf> {
    let file = format!("{}{name}{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let program = std::env::current_exe()?;
    let beside = [program.with_file_name("deps").join(&file), program.with_file_name(&file)];
    beside.into_iter().find(|p| p.is_file()).with_context(|| format!("{file} is not built"))
}
