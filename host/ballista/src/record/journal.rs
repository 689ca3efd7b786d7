//! The recording on its way: `FILE.part` takes a line when something happens, and becomes the workload file at the end.
//!
//! Jobs end in another order than they came in, and executors come when they like; a workload file wants executors first
//! and jobs by submission. So lines are written as they come, whole, and sorted by place at the end: memory takes 24
//! bytes a job. What a crash leaves is a journal whose last line may be cut; [`finish`] reads it all the same.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use serde::{Deserialize, Serialize};

use super::error::RecordError;
use super::rows::{Begin, ExecutorRow, HeaderRow, JobRow, LeftOut, Origin};
use crate::limits::MAX_QUEUED_LINES;

/// A line.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Entry<'a> {
    Begin(&'a Begin),
    Executor(&'a ExecutorRow),
    Job(&'a JobRow),
    LeftOut(LeftOut<'a>),
}

/// A finished recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recording {
    /// Jobs in the file.
    pub jobs: u64,
    /// Jobs that are not: they failed or were cancelled, or something of them was unknown or could not be written.
    pub jobs_left_out: u64,
    /// Whether the recorder was cut off in the middle of a line; that line is left out.
    pub cut: bool,
}

pub(super) struct Journal {
    file: PathBuf,
    lines: Mutex<Option<SyncSender<Vec<u8>>>>,
    writer: Mutex<Option<JoinHandle<io::Result<()>>>>,
    dropped: AtomicU64,
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal").field("file", &self.file).field("dropped", &self.dropped).finish_non_exhaustive()
    }
}

impl Journal {
    pub(super) fn create(file: &Path, begin: Begin) -> Result<Self, RecordError> {
        let part = part(file);
        if file.exists() {
            return Err(RecordError::Exists { file: file.to_owned() });
        }
        let unwritable = |source| RecordError::Unwritable { file: part.clone(), source };
        let mut to = OpenOptions::new().write(true).create_new(true).open(&part).map_err(|e| match e.kind() {
            io::ErrorKind::AlreadyExists => RecordError::Unfinished { file: file.to_owned(), part: part.clone() },
            _ => unwritable(e),
        })?;
        to.write_all(&line(&Entry::Begin(&begin))).map_err(unwritable)?;
        let (lines, queue) = sync_channel::<Vec<u8>>(MAX_QUEUED_LINES);
        // Ends with its last sender.
        let write = move || queue.into_iter().try_for_each(|line| to.write_all(&line)).and_then(|()| to.sync_data());
        let writer = std::thread::Builder::new().name("recorder".to_owned()).spawn(write).map_err(unwritable)?;
        let (lines, writer) = (Mutex::new(Some(lines)), Mutex::new(Some(writer)));
        Ok(Self { file: file.to_owned(), lines, writer, dropped: AtomicU64::new(0) })
    }

    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// Queues a line. Never waits: what does not fit, or comes after the writer failed, is counted.
    pub(super) fn write(&self, entry: &Entry<'_>) {
        let line = line(entry);
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = lines.as_ref().is_some_and(|lines| lines.try_send(line).is_ok());
        drop(lines);
        if !taken && self.dropped.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!(file = %self.file.display(), "the recording cannot be written as fast as jobs end, or not at all");
        }
    }

    /// Waits until all is written.
    pub(super) fn close(&self) -> Result<(), RecordError> {
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let left_out =
                Entry::LeftOut(LeftOut { id: &format!("{dropped} lines"), why: "they could not be written" });
            // If that fails, so does the writer.
            lines.into_iter().for_each(|lines| drop(lines.send(line(&left_out))));
        }
        drop(self.lines.lock().unwrap_or_else(PoisonError::into_inner).take());
        let Some(writer) = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take() else { return Ok(()) };
        let written = writer.join().unwrap_or_else(|_| Err(io::Error::other("the recorder's thread panicked")));
        written.map_err(|source| RecordError::Unwritable { file: part(&self.file), source })
    }
}

/// What stands in for the file until it is finished.
fn part(file: &Path) -> PathBuf {
    let mut name: OsString = file.as_os_str().to_owned();
    name.push(".part");
    name.into()
}

