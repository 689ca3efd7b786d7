//! The page: its head, and the order of the sections.

use std::fmt::Write;
use std::path::Path;

use super::facts::Facts;
use super::html::text;
use super::marks::fill_definitions;
use super::{about, curves, figures, gantt, groups, over_time, results};

struct Section {
    id: &'static str,
    title: &'static str,
    markup: String,
}

pub(super) fn markup(facts: &Facts<'_>) -> String {
    let sections = sections(facts);
    let source = facts.workload["source"].as_str().unwrap_or("workload");
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
        headline(facts),
    );
    let links = sections.iter().map(|s| format!("<li><a href=\"#{}\">{}</a></li>", s.id, text(s.title)));
    let _ = write!(out, "<nav aria-label=\"Sections\"><ul>{}</ul></nav>\n<main>\n", links.collect::<String>());
    for Section { id, title, markup } in &sections {
        let _ = write!(out, "<section id=\"{id}\">\n<h2>{}</h2>\n{markup}</section>\n", text(title));
    }
    out.push_str("</main>\n</body>\n</html>\n");
    out
}

fn sections(facts: &Facts<'_>) -> Vec<Section> {
    let section = |id, title, markup| Section { id, title, markup };
    vec![
        section("findings", "Findings", results::findings(facts)),
        section("results", "Results", results::results(facts)),
        section("differences", "Differences to the baseline", figures::differences(facts)),
        section("completion", "Completion times", curves::completion(facts)),
        section("slowdown", "Slowdown by size of job", figures::slowdown(facts)),
        section("groups", "By tenant and by size of job", groups::markup(facts)),
        section("load", "Utilisation and queue over time", over_time::load(facts)),
        section("fairness", "Fairness over time", over_time::fairness(facts)),
        section("executors", "Executors over time", gantt::markup(facts)),
        section("locality", "Locality", figures::locality(facts)),
        section("decisions", "Decision times (measured)", curves::decisions(facts)),
        section("libraries", "What was evaluated", about::libraries(facts)),
        section("reading", "How to read this", about::reading(facts)),
    ]
}

fn headline(facts: &Facts<'_>) -> String {
    let fact = |name: &str| text(&facts.workload[name]);
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
        text(&facts.setting.command),
    )
}
