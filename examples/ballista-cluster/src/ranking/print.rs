//! The tables of a ranking.

use serde_json::{Value, json};

use super::compare::Comparison;
use super::{Arrival, Ranking};

pub(super) fn print(ranking: &Ranking, arrivals: &[Arrival], comparisons: &[Comparison]) {
    let Ranking { scale, shape, repeats, .. } = ranking;
    println!(
        "\nTPC-H at scale {scale}, {} executors of {} vcores, {} queries a run, {repeats} runs under each policy",
        shape.executors,
        shape.vcores,
        arrivals.len(),
    );
    for comparison in comparisons {
        let first = &ranking.policies[0];
        println!("\n{}, by the scheduler's clock; simulated: on the recordings under {first}\n", comparison.name);
        println!("| policy | measured ms | over {first} [95 %] | simulated ms | over {first} |");
        println!("|---|---|---|---|---|");
        for (policy, row) in ranking.policies.iter().zip(&comparison.rows) {
            let (over, interval) = row.measured_over_first;
            let interval = interval
                .map_or_else(String::new, |(low, high)| format!(" [{:+.1}, {:+.1}]", 100.0 * low, 100.0 * high));
            println!(
                "| {policy} | {:.0} | {:+.1} %{interval} | {:.0} | {:+.1} % |",
                row.measured_ms,
                100.0 * over,
                row.simulated_ms,
                100.0 * row.simulated_over_first,
            );
        }
        let (pairs, same) = comparison.told_apart;
        println!(
            "\nOf {pairs} pairs that the measurement tells apart, {same} are in the same order when simulated; Kendall's tau over all pairs {:.2}.",
            comparison.tau
        );
    }
}

pub(super) fn json(ranking: &Ranking, comparisons: &[Comparison]) -> Value {
    let comparison = |c: &Comparison| {
        let row = |(policy, row): (&String, &super::compare::Row)| {
            json!({
                "policy": policy, "measured_ms": row.measured_ms, "simulated_ms": row.simulated_ms,
                "measured_over_first": row.measured_over_first.0, "measured_ci95": row.measured_over_first.1,
                "simulated_over_first": row.simulated_over_first,
            })
        };
        json!({
            "measure": c.name,
            "policies": ranking.policies.iter().zip(&c.rows).map(row).collect::<Vec<_>>(),
            "pairs_told_apart": c.told_apart.0, "of_them_in_the_same_order": c.told_apart.1, "kendall_tau": c.tau,
        })
    };
    json!({
        "scale": ranking.scale, "executors": ranking.shape.executors, "vcores": ranking.shape.vcores,
        "repeats": ranking.repeats, "measures": comparisons.iter().map(comparison).collect::<Vec<_>>(),
    })
}
