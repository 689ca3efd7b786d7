//! Log lines on standard error. What plugins, files and workloads bring along is escaped: an event is one line.

use std::fmt;

use policy_host::text::shown_within;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::{DefaultFields, Writer};

use crate::commands::progress::LogWriter;

/// Longest text of an event's fields, in bytes.
const MAX_FIELDS_BYTES: usize = 16 * 1024;

/// Sets up logging for the process. `quiet`: errors only, unless asked for more.
pub(crate) fn to_stderr(filter: Option<&str>, quiet: bool) {
    // What `run` prints as facts need not be logged as well.
    let default = if quiet { "error" } else { "warn,policy_host::event=off" };
    let filter = match filter {
        Some(filter) => EnvFilter::new(filter),
        None => EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default)),
    };
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(ansi)
        .fmt_fields(Escaped)
        .with_writer(LogWriter::new)
        .init();
}

/// The usual format of fields, escaped and cut.
struct Escaped;

impl<'writer> FormatFields<'writer> for Escaped {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut text = String::new();
        DefaultFields::new().format_fields(Writer::new(&mut text), fields)?;
        writer.write_str(&shown_within(text, MAX_FIELDS_BYTES))
    }
}
