//! Figures as cells of tables, with their intervals.

use std::fmt::Write;

use policy_sim::evaluate::{Difference, Row, metric};

use super::html::{Cell, text};
use super::numbers::{percent, signed, unit_of, varies};
use crate::commands::evaluate::table::{COLUMNS, Shows, time};

/// A figure of a policy, with its interval.
pub(super) fn figure_cell(row: &Row, name: &str) -> Cell {
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

/// The difference of a figure to the baseline's, with its interval.
pub(super) fn difference_cell(row: &Row, baseline: &Row, name: &str, shows: Shows) -> Cell {
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
