//! Completion times and waits by tenant, and by size of job.

use std::collections::BTreeMap;

use policy_sim::evaluate::{Group, RunFigures, interval, mean};

use super::facts::{Facts, named, short};
use super::html::{Cell, Table, text};
use super::numbers::size_name;
use crate::commands::evaluate::table::time;

/// Tenants in the table: those with most work.
const MAX_TENANTS: usize = 12;

/// A group's figure and its name.
type Figure = (&'static str, fn(&Group) -> f64);

const FIGURES: [Figure; 4] = [
    ("JCT mean", |g| g.jct_us.mean),
    ("JCT p99", |g| g.jct_us.p99),
    ("task wait mean", |g| g.queue_wait_us.mean),
    ("task wait p99", |g| g.queue_wait_us.p99),
];

pub(super) fn markup(facts: &Facts<'_>) -> String {
    let runs = || facts.view.results.rows.iter().flat_map(|row| &row.runs);
    let mut work: BTreeMap<&str, f64> = BTreeMap::new();
    for (name, group) in runs().flat_map(|run| &run.tenants) {
        *work.entry(name).or_default() += group.vcore_us;
    }
    let mut tenants: Vec<&str> = work.keys().copied().collect();
    tenants.sort_by(|a, b| work[b].total_cmp(&work[a]).then(a.cmp(b)));
    let left_out = tenants.len().saturating_sub(MAX_TENANTS);
    tenants.truncate(MAX_TENANTS);
    tenants.sort_unstable();
    let by_tenant = tables(facts, "tenant", tenants.into_iter().map(|name| (short(name), name)), |run, name| {
        run.tenants.get(*name)
    });
    let mut bins: Vec<_> = runs().flat_map(|run| run.sizes.keys().copied()).collect();
    bins.sort_unstable();
    bins.dedup();
    let sizes = bins.into_iter().map(|bin| (size_name(bin), bin));
    let by_size = tables(facts, "work of the job (vcore time)", sizes, |run, bin| run.sizes.get(bin));
    let note = match left_out {
        0 => String::new(),
        n => text(format!(" The {MAX_TENANTS} tenants with most work are shown, {n} are not.")),
    };
    format!(
        "<p>Means over seeds, and their 95 % intervals; JCT is the time from a job's submission to its end.{note}</p>\n\
         <h3>By tenant</h3>\n{by_tenant}<h3>By size of job</h3>\n{by_size}"
    )
}

/// One table a figure: a row a policy, a column a group.
fn tables<K>(
    facts: &Facts<'_>,
    of: &str,
    groups: impl Iterator<Item = (String, K)>,
    find: impl for<'r> Fn(&'r RunFigures, &K) -> Option<&'r Group>,
) -> String {
    let groups: Vec<(String, K)> = groups.collect();
    let mut out = String::new();
    for (title, figure) in FIGURES {
        let head = ["".to_owned()].into_iter().chain(groups.iter().map(|g| g.0.clone()));
        let mut table = Table::new(format!("{title} by {of}"), head);
        for (at, mark, name) in facts.series() {
            let runs = &facts.view.results.rows[at].runs;
            let cell = |key: &K| {
                let values: Vec<f64> = runs.iter().filter_map(|run| find(run, key)).map(figure).collect();
                Cell::text(shown(&values))
            };
            table.row(named(mark, name), groups.iter().map(|g| cell(&g.1)).collect());
        }
        // The first is open: the reader unfolds the others.
        out += &if title == FIGURES[0].0 { table.markup() } else { table.folded(&format!("{title} by {of}")) };
    }
    out
}

fn shown(values: &[f64]) -> String {
    let values: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
    match interval(&values) {
        _ if values.is_empty() => "–".to_owned(),
        Some((low, high)) if high > low => format!("{} [{}, {}]", time(mean(&values)), time(low.max(0.0)), time(high)),
        _ => time(mean(&values)),
    }
}
