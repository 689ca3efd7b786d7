//! The tables of a study.

use super::Study;
use super::figures::{Row, median, percent};
use super::truth::Truth;

pub(super) fn print(study: &Study, rows: &[Row], truth: &Truth) {
    let Study { scale, shape, repeats, .. } = study;
    let (executors, vcores) = (shape.executors, shape.vcores);
    println!("\nTPC-H at scale {scale}, {executors} executors of {vcores} vcores, {repeats} repeats\n");
    println!(
        "| policy | local bytes | most possible | of it | no limits | total ms | time / bias | time / round-robin |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for row in rows {
        let bytes = row.bytes();
        let against = |other: &Row| {
            let (ratio, low, high) = row.ratio_to(other);
            format!("{ratio:.3} [{low:.3}, {high:.3}]")
        };
        println!(
            "| {} | {:.1} % | {:.1} % | {:.3} | {:.1} % | {:.0} | {} | {} |",
            row.label,
            percent(bytes.local, bytes.all),
            percent(bytes.bound, bytes.all),
            percent(bytes.local, bytes.bound) / 100.0,
            percent(bytes.unlimited, bytes.all),
            row.total_ms(),
            against(&rows[0]),
            against(&rows[1]),
        );
    }
    if let Some(last) = rows.last() {
        print_queries(last, &rows[0], &rows[1]);
    }
    print_truth(truth);
}

/// The last policy, query by query, beside Ballista's own.
fn print_queries(last: &Row, bias: &Row, round_robin: &Row) {
    println!("\nBy query: local bytes of {}, and how many points more than under Ballista's own [95 %]\n", last.label);
    println!(
        "| query | MiB shuffled | local bytes | most possible | of it | over ballista:bias | over ballista:round-robin | ms | ballista:bias ms | ballista:round-robin ms |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    let mut less = Vec::new();
    for (number, query) in &last.queries {
        let of = |row: &Row| row.queries.get(number).cloned().unwrap_or_default();
        let bytes = query.bytes();
        let mut over = |row: &Row| {
            let (points, interval) = query.points_over(&of(row));
            if interval.is_some_and(|(_, high)| high < 0.0) {
                less.push(format!("Q{number} ({})", row.label));
            }
            interval
                .map_or_else(|| format!("{points:+.1}"), |(low, high)| format!("{points:+.1} [{low:+.1}, {high:+.1}]"))
        };
        println!(
            "| {number} | {:.2} | {:.1} % | {:.1} % | {:.3} | {} | {} | {:.0} | {:.0} | {:.0} |",
            bytes.all as f64 / f64::from(1 << 20) / query.runs.len().max(1) as f64,
            percent(bytes.local, bytes.all),
            percent(bytes.bound, bytes.all),
            percent(bytes.local, bytes.bound) / 100.0,
            over(bias),
            over(round_robin),
            median(&query.ms),
            median(&of(bias).ms),
            median(&of(round_robin).ms),
        );
    }
    match less.is_empty() {
        true => println!("\nOn no query is less read locally than under Ballista's own, beyond chance."),
        false => println!("\nLess is read locally than under Ballista's own, beyond chance: {}.", less.join(", ")),
    }
}

fn print_truth(truth: &Truth) {
    println!("\nSimulated and measured (sums of job times, by the scheduler's clock)\n");
    println!(
        "| policy | measured ms | simulated ms | off by | median job off by | makespan off by | simulated on {}'s run |",
        truth.common
    );
    println!("|---|---|---|---|---|---|---|");
    for row in &truth.rows {
        println!(
            "| {} | {:.0} | {:.0} | {:+.1} % | {:.1} % | {:+.2} % | {:.0} |",
            row.label,
            row.measured_ms,
            row.simulated_ms,
            100.0 * (row.simulated_ms / row.measured_ms - 1.0),
            100.0 * row.median_error,
            100.0 * (row.makespan_ms.1 / row.makespan_ms.0 - 1.0),
            row.on_common_ms,
        );
    }
}
