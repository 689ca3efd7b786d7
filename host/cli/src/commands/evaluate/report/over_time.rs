//! What the first seed looked like over virtual time: vcores in use, queue, fairness, shares of tenants.

use policy_sim::cluster::Series;
use policy_sim::evaluate::metric;

use super::chart::{Axis, Chart, HALF, WIDE};
use super::facts::{Facts, named};
use super::html::{Cell, Table, text};
use super::marks::{Mark, legend};
use crate::commands::evaluate::table::time;

/// Lines that one drawing can hold and still be read.
const TOGETHER: usize = 5;

/// Tenants that one drawing can show.
const TENANTS: usize = 5;

/// One value over time, of every policy.
struct OverTime<'a> {
    title: &'a str,
    axis: &'a str,
    /// Upper end of the axis; of what is drawn if `None`.
    most: Option<f64>,
    values: fn(&Series) -> &[f64],
    /// Whether to show what was there as well.
    capacity: bool,
}

/// Buckets as steps: every value from where its bucket begins to where it ends.
fn steps(series: &Series, values: &[f64], unit_us: f64) -> Vec<(f64, f64)> {
    let at = |i: usize| (i as u64 * series.bucket_us).min(series.end_us - series.start_us) as f64 / unit_us;
    values.iter().enumerate().flat_map(|(i, &v)| [(at(i), v), (at(i + 1), v)]).collect()
}

impl OverTime<'_> {
    fn markup(&self, facts: &Facts<'_>) -> String {
        let sampled: Vec<_> = facts.sampled().collect();
        let highest = sampled.iter().flat_map(|s| (self.values)(s.3)).copied().filter(|v| v.is_finite());
        let most = self.most.unwrap_or_else(|| 1.05 * highest.fold(0.0, f64::max).max(1.0));
        let (x, unit_us) = facts.time_axis();
        let chart = |title: String, size| {
            let y = Axis::new(self.axis).range(0.0, most);
            let description = format!("{title} over virtual time; the table below has means and maxima.");
            let mut chart = Chart::new(title, description, size, x.clone(), y);
            if let Some(bound_us) = metric("makespan_us").map(|at| facts.view.results.bound.runs[0].values[at]) {
                chart.vertical(bound_us / unit_us);
            }
            chart
        };
        let (faint, bound) = (Mark::faint(), &facts.bound);
        let draw = |chart: &mut Chart<'_>, series: &Series, mark: &Mark| {
            chart.line(&steps(series, (self.values)(series), unit_us), mark, false);
        };
        let there = |chart: &mut Chart<'_>, series: &Series| {
            if self.capacity {
                chart.line(&steps(series, &series.alive_vcores, unit_us), bound, false);
            }
        };
        let table = self.table(&sampled);
        if sampled.len() <= TOGETHER {
            let mut chart = chart(self.title.to_owned(), (WIDE, 300.0));
            sampled.iter().take(1).for_each(|s| there(&mut chart, s.3));
            sampled.iter().for_each(|(_, mark, _, series)| draw(&mut chart, series, mark));
            return format!("<figure>{}</figure>\n{table}", chart.svg());
        }
        let baseline = sampled.iter().find(|s| s.0 == facts.view.baseline);
        let panels = sampled.iter().map(|(at, mark, name, series)| {
            let mut chart = chart(format!("{} of {name}", self.title), (HALF, 210.0));
            there(&mut chart, series);
            if let Some((_, _, _, base)) = baseline.filter(|b| b.0 != *at) {
                draw(&mut chart, base, &faint);
            }
            draw(&mut chart, series, &mark.whisker());
            format!("<figure><figcaption>{}</figcaption>{}</figure>\n", named(mark, name), chart.svg())
        });
        let panels: String = panels.collect();
        let behind = text(facts.baseline_name());
        format!("<p>The dashed grey line behind is {behind}.</p><div class=\"panels\">{panels}</div>\n{table}")
    }

    fn table(&self, sampled: &[(usize, &Mark, &str, &Series)]) -> String {
        let mut table =
            Table::new(format!("{}, first seed", self.axis), ["", "mean over time", "largest mean of a bucket"]);
        for (_, mark, name, series) in sampled {
            let lengths = (0..).map(|i| {
                let from = series.start_us + i * series.bucket_us;
                (series.end_us.min(from + series.bucket_us) - from) as f64
            });
            let known = (self.values)(series).iter().zip(lengths).filter(|v| v.0.is_finite());
            let (sum, time) = known.fold((0.0, 0.0), |(s, t), (v, length)| (s + v * length, t + length));
            let most = (self.values)(series).iter().copied().filter(|v| v.is_finite()).fold(f64::NAN, f64::max);
            let shown = |v: f64| if v.is_finite() { format!("{v:.3}") } else { "–".to_owned() };
            table.row(named(mark, name), vec![Cell::text(shown(sum / time)), Cell::text(shown(most))]);
        }
        table.folded("Numbers of this drawing")
    }
}

