//! The page: what was run and with what, the sentence that matters, the tables, and the order of the sections.

use std::fmt::Write;
use std::path::Path;

use policy_sim::cluster::Series;
use policy_sim::evaluate::{Difference, Interval, Row, metric};
use serde_json::Value;

use super::curves::unit_of;
use super::html::{Cell, Table, text};
use super::marks::{Mark, fill_definitions};
use super::{Setting, curves, figures, gantt, groups, over_time};
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
    /// What candidates are called here: their labels, and numbers where drawings must cut a label.
    names: Vec<String>,
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
        let name = |(at, c): (usize, &super::super::Candidate)| match c.label.chars().count() > SHORT {
            true => format!("#{} {}", at + 1, c.label),
            false => c.label.clone(),
        };
        let names = view.candidates.iter().enumerate().map(name).collect();
        Self { view, facts, setting, marks, names, bound: Mark::bound() }
    }

    /// Number, mark and name of every candidate.
    pub(super) fn series(&self) -> impl Iterator<Item = (usize, &Mark, &str)> {
        self.marks.iter().zip(&self.names).enumerate().map(|(at, (mark, name))| (at, mark, name.as_str()))
    }

    /// The same, with what its first seed looked like over time.
    pub(super) fn sampled(&self) -> impl Iterator<Item = (usize, &Mark, &str, &Series)> {
        let series = |at: usize| self.view.results.drawn.get(at).and_then(|d| d.series.as_ref());
        self.series().filter_map(move |(at, mark, name)| series(at).map(|s| (at, mark, name, s)))
    }

    pub(super) fn baseline_name(&self) -> &str {
        &self.names[self.view.baseline]
    }

    pub(super) fn baseline(&self) -> &Row {
        &self.view.results.rows[self.view.baseline]
    }

    /// A figure with its interval.
    pub(super) fn figure_cell(&self, row: &Row, name: &str) -> Cell {
        let Some(at) = metric(name) else { return Cell::text("–") };
        let shows = COLUMNS.iter().find(|c| c.1 == name).map_or(Shows::Time, |c| c.2);
        let figure = row.value(at);
        if !figure.is_finite() {
            return Cell::text("–");
        }
        // The ends in the unit of the mean.
        let (unit_us, _) = unit_of(figure);
        let (shown, end): (String, fn(f64) -> String) = match shows {
            Shows::Time => {
                (time(figure), |v| if v.abs() < 10.0 { signed(v, 2) } else { signed(v, usize::from(v.abs() < 100.0)) })
            }
            Shows::Share => (format!("{:.1} %", 100.0 * figure), |v| signed(100.0 * v, 1)),
            Shows::Number => (format!("{figure:.3}"), |v| signed(v, 3)),
        };
        let scale = if shows == Shows::Time { unit_us } else { 1.0 };
        let mut cell = Cell::figure(name, figure, shown);
        if let Some((low, high)) = row.interval(at).filter(|i| varies(*i)) {
            // Student's t does not know that no figure is less than nothing, and no share more than all.
            let most = if shows == Shows::Share { 1.0 } else { f64::INFINITY };
            let (low, high) = (end(low.max(0.0) / scale), end(high.min(most) / scale));
            let _ = write!(cell.markup, "<span class=\"ci\">[{low}, {high}]</span>");
        }
        cell
    }

    pub(super) fn markup(&self) -> String {
        let sections = self.sections();
        let source = self.facts["source"].as_str().unwrap_or("workload");
        let file = Path::new(source).file_name().and_then(|n| n.to_str()).filter(|_| !source.contains(':'));
        let title = format!("{}: policies compared", file.unwrap_or(source));
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
            section("groups", "By tenant and by size of job", groups::markup(self)),
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
        for (at, _, name) in self.series().filter(|s| s.0 != self.view.baseline) {
            let row = &results.rows[at];
            let parts: Vec<String> =
                COMPARED.iter().filter_map(|(title, name)| sentence(row, baseline, title, name)).collect();
            if !parts.is_empty() {
                let (name, baseline) = (text(name), text(self.baseline_name()));
                let _ = writeln!(out, "<li>{name} vs {baseline}: {}</li>", parts.join(", "));
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
                 on other workloads. Where there is none, all seeds gave the same."
                    .into(),
            ),
            _ => {}
        }
        out
    }

    /// Two tables of figures and two of differences: all columns in one would not fit on paper.
    fn results(&self) -> String {
        let results = self.view.results;
        let columns = |times: bool| {
            let fits = move |c: &&(&str, &str, Shows)| (c.2 == Shows::Time) == times && !c.1.starts_with("decision");
            COLUMNS.iter().filter(fits)
        };
        let head = |times: bool| ["policy"].into_iter().chain(columns(times).map(|c| c.0));
        let baseline = self.baseline();
        let rows = || self.series().map(|(at, mark, name)| (mark, name, &results.rows[at]));
        let mut out = String::new();
        for times in [true, false] {
            let mut table = Table::new("Mean over seeds, and its 95 % interval below", head(times));
            for (mark, name, row) in rows().chain([(&self.bound, "lower-bound", &results.bound)]) {
                table.row(named(mark, name), columns(times).map(|c| self.figure_cell(row, c.1)).collect());
            }
            if let Some(recorded) = &results.recorded {
                let name = format!("recorded, under {}", recorded.policy);
                table.row(
                    named(&Mark::faint(), &name),
                    columns(times).map(|c| self.figure_cell(recorded, c.1)).collect(),
                );
            }
            out.push_str(&table.markup());
        }
        for times in [true, false] {
            let unit = if times { "share of its mean" } else { "pp: points of a percentage" };
            let caption = format!(
                "Difference to {} ({unit}), paired by seed; bold where the 95 % interval excludes 0",
                self.baseline_name()
            );
            let mut table = Table::new(caption, head(times));
            for (mark, name, row) in rows().filter(|r| !std::ptr::eq(r.2, baseline)) {
                table
                    .row(named(mark, name), columns(times).map(|c| difference_cell(row, baseline, c.1, c.2)).collect());
            }
            if !table.is_empty() {
                out.push_str(&table.markup());
            }
        }
        out
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
             <li>Intervals are 95 %, by Student's t over the seeds; those of figures end where the figure does, at 0 or at all. \
             Several differences are looked at here: one in twenty excludes 0 by chance.</li>\n<li><em>random</em> places every \
             task on an executor drawn among those with room. A policy that does not beat it is not worth its \
             while.</li>\n<li><em>lower-bound</em> follows from workload and cluster alone; \
             no one schedule need reach all of it. Its utilisation is that of its makespan: a policy that moves more bytes, or uses \
             slower executors, keeps vcores busier without getting more done.</li>\n<li>Drawings over time and \
             executors show the first seed only; distributions have all seeds, in at most 512 points a line.</li>\n\
             <li>Time is virtual, but for the section of decision times.</li>\n</ul>\n",
            text(seeded)
        )
    }
}

