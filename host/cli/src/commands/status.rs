//! `status`: the receipt, readable.

mod metrics;

use clap::Args;
use policy_host::receipt::{PartReceipt, Receipt, StateDir};

use super::short;
use crate::facts::{line, print_json};
use crate::failure::Failure;
use crate::paths::Place;
use crate::say;

/// Shows what a host says is active, what changed last, and what is out of service.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  policy-host status --plugins plugins.d\n  policy-host status --plugins plugins.d --metrics > collected/policy_host.prom"
)]
pub(crate) struct Status {
    #[command(flatten)]
    place: Place,
    /// Print the receipt as JSON.
    #[arg(long)]
    json: bool,
    /// Print what it counts as OpenMetrics text, for a collector. A host writes its receipt once a second while rounds
    /// flow.
    #[arg(long, conflicts_with = "json")]
    metrics: bool,
}

impl Status {
    pub(crate) fn execute(&self) -> Result<(), Failure> {
        let state = StateDir::of(&self.place.plugins, self.place.state_dir.as_deref());
        let path = state.path().display();
        let receipt = state.receipt().map_err(|e| Failure::because("receipt-unreadable", &path, &e))?;
        let Some(receipt) = receipt else {
            return Err(Failure::new("no-receipt", format!("{path}: no host has written a receipt here")));
        };
        if self.json {
            print_json(&receipt);
        } else if self.metrics {
            metrics::text(&receipt, state.host_is_running())?.trim_end().lines().for_each(line);
        } else {
            print(&receipt, state.host_is_running());
        }
        Ok(())
    }
}

fn weighed(scores: &[PartReceipt]) -> String {
    scores.iter().map(|s| format!("{} x {}", s.policy, s.weight)).collect::<Vec<_>>().join(", ")
}

fn print(receipt: &Receipt, running: bool) {
    let host = &receipt.host;
    match running {
        true => say!("host      running, process {}", host.pid),
        false => say!("host      NOT RUNNING; this is what process {} wrote last", host.pid),
    }
    match &receipt.active {
        None => say!("active    nothing has answered a round yet"),
        Some(a) => {
            let filters: Vec<&str> = a.filters.iter().map(|f| f.policy.as_str()).collect();
            let behind = if filters.is_empty() { String::new() } else { format!(" behind {}", filters.join(", ")) };
            say!("active    {} {} (generation {}){behind}", a.policy, a.version, a.generation);
            if !a.scores.is_empty() {
                say!("scores    {}", weighed(&a.scores));
            }
            let hash = if a.sha256.is_empty() { String::new() } else { format!(", sha256 {}", short(&a.sha256)) };
            say!("library   {}{hash}", a.library);
            if a.file_deleted {
                say!("          its file is not in the directory any more; it runs from the host's own copy");
            }
            if !a.file_refused.is_empty() {
                say!(
                    "          its file was changed and refused ({}); these are the bytes admitted before",
                    a.file_refused
                );
            }
            say!("lane      {}, deadline {} ms, fallback {}", a.lane, a.deadline_ms, a.fallback);
            for s in &a.shadow {
                let latency = format!("{} / {} us p50 / p99", s.latency_us_p50, s.latency_us_p99);
                let config = if s.config.is_null() { String::new() } else { format!(" {}", s.config) };
                let agreement = 100.0 * s.agreement;
                say!(
                    "shadow    {} {}{config}: {} rounds, agreement {agreement:.1} %, {latency}",
                    s.policy,
                    s.version,
                    s.rounds
                );
                if !s.scores.is_empty() {
                    say!("          scores {}", weighed(&s.scores));
                }
                let local = (100.0 * s.local_bytes_share, 100.0 * s.local_bytes_share_of_active);
                say!(
                    "          would bind {} tasks (active {}), {:.1} % of bytes local (active {:.1} %)",
                    s.tasks,
                    s.tasks_of_active,
                    local.0,
                    local.1
                );
                if s.declined > 0 {
                    say!("          declined {} rounds", s.declined);
                }
                if !s.failed.is_empty() {
                    say!("          asked no more: {}: {}", s.failed, s.message);
                }
            }
            if a.shadow_rounds_skipped > 0 {
                say!("          {} rounds went by while the shadows were busy", a.shadow_rounds_skipped);
            }
            say!("rounds    {} answered, {} by the fallback", a.rounds_answered, receipt.fallback_rounds);
            say!(
                "deadline  {} ms; out of service at missed deadline {} within {} s ({} missed, {} of them within that)",
                a.deadline_ms,
                a.guard.misses,
                a.guard.window_s,
                a.missed_deadlines,
                a.missed_in_window
            );
            if a.late_calls_returned + a.instances_written_off > 0 {
                say!(
                    "          {} late calls returned, {} instances were written off",
                    a.late_calls_returned,
                    a.instances_written_off
                );
            }
            if !a.stands_in.is_empty() {
                say!("          its call is late: {} answers meanwhile", a.stands_in);
            }
        }
    }
    if let Some(change) = &receipt.last_change {
        let how = if change.ok { "done".to_owned() } else { format!("REFUSED {}", change.code) };
        say!("change    {how}: {}", change.message);
    }
    say!("libraries {} mapped, {} of them retired", receipt.mapped_libraries, receipt.retired_libraries);
    if receipt.stuck_threads > 0 {
        say!("threads   {} stuck in plugin code", receipt.stuck_threads);
    }
    if receipt.dropped_rounds > 0 {
        say!("dropped   {} rounds whose caller gave them up", receipt.dropped_rounds);
    }
    if let Some(r) = &receipt.recording {
        let missed = if r.rounds_missed > 0 { format!(", {} missed", r.rounds_missed) } else { String::new() };
        let stopped = if r.stopped.is_empty() { String::new() } else { format!(", stopped: {}", r.stopped) };
        say!("recording {}: {} rounds{missed}, {} of {} bytes{stopped}", r.file, r.rounds, r.bytes, r.limit_bytes);
    }
    for d in &receipt.dumps {
        say!("kept      {} generation {} ({}): {}", d.policy, d.generation, d.code, d.file);
    }
    for file in &receipt.rebuild {
        say!("rebuild   {}", file.message);
    }
    if !receipt.rebuild.is_empty() {
        match receipt.answers.as_str() {
            "" => say!("          meanwhile nothing is bound"),
            answers => say!("          meanwhile {answers} answers"),
        }
    }
    for what in &receipt.ended_in_trial {
        say!("suspect   {what}");
    }
    for q in &receipt.quarantined {
        say!("out of service  {} ({}) {}", q.file, q.code, short(&q.sha256));
    }
}
