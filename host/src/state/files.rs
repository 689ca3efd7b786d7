//! The files of the state directory, kept: who holds the directory, what is written and when.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use serde::Serialize;

use crate::artifact::vet::{PrivateError, STAGED, StagingDir, Unsafe, check_private, take_directory};
use crate::core::digest::Digest;
use crate::core::event::unix_ms;
use crate::core::limits::{FILES_INTERVAL, MAX_DUMPS, RECEIPT_INTERVAL, RECENT_CHANGES};
use crate::core::text::{self, chain, shown};
use crate::state::directory::{
    CLEAR_FILE, DUMPS, LAST_GOOD_FILE, LOCK_FILE, QUARANTINE_FILE, RECEIPT_FILE, REGISTRY_FILE, SCHEMA_FILE, StateDir,
    TRYING_FILE, VERSION, Versioned,
};
use crate::state::last_good::LastGood;
use crate::state::receipt::{DumpReceipt, HostProcess, LastChange, Listed, Quarantined, Receipt};
use crate::state::trying::{Trial, Trials};

/// What in the state directory the host maps, writes into, or believes.
const OWN: [&str; 9] =
    [STAGED, DUMPS, LOCK_FILE, QUARANTINE_FILE, RECEIPT_FILE, REGISTRY_FILE, SCHEMA_FILE, LAST_GOOD_FILE, TRYING_FILE];

/// Why the state directory cannot be held.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HoldError {
    #[error("{path}: cannot hold the host's files")]
    Unusable { path: PathBuf, source: io::Error },
    #[error("{path}: another host (process {pid}) uses this directory; stop it, or name another --state-dir")]
    InUse { path: PathBuf, pid: u32 },
    #[error(transparent)]
    Unsafe(#[from] Unsafe),
}

/// See the module.
pub(crate) struct StateFiles {
    state: Option<StateDir>,
    plugins: Option<PathBuf>,
    /// Held for the life of the host: one host a state directory.
    lock: Option<File>,
    /// What the receipt says. Counters and the active generation are filled in before it is written.
    pub(crate) receipt: Receipt,
    last_good: Option<LastGood>,
    schema: serde_json::Value,
    dirty: bool,
    /// Hashes of the files as written last.
    written: HashMap<&'static str, Digest>,
    written_at: Option<Instant>,
    complained: bool,
    /// What foreign code is being tried.
    pub(crate) trials: Trials,
    /// What an earlier host was trying when it ended, until that is in an event and the receipt.
    pub(crate) left_trials: Vec<Trial>,
    /// Where libraries are staged when there is no state directory to hold them.
    own_staging: Option<tempfile::TempDir>,
}

impl StateFiles {
    /// Takes the state directory, where one can be there. `schema` is that of `active.json`.
    pub(crate) fn open(
        state: Option<StateDir>,
        plugins: Option<&Path>,
        schema: serde_json::Value,
    ) -> Result<Self, HoldError> {
        let now = unix_ms(SystemTime::now());
        let host = HostProcess { pid: std::process::id(), started_unix_ms: now, updated_unix_ms: now };
        let mut files = Self {
            last_good: state.as_ref().and_then(LastGood::read),
            state,
            plugins: plugins.map(Path::to_owned),
            lock: None,
            receipt: Receipt { version: VERSION, host, ..Receipt::default() },
            schema,
            dirty: true,
            written: HashMap::new(),
            written_at: None,
            complained: false,
            trials: Trials::default(),
            left_trials: Vec::new(),
            own_staging: None,
        };
        if files.is_reachable() {
            files.take_over()?;
        }
        Ok(files)
    }

    /// Whether the state directory can be there: never create a plugin directory that somebody deleted.
    fn is_reachable(&self) -> bool {
        let Some(state) = &self.state else { return false };
        match &self.plugins {
            Some(plugins) if state.path().starts_with(plugins) => plugins.is_dir(),
            _ => true,
        }
    }

