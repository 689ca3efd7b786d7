//! Files that a command writes at its end: whether they can be written is known before the work begins, and a reader
//! sees the whole of one or what was there before.

use std::path::{Path, PathBuf};

use policy_host::receipt::write_atomically;
use policy_host::text::chain;

use crate::facts;
use crate::failure::Failure;

/// A file to be written when the work is done.
#[derive(Debug)]
pub(crate) struct OutputFile {
    path: PathBuf,
    /// What a failure to write it is called.
    code: &'static str,
}

impl OutputFile {
    /// Makes sure that the file can be written. Leaves nothing behind, so that a command that is stopped does not
    /// either.
    pub(crate) fn claim(path: &Path, code: &'static str) -> Result<Self, Failure> {
        let this = Self { path: facts::resolve(path), code };
        if path.is_dir() {
            return Err(this.unwritable("it is a directory"));
        }
        if !this.is_special() {
            let directory = path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
            tempfile::Builder::new()
                .prefix(".writing-")
                .tempfile_in(directory)
                .map_err(|e| this.unwritable(&chain(&e)))?;
        }
        Ok(this)
    }

    /// As [`OutputFile::claim`], where a file is asked for.
    pub(crate) fn claim_any(path: Option<&Path>, code: &'static str) -> Result<Option<Self>, Failure> {
        path.map(|path| Self::claim(path, code)).transpose()
    }

    /// Writes it: beside, then over what was there.
    pub(crate) fn write(&self, content: &[u8]) -> Result<(), Failure> {
        let written = match self.is_special() {
            true => std::fs::write(&self.path, content),
            false => write_atomically(&self.path, content),
        };
        written.map_err(|e| self.unwritable(&chain(&e)))
    }

    /// A pipe, a device or a link, such as `/dev/stdout`: to be written to, not to be replaced.
    fn is_special(&self) -> bool {
        self.path.symlink_metadata().is_ok_and(|m| !m.is_file())
    }

    fn unwritable(&self, reason: &str) -> Failure {
        let advice = "name a file in a directory that is there and can be written";
        Failure::new(self.code, format!("{}: {reason}; {advice}", self.path.display()))
    }
}
