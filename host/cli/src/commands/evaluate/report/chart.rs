//! A drawing: axes and lines by kuva, as inline SVG that scales, follows the page's colours and says what it shows to
//! those who cannot see it.

use std::fmt::Write;
use std::sync::Arc;

use kuva::TickFormat;
use kuva::backend::svg::SvgBackend;
use kuva::plot::{LinePlot, ScatterPlot};
use kuva::render::annotations::ReferenceLine;
use kuva::render::layout::{ComputedLayout, Layout};
use kuva::render::plots::Plot;
use kuva::render::render::{Primitive, render_multiple};
use kuva::render::theme::Theme;

use super::html::text;
use super::marks::Mark;

/// One axis.
#[derive(Clone, Debug, Default)]
pub(super) struct Axis {
    /// What it is, with its unit.
    pub(super) title: String,
    pub(super) log: bool,
    /// Its ends; what is drawn decides where there is none.
    pub(super) range: Option<(f64, f64)>,
    /// Names of 1, 2, 3, … in the place of numbers.
    pub(super) names: Option<Vec<String>>,
}

impl Axis {
    pub(super) fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), ..Self::default() }
    }

    pub(super) fn log(mut self) -> Self {
        self.log = true;
        self
    }

    pub(super) fn range(mut self, from: f64, to: f64) -> Self {
        self.range = Some((from, if to > from { to } else { from + 1.0 }));
        self
    }

    pub(super) fn names(mut self, names: Vec<String>) -> Self {
        self.names = Some(names);
        self
    }
}

type Overlay<'a> = Box<dyn FnOnce(&ComputedLayout) -> Vec<Primitive> + 'a>;

/// A drawing in the making.
pub(super) struct Chart<'a> {
    title: String,
    description: String,
    size: (f64, f64),
    axes: (Axis, Axis),
    plots: Vec<Plot>,
    lines: Vec<ReferenceLine>,
    overlays: Vec<Overlay<'a>>,
    small: bool,
}

/// Widths of drawings, in units of their own: the whole page, or one of two columns.
pub(super) const WIDE: f64 = 920.0;
pub(super) const HALF: f64 = 450.0;

impl<'a> Chart<'a> {
    pub(super) fn new(
        title: impl Into<String>,
        description: impl Into<String>,
        size: (f64, f64),
        x: Axis,
        y: Axis,
    ) -> Self {
        let (title, description) = (title.into(), description.into());
        let (plots, lines, overlays) = (Vec::new(), Vec::new(), Vec::new());
        Self { title, description, size, axes: (x, y), plots, lines, overlays, small: false }
    }

    /// Names of rows in small letters.
    pub(super) fn small(mut self) -> Self {
        self.small = true;
        self
    }

    /// A line through these points, in pieces where a value is not a number.
    pub(super) fn line(&mut self, points: &[(f64, f64)], mark: &Mark, steps: bool) {
        for piece in points.split(|p| !p.1.is_finite()).filter(|p| !p.is_empty()) {
            let line = LinePlot::new()
                .with_data(piece.iter().copied())
                .with_color(&mark.color)
                .with_stroke_width(mark.width)
                .with_line_style(mark.line_style());
            self.plots.push(Plot::Line(if steps { line.with_step() } else { line }));
        }
    }

    /// Markers at these points.
    pub(super) fn markers(&mut self, points: &[(f64, f64)], mark: &Mark, size: f64) {
        let points = points.iter().copied().filter(|p| p.0.is_finite() && p.1.is_finite());
        let plot = ScatterPlot::new().with_data(points).with_color(&mark.color).with_size(size);
        if !plot.data.is_empty() {
            self.plots.push(Plot::Scatter(plot.with_marker(mark.marker).with_marker_stroke_width(1.2)));
        }
    }

    /// A line across, at a value to compare with.
    pub(super) fn vertical(&mut self, at: f64) {
        let line = ReferenceLine::vertical(at).with_color("var(--ink)").with_stroke_width(0.9);
        self.lines.push(line.with_dasharray("4 3"));
    }

    /// More shapes, placed by the axes.
    pub(super) fn overlay(&mut self, shapes: impl FnOnce(&ComputedLayout) -> Vec<Primitive> + 'a) {
        self.overlays.push(Box::new(shapes));
    }

    fn layout(&self) -> Layout {
        let (x, y) = &self.axes;
        let mut layout = Layout::auto_from_plots(&self.plots)
            .with_theme(theme())
            .with_width(self.size.0)
            .with_height(self.size.1)
            .with_x_label(&x.title)
            .with_label_size(13)
            .with_tick_size(if self.small { 9 } else { 11 })
            .with_x_tick_format(TickFormat::Custom(Arc::new(tick)))
            .with_y_tick_format(TickFormat::Custom(Arc::new(tick)));
        if !y.title.is_empty() {
            layout = layout.with_y_label(&y.title);
        }
        if let Some((from, to)) = x.range {
            (layout.x_range, layout.data_x_range) = ((from, to), Some((from, to)));
            layout = layout.with_x_axis_min(from).with_x_axis_max(to);
        }
        if let Some((from, to)) = y.range {
            (layout.y_range, layout.data_y_range) = ((from, to), Some((from, to)));
            layout = layout.with_y_axis_min(from).with_y_axis_max(to);
        }
        layout = if x.log { layout.with_log_x() } else { layout };
        layout = if y.log { layout.with_log_y() } else { layout };
        if let Some(names) = &x.names {
            layout = layout.with_x_categories(names.iter().map(|n| plain(n)).collect());
        }
        if let Some(names) = &y.names {
            layout = layout.with_y_categories(names.iter().map(|n| plain(n)).collect());
        }
        self.lines.iter().cloned().fold(layout, Layout::with_reference_line)
    }

