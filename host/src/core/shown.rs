//! Text from outside (plugins, file names, workloads, the loader) as it may be shown: one line, of bounded length,
//! without anything that a terminal would act on.
//!
//! [`shown`] is applied where text of a plugin enters the host, and again where a line is printed. It leaves text alone
//! that it has been through, so nothing is escaped twice.

use std::fmt::Write;

/// Longest text that [`shown`] returns, in bytes, without the mark that it was cut.
pub const MAX_TEXT_BYTES: usize = 4_000;

/// What stands at the end of a text that was cut.
const CUT: &str = "… (cut)";

/// The text on one line, at most [`MAX_TEXT_BYTES`] long.
///
/// Control characters (line breaks and tabs too), characters that change the direction of writing, and invisible ones
/// are escaped as in Rust's literals (`\n`, `\u{1b}`); bytes that are not UTF-8 as `\xff`. Backslashes stay as they are.
///
/// # Cost
/// Linear in the length of the result: what is cut off is never read.
#[must_use]
pub fn shown(text: impl AsRef<[u8]>) -> String {
    shown_within(text, MAX_TEXT_BYTES)
}

/// As [`shown`], with another limit.
#[must_use]
pub fn shown_within(text: impl AsRef<[u8]>, limit: usize) -> String {
    let text = text.as_ref();
    // A text that is a little longer because it was cut already is left alone. A character takes up to four bytes.
    let slack = limit + CUT.len();
    let read = &text[..text.len().min(slack + 4)];
    let mut out = String::with_capacity(read.len().min(slack));
    let mut fits = 0;
    for chunk in read.utf8_chunks() {
        for c in chunk.valid().chars() {
            push(&mut out, c);
            fits = if out.len() <= limit { out.len() } else { fits };
            if out.len() > slack {
                return cut(out, fits);
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
            fits = if out.len() <= limit { out.len() } else { fits };
            if out.len() > slack {
                return cut(out, fits);
            }
        }
    }
    if read.len() < text.len() { cut(out, fits) } else { out }
}

fn cut(mut out: String, fits: usize) -> String {
    out.truncate(fits);
    out + CUT
}

fn push(out: &mut String, c: char) {
    match c {
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        c if is_unsafe(c) => out.extend(c.escape_unicode()),
        c => out.push(c),
    }
}

/// Whether a terminal, or a reader, could be deceived by the character: it moves the cursor, changes the direction of
/// writing, breaks the line, or cannot be seen.
#[must_use]
pub fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// JSON text, with what [`is_unsafe`] escaped: the values are the same, but no terminal acts on the text. Line breaks
/// between the values stay.
#[must_use]
pub fn json(text: String) -> String {
    let is_layout = |c: char| matches!(c, '\n' | '\r' | '\t');
    if !text.contains(|c| is_unsafe(c) && !is_layout(c)) {
        return text;
    }
    let mut out = String::with_capacity(text.len() + 64);
    for c in text.chars() {
        if is_unsafe(c) && !is_layout(c) {
            // Such a character can only stand within a string.
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_act_on_is_escaped() {
        for (raw, expected) in [
            ("plain, with ümlauts and 漢字 and \\n", "plain, with ümlauts and 漢字 and \\n"),
            ("two\nlines\r\n\tindented", "two\\nlines\\r\\n\\tindented"),
            ("\u{1b}[2J\u{7}", "\\u{1b}[2J\\u{7}"),
            ("c1 \u{9b}31m, del \u{7f}", "c1 \\u{9b}31m, del \\u{7f}"),
            ("abc\u{202e}gpj.exe\u{2066}", "abc\\u{202e}gpj.exe\\u{2066}"),
            ("line\u{2028}sep, bom \u{feff}, zero\u{200b}width", "line\\u{2028}sep, bom \\u{feff}, zero\\u{200b}width"),
            ("tag \u{e0041}", "tag \\u{e0041}"),
        ] {
            assert_eq!(shown(raw), expected);
            assert_eq!(shown(expected), expected, "nothing is escaped twice");
        }
        assert_eq!(shown(b"bad \xff\xc3 end\xe2\x80"), "bad \\xff\\xc3 end\\xe2\\x80");
    }

    #[test]
    fn text_is_cut_and_a_cut_text_is_left_alone() {
        for unit in ["x", "\u{1b}", "漢", "\n"] {
            let long = unit.repeat(100_000);
            let short = shown(&long);
            assert!(short.ends_with(CUT) && short.len() <= MAX_TEXT_BYTES + CUT.len(), "{unit:?}: {}", short.len());
            assert!(short.len() > MAX_TEXT_BYTES - 8, "{unit:?}: {}", short.len());
            assert_eq!(shown(&short), short);
        }
        let fits = "x".repeat(MAX_TEXT_BYTES);
        assert_eq!(shown(&fits), fits);
        assert_eq!(shown_within("abcdefghijklmnopqrstuvwxyz", 3), "abc… (cut)");
        assert_eq!(shown(vec![0xff; 100_000]).len(), MAX_TEXT_BYTES + CUT.len());
    }

    #[test]
    fn json_keeps_its_values() {
        let value = serde_json::json!({ "a": "\u{9b}x\u{202e}\u{e0041}\u{7f}", "b": "plain\n" });
        let text = json(serde_json::to_string_pretty(&value).unwrap());
        assert!(!text.contains(|c: char| is_unsafe(c) && c != '\n'), "{text}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
        assert_eq!(json("{\n  \"plain\": 1\n}".to_owned()), "{\n  \"plain\": 1\n}");
    }
}
