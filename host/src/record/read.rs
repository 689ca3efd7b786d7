//! Reads a recording, entry by entry.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use policy_plugin_api::abi::API_MAJOR;
use xxhash_rust::xxh3::xxh3_64;

use super::entry::Entry;
use super::frame::{Found, read_up_to, u32_at, unpack};
use super::restore::{Bytes, Restored, Restorer};
use super::{Header, MAGIC, RecordingError, VERSION};
use crate::core::limits::MAX_RECORDING_HEADER_BYTES;
use crate::core::text::chain;

/// The first major version of the API whose rounds have the blocks of today. API 2 changed how a round crosses, not what
/// stands in it.
const OLDEST_API_MAJOR: u32 = 1;

/// How a recording ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It was closed.
    Closed,
    /// It had reached its limit.
    Limit,
    /// It was cut: by a crash of the host, or because it is still being written.
    Cut {
        /// Where the last whole frame ends.
        at: u64,
    },
}

/// Whether a file begins as recordings do. A file that cannot be read does not.
#[must_use]
pub fn is_recording(path: &Path) -> bool {
    let mut head = [0; MAGIC.len()];
    File::open(path).and_then(|mut f| f.read_exact(&mut head)).is_ok() && head == MAGIC
}

/// Reads a recording from front to end.
///
/// Costs the memory of all stages and rosters that the recording has, and of one frame.
pub struct Reader {
    from: BufReader<File>,
    file: PathBuf,
    header: Header,
    /// Where the frame at hand begins.
    frame_at: u64,
    next_at: u64,
    frame: Vec<u8>,
    read: usize,
    restorer: Restorer,
    ending: Option<Ending>,
}

impl Reader {
    /// Opens a recording.
    ///
    /// # Errors
    /// When it cannot be read, is none, or was written by a newer host.
    pub fn open(path: &Path) -> Result<Self, RecordingError> {
        let unreadable = |source| RecordingError::Unreadable { file: path.to_owned(), source };
        let mut from = BufReader::with_capacity(1 << 18, File::open(path).map_err(unreadable)?);
        let mut head = [0; 16];
        let found = read_up_to(&mut from, &mut head).map_err(unreadable)?;
        if found < MAGIC.len() || head[..8] != MAGIC {
            return Err(RecordingError::NotARecording { file: path.to_owned() });
        }
        let cut = |at: usize| RecordingError::Truncated { file: path.to_owned(), at: at as u64 };
        if found < head.len() {
            return Err(cut(found));
        }
        let (version, length) = (u32_at(&head, 8), u32_at(&head, 12));
        if version > VERSION {
            return Err(RecordingError::Version { file: path.to_owned(), found: version, known: VERSION });
        }
        let damaged = |what: String| RecordingError::Damaged { file: path.to_owned(), at: 0, what };
        if length > MAX_RECORDING_HEADER_BYTES {
            return Err(damaged(format!("a header of {length} bytes, the limit is {MAX_RECORDING_HEADER_BYTES}")));
        }
        let mut rest = vec![0; length as usize + 8];
        let found = read_up_to(&mut from, &mut rest).map_err(unreadable)?;
        if found < rest.len() {
            return Err(cut(head.len() + found));
        }
        let (text, checksum) = rest.split_at(length as usize);
        if xxh3_64(&[&head[..], text].concat()).to_le_bytes() != *checksum {
            return Err(damaged("the checksum of the header is wrong".into()));
        }
        let header: Header = serde_json::from_slice(text).map_err(|e| damaged(chain(&e)))?;
        if !(OLDEST_API_MAJOR..=API_MAJOR).contains(&header.api_major) {
            let (file, found) = (path.to_owned(), header.api_major);
            return Err(RecordingError::Api { file, found, known: API_MAJOR });
        }
        let at = (head.len() + rest.len()) as u64;
        let (frame, restorer) = (Vec::new(), Restorer::default());
        let file = path.to_owned();
        Ok(Self { from, file, header, frame_at: at, next_at: at, frame, read: 0, restorer, ending: None })
    }

    /// What the recording says of itself.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// How it ends; `None` until it has been read to its end.
    #[must_use]
    pub fn ending(&self) -> Option<Ending> {
        self.ending
    }

    /// The next entry; `None` at the end, of which [`Reader::ending`] tells.
    ///
    /// # Errors
    /// When the file cannot be read, or is damaged here. What was read before is good.
    pub fn read_next(&mut self) -> Result<Option<Entry>, RecordingError> {
        let damaged = |file: &Path, at, what| RecordingError::Damaged { file: file.to_owned(), at, what };
        while self.ending.is_none() {
            if self.read == self.frame.len() {
                self.frame_at = self.next_at;
                let unreadable = |source| RecordingError::Unreadable { file: self.file.clone(), source };
                match unpack(&mut self.from).map_err(unreadable)? {
                    Found::Frame(frame, bytes) => {
                        (self.frame, self.read, self.next_at) = (frame, 0, self.next_at + bytes)
                    }
                    // An end is written last: without one the host did not get that far.
                    Found::End | Found::Cut => self.ending = Some(Ending::Cut { at: self.frame_at }),
                    Found::Damaged(what) => return Err(damaged(&self.file, self.frame_at, what)),
                }
                self.restorer.begin_frame();
                continue;
            }
            let mut rest = Bytes(&self.frame[self.read..]);
            let restored = self.restorer.entry(&mut rest);
            self.read = self.frame.len() - rest.0.len();
            match restored.map_err(|what| damaged(&self.file, self.frame_at, what))? {
                Restored::Entry(entry) => return Ok(Some(entry)),
                Restored::End(totals) => self.ending = Some(if totals.limit { Ending::Limit } else { Ending::Closed }),
                Restored::Nothing => {}
            }
        }
        Ok(None)
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("file", &self.file).field("at", &self.frame_at).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::frame;

    #[test]
    fn rounds_of_api_1_are_read_and_those_of_a_later_one_refused() {
        let directory = tempfile::tempdir().unwrap();
        let open = |api_major| {
            let path = directory.path().join("rounds");
            std::fs::write(&path, frame::header(&Header { api_major, ..Header::default() }).unwrap()).unwrap();
            Reader::open(&path).map(|reader| reader.header().api_major).map_err(|e| e.code())
        };
        assert_eq!([1, 2].map(open), [Ok(1), Ok(2)]);
        assert_eq!([0, API_MAJOR + 1].map(open), [Err("recording-api"); 2]);
    }
}
