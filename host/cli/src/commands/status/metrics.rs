//! The receipt as OpenMetrics text: what a node exporter's textfile collector, or a scrape of a cron job's file, takes.

use std::sync::atomic::AtomicU64;

use policy_host::receipt::{ActiveReceipt, Receipt};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::Registry;

use crate::failure::Failure;

type Labels = Vec<(&'static str, String)>;
type Gauges = Family<Labels, Gauge<f64, AtomicU64>>;

/// All that the receipt counts. `running`: whether its host still is.
pub(super) fn text(receipt: &Receipt, running: bool) -> Result<String, Failure> {
    let mut registry = Registry::with_prefix("policy_host");
    let r = &mut registry;
    gauge(r, "up", "Whether the host that wrote the receipt runs", u64::from(running));
    gauge(r, "libraries_mapped", "Distinct libraries mapped; code is never unloaded", receipt.mapped_libraries);
    gauge(r, "libraries_retired", "Mapped libraries that nothing uses any more", receipt.retired_libraries);
    gauge(r, "libraries_quarantined", "Libraries out of service", receipt.quarantined.len() as u64);
    gauge(r, "threads_stuck", "Threads written off in plugin code", receipt.stuck_threads);
    counter(r, "fallback_rounds", "Rounds that the fallback bound", receipt.fallback_rounds);
    counter(r, "empty_rounds", "Rounds in which nothing could be bound safely", receipt.empty_rounds);
    counter(r, "dropped_messages", "Observations dropped because no round took them in time", receipt.dropped_messages);
    let changes = receipt.last_change.as_ref().map_or(0, |change| change.number);
    counter(r, "changes", "Changes carried out or refused", changes);
    let ok = receipt.last_change.as_ref().is_none_or(|change| change.ok);
    gauge(r, "last_change_ok", "Whether the last change was carried out", u64::from(ok));
    if let Some(active) = &receipt.active {
        of_active(r, active);
    }
    let mut text = String::new();
    encode(&mut text, &registry).map_err(|e| Failure::of("metrics-unwritable", &e))?;
    Ok(text)
}

fn of_active(r: &mut Registry, active: &ActiveReceipt) {
    let what = vec![
        ("policy", active.policy.clone()),
        ("version", active.version.clone()),
        ("library", active.library.clone()),
        ("sha256", active.sha256.clone()),
        ("lane", active.lane.clone()),
    ];
    family(r, "active_generation", "The generation that answers", [(what, active.generation as f64)]);
    let policy = vec![("policy", active.policy.clone())];
    family(r, "generation_rounds", "Rounds that it has answered", [(policy, active.rounds_answered as f64)]);
    if active.shadow.is_empty() {
        return;
    }
    counter(
        r,
        "shadow_rounds_skipped",
        "Rounds that went by while the shadows were busy",
        active.shadow_rounds_skipped,
    );
    let mut each = |name, help, value: &dyn Fn(&policy_host::receipt::ShadowReceipt) -> f64| {
        let labels = |at: usize, policy: &str| vec![("policy", policy.to_owned()), ("place", at.to_string())];
        let rows = active.shadow.iter().enumerate().map(|(at, s)| (labels(at, &s.policy), value(s)));
        family(r, name, help, rows);
    };
    each("shadow_rounds", "Rounds that the shadow answered legally", &|s| s.rounds as f64);
    each("shadow_declined_rounds", "Rounds that it declined", &|s| s.declined as f64);
    each("shadow_failed", "Whether it failed and is asked no more", &|s| f64::from(u8::from(!s.failed.is_empty())));
    each("shadow_agreement_ratio", "Tasks that both bound alike, of the larger number", &|s| s.agreement);
    each("shadow_tasks", "Tasks that it bound", &|s| s.tasks as f64);
    each("shadow_active_tasks", "Tasks that the active policy bound in the same rounds", &|s| s.tasks_of_active as f64);
    each("shadow_local_bytes_ratio", "Input bytes on the executor, of all of its tasks", &|s| s.local_bytes_share);
    each("shadow_active_local_bytes_ratio", "The same of the active policy", &|s| s.local_bytes_share_of_active);
    each("shadow_latency_p50_seconds", "Median time of a round", &|s| s.latency_us_p50 as f64 / 1e6);
    each("shadow_latency_p99_seconds", "99th percentile of the time of a round", &|s| s.latency_us_p99 as f64 / 1e6);
}

fn gauge(registry: &mut Registry, name: &str, help: &str, value: u64) {
    registry.register(name, help, ConstGauge::new(value));
}

fn counter(registry: &mut Registry, name: &str, help: &str, value: u64) {
    registry.register(name, help, ConstCounter::new(value));
}

fn family(registry: &mut Registry, name: &str, help: &str, rows: impl IntoIterator<Item = (Labels, f64)>) {
    let gauges = Gauges::default();
    for (labels, value) in rows {
        gauges.get_or_create(&labels).set(value);
    }
    registry.register(name, help, gauges);
}
