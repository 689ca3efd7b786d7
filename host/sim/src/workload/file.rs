//! The workload file: JSON lines, first the header, then one job a line. Reads it strictly, writes it completely.
//!
//! ```json
//! {"format":"policy-host-workload","version":1,"network_mib_per_s":1000,"executors":[{"id":"e0","vcores":4}]}
//! {"id":"j1","tenant":"team-a","submit_us":0,"stages":[{"id":0,"tasks":[{"duration_us":10000}]}]}
//! ```
//! Defaults: `vcores` 1, `memory_mib` 0, `speed` 1.0, `priority` 0, `tenant` `default`, no dependencies, inputs, key,
//! pin, rack, labels or failures; `network_mib_per_s` 1000; `faults` none, each `{"executor","lost_us","back_us"}`. Executors come from the command line where the header has none.
//! An unknown key is refused, so that a misspelt one cannot be overlooked.
//!
//! What was recorded from a real run has, besides, `recorded` in the header and `ran` in jobs and tasks: how it ran
//! ([`ran`](mod@super::ran)). [`read()`] passes over it, and [`write()`] leaves it out.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::Path;

use policy_host::text::json_reason;
use policy_host::vet;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::ran::Recorded;
pub use super::rows::{FORMAT, VERSION};
use super::rows::{HeaderRow, JobRow};
use super::{ClusterDefaults, Header, Interner, Place, Workload, WorkloadError, validate};
use crate::limits::MAX_LINE_BYTES;

const EMPTY: &str = "the file is empty; its first line should be the header";

/// Reads and checks a workload file.
///
/// # Errors
/// When the file cannot be read, a line breaks the format (with line and column), or the workload makes no sense.
pub fn read(path: &Path, defaults: &ClusterDefaults) -> Result<Workload, WorkloadError> {
    let unreadable = |source| WorkloadError::Unreadable { file: path.to_owned(), source };
    let file = File::open(path).map_err(unreadable)?;
    from_reader(BufReader::with_capacity(1 << 20, file), &path.display().to_string(), defaults)
}

/// Reads and checks a workload from a reader; `name` stands for it in errors.
///
/// # Errors
/// As [`read`].
pub fn from_reader(
    mut reader: impl BufRead,
    name: &str,
    defaults: &ClusterDefaults,
) -> Result<Workload, WorkloadError> {
    expect_text(&mut reader, name)?;
    let mut lines = Lines { name, number: 0, buffer: Vec::new() };
    let Some(first) = lines.next(&mut reader)? else {
        return Err(lines.malformed(1, EMPTY.to_owned()));
    };
    let header = read_header(first, name, defaults)?;
    let mut shared = Interner::default();
    let mut jobs = Vec::new();
    while let Some(line) = lines.next(&mut reader)? {
        match serde_json::from_slice::<JobRow<'_>>(line) {
            Ok(row) => jobs.push(row.into_model(&mut shared)),
            Err(e) => return Err(refused(name, lines.number, &e)),
        }
    }
    let workload = Workload { header, jobs };
    validate::workload(&workload, &validate::Lines { source: name, first_job: Some(2) })?;
    Ok(workload)
}

/// Reads how the jobs of a workload file ran; `None` where that was not recorded of every job.
///
/// # Errors
/// As [`read`], but for what makes no sense as a workload.
pub fn read_recorded(path: &Path) -> Result<Option<Recorded>, WorkloadError> {
    let unreadable = |source| WorkloadError::Unreadable { file: path.to_owned(), source };
    let file = File::open(path).map_err(unreadable)?;
    recorded_from_reader(BufReader::with_capacity(1 << 20, file), &path.display().to_string())
}

/// As [`read_recorded`], from a reader; `name` stands for it in errors.
///
/// # Errors
/// As [`read_recorded`].
pub fn recorded_from_reader(mut reader: impl BufRead, name: &str) -> Result<Option<Recorded>, WorkloadError> {
    expect_text(&mut reader, name)?;
    let mut lines = Lines { name, number: 0, buffer: Vec::new() };
    let Some(first) = lines.next(&mut reader)? else { return Ok(None) };
    let origin = serde_json::from_slice::<HeaderRow<'_>>(first).map_err(|e| refused(name, 1, &e))?.recorded;
    let mut jobs = Vec::new();
    while let Some(line) = lines.next(&mut reader)? {
        match serde_json::from_slice::<JobRow<'_>>(line).map(JobRow::into_recorded) {
            Ok(Some(job)) => jobs.push(job),
            Ok(None) => return Ok(None),
            Err(e) => return Err(refused(name, lines.number, &e)),
        }
    }
    Ok((!jobs.is_empty()).then_some(Recorded { origin, jobs }))
}

/// Writes a workload file.
///
/// # Errors
/// When the file cannot be written; what it holds then is not a workload.
pub fn write(path: &Path, workload: &Workload) -> Result<(), WorkloadError> {
    let unwritable = |source| WorkloadError::Unwritable { file: path.to_owned(), source };
    let mut to = BufWriter::new(File::create(path).map_err(unwritable)?);
    to_writer(&mut to, workload).and_then(|()| to.flush()).map_err(unwritable)
}

/// Writes a workload. The same workload gives the same bytes.
///
/// # Errors
/// When the writer fails.
pub fn to_writer(mut to: impl Write, workload: &Workload) -> io::Result<()> {
    serde_json::to_writer(&mut to, &HeaderRow::from_model(&workload.header))?;
    to.write_all(b"\n")?;
    for job in &workload.jobs {
        serde_json::to_writer(&mut to, &JobRow::from_model(job))?;
        to.write_all(b"\n")?;
    }
    Ok(())
}

