//! The results for people: one line a policy, then what differs from the baseline.

use policy_sim::evaluate::{Difference, Row, metric};
use serde_json::Value;

use super::view::{View, value};
use crate::say;

/// What a column shows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shows {
    Time,
    Share,
    Number,
}

pub(super) const COLUMNS: &[(&str, &str, Shows)] = &[
    ("makespan", "makespan_us", Shows::Time),
    ("JCT mean", "jct_us.mean", Shows::Time),
    ("JCT p50", "jct_us.p50", Shows::Time),
    ("JCT p99", "jct_us.p99", Shows::Time),
    ("wait mean", "queue_wait_us.mean", Shows::Time),
    ("wait max", "oldest_wait_us", Shows::Time),
    ("slowdown p95", "bounded_slowdown.p95", Shows::Number),
    ("busy", "utilisation", Shows::Share),
    ("local bytes", "locality_bytes_share", Shows::Share),
    ("Jain", "jain_contested", Shows::Number),
    ("decision p50", "decision_us.p50", Shows::Time),
];

/// Figures whose differences are printed.
pub(super) const COMPARED: &[(&str, &str)] =
    &[("makespan", "makespan_us"), ("JCT mean", "jct_us.mean"), ("JCT p99", "jct_us.p99")];

pub(crate) fn print(view: &View<'_>, workload: &Value) {
    say!(
        "{}: {} jobs, {} tasks, {} tenants on {} executors with {} vcores; {} seeds",
        workload["source"].as_str().unwrap_or(""),
        workload["jobs"],
        workload["tasks"],
        workload["tenants"],
        workload["executors"],
        workload["vcores"],
        workload["seeds"],
    );
    workload["lacks"].as_array().into_iter().flatten().filter_map(Value::as_str).for_each(|lack| say!("  {lack}"));
    say!();
    let results = view.results;
    let rows: Vec<&Row> = results.rows.iter().chain([&results.bound]).chain(&results.recorded).collect();
    let mut cells: Vec<Vec<String>> =
        vec![["policy"].into_iter().chain(COLUMNS.iter().map(|c| c.0)).map(str::to_owned).collect()];
    for row in &rows {
        let figures = COLUMNS.iter().map(|(_, name, shows)| cell(row, name, shows));
        cells.push([row.label.clone()].into_iter().chain(figures).collect());
    }
    let width = |at: usize| cells.iter().map(|line| line[at].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..=COLUMNS.len()).map(width).collect();
    for line in &cells {
        let padded = line.iter().zip(&widths).enumerate().map(|(at, (text, &width))| match at {
            0 => format!("{text:width$}"),
            _ => format!("{text:>width$}"),
        });
        say!("{}", padded.collect::<Vec<_>>().join("  ").trim_end());
    }
    differences(view);
    truth(view);
    for (row, fault) in results.rows.iter().zip(&results.faults) {
        if let Some(f) = fault {
            say!();
            say!("{}: out of service from round {} on [{}]: {}", row.label, f.round, f.code, f.message);
            say!("    its figures from there on are those of the host's fallback");
        }
    }
    for row in &results.rows {
        let unfinished = value(row, "tasks_unfinished");
        if unfinished > 0.0 {
            say!();
            say!("{}: {unfinished} tasks did not finish; figures of jobs are of those that did", row.label);
        }
    }
}

fn differences(view: &View<'_>) {
    let rows = &view.results.rows;
    let baseline = &rows[view.baseline];
    if rows.len() < 2 {
        return;
    }
    say!();
    say!("Difference to {} (same workloads and seeds, 95 % interval; * where it excludes 0):", baseline.label);
    for row in rows.iter().filter(|r| !std::ptr::eq(*r, baseline)) {
        let parts = COMPARED.iter().filter_map(|(title, name)| {
            let at = metric(name)?;
            let (difference, interval) = Difference { row, baseline }.value(at);
            let whole = baseline.value(at);
            let percent = |x: f64| format!("{:+.1} %", 100.0 * x / whole);
            let interval = match interval {
                None => String::new(),
                // The same in every seed: nothing was drawn, so there is no chance in it.
                Some((low, high)) if high - low <= 1e-9 * whole.abs() => String::new(),
                Some((low, high)) => {
                    let clear = if low > 0.0 || high < 0.0 { " *" } else { "" };
                    format!(" [{}, {}]{clear}", percent(low), percent(high))
                }
            };
            Some(format!("{title} {}{interval}", percent(difference)))
        });
        say!("  {}: {}", row.label, parts.collect::<Vec<_>>().join("; "));
    }
}

/// How far simulations are from what was measured. Only the one of the policy that it ran under can be right.
fn truth(view: &View<'_>) {
    let Some(recorded) = &view.results.recorded else { return };
    say!();
    say!("Simulated against recorded; it ran under {}:", recorded.policy);
    for row in &view.results.rows[..view.compared] {
        let parts = COMPARED
            .iter()
            .map(|(title, name)| format!("{title} {:+.1} %", 100.0 * (value(row, name) / value(recorded, name) - 1.0)));
        say!("  {}: {}", row.label, parts.collect::<Vec<_>>().join("; "));
    }
}

fn cell(row: &Row, name: &str, shows: &Shows) -> String {
    let Some(at) = metric(name) else { return String::new() };
    let value = row.value(at);
    if !value.is_finite() {
        return "-".into();
    }
    let half = row.interval(at).map(|(low, high)| (high - low) / 2.0).filter(|half| *half > 0.0);
    let spread = |text: String| half.map_or(text.clone(), |h| format!("{text} ±{:.0}%", 100.0 * h / value.abs()));
    match shows {
        Shows::Time => spread(time(value)),
        Shows::Share => format!("{:.1}%", 100.0 * value),
        Shows::Number => format!("{value:.3}"),
    }
}

/// Microseconds, to three digits.
pub(super) fn time(us: f64) -> String {
    let (value, unit) = match us {
        0.0 => return "0 s".to_owned(),
        x if x < 1e3 => (x, "us"),
        x if x < 1e6 => (x / 1e3, "ms"),
        x if x < 600e6 => (x / 1e6, "s"),
        x if x < 36_000e6 => (x / 60e6, "min"),
        x => (x / 3600e6, "h"),
    };
    let digits = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.digits$} {unit}")
}
