//! Drawings of single figures with their intervals: differences to the baseline, slowdown by size of job, local bytes.

use policy_sim::evaluate::{Difference, Interval, Row, SizeBin, interval, mean, metric};

use super::chart::{Axis, Chart, HALF, WIDE, decades};
use super::facts::{Facts, named, short};
use super::html::{Cell, Table};
use super::marks::{Mark, legend};
use super::numbers::size_name;

/// One row: mark, name, estimate, ends of the interval.
type Dot<'a> = (&'a Mark, String, f64, Option<Interval>);

/// Rows with an estimate and the ends of its interval, drawn as dots with whiskers.
struct Dots<'a> {
    title: String,
    axis: Axis,
    rows: Vec<Dot<'a>>,
    /// A line to compare with.
    reference: Option<f64>,
}

impl Dots<'_> {
    fn svg(self, width: f64) -> String {
        let n = self.rows.len();
        let names: Vec<String> = self.rows.iter().rev().map(|r| r.1.clone()).collect();
        let values: Vec<String> = self.rows.iter().map(|r| format!("{} {:.3}", r.1, r.2)).collect();
        let ends = self.rows.iter().flat_map(|r| {
            let (low, high) = r.3.unwrap_or((r.2, r.2));
            [r.2, low, high]
        });
        let ends = ends.chain(self.reference).filter(|v| v.is_finite());
        let (from, to) = ends.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)));
        let axis = match (self.axis.range, from <= to) {
            (None, true) => {
                let margin = f64::max(0.06 * (to - from), 1e-9_f64.max(0.01 * to.abs()));
                self.axis.range(from - margin, to + margin)
            }
            _ => self.axis,
        };
        let y = Axis::new("").names(names).range(0.5, n as f64 + 0.5);
        let height = 74.0 + 21.0 * n as f64;
        let description = format!("Dots with 95 % intervals: {}.", values.join("; "));
        let mut chart = Chart::new(self.title, description, (width, height), axis, y);
        if let Some(at) = self.reference {
            chart.vertical(at);
        }
        for (i, (mark, _, value, interval)) in self.rows.iter().enumerate() {
            let y = (n - i) as f64;
            if let Some((low, high)) = interval {
                chart.line(&[(*low, y), (*high, y)], &mark.whisker(), false);
            }
            chart.markers(&[(*value, y)], mark, 4.2);
        }
        chart.svg()
    }
}

/// Rows of the drawing and of the table: every series but the baseline, and the bound.
fn others<'a>(facts: &'a Facts<'_>) -> Vec<(&'a Mark, &'a str, &'a Row)> {
    let results = facts.view.results;
    let rows = facts.series().filter(|s| s.0 != facts.view.baseline).map(|(at, m, name)| (m, name, &results.rows[at]));
    rows.chain([(&facts.bound, "lower-bound", &results.bound)]).collect()
}

/// What is drawn as differences.
const DRAWN: [(&str, &str); 4] = [
    ("JCT mean", "jct_us.mean"),
    ("JCT p99", "jct_us.p99"),
    ("makespan", "makespan_us"),
    ("wait mean", "queue_wait_us.mean"),
];

/// Moves a bound that is far away to the edge, with its number: on one scale, the differences would not be visible.
fn at_the_edge(rows: &mut [(Mark, String, f64, Option<Interval>)]) {
    let Some((bound, policies)) = rows.split_last_mut() else { return };
    let ends = policies.iter().flat_map(|r| [r.3.map_or(r.2, |i| i.0), r.3.map_or(r.2, |i| i.1)]).chain([0.0]);
    let (from, to) = ends.fold((0.0, 0.0), |(a, b), v| (f64::min(a, v), f64::max(b, v)));
    let margin = f64::max(to - from, 0.1);
    if bound.1.starts_with("lower-bound") && bound.2 < from - margin {
        bound.1 = format!("◂ lower-bound {:+.1} %", bound.2).replace('-', "−").replace("lower−", "lower-");
        (bound.2, bound.3) = (from - 0.25 * margin, None);
    }
}

pub(super) fn differences(facts: &Facts<'_>) -> String {
    let baseline = facts.baseline();
    let mut panels = String::new();
    for (title, name) in DRAWN {
        let Some(at) = metric(name) else { continue };
        let whole = baseline.value(at);
        let dots = |(mark, label, row): (&'_ Mark, &str, &Row)| {
            let (difference, interval) = Difference { row, baseline }.value(at);
            let percent = |v: f64| 100.0 * v / whole;
            (mark.clone(), short(label), percent(difference), interval.map(|(a, b)| (percent(a), percent(b))))
        };
        let mut rows: Vec<_> = others(facts).into_iter().map(dots).filter(|r| r.2.is_finite()).collect();
        if rows.is_empty() {
            continue;
        }
        at_the_edge(&mut rows);
        let drawing = Dots {
            title: format!("Difference of {title}"),
            axis: Axis::new(format!("{title}: difference to {}, %", short(facts.baseline_name()))),
            rows: rows.iter().map(|r| (&r.0, r.1.clone(), r.2, r.3)).collect(),
            reference: Some(0.0),
        };
        panels.push_str(&format!("<figure>{}</figure>\n", drawing.svg(HALF)));
    }
    format!(
        "<p>Each seed's run minus the baseline's run of the same workload and seed, as a share of the baseline's mean. \
         Where the whisker (95 %, Student's t) crosses the dashed line, these seeds do not tell the two apart. Further \
         left is better. A lower bound that is far off stands at the left edge, with its number.</p>\n<div class=\"panels\">{panels}</div>\n"
    )
}

