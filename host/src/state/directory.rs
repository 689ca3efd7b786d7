//! The state directory: the names of its files, and how they are replaced.
//!
//! Every file is replaced atomically (written beside and renamed), so a reader sees the old or the new one, whole.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::receipt::{Listed, Quarantined, Receipt};
use crate::artifact::vet::create_private;
use crate::core::text;

/// Where the host keeps its own files, unless it is named: under the plugin directory.
pub const STATE_DIR: &str = ".policy-host";
/// The receipt's file name.
pub const RECEIPT_FILE: &str = "receipt.json";
/// The registry's file name.
pub const REGISTRY_FILE: &str = "registry.json";
/// The quarantine list's file name.
pub const QUARANTINE_FILE: &str = "quarantine.json";
/// The file name of the last good composition.
pub const LAST_GOOD_FILE: &str = "last-good.json";
/// What `policy-host quarantine clear` asks of a running host, which removes the file once it has done so.
pub const CLEAR_FILE: &str = "quarantine-clear.json";
/// The file that says what foreign code is being tried; there only while it is.
pub const TRYING_FILE: &str = "trying.json";
/// The file name of the JSON Schema of `active.json`.
pub const SCHEMA_FILE: &str = "active.schema.json";
/// Whoever holds this file's lock owns the state directory.
pub const LOCK_FILE: &str = "host.lock";
/// Where the guard's dumps lie.
pub(crate) const DUMPS: &str = "dumps";

/// The newest version of receipt, registry and quarantine list that this host writes, and the newest that it reads.
pub(crate) const VERSION: u32 = 1;

/// A list in a file, with the version of its form.
#[derive(Serialize)]
pub(crate) struct Versioned<T> {
    pub(crate) version: u32,
    pub(crate) entries: T,
}

/// Such a list as it may lie there: files of before it was versioned hold the list alone.
#[derive(Deserialize)]
#[serde(untagged)]
enum Read<T> {
    Versioned { version: u32, entries: Vec<T> },
    Plain(Vec<T>),
}

/// The state directory.
#[derive(Clone, Debug)]
pub struct StateDir {
    path: PathBuf,
}

impl StateDir {
    /// The state directory for a plugin directory: `state_dir`, or the default under it.
    #[must_use]
    pub fn of(plugins: &Path, state_dir: Option<&Path>) -> Self {
        Self { path: state_dir.map_or_else(|| plugins.join(STATE_DIR), Path::to_owned) }
    }

    /// A state directory by its own path.
    #[must_use]
    pub fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Replaces a file atomically.
    ///
    /// # Errors
    /// What the system says; the old file is then still there.
    pub fn write(&self, name: &str, content: &[u8]) -> io::Result<()> {
        create_private(&self.path)?;
        write_atomically(&self.path.join(name), content)
    }

    /// Replaces a JSON file atomically.
    ///
    /// # Errors
    /// As [`StateDir::write`].
    pub fn write_json<T: Serialize>(&self, name: &str, value: &T) -> io::Result<()> {
        self.write(name, text::json(serde_json::to_string_pretty(value)? + "\n").as_bytes())
    }

    /// Reads a JSON file; `None` when it is not there.
    ///
    /// # Errors
    /// When it cannot be read or is not of this shape.
    pub fn read_json<T: DeserializeOwned>(&self, name: &str) -> io::Result<Option<T>> {
        match fs::read(self.path.join(name)) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn read_list<T: DeserializeOwned>(&self, name: &str) -> io::Result<Vec<T>> {
        match self.read_json(name)? {
            None => Ok(Vec::new()),
            Some(Read::Plain(entries) | Read::Versioned { version: ..=VERSION, entries }) => Ok(entries),
            Some(Read::Versioned { version, .. }) => {
                let message =
                    format!("{name} is of version {version}; this host reads up to {VERSION}: use a newer one");
                Err(io::Error::new(io::ErrorKind::InvalidData, message))
            }
        }
    }

    /// Every policy that a host has found; none where no host has written a registry.
    ///
    /// # Errors
    /// When the file cannot be read, is not one, or is of a newer host.
    pub fn listed(&self) -> io::Result<Vec<Listed>> {
        self.read_list(REGISTRY_FILE)
    }

    /// What is out of service; nothing where no host has written a list.
    ///
    /// # Errors
    /// As [`StateDir::listed`].
    pub fn quarantined(&self) -> io::Result<Vec<Quarantined>> {
        self.read_list(QUARANTINE_FILE)
    }

    /// Replaces the list of what is out of service. For directories that no host holds.
    ///
    /// # Errors
    /// As [`StateDir::write`].
    pub fn write_quarantined(&self, entries: &[Quarantined]) -> io::Result<()> {
        self.write_json(QUARANTINE_FILE, &Versioned { version: VERSION, entries })
    }

    /// Whether a host runs on this state directory now: whether somebody holds its lock.
    #[must_use]
    pub fn host_is_running(&self) -> bool {
        let lock = fs::File::options().write(true).open(self.path.join(LOCK_FILE));
        lock.is_ok_and(|lock| matches!(lock.try_lock(), Err(fs::TryLockError::WouldBlock)))
    }

    /// The receipt; `None` when no host has written one.
    ///
    /// # Errors
    /// When it cannot be read or is not one.
    pub fn receipt(&self) -> io::Result<Option<Receipt>> {
        self.read_json(RECEIPT_FILE)
    }
}

/// Replaces a file atomically: writes beside it and renames.
///
/// # Errors
/// What the system says; the old file is then still there.
pub fn write_atomically(path: &Path, content: &[u8]) -> io::Result<()> {
    let directory = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut beside = tempfile::Builder::new().prefix(".writing-").tempfile_in(directory)?;
    beside.write_all(content)?;
    #[cfg(unix)]
    beside.as_file().set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
    beside.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_an_older_host_is_read_and_one_of_a_newer_host_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir::at(directory.path().to_owned());
        assert_eq!(state.quarantined().unwrap(), []);
        let entry = Quarantined { file: "a.so".into(), ..Quarantined::default() };
        state.write_json(QUARANTINE_FILE, &[&entry]).unwrap();
        assert_eq!(state.quarantined().unwrap(), std::slice::from_ref(&entry));
        state.write_quarantined(std::slice::from_ref(&entry)).unwrap();
        assert_eq!(state.quarantined().unwrap(), std::slice::from_ref(&entry));
        state.write_json(QUARANTINE_FILE, &Versioned { version: VERSION + 1, entries: [entry] }).unwrap();
        let error = state.quarantined().unwrap_err().to_string();
        assert!(error.contains("version 2") && error.contains("newer"), "{error}");
    }
}
