//! The report of an evaluation: one HTML file that loads nothing, with drawings as inline SVG. Everything but the section
//! of decision times is the same bytes for the same inputs.

mod chart;
mod curves;
mod figures;
mod gantt;
mod groups;
mod html;
mod marks;
mod over_time;
mod page;

pub(super) use html::shell_word;

use policy_sim::workload::Workload;
use serde_json::Value;

use super::View;

/// What the report says besides figures.
pub(super) struct Setting {
    /// The command that gives the same figures.
    pub(super) command: String,
    /// Names and vcores, in the order of the workload.
    pub(super) executors: Vec<(String, u32)>,
    /// Whether any task reads anything.
    pub(super) reads_inputs: bool,
    /// Whether every seed has the same workload.
    pub(super) fixed: bool,
}

impl Setting {
    pub(super) fn new(command: String, workload: &Workload, fixed: bool) -> Self {
        let executors = workload.header.executors.iter().map(|e| (e.name.clone(), e.vcores)).collect();
        Self { command, executors, reads_inputs: policy_sim::evaluate::reads_inputs(workload), fixed }
    }
}

/// The page.
pub(super) fn page(view: &View<'_>, facts: &Value, setting: &Setting) -> String {
    html::printable(page::Page::new(view, facts, setting).markup())
}