fn policies(facts: &Facts<'_>) -> String {
    let entries: Vec<(&Mark, &str)> = facts.sampled().map(|(_, mark, name, _)| (mark, name)).collect();
    if entries.len() <= TOGETHER { legend(&entries) } else { String::new() }
}

/// How coarse the drawings are.
fn thinning(facts: &Facts<'_>) -> String {
    let lengths: Vec<u64> = facts.sampled().map(|s| s.3.bucket_us).collect();
    let shown = |us: Option<&u64>| time(us.copied().unwrap_or(0) as f64);
    let (least, most) = (shown(lengths.iter().min()), shown(lengths.iter().max()));
    let range = if least == most { least } else { format!("{least} to {most}, by policy") };
    format!("Values are means over buckets of {range}: what is shorter is not seen.")
}

pub(super) fn load(facts: &Facts<'_>) -> String {
    let busy = OverTime {
        title: "Vcores in use",
        axis: "vcores in use",
        most: Some(1.08 * facts.setting.executors.iter().map(|e| f64::from(e.1)).sum::<f64>()),
        values: |s| &s.busy_vcores,
        capacity: true,
    };
    let queue =
        OverTime { title: "Queue", axis: "tasks waiting", most: None, values: |s| &s.pending_tasks, capacity: false };
    format!(
        "<p>First seed. {} The thin line is the vcores that were there; the dashed vertical line is the lower bound of the \
         makespan. Waiting tasks are those whose stage could run.</p>\n{}<h3>Vcores in use</h3>\n{}\
         <h3>Queue</h3>\n{}",
        text(thinning(facts)),
        policies(facts),
        busy.markup(facts),
        queue.markup(facts)
    )
}

pub(super) fn fairness(facts: &Facts<'_>) -> String {
    let Some((_, _, _, first)) = facts.sampled().next() else { return String::new() };
    let jain =
        OverTime { title: "Jain's index", axis: "Jain's index", most: Some(1.0), values: |s| &s.jain, capacity: false };
    let contested = facts.sampled().any(|s| s.3.jain.iter().any(|j| j.is_finite()));
    let index = match contested {
        true => format!(
            "<h3>Jain's index</h3>\n<p>First seed. Over the vcores that tenants with waiting tasks hold: 1 when all hold the \
             same, 1/n when one holds everything; no line where fewer than two tenants compete. 1 is the bound.</p>\n{}{}",
            policies(facts),
            jain.markup(facts)
        ),
        false => {
            "<p>In the first seed no two tenants ever had waiting tasks at one time: nothing had to be shared.</p>\n"
                .to_owned()
        }
    };
    format!("{index}<h3>Dominant share of each tenant</h3>\n{}", shares(facts, first))
}

fn shares(facts: &Facts<'_>, first: &Series) -> String {
    let (x, unit_us) = facts.time_axis();
    let marks: Vec<Mark> = (0..first.tenants.len().min(TENANTS)).map(Mark::of).collect();
    let panels = facts.sampled().map(|(_, mark, name, series)| {
        let title = format!("Dominant share of each tenant under {name}");
        let most = series.tenants.iter().flat_map(|t| &t.dominant_share).map(|s| 100.0 * s);
        let shares: Vec<String> = series
            .tenants
            .iter()
            .take(TENANTS)
            .map(|t| {
                let most = t.dominant_share.iter().copied().fold(0.0, f64::max);
                format!("{} at most {:.0} %", t.name, 100.0 * most)
            })
            .collect();
        let y = Axis::new("share of the cluster, %").range(0.0, most.fold(100.0, f64::max));
        let mut chart = Chart::new(title, shares.join("; "), (HALF, 230.0), x.clone(), y);
        for (tenant, mark) in series.tenants.iter().zip(&marks) {
            let percent: Vec<f64> = tenant.dominant_share.iter().map(|s| 100.0 * s).collect();
            chart.line(&steps(series, &percent, unit_us), &mark.thinner(1.4), false);
        }
        format!("<figure><figcaption>{}</figcaption>{}</figure>\n", named(mark, name), chart.svg())
    });
    let panels: String = panels.collect();
    let entries: Vec<(&Mark, &str)> = marks.iter().zip(&first.tenants).map(|(m, t)| (m, t.name.as_str())).collect();
    let more = match first.tenants.len() + first.tenants_left_out - marks.len() {
        0 => String::new(),
        n => format!(" The {} tenants with most work are drawn; {n} are not.", marks.len()),
    };
    format!(
        "<p>First seed. The larger one of a tenant's shares of all vcores and of all memory (dominant resource fairness).\
         {more}</p>\n{}<div class=\"panels\">{panels}</div>\n",
        legend(&entries)
    )
}