    /// Locks the state directory and clears what an earlier host left staged.
    fn take_over(&mut self) -> Result<(), HoldError> {
        let Some(state) = &self.state else { return Ok(()) };
        let unusable = |source| HoldError::Unusable { path: state.path().to_owned(), source };
        take_directory(state.path()).map_err(|e| match e {
            PrivateError::Unsafe(e) => HoldError::Unsafe(e),
            PrivateError::Io(source) => unusable(source),
        })?;
        for name in OWN {
            check_private(&state.path().join(name))?;
        }
        let mut options = File::options();
        options.create(true).truncate(false).write(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o644);
        let lock = options.open(state.path().join(LOCK_FILE)).map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => {
                let pid = state.receipt().ok().flatten().map_or(0, |r| r.host.pid);
                return Err(HoldError::InUse { path: state.path().to_owned(), pid });
            }
            Err(std::fs::TryLockError::Error(source)) => return Err(unusable(source)),
        }
        let kept = self.last_good.as_ref().map(LastGood::digests).unwrap_or_default();
        StagingDir::under(state.path()).sweep(&kept);
        // Asked of a host that has ended: carried out later, it would lift what was quarantined since.
        let _ = std::fs::remove_file(state.path().join(CLEAR_FILE));
        self.left_trials.extend(self.trials.take_over(state));
        self.lock = Some(lock);
        Ok(())
    }

    /// The last good composition of an earlier host, or of this one.
    pub(crate) fn last_good(&self) -> Option<&LastGood> {
        self.last_good.as_ref()
    }

    /// Notes a composition that has answered.
    pub(crate) fn set_last_good(&mut self, good: LastGood) {
        self.last_good = Some(good.after(self.last_good.as_ref()));
        self.dirty = true;
    }

    /// Notes that a file was deleted, or is there again.
    pub(crate) fn set_deleted(&mut self, file: &str, deleted: bool) {
        if let Some(good) = &mut self.last_good {
            good.set_deleted(file, deleted);
            self.dirty = true;
        }
    }

    /// Where libraries are staged.
    pub(crate) fn staging(&mut self) -> StagingDir {
        if let Some(state) = &self.state {
            return StagingDir::under(state.path());
        }
        if self.own_staging.is_none() {
            self.own_staging = tempfile::tempdir().ok();
        }
        StagingDir::under(self.own_staging.as_ref().map_or(Path::new("."), |d| d.path()))
    }

    /// The state directory, where one can be there.
    pub(crate) fn reachable(&self) -> Option<&StateDir> {
        self.state.as_ref().filter(|_| self.is_reachable())
    }

    /// What earlier hosts put out of service.
    pub(crate) fn remembered_quarantine(&self) -> Vec<Quarantined> {
        let Some(state) = &self.state else { return Vec::new() };
        state.quarantined().unwrap_or_else(|e| {
            tracing::warn!("the quarantine list cannot be read and is begun anew: {}", chain(&e));
            Vec::new()
        })
    }

    /// Notes a dump.
    pub(crate) fn dumped(&mut self, dump: DumpReceipt) {
        let dumps = &mut self.receipt.dumps;
        dumps.push(dump);
        dumps.drain(..dumps.len().saturating_sub(MAX_DUMPS));
        self.dirty = true;
    }

    /// Notes what the previous host was trying when it ended.
    pub(crate) fn ended_in_trial(&mut self, message: &str) {
        self.receipt.ended_in_trial.push(shown(message));
        self.dirty = true;
    }

    /// Notes a change, done or refused.
    pub(crate) fn changed(&mut self, ok: bool, code: &str, file: &str, message: &str, active_file_sha256: &str) {
        let number = self.receipt.last_change.as_ref().map_or(0, |c| c.number) + 1;
        let change = LastChange {
            number,
            ok,
            code: code.to_owned(),
            file: file.to_owned(),
            message: shown(message),
            at_unix_ms: unix_ms(SystemTime::now()),
            active_file_sha256: active_file_sha256.to_owned(),
        };
        let recent = &mut self.receipt.recent_changes;
        recent.push(change.clone());
        recent.drain(..recent.len().saturating_sub(RECENT_CHANGES));
        self.receipt.last_change = Some(change);
        self.dirty = true;
    }

    /// Something changed that the files say.
    pub(crate) fn touch(&mut self) {
        self.dirty = true;
    }

    /// Write everything, whatever was written before: the directory may be a new one.
    pub(crate) fn force(&mut self) {
        self.dirty = true;
        self.written.clear();
    }

    /// Whether files are out of date, and can be written.
    pub(crate) fn are_due(&self) -> bool {
        self.dirty && !self.complained && self.is_reachable()
    }

    /// Whether something changed, or enough time has passed: then the receipt is to be filled in.
    pub(crate) fn is_stale(&self) -> bool {
        self.dirty || self.age() >= RECEIPT_INTERVAL
    }

    fn age(&self) -> std::time::Duration {
        self.written_at.map_or(RECEIPT_INTERVAL, |at| at.elapsed())
    }

    /// Whether they are written now: the first change at once, what follows closely together; stopping waits for nothing.
    pub(crate) fn is_time(&self) -> bool {
        self.age() >= FILES_INTERVAL || self.written.is_empty()
    }

    /// Brings the files up to date.
    pub(crate) fn write(&mut self, listed: &[Listed]) {
        if !self.is_reachable() {
            // A directory that comes back is taken over anew.
            self.lock = None;
            self.written.clear();
            return;
        }
        if self.lock.is_none()
            && let Err(e) = self.take_over()
        {
            return self.complain(&chain(&e));
        }
        let Some(state) = self.state.clone() else { return };
        match self.write_to(&state, listed) {
            Ok(()) => {
                self.dirty = false;
                self.complained = false;
                self.written_at = Some(Instant::now());
            }
            Err(e) => self.complain(&format!("{}: cannot be written: {}", state.path().display(), chain(&e))),
        }
    }

    fn write_to(&mut self, state: &StateDir, listed: &[Listed]) -> io::Result<()> {
        let written = &mut self.written;
        replace(written, state, RECEIPT_FILE, &self.receipt)?;
        if self.dirty {
            if let Some(good) = &self.last_good {
                replace(written, state, LAST_GOOD_FILE, good)?;
            }
            replace(written, state, REGISTRY_FILE, &Versioned { version: VERSION, entries: listed })?;
            let entries = &self.receipt.quarantined;
            replace(written, state, QUARANTINE_FILE, &Versioned { version: VERSION, entries })?;
        }
        match written.contains_key(SCHEMA_FILE) {
            true => Ok(()),
            false => replace(written, state, SCHEMA_FILE, &self.schema),
        }
    }

    fn complain(&mut self, message: &str) {
        if !std::mem::replace(&mut self.complained, true) {
            tracing::error!("the host's files are out of date: {message}");
        }
        // Not at every message, but again soon.
        self.written_at = Some(Instant::now());
    }
}

/// Replaces a file, unless it would say what it says already.
fn replace<T: Serialize>(
    written: &mut HashMap<&'static str, Digest>,
    state: &StateDir,
    name: &'static str,
    value: &T,
) -> io::Result<()> {
    let text = text::json(serde_json::to_string_pretty(value)? + "\n");
    let digest = Digest::of(text.as_bytes());
    if written.get(name) != Some(&digest) {
        state.write(name, text.as_bytes())?;
        written.insert(name, digest);
    }
    Ok(())
}
