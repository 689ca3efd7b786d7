//! Prints the results of a replay as text.

use std::path::Path;

use serde_json::Value;

use super::compare::{FaultPair, Tally};
use super::contents::Contents;
use super::replayer::Replayed;
use crate::commands::short;
use crate::say;

pub(super) fn results(file: &Path, contents: &Contents, replayed: &Replayed, policy: Option<&Value>, notes: &[String]) {
    let text = |value: &Value, key: &str| value[key].as_str().unwrap_or("").to_owned();
    let seconds = |us: u64| us as f64 / 1e6;
    let what = if contents.is_dump() { "dump" } else { "recording" };
    let (from, to) = (seconds(contents.from_us), seconds(contents.to_us));
    let rounds = contents.rounds;
    say!("{what:<10} {}: {rounds} rounds, {from:.3} s to {to:.3} s", file.display());
    match policy {
        None => say!("policy     every generation with itself"),
        Some(p) => {
            let hash = text(p, "sha256");
            let hash = if hash.is_empty() { String::new() } else { format!(", sha256 {}", short(&hash)) };
            say!("policy     {} {} ({}{hash})", text(p, "label"), text(p, "version"), text(p, "library"));
        }
    }
    notes.iter().for_each(|note| say!("note       {note}"));
    let all = &replayed.all;
    say!();
    say!("placements {} recorded, {} replayed", all.recorded.bindings, all.replayed.bindings);
    say!(
        "           {} the same, {} on another executor, {} only recorded, {} only replayed: agreement {:.1} %",
        all.same,
        all.moved,
        all.only_recorded,
        all.only_replayed,
        100.0 * all.agreement()
    );
    for tally in replayed.generations.values() {
        generation(tally);
    }
    if !replayed.differences.is_empty() {
        say!();
        say!("The first placements that differ (recorded -> replayed):");
    }
    for d in &replayed.differences {
        let name = |on: &Option<String>| on.clone().unwrap_or_else(|| "not bound".into());
        let place = format!("round {} at {:.3} s", d.round, seconds(d.now_us));
        say!("  {place}: {} stage {} task {}: {} -> {}", d.job, d.stage, d.task, name(&d.from), name(&d.to));
    }
    if !replayed.faults.is_empty() {
        say!();
        say!("Rounds that were not answered well:");
    }
    replayed.faults.iter().for_each(fault);
    say!();
    say!("Round by round          recorded    replayed");
    let sides = all.recorded.figures(all.rounds).into_iter().zip(all.replayed.figures(all.rounds));
    sides.for_each(|((name, then), (_, now))| say!("{name:<22} {then:>9.3} {now:>11.3}"));
}

fn generation(tally: &Tally) {
    let Some(about) = &tally.generation else { return };
    let hash = if about.sha256.is_empty() { about.library.as_str() } else { short(&about.sha256) };
    let same = if tally.same_policy { ", the same policy" } else { "" };
    say!(
        "generation {} {} ({hash}{same}): {} of {} rounds equal, agreement {:.1} %",
        about.generation,
        about.policy,
        tally.rounds_equal,
        tally.rounds,
        100.0 * tally.agreement()
    );
}

fn fault(pair: &FaultPair) {
    let side = |fault: &Option<(String, String)>| match fault {
        None => "well".to_owned(),
        Some((code, message)) => format!("[{code}] {message}"),
    };
    say!("  round {}: recorded {}; replayed {}", pair.round, side(&pair.recorded), side(&pair.replayed));
}
