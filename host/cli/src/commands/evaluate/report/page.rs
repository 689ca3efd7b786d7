//! The page: what was run and with what, the sentence that matters, the tables, and the order of the sections.

use std::fmt::Write;

use policy_sim::cluster::Series;
use policy_sim::evaluate::{Difference, Row, metric};
use serde_json::Value;

use super::html::{Cell, Table, text};
use super::marks::{Mark, fill_definitions};
use super::{Setting, curves, figures, gantt, over_time};
use crate::commands::evaluate::View;
use crate::commands::evaluate::table::{COLUMNS, COMPARED, Shows, time, value};

/// Letters of a name in a drawing; tables and legends have all of it.
const SHORT: usize = 26;

/// Everything that sections read.
pub(super) struct Page<'a> {
    pub(super) view: &'a View<'a>,
    facts: &'a Value,
    pub(super) setting: &'a Setting,
    marks: Vec<Mark>,
    pub(super) bound: Mark,
}

struct Section {
    id: &'static str,
    title: &'static str,
    markup: String,
}

/// A name as drawings have it.
pub(super) fn short(name: &str) -> String {
    match name.chars().count() > SHORT {
        true => name.chars().take(SHORT - 1).chain(['…']).collect(),
        false => name.to_owned(),
    }
}

/// A name behind a piece of its line.
pub(super) fn named(mark: &Mark, name: &str) -> String {
    format!("{}{}", mark.swatch(), text(name))
}

impl<'a> Page<'a> {
    pub(super) fn new(view: &'a View<'a>, facts: &'a Value, setting: &'a Setting) -> Self {
        let mark =
            |(at, c): (usize, &super::super::Candidate)| if c.is_random() { Mark::random() } else { Mark::of(at) };
        let marks = view.candidates.iter().enumerate().map(mark).collect();
        Self { view, facts, setting, marks, bound: Mark::bound() }
    }

    /// Number, mark and name of every candidate.
    pub(super) fn series(&self) -> impl Iterator<Item = (usize, &Mark, &str)> {
        self.view.candidates.iter().enumerate().map(|(at, c)| (at, &self.marks[at], c.label.as_str()))
    }

    /// The same, with what its first seed looked like over time.
    pub(super) fn sampled(&self) -> impl Iterator<Item = (usize, &Mark, &str, &Series)> {
        let series = |at: usize| self.view.results.drawn.get(at).and_then(|d| d.series.as_ref());
        self.series().filter_map(move |(at, mark, name)| series(at).map(|s| (at, mark, name, s)))
    }

    pub(super) fn baseline(&self) -> &Row {
        &self.view.results.rows[self.view.baseline]
    }

    /// A figure with its interval.
    pub(super) fn figure_cell(&self, row: &Row, name: &str) -> Cell {
        let Some(at) = metric(name) else { return Cell::text("–") };
        let shows = COLUMNS.iter().find(|c| c.1 == name).map_or(Shows::Time, |c| c.2);
        let show = |value: f64| match shows {
            Shows::Time => time(value),
            Shows::Share => format!("{:.1} %", 100.0 * value),
            Shows::Number => format!("{value:.3}"),
        };
        let figure = row.value(at);
        if !figure.is_finite() {
            return Cell::text("–");
        }
        let mut cell = Cell::figure(name, figure, show(figure));
        if let Some((low, high)) = row.interval(at).filter(|(low, high)| high > low) {
            let _ = write!(cell.markup, "<span class=\"ci\">{} – {}</span>", text(show(low)), text(show(high)));
        }
        cell
    }

