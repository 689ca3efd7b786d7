//! Which task ran where: the first seed's tasks on their executors, one drawing a policy. Too many tasks or executors are drawn as
//! how busy each row was.

use std::collections::BTreeMap;
use std::fmt::Write;

use kuva::render::color::Color;
use kuva::render::layout::ComputedLayout;
use kuva::render::render::{PathData, Primitive};
use policy_sim::cluster::{Series, Span};
use policy_sim::limits::{MAX_SERIES_ROWS, MAX_SERIES_SPANS};

use super::chart::{Axis, Chart, WIDE};
use super::facts::{Facts, named, short};
use super::html::text;
use super::marks::{BROKEN_FILL, FILLS, Mark, fill, fill_legend};
use crate::commands::evaluate::table::time;

/// Tasks that all drawings of one page show one by one: some 25 bytes each.
const MAX_TASKS: usize = 24_000;

/// Lanes that one drawing can show: vcores of all executors.
const MAX_LANES: u64 = 400;

/// Shades of how busy a row was.
const SHADES: [f64; 5] = [0.12, 0.3, 0.5, 0.72, 1.0];

const SHADE_NAMES: [&str; 5] = ["up to 20 %", "up to 40 %", "up to 60 %", "up to 80 %", "up to 100 %"];

/// Units of a row's height left between rows.
const GAP: f64 = 0.08;

pub(super) fn markup(facts: &Facts<'_>) -> String {
    let count = facts.sampled().count().max(1);
    let fits = |s: &Series| {
        let lanes: u64 = s.rows.iter().map(|r| r.vcores).sum();
        let single = s.rows.iter().all(|r| r.executors.len() == 1);
        single && lanes <= MAX_LANES && s.spans.as_ref().is_some_and(|spans| spans.len() <= MAX_TASKS / count)
    };
    // All alike, so that drawings compare.
    let one_by_one = facts.sampled().all(|s| fits(s.3));
    let (x, unit_us) = facts.time_axis();
    let drawings = facts.sampled().map(|(_, mark, name, series)| {
        let rows = series.rows.len();
        let height = 66.0 + (rows as f64 * 26.0).clamp(60.0, 520.0);
        let names = names(facts, series);
        let description = format!(
            "{rows} rows of executors over virtual time, {}.",
            if one_by_one { "one bar a task" } else { "darker where more of their vcores were in use" }
        );
        let y = Axis::new("executor").names(names).range(0.5, rows as f64 + 0.5);
        let title = format!("Executors under {name}");
        let mut chart = Chart::new(title, description, (WIDE, height), x.clone(), y);
        chart = if rows > 20 { chart.small() } else { chart };
        // kuva draws axes only where there is a plot.
        chart.line(&[(0.0, 0.5), (0.0, 0.5)], &Mark::faint(), false);
        chart.overlay(move |place| match (one_by_one, &series.spans) {
            (true, Some(spans)) => tasks(facts, series, spans, place, unit_us),
            _ => shades(series, place, unit_us),
        });
        format!("<figure><figcaption>{}</figcaption>{}</figure>\n", named(mark, name), chart.svg())
    });
    let drawings: String = drawings.collect();
    format!("{}{drawings}", explanation(facts, one_by_one))
}

fn explanation(facts: &Facts<'_>, one_by_one: bool) -> String {
    let Some((_, _, _, first)) = facts.sampled().next() else { return String::new() };
    if one_by_one {
        let mut entries: Vec<(String, f64, &str)> =
            first.tenants.iter().enumerate().map(|(i, t)| (fill(Some(i as u32)), 1.0, t.name.as_str())).collect();
        if first.tenants_left_out > 0 {
            entries.push((fill(None), 1.0, "other tenants"));
        }
        entries.push((BROKEN_FILL.into(), 1.0, "failed or lost with its executor"));
        entries.push(("var(--away)".into(), 1.0, "executor not there"));
        return format!(
            "<p>First seed. One row an executor, one lane a vcore, one bar a task.</p>\n{}",
            fill_legend(&entries)
        );
    }
    let together = first.rows.iter().map(|r| r.executors.len()).max().unwrap_or(1);
    let rows = match together {
        1 => "One row an executor".to_owned(),
        n => format!("One row for up to {n} neighbouring executors (at most {MAX_SERIES_ROWS} rows)"),
    };
    let length = time(facts.sampled().map(|s| s.3.row_bucket_us).max().unwrap_or(0) as f64);
    format!(
        "<p><strong>Thinned</strong>: too many tasks or executors to draw one by one (the limits are {MAX_SERIES_SPANS} tasks a \
         policy, {MAX_TASKS} on this page, {MAX_LANES} vcores). First seed. {}: the darker, the more of its vcores \
         were in use, in buckets of up to {}.</p>\n{}",
        text(rows),
        text(length),
        fill_legend(&shade_entries())
    )
}

