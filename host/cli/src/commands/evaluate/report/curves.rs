//! Distributions: completion times of jobs, and what decisions took.

use policy_sim::evaluate::Curve;

use super::cells::figure_cell;
use super::chart::{Axis, Chart, WIDE, decades};
use super::facts::{Facts, named};
use super::html::{Cell, Table};
use super::marks::{Mark, legend};
use super::numbers::unit_of;
use crate::commands::evaluate::table::time;

/// Shares at which a curve carries its marker, so that lines differ without colour.
const MARKED: [f64; 5] = [0.1, 0.3, 0.5, 0.7, 0.9];

/// Shares that the table behind a drawing lists.
const LISTED: [f64; 7] = [0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 1.0];

struct Drawing<'a> {
    title: &'a str,
    axis: &'a str,
    share: &'a str,
    /// What a value is in microseconds.
    in_us: f64,
    table: &'a str,
}

impl Drawing<'_> {
    fn markup(&self, curves: &[(&Mark, &str, &Curve)]) -> String {
        let curves: Vec<_> = curves.iter().filter(|c| !c.2.is_empty()).collect();
        let most_us = curves.iter().map(|c| c.2.quantile(1.0)).fold(0.0, f64::max) * self.in_us;
        let middle_us = curves.iter().map(|c| c.2.quantile(0.5)).fold(0.0, f64::max) * self.in_us;
        let (unit_us, unit) = unit_of(middle_us);
        let scale = self.in_us / unit_us;
        // A logarithm has no place for 0; nothing is shorter than a nanosecond.
        let place = |value: f64| (value * scale).max(1e-3 / unit_us);
        let positive = |c: &Curve| c.shares().map(|s| s.0).find(|v| *v > 0.0).map(place);
        let least = curves.iter().filter_map(|c| positive(c.2)).fold(f64::INFINITY, f64::min);
        let (from, to) = decades(least, most_us / unit_us);
        let description = format!(
            "Cumulative distribution, one line for each of: {}. The table below has its numbers.",
            curves.iter().map(|c| c.1).collect::<Vec<_>>().join(", ")
        );
        let x = Axis::new(format!("{}, {unit} (log scale)", self.axis)).log().range(from, to);
        let mut chart = Chart::new(self.title, description, (WIDE, 360.0), x, Axis::new(self.share).range(0.0, 1.0));
        for (mark, _, curve) in &curves {
            let first = curve.quantile(0.0);
            let points: Vec<(f64, f64)> =
                [(first, 0.0)].into_iter().chain(curve.shares()).map(|(v, s)| (place(v).max(from), s)).collect();
            chart.line(&points, mark, true);
            let marked: Vec<(f64, f64)> = MARKED.iter().map(|&s| (place(curve.quantile(s)).max(from), s)).collect();
            chart.markers(&marked, mark, 3.6);
        }
        let mut table = Table::new(self.table, ["".to_owned()].into_iter().chain(LISTED.map(percentile)));
        for (mark, name, curve) in &curves {
            let cells = LISTED.iter().map(|&s| Cell::text(time(curve.quantile(s) * self.in_us))).collect();
            table.row(named(mark, name), cells);
        }
        let entries: Vec<(&Mark, &str)> = curves.iter().map(|c| (c.0, c.1)).collect();
        format!("{}<figure>{}</figure>\n{}", legend(&entries), chart.svg(), table.folded("Numbers of this drawing"))
    }
}

fn percentile(share: f64) -> String {
    if share >= 1.0 { "max".into() } else { format!("p{:.0}", 100.0 * share) }
}

pub(super) fn completion(facts: &Facts<'_>) -> String {
    let drawn = &facts.view.results.drawn;
    let mut curves: Vec<_> = facts.series().map(|(at, mark, name)| (mark, name, &drawn[at].jct_us)).collect();
    curves.push((&facts.bound, "lower-bound", &facts.view.results.least_jct_us));
    let drawing = Drawing {
        title: "Completion times of jobs",
        axis: "job completion time",
        share: "share of jobs",
        in_us: 1.0,
        table: "Completion time below which so many jobs stay, all seeds together",
    };
    format!(
        "<p>Submission to end, jobs of all seeds together; further left is better. The lower bound is each job's \
         critical path, or its work over the whole cluster: no one schedule need reach it for all jobs.</p>\n{}",
        drawing.markup(&curves)
    )
}

pub(super) fn decisions(facts: &Facts<'_>) -> String {
    let (results, mut table) = (facts.view.results, Table::new("What a round took", ["", "p50", "p99", "max"]));
    for (at, mark, name) in facts.series() {
        let row = &results.rows[at];
        let cells = ["decision_us.p50", "decision_us.p99", "decision_us.max"].map(|metric| figure_cell(row, metric));
        table.row(named(mark, name), cells.into());
    }
    let curves: Vec<_> = facts.series().map(|(at, mark, name)| (mark, name, &results.drawn[at].decision_ns)).collect();
    let drawing = Drawing {
        title: "Times of decisions",
        axis: "wall time of a round",
        share: "share of rounds",
        in_us: 1e-3,
        table: "Time below which so many rounds stay, all seeds together",
    };
    format!(
        "<p>Wall time from a round's question to its answer, measured on the machine that made this report while other \
         runs went on beside it. The only figures here that another run changes: compare them with each other, not with \
         another report. The lower bound decides nothing.</p>\n{}{}",
        table.markup(),
        drawing.markup(&curves)
    )
}