/// Passes over a byte order mark, and refuses what is no text by the name of what it is.
pub(super) fn expect_text(reader: &mut impl BufRead, name: &str) -> Result<(), WorkloadError> {
    let start = reader.fill_buf().map_err(|source| WorkloadError::Unreadable { file: name.into(), source })?;
    if start.starts_with(BYTE_ORDER_MARK) {
        reader.consume(BYTE_ORDER_MARK.len());
        return Ok(());
    }
    match vet::binary(start) {
        Some(what) => Err(malformed(name, 0, 0, format!("is {what}, not text in UTF-8"))),
        None => Ok(()),
    }
}

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// The lines of the file, numbered, each within the limit. Empty lines are allowed at the end only: in between, one
/// would shift every line number in later messages.
struct Lines<'n> {
    name: &'n str,
    number: u64,
    buffer: Vec<u8>,
}

impl Lines<'_> {
    fn next(&mut self, reader: &mut impl BufRead) -> Result<Option<&[u8]>, WorkloadError> {
        let mut skipped = false;
        loop {
            self.buffer.clear();
            let limit = MAX_LINE_BYTES as u64 + 1;
            let read = io::Read::take(&mut *reader, limit).read_until(b'\n', &mut self.buffer);
            let read = read.map_err(|source| WorkloadError::Unreadable { file: self.name.into(), source })?;
            if read == 0 {
                return Ok(None);
            }
            self.number += 1;
            if self.buffer.len() > MAX_LINE_BYTES {
                return Err(self.malformed(0, format!("the line is longer than {MAX_LINE_BYTES} bytes")));
            }
            if self.buffer.iter().all(u8::is_ascii_whitespace) {
                skipped = true;
                continue;
            }
            if skipped {
                self.number -= 1;
                return Err(self.malformed(1, "an empty line between jobs".to_owned()));
            }
            return Ok(Some(&self.buffer));
        }
    }

    fn malformed(&self, column: u64, reason: String) -> WorkloadError {
        malformed(self.name, self.number.max(1), column, reason)
    }
}

fn malformed(name: &str, line: u64, column: u64, reason: String) -> WorkloadError {
    WorkloadError::Malformed { place: Place { source: name.to_owned(), line, column }, reason }
}

fn refused(name: &str, line: u64, e: &serde_json::Error) -> WorkloadError {
    malformed(name, line, e.column() as u64, json_reason(e))
}

/// Format and version are judged before anything else: a newer file may have keys that this program does not know.
#[derive(Deserialize)]
struct Probe<'a> {
    #[serde(borrow)]
    format: Cow<'a, str>,
    version: u64,
}

fn read_header(line: &[u8], name: &str, defaults: &ClusterDefaults) -> Result<Header, WorkloadError> {
    let row = header_row(line, name)?;
    let mut header = row.into_model();
    if defaults.instead {
        return Ok(defaults.cluster.clone());
    }
    if header.executors.is_empty() {
        header.executors.clone_from(&defaults.cluster.executors);
    }
    Ok(header)
}

fn header_row<'a>(line: &'a [u8], name: &str) -> Result<HeaderRow<'a>, WorkloadError> {
    let probe: Probe<'_> = serde_json::from_slice(line).map_err(|e| refused(name, 1, &e))?;
    let place = || Place { source: name.to_owned(), line: 1, column: 0 };
    if probe.format != FORMAT {
        return Err(WorkloadError::Format { place: place(), found: probe.format.into_owned() });
    }
    if probe.version != VERSION {
        return Err(WorkloadError::Version { place: place(), found: probe.version, known: VERSION });
    }
    serde_json::from_slice(line).map_err(|e| refused(name, e.line() as u64, &e))
}

impl ClusterDefaults {
    /// The cluster of a workload file, in the place of any workload's own. Only the header is read, which need not stand
    /// in one line; jobs after it are ignored.
    ///
    /// # Errors
    /// When the file cannot be read, does not begin with a header, or names no executors. Whether the executors make
    /// sense shows when a workload is read with them.
    pub fn instead_of_any(path: &Path) -> Result<Self, WorkloadError> {
        Ok(Self { cluster: read_cluster(path)?, instead: true })
    }
}

/// Reads the cluster alone: the header of a workload file, in one line or many. What follows it is not read.
///
/// # Errors
/// As [`read`], and when the header names no executors.
pub fn read_cluster(path: &Path) -> Result<Header, WorkloadError> {
    let name = path.display().to_string();
    let unreadable = |source| WorkloadError::Unreadable { file: path.to_owned(), source };
    let mut text = Vec::new();
    let mut file = BufReader::new(File::open(path).map_err(unreadable)?);
    expect_text(&mut file, &name)?;
    file.take(MAX_LINE_BYTES as u64).read_to_end(&mut text).map_err(unreadable)?;
    let mut values = serde_json::Deserializer::from_slice(&text).into_iter::<&RawValue>();
    let header = match values.next() {
        Some(Ok(header)) => header.get(),
        Some(Err(e)) => return Err(refused(&name, e.line() as u64, &e)),
        None => return Err(malformed(&name, 1, 1, EMPTY.to_owned())),
    };
    let header = header_row(header.as_bytes(), &name)?.into_model();
    match header.executors.is_empty() {
        true => Err(WorkloadError::NoExecutors { place: Place { source: name, line: 1, column: 0 } }),
        false => Ok(header),
    }
}
