//! What the sections of the report draw from: the results, the marks and names of the policies, the axis of time.

use policy_sim::cluster::Series;
use policy_sim::evaluate::Row;
use policy_sim::workload::Workload;
use serde_json::Value;

use super::chart::Axis;
use super::html::text;
use super::marks::Mark;
use super::numbers::unit_of;
use crate::commands::evaluate::candidate::Candidate;
use crate::commands::evaluate::view::View;

/// What the report says besides figures.
pub(in crate::commands::evaluate) struct Setting {
    /// The command that gives the same figures.
    pub(in crate::commands::evaluate) command: String,
    /// Names and vcores, in the order of the workload.
    pub(in crate::commands::evaluate) executors: Vec<(String, u32)>,
    /// Whether any task reads anything.
    pub(in crate::commands::evaluate) reads_inputs: bool,
    /// Whether every seed has the same workload.
    pub(in crate::commands::evaluate) fixed: bool,
}

impl Setting {
    pub(in crate::commands::evaluate) fn new(command: String, workload: &Workload, fixed: bool) -> Self {
        let executors = workload.header.executors.iter().map(|e| (e.name.clone(), e.vcores)).collect();
        Self { command, executors, reads_inputs: policy_sim::evaluate::reads_inputs(workload), fixed }
    }
}

/// Letters of a name in a drawing; tables and legends have all of it.
const SHORT: usize = 26;

/// Everything that sections draw from.
pub(super) struct Facts<'a> {
    pub(super) view: &'a View<'a>,
    /// What the workload is.
    pub(super) workload: &'a Value,
    pub(super) setting: &'a Setting,
    marks: Vec<Mark>,
    /// What candidates are called here: their labels, and numbers where drawings must cut a label.
    names: Vec<String>,
    pub(super) bound: Mark,
}

impl<'a> Facts<'a> {
    pub(super) fn new(view: &'a View<'a>, workload: &'a Value, setting: &'a Setting) -> Self {
        let mark = |(at, c): (usize, &Candidate)| if c.is_random() { Mark::random() } else { Mark::of(at) };
        let marks = view.candidates.iter().enumerate().map(mark).collect();
        let name = |(at, c): (usize, &Candidate)| match c.label.chars().count() > SHORT {
            true => format!("#{} {}", at + 1, c.label),
            false => c.label.clone(),
        };
        let names = view.candidates.iter().enumerate().map(name).collect();
        Self { view, workload, setting, marks, names, bound: Mark::bound() }
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

    /// The axis of time that all drawings share, and what a microsecond is on it.
    pub(super) fn time_axis(&self) -> (Axis, f64) {
        let end_us = self.sampled().map(|(_, _, _, s)| s.end_us - s.start_us).max().unwrap_or(1) as f64;
        let (unit_us, unit) = unit_of(end_us / 3.0);
        (Axis::new(format!("virtual time since the first submission, {unit}")).range(0.0, end_us / unit_us), unit_us)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_cut_at_letters() {
        assert_eq!(short("bias"), "bias");
        let long = short(&"ä".repeat(40));
        assert!(long.chars().count() == SHORT && long.ends_with('…'));
    }
}