    pub(super) fn svg(self) -> String {
        let layout = self.layout();
        let computed = ComputedLayout::from_layout(&layout);
        let mut scene = render_multiple(self.plots, layout);
        scene.background_color = None;
        scene.font_family = None;
        for overlay in self.overlays {
            scene.elements.extend(overlay(&computed));
        }
        let drawn = SvgBackend::new().render_scene(&scene);
        let body = drawn.split_once('>').map_or("", |(_, body)| body);
        let body = body.split_once("-->").map_or(body, |(_, body)| body);
        let (width, height) = self.size;
        format!(
            "<svg class=\"chart\" viewBox=\"0 0 {width} {height}\" role=\"img\" fill=\"var(--ink)\">\
             <title>{}</title><desc>{}</desc>{}\n",
            text(&self.title),
            text(&self.description),
            shorter(body),
        )
    }
}

fn theme() -> Theme {
    let ink = || "var(--ink)".to_owned();
    Theme {
        background: "none".into(),
        axis_color: ink(),
        grid_color: "var(--grid)".into(),
        tick_color: ink(),
        text_color: ink(),
        show_grid: true,
        ..Theme::light()
    }
}

/// kuva reads `$…$` as mathematics; names are names.
fn plain(name: &str) -> String {
    name.replace('$', "\\$")
}

/// Ends of a logarithmic axis around these values.
pub(super) fn decades(least: f64, most: f64) -> (f64, f64) {
    let steps = [1.0, 2.0, 5.0, 10.0];
    let down = |v: f64| {
        let decade = 10f64.powf(v.log10().floor());
        steps.iter().rev().map(|s| s * decade).find(|s| *s <= v * 1.000_001).unwrap_or(decade)
    };
    let up = |v: f64| {
        let decade = 10f64.powf(v.log10().floor());
        steps.iter().map(|s| s * decade).find(|s| *s >= v * 0.999_999).unwrap_or(10.0 * decade)
    };
    match least.is_finite() && least > 0.0 && most >= least {
        true => (down(least), if up(most) > down(least) { up(most) } else { 2.0 * down(least) }),
        false => (0.1, 1.0),
    }
}

/// A number on an axis: short, and never in powers of ten where plain digits do.
fn tick(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        m if !(1e-6..1e9).contains(&m) => format!("{value:e}"),
        m if m >= 1e6 => format!("{} M", trimmed(value / 1e6, 2)),
        m if m >= 1e4 => format!("{} k", trimmed(value / 1e3, 1)),
        m => trimmed(value, (2 - m.log10().floor() as i32).clamp(0, 8) as usize),
    }
}

fn trimmed(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// The drawing with coordinates of two digits: what kuva rounds comes out with its binary tail (`61.300000000000004`).
/// Only attributes are touched.
fn shorter(svg: &str) -> String {
    let mut out = String::with_capacity(svg.len());
    let (mut in_tag, mut in_value) = (false, false);
    let bytes = svg.as_bytes();
    let mut at = 0;
    while let Some(c) = svg[at..].chars().next() {
        match c {
            '"' if in_tag => in_value = !in_value,
            '<' => in_tag = true,
            '>' if !in_value => in_tag = false,
            _ => {}
        }
        let number = |i: &usize| bytes[*i].is_ascii_digit() || bytes[*i] == b'.';
        if in_value && c.is_ascii_digit() {
            let end = (at..bytes.len()).find(|i| !number(i)).unwrap_or(bytes.len());
            let number = &svg[at..end];
            match (number.find('.').map(|dot| number.len() - dot), number.parse::<f64>()) {
                (Some(tail), Ok(value)) if tail > 3 => drop(write!(out, "{}", trimmed(value, 2))),
                _ => out.push_str(number),
            }
            at = end;
            continue;
        }
        out.push(c);
        at += c.len_utf8();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coordinates_are_short_and_names_are_untouched() {
        let long = r#"<text x="61.300000000000004" y="7">v1.23456789 "0.5555"</text><a d="M 1.005 2L 3.14159 4"/>"#;
        let short = r#"<text x="61.3" y="7">v1.23456789 "0.5555"</text><a d="M 1 2L 3.14 4"/>"#;
        assert_eq!(shorter(long).replace("1.0 ", "1 "), short.replace("M 1 ", &format!("M {} ", trimmed(1.005, 2))));
    }

    #[test]
    fn axes_end_at_round_numbers() {
        assert_eq!(decades(0.3, 70.0), (0.2, 100.0));
        assert_eq!(decades(1.0, 1.0), (1.0, 2.0));
        assert_eq!(decades(f64::INFINITY, 0.0), (0.1, 1.0));
        assert_eq!(decades(0.0, 5.0), (0.1, 1.0));
    }

    #[test]
    fn ticks_are_short() {
        let ticks = [0.0, 0.25, 0.001, 1.0, 12.5, 250.0, 20_000.0, 3e6, -0.5].map(tick);
        assert_eq!(ticks, ["0", "0.25", "0.001", "1", "12.5", "250", "20 k", "3 M", "-0.5"]);
    }
}