fn line(entry: &Entry<'_>) -> Vec<u8> {
    let mut line = serde_json::to_vec(entry).unwrap_or_default();
    line.push(b'\n');
    line
}

/// Makes the workload file of what a recorder left in `file`'s `.part`, and removes that.
///
/// # Errors
/// When there is nothing to finish, a line in the middle is broken, the file is there already, or cannot be written. The
/// `.part` is then as it was.
pub fn finish(file: &Path) -> Result<Recording, RecordError> {
    let part = part(file);
    if file.exists() {
        return Err(RecordError::Exists { file: file.to_owned() });
    }
    let from = File::open(&part).map_err(|source| RecordError::Missing { part: part.clone(), source })?;
    let mut index = Index::read(&part, BufReader::new(from))?;
    let mut beside: OsString = file.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let written = index.write(&part, &beside).and_then(|()| fs::rename(&beside, file));
    if let Err(source) = written {
        let _ = fs::remove_file(&beside);
        return Err(RecordError::Unwritable { file: file.to_owned(), source });
    }
    // The recording is there; what is left of the journal is refused by the next one, with a word about it.
    let _ = fs::remove_file(&part);
    Ok(Recording { jobs: index.jobs.len() as u64, jobs_left_out: index.left_out, cut: index.cut })
}

/// What a journal holds, and where.
struct Index {
    begin: Begin,
    executors: BTreeMap<String, ExecutorRow>,
    /// Submission, offset and length of each job.
    jobs: Vec<(u64, u64, u64)>,
    left_out: u64,
    cut: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Head {
    Begin(Begin),
    Executor(ExecutorRow),
    Job(Submitted),
    LeftOut(serde::de::IgnoredAny),
}

#[derive(Deserialize)]
struct Submitted {
    submit_us: u64,
}

/// What stands before a job's row in its line, and after.
const BEFORE_JOB: u64 = r#"{"job":"#.len() as u64;
const AFTER_JOB: u64 = "}\n".len() as u64;

impl Index {
    fn read(part: &Path, mut from: impl BufRead) -> Result<Self, RecordError> {
        let broken = |line, reason: String| RecordError::Broken { part: part.to_owned(), line, reason };
        let mut index: Option<Self> = None;
        let (mut number, mut offset, mut line) = (0, 0, Vec::new());
        loop {
            line.clear();
            let read = from.read_until(b'\n', &mut line).map_err(|e| broken(number + 1, e.to_string()))? as u64;
            number += 1;
            let head = serde_json::from_slice::<Head>(&line);
            match (&mut index, head) {
                (Some(index), _) if read == 0 || line.last() != Some(&b'\n') => index.cut = read > 0,
                (index @ None, Ok(Head::Begin(begin))) => {
                    let (executors, jobs) = (BTreeMap::new(), Vec::new());
                    *index = Some(Self { begin, executors, jobs, left_out: 0, cut: false });
                }
                (None, _) => return Err(broken(number, "the first line is not that of a recording".to_owned())),
                (Some(index), Ok(Head::Executor(row))) => drop(index.executors.insert(row.id.clone(), row)),
                (Some(index), Ok(Head::Job(job))) => {
                    index.jobs.push((job.submit_us, offset + BEFORE_JOB, read - BEFORE_JOB - AFTER_JOB));
                }
                (Some(index), Ok(Head::LeftOut(_))) => index.left_out += 1,
                (Some(_), Ok(Head::Begin(_))) => return Err(broken(number, "a second beginning".to_owned())),
                (Some(_), Err(e)) => return Err(broken(number, e.to_string())),
            }
            offset += read;
            if let Some(mut index) = index.take_if(|i| read == 0 || i.cut) {
                index.jobs.sort_by_key(|job| job.0);
                return Ok(index);
            }
        }
    }

