//! The mark of a series: a colour that colour-blind readers can distinguish, and a dash and a marker that survive
//! black-and-white paper. Colours are CSS variables, so that light, dark and print each have their own.

use kuva::plot::{LineStyle, MarkerShape};

use super::html::text;

/// The fill of attempts that failed or were lost.
pub(super) const BROKEN_FILL: &str = "url(#broken)";

/// How a series is drawn.
#[derive(Clone, Debug)]
pub(super) struct Mark {
    pub(super) color: String,
    dash: &'static str,
    pub(super) marker: MarkerShape,
    pub(super) width: f64,
}

/// As many as there are variables `--s0`, `--s1`, … in the style sheet: Okabe and Ito's colours without yellow and black.
const COLORS: usize = 6;

/// Empty is a solid line.
const DASHES: [&str; 6] = ["", "8 3", "2.5 2.5", "9 3 2 3", "14 4", "6 2 2 2 2 2"];

const MARKERS: [MarkerShape; 6] = [
    MarkerShape::Circle,
    MarkerShape::Square,
    MarkerShape::Triangle,
    MarkerShape::Diamond,
    MarkerShape::TriangleDown,
    MarkerShape::Star,
];

/// How many fills the style sheet and the page define, `#fill0`, `#fill1`, …
pub(super) const FILLS: usize = 8;

impl Mark {
    /// Of the series of this number: colour and dash together repeat after 36.
    pub(super) fn of(number: usize) -> Self {
        let (color, turn) = (number % COLORS, number / COLORS);
        let shifted = (color + turn) % DASHES.len();
        Self { color: format!("var(--s{color})"), dash: DASHES[shifted], marker: MARKERS[shifted], width: 1.8 }
    }

    /// Of the random policy.
    pub(super) fn random() -> Self {
        Self { color: "var(--random)".into(), dash: "1.5 2.5", marker: MarkerShape::Cross, width: 1.6 }
    }

    /// Of what no policy can beat.
    pub(super) fn bound() -> Self {
        Self { color: "var(--ink)".into(), dash: "", marker: MarkerShape::Plus, width: 0.9 }
    }

    /// Something to compare with, in the background.
    pub(super) fn faint() -> Self {
        Self { color: "var(--faint)".into(), dash: "3 2", marker: MarkerShape::Circle, width: 1.2 }
    }

    /// The same, less heavy.
    pub(super) fn thinner(&self, width: f64) -> Self {
        Self { width, ..self.clone() }
    }

    /// An unbroken line in the same colour: a dash would look like several intervals.
    pub(super) fn whisker(&self) -> Self {
        Self { dash: "", width: 1.6, ..self.clone() }
    }

    pub(super) fn line_style(&self) -> LineStyle {
        match self.dash {
            "" => LineStyle::Solid,
            dash => LineStyle::Custom(dash.to_owned()),
        }
    }

    /// A piece of the line with its marker, for legends and tables.
    pub(super) fn swatch(&self) -> String {
        let dash = if self.dash.is_empty() { String::new() } else { format!(" stroke-dasharray=\"{}\"", self.dash) };
        let (color, width, marker) = (&self.color, self.width, marker_path(self.marker));
        format!(
            "<svg class=\"swatch\" viewBox=\"0 0 36 12\" aria-hidden=\"true\"><path d=\"M0 6H36\" fill=\"none\" \
             stroke=\"{color}\" stroke-width=\"{width}\"{dash} /><path d=\"{marker}\" fill=\"{color}\" \
             stroke=\"{color}\" stroke-width=\"1.2\" /></svg>"
        )
    }
}

fn marker_path(marker: MarkerShape) -> &'static str {
    match marker {
        MarkerShape::Square => "M15 3h6v6h-6z",
        MarkerShape::Triangle => "M18 2l4 7h-8z",
        MarkerShape::TriangleDown => "M18 10l4 -7h-8z",
        MarkerShape::Diamond => "M18 2l4 4l-4 4l-4 -4z",
        MarkerShape::Star => "M18 1.5l1.2 3h3.3l-2.6 2l1 3.3l-2.9 -1.9l-2.9 1.9l1 -3.3l-2.6 -2h3.3z",
        MarkerShape::Cross => "M15 3l6 6M21 3l-6 6",
        MarkerShape::Plus => "M18 2v8M14 6h8",
        _ => "M15 6a3 3 0 1 0 6 0a3 3 0 1 0 -6 0z",
    }
}

/// What a drawing's series are called, above it.
pub(super) fn legend(entries: &[(&Mark, &str)]) -> String {
    let items = entries.iter().map(|(mark, name)| format!("<li>{}<span>{}</span></li>", mark.swatch(), text(name)));
    format!("<ul class=\"legend\">{}</ul>\n", items.collect::<String>())
}

/// The fill of a tenant: a colour, and a pattern for paper.
pub(super) fn fill(number: Option<u32>) -> String {
    number.map_or("var(--faint)".to_owned(), |n| format!("url(#fill{})", n as usize % FILLS))
}

/// Names of fills: fill, opacity, name.
pub(super) fn fill_legend(entries: &[(String, f64, &str)]) -> String {
    let items = entries.iter().map(|(fill, opacity, name)| {
        let name = text(name);
        format!(
            "<li><svg class=\"swatch\" viewBox=\"0 0 36 12\" aria-hidden=\"true\"><rect width=\"36\" height=\"12\" \
             fill=\"{fill}\" fill-opacity=\"{opacity}\" /></svg><span>{name}</span></li>"
        )
    });
    format!("<ul class=\"legend\">{}</ul>\n", items.collect::<String>())
}

/// The fills, once a page.
pub(super) fn fill_definitions() -> String {
    const LINES: [&str; FILLS] = [
        "",
        "M-1 1l2 -2M0 6l6 -6M5 7l2 -2",
        "M-1 5l2 2M0 0l6 6M5 -1l2 2",
        "M0 3h6",
        "M3 0v6",
        "M0 3h6M3 0v6",
        "M0 6l6 -6M0 0l6 6",
        "M2 2h2v2h-2z",
    ];
    let pattern = |(n, lines): (usize, &&str)| {
        let color = n % COLORS;
        format!(
            "<pattern id=\"fill{n}\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\"><rect width=\"6\" \
             height=\"6\" fill=\"var(--s{color})\" /><path d=\"{lines}\" fill=\"none\" stroke=\"var(--paper)\" \
             stroke-width=\"1.1\" /></pattern>"
        )
    };
    let patterns: String = LINES.iter().enumerate().map(pattern).collect();
    let broken = "<pattern id=\"broken\" width=\"3\" height=\"3\" patternUnits=\"userSpaceOnUse\"><rect width=\"3\" \
                  height=\"3\" fill=\"var(--paper)\" /><path d=\"M0 0h3\" fill=\"none\" stroke=\"var(--broken)\" \
                  stroke-width=\"2.2\" /></pattern>";
    format!("<svg class=\"definitions\" aria-hidden=\"true\"><defs>{patterns}{broken}</defs></svg>\n")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn many_series_are_told_apart_with_and_without_colour() {
        let marks: Vec<Mark> = (0..36).map(Mark::of).collect();
        let pairs: HashSet<_> = marks.iter().map(|m| (m.color.clone(), m.dash)).collect();
        assert_eq!(pairs.len(), 36);
        let six: HashSet<_> = marks[..6].iter().map(|m| (m.dash, marker_path(m.marker))).collect();
        assert_eq!(six.len(), 6);
    }
}
