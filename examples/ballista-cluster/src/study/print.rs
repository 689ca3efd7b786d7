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
    let Some(last) = rows.last() else { return };
    println!(
        "\n| query | MiB shuffled | ballista:bias | ballista:round-robin | {0} | most possible | of it | {0} ms | ballista:bias ms | ballista:round-robin ms |",
        last.label
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for (number, query) in &last.queries {
        let of = |row: &Row| row.queries.get(number).cloned().unwrap_or_default();
        let share = |row: &Row| percent(of(row).bytes.local, of(row).bytes.all);
        let runs = query.ms.len().max(1) as f64;
        println!(
            "| {number} | {:.2} | {:.1} % | {:.1} % | {:.1} % | {:.1} % | {:.3} | {:.0} | {:.0} | {:.0} |",
            query.bytes.all as f64 / f64::from(1 << 20) / runs,
            share(&rows[0]),
            share(&rows[1]),
            share(last),
            percent(query.bytes.bound, query.bytes.all),
            percent(query.bytes.local, query.bytes.bound) / 100.0,
            median(&query.ms),
            median(&of(&rows[0]).ms),
            median(&of(&rows[1]).ms),
        );
    }
    print_truth(truth);
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