/// The figure of one size of jobs over the runs that have such jobs.
fn of_size(row: &Row, bin: SizeBin) -> Vec<f64> {
    row.runs
        .iter()
        .filter_map(|r| r.sizes.get(&bin))
        .map(|g| g.bounded_slowdown.p95)
        .filter(|v| v.is_finite())
        .collect()
}

pub(super) fn slowdown(facts: &Facts<'_>) -> String {
    let results = facts.view.results;
    let mut bins: Vec<SizeBin> =
        results.rows.iter().flat_map(|r| &r.runs).flat_map(|r| r.sizes.keys().copied()).collect();
    bins.sort_unstable();
    bins.dedup();
    let count = results.rows.len() as f64;
    let names: Vec<String> = bins.iter().copied().map(size_name).collect();
    let mut table = Table::new(
        "95th percentile of the bounded slowdown, mean over seeds, by the work of the job (vcore time)",
        ["".to_owned()].into_iter().chain(names.iter().cloned()),
    );
    let (mut lines, mut most) = (Vec::new(), 1.0f64);
    for (i, (at, mark, name)) in facts.series().enumerate() {
        let values: Vec<Vec<f64>> = bins.iter().map(|&bin| of_size(&results.rows[at], bin)).collect();
        let shown = |v: &Vec<f64>| match interval(v) {
            _ if v.is_empty() => "–".to_owned(),
            // No slowdown is below 1.
            Some((low, high)) => format!("{:.2} [{:.2}, {high:.2}]", mean(v), low.max(1.0)),
            None => format!("{:.2}", mean(v)),
        };
        table.row(named(mark, name), values.iter().map(|v| Cell::text(shown(v))).collect());
        // Side by side, so that equal values do not hide each other.
        let shift = (i as f64 - (count - 1.0) / 2.0) * 0.5 / count;
        let points: Vec<(f64, f64)> =
            values.iter().enumerate().map(|(b, v)| (b as f64 + 1.0 + shift, mean(v))).collect();
        most = points.iter().map(|p| p.1).filter(|v| v.is_finite()).fold(most, f64::max);
        lines.push((mark, points));
    }
    let feitelson = "<p>max(1, completion time / max(running time, 10 s)), after Feitelson: small jobs must not wait for \
                     large ones. 1 is the lower bound.</p>\n";
    if most < 1.0005 {
        let folded = table.folded("Numbers by size of job");
        return format!(
            "{feitelson}<p>Every value is 1 here: no job took longer than the 10 s that are the least.</p>\n{folded}"
        );
    }
    let x = Axis::new("work of the job: vcore time at speed 1").range(0.5, bins.len() as f64 + 0.5).names(names);
    let y = Axis::new("bounded slowdown, p95 (log)").log().range(0.93, decades(1.0, most * 1.05).1);
    let description = "Slowdown by size of job, one line a policy; the table below has its numbers.";
    let mut chart = Chart::new("Slowdown by size of job", description, (WIDE, 330.0), x, y);
    for (mark, points) in &lines {
        chart.line(points, &mark.thinner(1.1), false);
        chart.markers(points, mark, 4.2);
    }
    let entries: Vec<(&Mark, &str)> = facts.series().map(|(_, mark, name)| (mark, name)).collect();
    format!(
        "{feitelson}{}<figure>{}</figure>\n{}",
        legend(&entries),
        chart.svg(),
        table.folded("Numbers of this drawing")
    )
}

pub(super) fn locality(facts: &Facts<'_>) -> String {
    if !facts.setting.reads_inputs {
        return "<p>No task of this workload reads input, so no policy can place one near its data.</p>\n".to_owned();
    }
    let Some(at) = metric("locality_bytes_share") else { return String::new() };
    let results = facts.view.results;
    let rows = facts.series().map(|(i, mark, name)| (mark, short(name), &results.rows[i]));
    let rows = rows.map(|(mark, name, row)| {
        (mark, name, 100.0 * row.value(at), row.interval(at).map(|(a, b)| (100.0 * a.max(0.0), 100.0 * b.min(1.0))))
    });
    let best = 100.0 * results.bound.value(at);
    let drawing = Dots {
        title: "Local input bytes".into(),
        axis: Axis::new("input bytes read on the executor that holds them, %").range(0.0, 100.0),
        rows: rows.collect(),
        reference: best.is_finite().then_some(best),
    };
    format!(
        "<p>Mean over seeds with its 95 % interval; further right is better. The dashed line, {best:.1} %, is the most \
         that any policy can reach: every task on the holder of most of its input.</p>\n<figure>{}</figure>\n",
        drawing.svg(WIDE)
    )
}