    pub(super) fn markup(&self) -> String {
        let sections = self.sections();
        let title = format!("{}: policies compared", self.facts["source"].as_str().unwrap_or("workload"));
        let mut out = format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\" />\n<meta name=\"viewport\" \
             content=\"width=device-width, initial-scale=1\" />\n<meta name=\"color-scheme\" content=\"light dark\" />\n\
             <title>{}</title>\n<style>\n{}</style>\n</head>\n<body>\n{}<header>\n<h1>{}</h1>\n{}</header>\n",
            text(&title),
            include_str!("style.css"),
            fill_definitions(),
            text(&title),
            self.headline(),
        );
        let links = sections.iter().map(|s| format!("<li><a href=\"#{}\">{}</a></li>", s.id, text(s.title)));
        let _ = write!(out, "<nav aria-label=\"Sections\"><ul>{}</ul></nav>\n<main>\n", links.collect::<String>());
        for Section { id, title, markup } in &sections {
            let _ = write!(out, "<section id=\"{id}\">\n<h2>{}</h2>\n{markup}</section>\n", text(title));
        }
        out.push_str("</main>\n</body>\n</html>\n");
        out
    }

    fn sections(&self) -> Vec<Section> {
        let section = |id, title, markup| Section { id, title, markup };
        vec![
            section("findings", "Findings", self.findings()),
            section("results", "Results", self.results()),
            section("differences", "Differences to the baseline", figures::differences(self)),
            section("completion", "Completion times", curves::completion(self)),
            section("slowdown", "Slowdown by size of job", figures::slowdown(self)),
            section("load", "Utilisation and queue over time", over_time::load(self)),
            section("fairness", "Fairness over time", over_time::fairness(self)),
            section("executors", "Executors over time", gantt::markup(self)),
            section("locality", "Locality", figures::locality(self)),
            section("decisions", "Decision times (measured)", curves::decisions(self)),
            section("libraries", "What was evaluated", self.libraries()),
            section("reading", "How to read this", self.reading()),
        ]
    }

    fn headline(&self) -> String {
        let fact = |name: &str| text(&self.facts[name]);
        format!(
            "<p class=\"lead\">{} jobs, {} tasks, {} tenants on {} executors with {} vcores; {} outages; {} seeds; \
             policy-host {}</p>\n<pre><code>{}</code></pre>\n",
            fact("jobs"),
            fact("tasks"),
            fact("tenants"),
            fact("executors"),
            fact("vcores"),
            fact("outages"),
            fact("seeds"),
            env!("CARGO_PKG_VERSION"),
            text(&self.setting.command),
        )
    }

    /// The sentence that matters, for each policy; then what casts doubt on it.
    fn findings(&self) -> String {
        let (results, baseline) = (self.view.results, self.baseline());
        let mut out = String::from("<ul class=\"findings\">\n");
        let mut told = 0;
        for row in results.rows.iter().filter(|r| !std::ptr::eq(*r, baseline)) {
            let parts: Vec<String> =
                COMPARED.iter().filter_map(|(title, name)| sentence(row, baseline, title, name)).collect();
            if !parts.is_empty() {
                let (row, baseline) = (text(&row.label), text(&baseline.label));
                let _ = writeln!(out, "<li>{row} vs {baseline}: {}</li>", parts.join(", "));
                told += 1;
            }
        }
        out.push_str("</ul>\n");
        if told == 0 {
            out = "<p>There is nothing to compare.</p>\n".into();
        } else {
            out.push_str(
                "<p class=\"lead\">Less is better. In bold: the 95 % interval of the paired differences excludes 0.</p>\n",
            );
        }
        out.push_str(&self.warnings());
        out
    }

    fn warnings(&self) -> String {
        let results = self.view.results;
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
                warn(format!(
                    "{}: {unfinished} tasks did not finish; figures of jobs are of those that did.",
                    row.label
                ));
            }
        }
        match (self.facts["seeds"].as_u64(), self.setting.fixed) {
            (Some(1), _) => warn("One seed gives no interval: give more with --seeds.".into()),
            (_, true) => warn(
                "Every seed has the same workload: intervals show how much policies draw by chance, not how they would do \
                 on other workloads."
                    .into(),
            ),
            _ => {}
        }
        out
    }

    fn results(&self) -> String {
        let results = self.view.results;
        let columns = || COLUMNS.iter().filter(|c| !c.1.starts_with("decision"));
        let head = || ["policy"].into_iter().chain(columns().map(|c| c.0));
        let mut figures = Table::new("Mean over seeds, and its 95 % interval below", head());
        let rows = self.series().map(|(at, mark, name)| (mark, name, &results.rows[at]));
        for (mark, name, row) in rows.chain([(&self.bound, "lower-bound", &results.bound)]) {
            let cells = columns().map(|c| self.figure_cell(row, c.1)).collect();
            figures.row(named(mark, name), cells);
        }
        let baseline = self.baseline();
        let caption =
            format!("Difference to {}, paired by seed; bold where the 95 % interval excludes 0", baseline.label);
        let mut differences = Table::new(caption, head());
        for (at, mark, name) in self.series().filter(|s| s.0 != self.view.baseline) {
            let cells = columns().map(|c| difference_cell(&results.rows[at], baseline, c.1, c.2)).collect();
            differences.row(named(mark, name), cells);
        }
        let differences = if differences.is_empty() { String::new() } else { differences.markup() };
        format!("{}{differences}", figures.markup())
    }

    fn libraries(&self) -> String {
        let mut out = String::from(
            "<p>The files that were loaded, by their content: the same bytes in service answer the same.</p>\n",
        );
        for (candidate, (_, mark, name)) in self.view.candidates.iter().zip(self.series()) {
            let hash = if candidate.sha256.is_empty() { "none: part of policy-host" } else { &candidate.sha256 };
            let _ = writeln!(
                out,
                "<h3>{}</h3>\n<dl><dt>policy</dt><dd>{} {}</dd><dt>library</dt><dd>{}</dd><dt>sha256</dt>\
                 <dd class=\"hash\">{}</dd><dt>active.json</dt><dd><code>{}</code></dd></dl>",
                named(mark, name),
                text(&candidate.policy),
                text(&candidate.version),
                text(&candidate.library),
                text(hash),
                text(&candidate.activation),
            );
        }
        out
    }

    fn reading(&self) -> String {
        let seeded = match self.facts["regenerated_by_seed"].as_bool() {
            Some(true) => "A seed regenerates the workload.",
            _ => "The workload comes from a file; a seed goes into the rounds (and into drawn outages) only.",
        };
        format!(
            "<ul>\n<li>Every policy saw the same workloads and seeds; differences are taken seed by seed.</li>\n<li>{}</li>\n\
             <li>Intervals are 95 %, by Student's t over the seeds. Several are looked at here: one in twenty excludes 0 by \
             chance.</li>\n<li><em>random</em> places every task on an executor drawn among those with room. A policy that \
             does not beat it is not worth its while.</li>\n<li><em>lower-bound</em> follows from workload and cluster alone; \
             no one schedule need reach all of it. Its utilisation is an upper bound.</li>\n<li>Drawings over time and \
             executors show the first seed only; distributions have all seeds, in at most 512 points a line.</li>\n\
             <li>Time is virtual, but for the section of decision times.</li>\n</ul>\n",
            text(seeded)
        )
    }
}