/// A number of so many digits, as people write it.
fn signed(value: f64, digits: usize) -> String {
    format!("{value:.digits$}").replace('-', "−")
}

/// A difference in percent, as people write it.
fn percent(value: f64) -> String {
    let text = format!("{value:+.1}");
    if matches!(text.as_str(), "-0.0" | "+0.0") { "0.0".to_owned() } else { text.replace('-', "−") }
}

/// Whether the seeds differ at all: an interval without length says nothing about chance.
fn varies((low, high): Interval) -> bool {
    high - low > 1e-9 * f64::max(low.abs(), high.abs())
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
    Some(match interval.filter(|i| varies(*i)) {
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
    let bare = |v: f64| text(show(v).trim_end_matches(" %").trim_end_matches(" pp"));
    let mut cell = Cell::figure(&format!("difference.{name}"), difference, show(difference));
    if let Some((low, high)) = interval.filter(|i| varies(*i)) {
        if low > 0.0 || high < 0.0 {
            cell.markup = format!("<span class=\"clear\">{}</span>", cell.markup);
        }
        let _ = write!(cell.markup, "<span class=\"ci\">[{}, {}]</span>", bare(low), bare(high));
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
        assert_eq!([percent(-12.34), percent(-0.01), percent(3.0)], ["−12.3", "0.0", "+3.0"]);
    }
}