    fn write(&mut self, part: &Path, to: &Path) -> io::Result<()> {
        let mut from = File::open(part)?;
        let mut to = BufWriter::new(File::create(to)?);
        let header = HeaderRow {
            format: "policy-host-workload",
            version: 1,
            network_mib_per_s: self.begin.network_mib_per_s,
            executors: self.executors.values().collect(),
            recorded: Origin {
                by: &self.begin.by,
                began_unix_us: self.begin.began_unix_us,
                jobs_left_out: self.left_out,
                cut: self.cut,
            },
        };
        serde_json::to_writer(&mut to, &header)?;
        to.write_all(b"\n")?;
        for &(_, offset, length) in &self.jobs {
            from.seek(SeekFrom::Start(offset))?;
            io::copy(&mut (&mut from).take(length), &mut to)?;
            to.write_all(b"\n")?;
        }
        to.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGIN: &str = r#"{"begin":{"by":"x","began_unix_us":5,"network_mib_per_s":7}}"#;

    fn job(id: &str, submit_us: u64) -> String {
        format!(r#"{{"job":{{"id":"{id}","submit_us":{submit_us},"stages":[]}}}}"#)
    }

    /// Finishes what a recorder left; returns the file, too.
    fn finished(left: &str) -> Result<(Recording, String), RecordError> {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("run.jsonl");
        fs::write(part(&file), left).unwrap();
        let recording = finish(&file);
        assert_eq!(part(&file).exists(), recording.is_err(), "what was not made a file of is kept");
        let text = fs::read_to_string(&file).unwrap_or_default();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing else is left lying");
        Ok((recording?, text))
    }

    #[test]
    fn jobs_stand_in_order_of_submission_and_executors_in_the_header() {
        let executor = r#"{"executor":{"id":"e1","vcores":2,"labels":{}}}"#;
        let other = r#"{"executor":{"id":"e0","vcores":4,"labels":{}}}"#;
        let left_out = r#"{"left_out":{"id":"c","why":"it failed"}}"#;
        let lines = [BEGIN, executor, &job("a", 9), &job("b", 3), left_out, other, &job("c", 3), ""];
        let (recording, text) = finished(&lines.join("\n")).unwrap();
        assert_eq!(recording, Recording { jobs: 3, jobs_left_out: 1, cut: false });
        let lines: Vec<&str> = text.lines().collect();
        let header: serde_json::Value = serde_json::from_str(lines[0]).unwrap();
        assert_eq!(
            (header["executors"][0]["id"].as_str(), header["network_mib_per_s"].as_u64()),
            (Some("e0"), Some(7))
        );
        assert_eq!(header["recorded"]["jobs_left_out"], 1);
        let expected = [("b", 3), ("c", 3), ("a", 9)].map(|(id, us)| job(id, us)[7..].trim_end_matches('}').to_owned());
        assert_eq!(lines.len(), 4);
        for (line, expected) in lines[1..].iter().zip(&expected) {
            assert!(line.starts_with(expected.as_str()) && line.ends_with('}'), "{line}");
            assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "{line}");
        }
    }

    #[test]
    fn a_journal_that_was_cut_off_is_read_up_to_there() {
        let whole = [BEGIN, &job("a", 1), &job("b", 2), ""].join("\n");
        let least = BEGIN.len() + 1;
        for cut in least..=whole.len() {
            let (recording, text) = finished(&whole[..cut]).unwrap();
            let jobs = whole[..cut].matches('\n').count() as u64 - 1;
            assert_eq!((recording.jobs, text.lines().count() as u64), (jobs, jobs + 1));
            assert_eq!(recording.cut, !whole[..cut].ends_with('\n'), "{cut}");
            assert!(text.contains(&format!(r#""cut":{}"#, recording.cut)));
        }
    }

    #[test]
    fn what_no_recorder_wrote_is_refused_with_its_line() {
        let broken = [BEGIN, &job("a", 1), "{\"job\":}", &job("b", 2), ""].join("\n");
        for (left, line) in [(broken.as_str(), 3), ("", 1), ("{}\n", 1), (&[BEGIN, BEGIN, ""].join("\n"), 2)] {
            match finished(left) {
                Err(RecordError::Broken { line: at, .. }) => assert_eq!(at, line, "{left}"),
                other => panic!("{left}: {other:?}"),
            }
        }
    }
}
