//! Text into markup: escaping, and the little of HTML that the report is made of. Everything that comes from outside goes
//! through [`text`]; what is written is well-formed XML as well, so that tools can read it.

use std::fmt::{Display, Write};

use policy_host::text::is_unsafe;

/// Text as markup, for contents and for quoted attributes alike. Control characters, which XML does not know,
/// and those that change the direction of writing are replaced.
pub(super) fn text(value: impl Display) -> String {
    let value = value.to_string();
    let mut out = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\t' | '\n' | '\r' => out.push(' '),
            c if is_unsafe(c) || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// A page without characters that a reader's program or a terminal would interpret. The drawing library escapes only
/// markup in labels.
pub(super) fn printable(page: String) -> String {
    let acts = |c: char| is_unsafe(c) && c != '\n';
    if page.contains(acts) { page.replace(acts, "\u{fffd}") } else { page }
}

/// A cell of a table, with the figure behind it where there is one.
pub(super) struct Cell {
    pub(super) markup: String,
    pub(super) value: Option<(String, f64)>,
}

impl Cell {
    pub(super) fn text(value: impl Display) -> Self {
        Self { markup: text(value), value: None }
    }

    pub(super) fn figure(metric: &str, value: f64, shown: impl Display) -> Self {
        Self { markup: text(shown), value: Some((metric.to_owned(), value)) }
    }
}

/// A table: head, and rows that begin with what they are about (markup).
pub(super) struct Table {
    caption: String,
    head: Vec<String>,
    rows: Vec<(String, Vec<Cell>)>,
}

impl Table {
    pub(super) fn new<S: Into<String>>(caption: impl Into<String>, head: impl IntoIterator<Item = S>) -> Self {
        Self { caption: caption.into(), head: head.into_iter().map(Into::into).collect(), rows: Vec::new() }
    }

    pub(super) fn row(&mut self, about: String, cells: Vec<Cell>) {
        self.rows.push((about, cells));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(super) fn markup(&self) -> String {
        let mut out = format!("<div class=\"wide\"><table><caption>{}</caption><thead><tr>", text(&self.caption));
        for title in &self.head {
            let _ = write!(out, "<th scope=\"col\">{}</th>", text(title));
        }
        out.push_str("</tr></thead><tbody>\n");
        for (about, cells) in &self.rows {
            let _ = write!(out, "<tr><th scope=\"row\">{about}</th>");
            for cell in cells {
                match &cell.value {
                    Some((metric, value)) if value.is_finite() => {
                        let metric = text(metric);
                        let _ = write!(out, "<td data-metric=\"{metric}\" data-value=\"{value}\">{}</td>", cell.markup);
                    }
                    _ => {
                        let _ = write!(out, "<td>{}</td>", cell.markup);
                    }
                }
            }
            out.push_str("</tr>\n");
        }
        out.push_str("</tbody></table></div>\n");
        out
    }

    /// The table behind a line that opens it: the numbers of a drawing, for those who cannot see it.
    pub(super) fn folded(&self, title: &str) -> String {
        match self.is_empty() {
            true => String::new(),
            false => format!("<details><summary>{}</summary>{}</details>\n", text(title), self.markup()),
        }
    }
}

/// A shell word.
pub(crate) fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@+".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_outside_becomes_markup() {
        assert_eq!(text("<script>\"'&\u{1}\n"), "&lt;script&gt;&quot;&#39;&amp;\u{fffd} ");
    }

    #[test]
    fn words_survive_a_shell() {
        assert_eq!(shell_word("synthetic:jobs=5,rate=2"), "synthetic:jobs=5,rate=2");
        assert_eq!(shell_word(r#"{"policy":"it's"}"#), r#"'{"policy":"it'\''s"}'"#);
        assert_eq!(shell_word(""), "''");
    }
}