fn shade_entries() -> Vec<(String, f64, &'static str)> {
    let shades = SHADES.into_iter().zip(SHADE_NAMES).map(|(opacity, name)| ("var(--s0)".to_owned(), opacity, name));
    shades.chain([("var(--away)".to_owned(), 1.0, "executor not there")]).collect()
}

/// Names of rows from the bottom up, not more than fit.
fn names(facts: &Facts<'_>, series: &Series) -> Vec<String> {
    let every = series.rows.len().div_ceil(48).max(1);
    let name = |at: u32| facts.setting.executors.get(at as usize).map_or("", |e| e.0.as_str());
    let of = |(i, row): (usize, &policy_sim::cluster::ExecutorRow)| {
        let (first, last) = (name(row.executors.start), name(row.executors.end.saturating_sub(1)));
        match (i % every, first == last) {
            (0, true) => short(first),
            (0, false) => format!("{} – {}", short(first), short(last)),
            _ => String::new(),
        }
    };
    let mut names: Vec<String> = series.rows.iter().enumerate().map(of).collect();
    names.reverse();
    names
}

/// A row's upper and lower edge on the page.
fn edges(place: &ComputedLayout, rows: usize, row: usize) -> (f64, f64) {
    let middle = (rows - row) as f64;
    (place.map_y(middle + 0.5 - GAP), place.map_y(middle - 0.5 + GAP))
}

fn path(d: String, fill: &str, stroke: &str, opacity: Option<f64>) -> Primitive {
    Primitive::Path(Box::new(PathData {
        d,
        fill: Some(Color::from(fill)),
        stroke: Color::from(stroke),
        stroke_width: 0.3,
        opacity,
        stroke_dasharray: None,
    }))
}

fn bar(d: &mut String, (left, right): (f64, f64), (top, bottom): (f64, f64)) {
    // A bar that is too short to be seen is drawn all the same.
    let (width, height) = ((right - left).max(0.4), bottom - top);
    let _ = write!(d, "M{left:.1} {top:.1}h{width:.1}v{height:.1}H{left:.1}z");
}

fn tasks(facts: &Facts<'_>, series: &Series, spans: &[Span], place: &ComputedLayout, unit_us: f64) -> Vec<Primitive> {
    let rows = series.rows.len();
    let x = |at_us: u64| place.map_x(at_us.saturating_sub(series.start_us) as f64 / unit_us);
    let mut order: Vec<&Span> = spans.iter().collect();
    order.sort_by_key(|s| (s.start_us, s.executor, s.end_us));
    // When each lane of each executor is free again.
    let mut lanes: Vec<Vec<u64>> = facts.setting.executors.iter().map(|e| vec![0; e.1.max(1) as usize]).collect();
    let mut bars: BTreeMap<u32, String> = BTreeMap::new();
    const BROKEN: u32 = u32::MAX;
    const OTHERS: u32 = u32::MAX - 1;
    for span in order {
        let lanes = &mut lanes[span.executor as usize];
        let (top, bottom) = edges(place, rows, span.executor as usize);
        let height = (bottom - top) / lanes.len() as f64;
        let tenant = span.tenant.map_or(OTHERS, |t| t % FILLS as u32);
        let to = bars.entry(if span.broken { BROKEN } else { tenant }).or_default();
        for (first, count) in take(lanes, span) {
            let top = top + first as f64 * height;
            bar(to, (x(span.start_us), x(span.end_us)), (top, top + count as f64 * height));
        }
    }
    let drawn = bars.into_iter().map(|(tenant, d)| match tenant {
        BROKEN => path(d, BROKEN_FILL, "var(--broken)", None),
        OTHERS => path(d, &fill(None), "var(--paper)", None),
        tenant => path(d, &fill(Some(tenant)), "var(--paper)", None),
    });
    away(series, place, unit_us).into_iter().chain(drawn).collect()
}