/// A signed percentage, as people write it.
fn percent(value: f64) -> String {
    format!("{value:+.1}").replace('-', "−")
}

fn sentence(row: &Row, baseline: &Row, title: &str, name: &str) -> Option<String> {
    let at = metric(name)?;
    let (difference, interval) = Difference { row, baseline }.value(at);
    let whole = baseline.value(at);
    let share = |v: f64| 100.0 * v / whole;
    if !share(difference).is_finite() {
        return None;
    }
    let told = format!("{} {} %", text(title), percent(share(difference)));
    Some(match interval {
        None => told,
        Some((low, high)) => {
            let told = format!("{told} [{}, {}]", percent(share(low)), percent(share(high)));
            if low > 0.0 || high < 0.0 { format!("<strong>{told}</strong>") } else { told }
        }
    })
}

fn difference_cell(row: &Row, baseline: &Row, name: &str, shows: Shows) -> Cell {
    let Some(at) = metric(name) else { return Cell::text("–") };
    let (difference, interval) = Difference { row, baseline }.value(at);
    if !difference.is_finite() {
        return Cell::text("–");
    }
    let whole = baseline.value(at);
    // Shares and indices differ by points, times by a share of the baseline's.
    let show = |v: f64| match shows {
        Shows::Time if whole != 0.0 => format!("{} %", percent(100.0 * v / whole)),
        Shows::Time => time(v),
        Shows::Share => format!("{} pp", percent(100.0 * v)),
        Shows::Number => format!("{v:+.3}").replace('-', "−"),
    };
    let mut cell = Cell::figure(&format!("difference.{name}"), difference, show(difference));
    if let Some((low, high)) = interval {
        if low > 0.0 || high < 0.0 {
            cell.markup = format!("<span class=\"clear\">{}</span>", cell.markup);
        }
        if high > low {
            let _ = write!(cell.markup, "<span class=\"ci\">{} … {}</span>", text(show(low)), text(show(high)));
        }
    }
    cell
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_cut_at_letters() {
        assert_eq!(short("bias"), "bias");
        let long = short(&"ä".repeat(40));
        assert!(long.chars().count() == SHORT && long.ends_with('…'));
        assert_eq!(percent(-12.34), "−12.3");
    }
}
