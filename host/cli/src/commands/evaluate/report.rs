//! The report of an evaluation: one HTML file that loads nothing, with drawings as inline SVG. Everything but the section
//! of decision times is the same bytes for the same inputs.

mod about;
mod cells;
mod chart;
mod curves;
mod facts;
mod figures;
mod gantt;
mod groups;
mod html;
mod marks;
mod numbers;
mod over_time;
mod page;
mod results;

pub(super) use facts::Setting;
pub(super) use html::shell_word;

use serde_json::Value;

use super::view::View;

/// The page.
pub(super) fn page(view: &View<'_>, workload: &Value, setting: &Setting) -> String {
    html::printable(page::markup(&facts::Facts::new(view, workload, setting)))
}