/// Times without an executor: in its row, or in its part of a row of several.
fn away(series: &Series, place: &ComputedLayout, unit_us: f64) -> Option<Primitive> {
    let x = |at_us: u64| place.map_x(at_us.saturating_sub(series.start_us) as f64 / unit_us);
    let mut d = String::new();
    for gap in &series.outages {
        let row = series.rows.partition_point(|row| row.executors.end <= gap.executor);
        let Some(executors) = series.rows.get(row).map(|row| &row.executors) else { continue };
        let (top, bottom) = edges(place, series.rows.len(), row);
        let height = (bottom - top) / executors.len() as f64;
        let top = top + f64::from(gap.executor - executors.start) * height;
        bar(&mut d, (x(gap.from_us), x(gap.to_us)), (top, top + height));
    }
    (!d.is_empty()).then(|| path(d, "var(--away)", "none", None))
}

/// Lanes for a task: neighbours if there are such, else any that are free. As first lane and number.
fn take(lanes: &mut [u64], span: &Span) -> Vec<(usize, usize)> {
    let wanted = (span.vcores.max(1) as usize).min(lanes.len());
    let free = |until: &u64| *until <= span.start_us;
    let taken: Vec<usize> = match lanes.windows(wanted).position(|w| w.iter().all(free)) {
        Some(first) => (first..first + wanted).collect(),
        None => (0..lanes.len()).filter(|&i| free(&lanes[i])).take(wanted).collect(),
    };
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for lane in taken {
        lanes[lane] = span.end_us;
        match runs.last_mut() {
            Some((first, count)) if *first + *count == lane => *count += 1,
            _ => runs.push((lane, 1)),
        }
    }
    runs
}

fn shades(series: &Series, place: &ComputedLayout, unit_us: f64) -> Vec<Primitive> {
    let rows = series.rows.len();
    let x = |bucket: usize| {
        let at_us = (bucket as u64 * series.row_bucket_us).min(series.end_us - series.start_us);
        place.map_x(at_us as f64 / unit_us)
    };
    let mut shades = vec![String::new(); SHADES.len()];
    for (at, row) in series.rows.iter().enumerate() {
        let shade = |busy: f64| (SHADES.len() as f64 * busy / row.vcores.max(1) as f64 - 1e-9).ceil() as usize;
        let levels: Vec<usize> = row.busy_vcores.iter().map(|&busy| shade(busy).min(SHADES.len())).collect();
        let mut from = 0;
        for stretch in levels.chunk_by(|a, b| a == b) {
            let to = from + stretch.len();
            if stretch[0] > 0 {
                bar(&mut shades[stretch[0] - 1], (x(from), x(to)), edges(place, rows, at));
            }
            from = to;
        }
    }
    let drawn = shades.into_iter().zip(SHADES).filter(|s| !s.0.is_empty());
    let drawn = drawn.map(|(d, opacity)| path(d, "var(--s0)", "none", Some(opacity)));
    away(series, place, unit_us).into_iter().chain(drawn).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_take_free_lanes_and_neighbours_where_they_can() {
        let span =
            |vcores, start_us, end_us| Span { executor: 0, tenant: None, vcores, start_us, end_us, broken: false };
        let mut lanes = vec![0; 4];
        assert_eq!(take(&mut lanes, &span(1, 0, 10)), [(0, 1)]);
        assert_eq!(take(&mut lanes, &span(2, 0, 5)), [(1, 2)]);
        assert_eq!(take(&mut lanes, &span(1, 0, 20)), [(3, 1)]);
        assert_eq!(take(&mut lanes, &span(2, 5, 9)), [(1, 2)]);
        let mut lanes = vec![9, 0, 9, 0];
        assert_eq!(take(&mut lanes, &span(2, 5, 8)), [(1, 1), (3, 1)], "none lie side by side");
    }
}
