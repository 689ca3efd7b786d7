//! What an operator does while the cluster works: drops plugin files, edits `active.json`, reads the receipt.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// A swap every so often.
const EVERY: Duration = Duration::from_secs(1);
/// How long a change may take to be receipted, or a hostile policy to be found out: a query may hang meanwhile.
const RECEIPT_LIMIT: Duration = Duration::from_secs(90);

/// What can be put into service, as `active.json` names it, and its library.
const LIBRARIES: [(&str, &str); 6] = [
    ("bias", "policy_bias"),
    ("round-robin", "policy_round_robin"),
    ("consistent-hash", "policy_consistent_hash"),
    ("data-locality", "policy_data_locality"),
    ("tenant-fair", "policy_tenant_fair"),
    ("tenant-quota", "policy_tenant_quota"),
];
/// The policies that follow each other: the first of them.
const POLICIES: usize = 4;

/// Comes once, after so many swaps: a file that is no library. Refused at the door.
const GARBAGE_AFTER: usize = 3;
/// Comes once, after so many swaps: a policy that is admitted, answers its rehearsal, and panics in its first real round.
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
    /// Plugins that were in service and are no longer, by the host's own word.
    pub(crate) dropped: Vec<String>,
    /// Rounds that the policies answered, as far as receipts tell.
    pub(crate) rounds: u64,
    /// Rounds that the fallback bound.
    pub(crate) fallback_rounds: u64,
}

/// Swaps until `over`.
pub(crate) async fn run(plugins: &Path, over: &AtomicBool) -> Result<Swaps> {
    drop_in_all(plugins)?;
    let mut swaps = Swaps::default();
    let mut next = 0;
    let (mut was_garbage, mut was_hostile) = (false, false);
    while !over.load(Ordering::SeqCst) {
        let begun = Instant::now();
        if swaps.done >= GARBAGE_AFTER && !was_garbage {
            was_garbage = true;
            let code = garbage(plugins, over).await?;
            println!("a file that is no library was refused: {}", code.as_deref().unwrap_or("not in time"));
            swaps.refused.extend(code);
        } else if swaps.done >= HOSTILE_AFTER && !was_hostile {
            was_hostile = true;
            let code = hostile(plugins, over).await?;
            println!(
                "a hostile plugin was put into service, and dropped: {}",
                code.as_deref().unwrap_or("not in time")
            );
            swaps.dropped.extend(code);
        } else {
            let policy = LIBRARIES[next % POLICIES].0;
            next += 1;
            // A busy machine is not the policy's fault.
            match ask(plugins, &json!({ "policy": policy, "deadline_ms": 5000 }), over).await? {
                Some(Ok(())) => swaps.done += 1,
                Some(Err(code)) => swaps.refused.push(format!("{policy}: {code}")),
                None => {}
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

/// The library of a policy or filter.
pub(crate) fn library_of(name: &str) -> Result<&'static str> {
    let found = LIBRARIES.iter().find(|row| row.0 == name);
    found.map(|row| row.1).with_context(|| format!("{name} is none of the policies that are built with this program"))
}

/// Puts a policy in service, as `active.json` names it, and waits for the receipt. A policy whose library has not been
/// admitted yet is asked for again.
pub(crate) async fn switch(plugins: &Path, active: &Value) -> Result<()> {
    let end = Instant::now() + RECEIPT_LIMIT;
    loop {
        match ask(plugins, active, &AtomicBool::new(false)).await? {
            Some(Ok(())) => return Ok(()),
            Some(Err(code)) if code != "unknown-policy" || Instant::now() > end => {
                bail!("{active} was refused: {code}")
            }
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Makes a policy the active one and waits for the receipt: done, or refused with a code; `None` when it is over.
async fn ask(plugins: &Path, active: &Value, over: &AtomicBool) -> Result<Option<Result<(), String>>> {
    let policy = active["policy"].as_str().context("a policy is named")?;
    let before = changed_at(&receipt(plugins)?);
    put(plugins, "active.json", active.to_string().as_bytes())?;
    until(plugins, over, policy, |receipt| {
        if receipt["active"]["policy"] == policy {
            return Some(Ok(()));
        }
        let change = &receipt["last_change"];
        let is_refused = change["ok"] == false && change["file"] == "active.json" && changed_at(receipt) > before;
        is_refused.then(|| Err(text(&change["code"])))
    })
    .await
}

/// Drops in a file that is no library; returns the code of its refusal.
async fn garbage(plugins: &Path, over: &AtomicBool) -> Result<Option<String>> {
    let name = format!("{}garbage{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    put(plugins, &name, b"this is no library")?;
    let code = until(plugins, over, &name, |receipt| {
        let changes = receipt["recent_changes"].as_array().into_iter().flatten();
        let mut refusals = changes.filter(|c| c["ok"] == false && c["file"] == name.as_str());
        refusals.next().map(|change| text(&change["code"]))
    });
    let code = code.await?;
    std::fs::remove_file(plugins.join(name))?;
    Ok(code)
}

/// Puts the hostile policy into service and waits until the host has dropped it; returns why.
async fn hostile(plugins: &Path, over: &AtomicBool) -> Result<Option<String>> {
    loop {
        let before = changed_at(&receipt(plugins)?);
        drop_in(plugins, "fixture_hostile")?;
        put(plugins, "active.json", HOSTILE)?;
        let said = until(plugins, over, "hostile", |receipt| {
            let mut dropped = receipt["quarantined"].as_array().into_iter().flatten();
            if let Some(library) = dropped.next() {
                return Some(Some(text(&library["code"])));
            }
            let change = &receipt["last_change"];
            (change["ok"] == false && change["file"] == "active.json" && changed_at(receipt) > before).then_some(None)
        });
        match said.await? {
            Some(Some(code)) => return Ok(Some(code)),
            None => return Ok(None),
            // A machine so busy that its admission took too long: once more.
            Some(None) => {}
        }
    }
}

/// Waits until the receipt says something; `None` when it is over before.
async fn until<T>(
    plugins: &Path,
    over: &AtomicBool,
    what: &str,
    mut says: impl FnMut(&Value) -> Option<T>,
) -> Result<Option<T>> {
    let end = Instant::now() + RECEIPT_LIMIT;
    while Instant::now() < end {
        if let Some(said) = says(&receipt(plugins)?) {
            return Ok(Some(said));
        }
        if over.load(Ordering::SeqCst) {
            return Ok(None);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    bail!("{what}: nothing about it in the receipt within {RECEIPT_LIMIT:?}")
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or("").to_owned()
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

/// Drops in all libraries.
pub(crate) fn drop_in_all(plugins: &Path) -> Result<()> {
    LIBRARIES.iter().try_for_each(|row| drop_in(plugins, row.1))
}

/// Drops a library in.
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
