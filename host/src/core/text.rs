//! Errors and text from outside as they are shown: one line, of bounded length, every cause once.
//!
//! The convention for the error types of host, simulator and command: `Display` says what failed and what to do about
//! it, without the cause; the cause is in `source()`. [`chain`] puts them together wherever an error becomes text: in
//! events, receipts, refusals, logs, and in what commands print.

use std::error::Error;
use std::path::Path;

pub use super::shown::{MAX_TEXT_BYTES, is_unsafe, json, shown, shown_within};

/// Errors behind an error that are printed at most: a chain may be a circle.
const MAX_CAUSES: usize = 16;

/// An error with its causes, on one line: `what: why: why that`. A cause whose words are there already is not repeated,
/// since other crates' errors often print their own. Cut and escaped as [`shown`] does.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = shown(error.to_string().trim());
    let mut cause = error.source();
    for _ in 0..MAX_CAUSES {
        let Some(error) = cause else { break };
        let words = shown(error.to_string().trim());
        if !text.contains(&words) {
            text = format!("{}: {words}", text.trim_end_matches(':'));
        }
        cause = error.source();
    }
    shown(text)
}

/// What is wrong with a text that should be JSON, without the place that every such error ends with.
#[must_use]
pub fn json_reason(error: &serde_json::Error) -> String {
    let reason = chain(error);
    let place = format!(" at line {} column {}", error.line(), error.column());
    reason.strip_suffix(&place).unwrap_or(&reason).to_owned()
}

/// A path on one line, with what is not UTF-8 in it escaped.
#[must_use]
pub fn path(path: &Path) -> String {
    shown(path.as_os_str().as_encoded_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[derive(Debug, thiserror::Error)]
    enum Failed {
        #[error("the file cannot be read")]
        Plain { source: io::Error },
        #[error("it cannot be read: {source}")]
        PrintsItsCause { source: io::Error },
        #[error("outer")]
        Outer { source: Box<Failed> },
        #[error(transparent)]
        Transparent(Box<Failed>),
    }

    #[test]
    fn every_cause_is_there_once() {
        let cause = || io::Error::other("the disk\nis gone");
        let plain = || Box::new(Failed::Plain { source: cause() });
        assert_eq!(chain(&*plain()), "the file cannot be read: the disk\\nis gone");
        assert_eq!(chain(&Failed::PrintsItsCause { source: cause() }), "it cannot be read: the disk\\nis gone");
        let expected = "outer: the file cannot be read: the disk\\nis gone";
        assert_eq!(chain(&Failed::Outer { source: plain() }), expected);
        assert_eq!(chain(&Failed::Transparent(Box::new(Failed::Outer { source: plain() }))), expected);
        // The system's error within the error of a crate within one of ours.
        let inner = io::Error::new(io::ErrorKind::NotFound, *plain());
        let expected = "outer: the file cannot be read: the disk\\nis gone";
        assert_eq!(chain(&Failed::Outer { source: Box::new(Failed::Plain { source: cause() }) }), expected);
        assert_eq!(chain(&inner), "the file cannot be read: the disk\\nis gone");
    }

    #[test]
    fn a_chain_ends() {
        #[derive(Debug, thiserror::Error)]
        #[error("deep {0}")]
        struct Deep(u32, #[source] Option<Box<Deep>>);
        let deepest = (0..1_000).fold(Deep(0, None), |inner, n| Deep(n, Some(Box::new(inner))));
        assert!(chain(&deepest).len() < 500);
        let long = Deep(1, Some(Box::new(Deep(2, None))));
        assert_eq!(chain(&long), "deep 1: deep 2");
        assert!(chain(&io::Error::other("x".repeat(10_000_000))).len() < 5_000);
    }
}
