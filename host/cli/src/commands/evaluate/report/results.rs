//! The main finding for each policy as a sentence, warnings, and the tables of all figures.

use std::fmt::Write;

use policy_sim::evaluate::{Difference, Row, metric};

use super::cells::{difference_cell, figure_cell};
use super::facts::{Facts, named};
use super::html::{Table, text};
use super::marks::Mark;
use super::numbers::{percent, varies};
use crate::commands::evaluate::table::{COLUMNS, COMPARED, Shows};
use crate::commands::evaluate::view::value;

/// The main finding for each policy as a sentence; then the warnings.
pub(super) fn findings(facts: &Facts<'_>) -> String {
    let (results, baseline) = (facts.view.results, facts.baseline());
    let mut out = String::from("<ul class=\"findings\">\n");
    let mut compared = 0;
    for (at, _, name) in facts.series().filter(|s| s.0 != facts.view.baseline) {
        let row = &results.rows[at];
        let parts: Vec<String> =
            COMPARED.iter().filter_map(|(title, name)| sentence(row, baseline, title, name)).collect();
        if !parts.is_empty() {
            let (name, baseline) = (text(name), text(facts.baseline_name()));
            let _ = writeln!(out, "<li>{name} vs {baseline}: {}</li>", parts.join(", "));
            compared += 1;
        }
    }
    out.push_str("</ul>\n");
    if compared == 0 {
        out = "<p>There is nothing to compare.</p>\n".into();
    } else {
        out.push_str(
            "<p class=\"lead\">Less is better. In bold: the 95 % interval of the paired differences excludes 0.</p>\n",
        );
    }
    out.push_str(&warnings(facts));
    out
}

fn warnings(facts: &Facts<'_>) -> String {
    let results = facts.view.results;
    let mut out = String::new();
    let mut warn = |sentence: String| {
        let _ = writeln!(out, "<p class=\"warning\">{}</p>", text(sentence));
    };
    for (row, fault) in results.rows.iter().zip(&results.faults) {
        if let Some(f) = fault {
            warn(format!(
                "{}: out of service from round {} of seed {} on [{}]: {}. Its figures from there on are those of the \
                 host's fallback.",
                row.label, f.round, f.seed, f.code, f.message
            ));
        }
        let unfinished = value(row, "tasks_unfinished");
        if unfinished > 0.0 {
            warn(format!("{}: {unfinished} tasks did not finish; figures of jobs are of those that did.", row.label));
        }
    }
    match (facts.workload["seeds"].as_u64(), facts.setting.fixed) {
        (Some(1), _) => warn("One seed gives no interval: give more with --seeds.".into()),
        (_, true) => warn(
            "Every seed has the same workload: intervals show how much policies draw by chance, not how they would do \
             on other workloads. Where there is none, all seeds gave the same."
                .into(),
        ),
        _ => {}
    }
    out
}

/// Two tables of figures and two of differences: all columns in one would not fit on paper.
pub(super) fn results(facts: &Facts<'_>) -> String {
    let results = facts.view.results;
    let columns = |times: bool| {
        let fits = move |c: &&(&str, &str, Shows)| (c.2 == Shows::Time) == times && !c.1.starts_with("decision");
        COLUMNS.iter().filter(fits)
    };
    let head = |times: bool| ["policy"].into_iter().chain(columns(times).map(|c| c.0));
    let baseline = facts.baseline();
    let rows = || facts.series().map(|(at, mark, name)| (mark, name, &results.rows[at]));
    let mut out = String::new();
    for times in [true, false] {
        let mut table = Table::new("Mean over seeds, and its 95 % interval below", head(times));
        for (mark, name, row) in rows().chain([(&facts.bound, "lower-bound", &results.bound)]) {
            table.row(named(mark, name), columns(times).map(|c| figure_cell(row, c.1)).collect());
        }
        if let Some(recorded) = &results.recorded {
            let name = format!("recorded, under {}", recorded.policy);
            table.row(named(&Mark::faint(), &name), columns(times).map(|c| figure_cell(recorded, c.1)).collect());
        }
        out.push_str(&table.markup());
    }
    for times in [true, false] {
        let unit = if times { "share of its mean" } else { "pp: points of a percentage" };
        let caption = format!(
            "Difference to {} ({unit}), paired by seed; bold where the 95 % interval excludes 0",
            facts.baseline_name()
        );
        let mut table = Table::new(caption, head(times));
        for (mark, name, row) in rows().filter(|r| !std::ptr::eq(r.2, baseline)) {
            table.row(named(mark, name), columns(times).map(|c| difference_cell(row, baseline, c.1, c.2)).collect());
        }
        if !table.is_empty() {
            out.push_str(&table.markup());
        }
    }
    out
}

fn sentence(row: &Row, baseline: &Row, title: &str, name: &str) -> Option<String> {
    let at = metric(name)?;
    let (difference, interval) = Difference { row, baseline }.value(at);
    let whole = baseline.value(at);
    let share = |v: f64| 100.0 * v / whole;
    if !share(difference).is_finite() {
        return None;
    }
    let change = format!("{} {} %", text(title), percent(share(difference)));
    Some(match interval.filter(|i| varies(*i)) {
        None => change,
        Some((low, high)) => {
            let change = format!("{change} [{}, {}]", percent(share(low)), percent(share(high)));
            if low > 0.0 || high < 0.0 { format!("<strong>{change}</strong>") } else { change }
        }
    })
}
