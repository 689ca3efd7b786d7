//! The events of a host during a run: printed as they come, and kept for the summary.

use policy_host::{Event, EventKind};
use policy_sim::summary::{Refusal, Swap};

use super::progress::line;
use super::short;

/// Swaps and refusals of a run.
#[derive(Debug, Default)]
pub(crate) struct RunEvents {
    swaps: Vec<Swap>,
    refusals: Vec<Refusal>,
}

fn ms(event: &Event) -> u64 {
    u64::try_from(event.since_start.as_millis()).unwrap_or(u64::MAX)
}

impl RunEvents {
    /// Takes an event; prints it unless `quiet`.
    pub(crate) fn take(&mut self, event: &Event, quiet: bool) {
        match &event.kind {
            EventKind::Swapped { from, to, generation, sha256, cause, .. } => self.swaps.push(Swap {
                at_ms: ms(event),
                from: from.clone(),
                to: to.clone(),
                generation: *generation,
                sha256: sha256.clone(),
                cause: cause.as_str().into(),
                latency_us: 0,
            }),
            EventKind::Receipted { generation, latency, .. } => {
                // The latest: a rollback names an older generation once more.
                if let Some(swap) = self.swaps.iter_mut().rev().find(|s| s.generation == *generation) {
                    swap.latency_us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
                }
            }
            EventKind::Refused { file, code, message } => self.refusals.push(Refusal {
                at_ms: ms(event),
                file: file.clone(),
                code: (*code).into(),
                message: message.clone(),
            }),
            _ => {}
        }
        if !quiet && let Some(text) = describe(&event.kind) {
            line(&format!("{:>6.2} s {text}", event.since_start.as_secs_f64()));
        }
    }

    pub(crate) fn into_parts(self) -> (Vec<Swap>, Vec<Refusal>) {
        (self.swaps, self.refusals)
    }
}

fn describe(kind: &EventKind) -> Option<String> {
    Some(match kind {
        EventKind::Watching { directory } => format!("watching   {directory}"),
        EventKind::Admitted { file, digest, exports, latency } => {
            let names: Vec<String> =
                exports.iter().map(|(name, kind, version)| format!("{kind} {name} {version}")).collect();
            let (sha, took) = (digest.to_string(), latency.as_secs_f64() * 1e3);
            format!("discovered {} in {file} ({}, admitted in {took:.1} ms)", names.join(", "), short(&sha))
        }
        EventKind::Refused { file, code, message } => format!("refused    {file} [{code}] {message}"),
        EventKind::NameKept { file, names, digest } => {
            let (names, sha) = (names.join(", "), digest.to_string());
            format!("kept       {names}: as {file} had it before ({})", short(&sha))
        }
        EventKind::NameTaken { name, winner, loser } => format!("name       {name}: {winner} wins over {loser}"),
        EventKind::FileGone { message, .. } => format!("gone       {message}"),
        EventKind::Directory { present: true } => String::from("directory  is there"),
        EventKind::Directory { present: false } => String::from("directory  is gone; what is active stays active"),
        EventKind::Swapped { from, to, generation, version, cause, sha256, .. } => {
            let hash = if sha256.is_empty() { "built-in" } else { short(sha256) };
            format!("swapped    {from} -> {to} {version} (generation {generation}, {hash}, cause {})", cause.as_str())
        }
        EventKind::Receipted { policy, generation, latency, by_round } => {
            let how = if *by_round { "answered a round" } else { "ready, no work flows" };
            format!(
                "receipt    {policy} generation {generation}: {how}, {:.2} ms after the event",
                latency.as_secs_f64() * 1e3
            )
        }
        EventKind::FallbackRound { code, message, .. } => format!("fallback   [{code}] {message}"),
        EventKind::MissedDeadline { policy, generation, message } => {
            format!("late       {policy} generation {generation}: {message}")
        }
        EventKind::Resumed { policy, generation, message } => {
            format!("resumed    {policy} generation {generation}: {message}")
        }
        EventKind::EndedInTrial { file, message, .. } => format!("suspect    {file}: {message}"),
        EventKind::Quarantined { file, code, .. } => format!("out        {file} [{code}]"),
        EventKind::Dumped { code, file, .. } => format!("kept       the round [{code}] in {file}"),
        EventKind::Note { policy, generation, message } => {
            format!("note       {policy} generation {generation}: {message}")
        }
        _ => return None,
    })
}
