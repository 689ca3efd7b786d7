//! What was evaluated, and how to read the report.

use std::fmt::Write;

use super::facts::{Facts, named};
use super::html::text;

pub(super) fn libraries(facts: &Facts<'_>) -> String {
    let mut out = String::from(
        "<p>The files that were loaded, by their content: the same bytes in service answer the same.</p>\n",
    );
    for (candidate, (_, mark, name)) in facts.view.candidates.iter().zip(facts.series()) {
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

pub(super) fn reading(facts: &Facts<'_>) -> String {
    let seeded = match facts.workload["regenerated_by_seed"].as_bool() {
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
