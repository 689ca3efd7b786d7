//! The control task's books: receipt, registry, quarantine list and schema, written when something changed.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Instant, SystemTime};

use super::Control;
use super::last_good::LastGood;
use super::trying::{Trial, Trials};
use crate::artifact::load::mapped_libraries;
use crate::artifact::vet::{Digest, PrivateError, STAGED, StagingDir, check_private, take_directory};
use crate::control::activation;
use crate::core::limits::{FILES_INTERVAL, MAX_DUMPS, RECEIPT_INTERVAL, RECENT_CHANGES};
use crate::core::text::{self, chain, shown};
use crate::facade::StartError;
use crate::record::{DUMPS, Recorder};
use crate::serving::lane::stuck_threads;
use crate::serving::shadow::Shadows;
use crate::serving::slot::Active;
use crate::state::receipt::{
    ActiveReceipt, CLEAR_FILE, DumpReceipt, GuardReceipt, HostProcess, LAST_GOOD_FILE, LOCK_FILE, LastChange,
    QUARANTINE_FILE, Quarantined, RECEIPT_FILE, REGISTRY_FILE, Receipt, SCHEMA_FILE, StateDir, TRYING_FILE, unix_ms,
};

/// What in the state directory the host maps, writes into, or believes.
const OWN: [&str; 9] =
    [STAGED, DUMPS, LOCK_FILE, QUARANTINE_FILE, RECEIPT_FILE, REGISTRY_FILE, SCHEMA_FILE, LAST_GOOD_FILE, TRYING_FILE];

/// See the module.
pub(super) struct Books {
    state: Option<StateDir>,
    plugins: Option<PathBuf>,
    /// Held for the life of the host: one host a state directory.
    lock: Option<File>,
    receipt: Receipt,
    /// The generation that the receipt names.
    proved: Option<Arc<Active>>,
    last_good: Option<LastGood>,
    active_file_sha256: String,
    dirty: bool,
    /// Hashes of the files as written last.
    written: std::collections::HashMap<&'static str, Digest>,
    written_at: Option<Instant>,
    complained: bool,
    /// What foreign code is being tried.
    pub(super) trials: Trials,
    /// What an earlier host was trying when it ended, until that is in an event and the receipt.
    pub(super) left_trials: Vec<Trial>,
    /// Where libraries are staged when there is no state directory to hold them.
    own_staging: Option<tempfile::TempDir>,
}

impl Books {
    pub(super) fn open(state: Option<StateDir>, plugins: Option<&Path>) -> Result<Self, StartError> {
        let now = unix_ms(SystemTime::now());
        let host = HostProcess { pid: std::process::id(), started_unix_ms: now, updated_unix_ms: now };
        let mut books = Self {
            last_good: state.as_ref().and_then(LastGood::read),
            state,
            plugins: plugins.map(Path::to_owned),
            lock: None,
            receipt: Receipt { host, ..Receipt::default() },
            proved: None,
            active_file_sha256: String::new(),
            dirty: true,
            written: std::collections::HashMap::new(),
            written_at: None,
            complained: false,
            trials: Trials::default(),
            left_trials: Vec::new(),
            own_staging: None,
        };
        if books.is_reachable() {
            books.take_over()?;
        }
        Ok(books)
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
    fn take_over(&mut self) -> Result<(), StartError> {
        let Some(state) = &self.state else { return Ok(()) };
        let unusable = |source| StartError::StateDir { path: state.path().to_owned(), source };
        take_directory(state.path()).map_err(|e| match e {
            PrivateError::Unsafe(e) => StartError::Unsafe(e),
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
                return Err(StartError::InUse { path: state.path().to_owned(), pid });
            }
            Err(std::fs::TryLockError::Error(source)) => return Err(unusable(source)),
        }
        StagingDir::under(state.path()).sweep(&self.kept_digests());
        // Asked of a host that has ended: carried out later, it would lift what was quarantined since.
        let _ = std::fs::remove_file(state.path().join(CLEAR_FILE));
        self.left_trials.extend(self.trials.take_over(state));
        self.lock = Some(lock);
        Ok(())
    }

    /// The last good composition of an earlier host, or of this one.
    pub(super) fn last_good(&self) -> Option<&LastGood> {
        self.last_good.as_ref()
    }

    /// Notes that a file was deleted, or is there again.
    pub(super) fn set_deleted(&mut self, file: &str, deleted: bool) {
        if let Some(good) = &mut self.last_good {
            good.set_deleted(file, deleted);
            self.dirty = true;
        }
    }

    /// Libraries whose staged copies outlive the host.
    fn kept_digests(&self) -> BTreeSet<Digest> {
        self.last_good.as_ref().map(LastGood::digests).unwrap_or_default()
    }

    /// Where libraries are staged.
    pub(super) fn staging(&mut self) -> StagingDir {
        if let Some(state) = &self.state {
            return StagingDir::under(state.path());
        }
        if self.own_staging.is_none() {
            self.own_staging = tempfile::tempdir().ok();
        }
        StagingDir::under(self.own_staging.as_ref().map_or(Path::new("."), |d| d.path()))
    }

    /// The state directory, where one can be there.
    pub(super) fn reachable_state_dir(&self) -> Option<PathBuf> {
        self.state.as_ref().filter(|_| self.is_reachable()).map(|state| state.path().to_owned())
    }

    /// Notes a dump.
    pub(super) fn dumped(&mut self, dump: DumpReceipt) {
        let dumps = &mut self.receipt.dumps;
        dumps.push(dump);
        dumps.drain(..dumps.len().saturating_sub(MAX_DUMPS));
        self.dirty = true;
    }

    pub(super) fn remembered_quarantine(&self) -> Vec<Quarantined> {
        let read = self.state.as_ref().map(|s| s.read_json::<Vec<Quarantined>>(QUARANTINE_FILE));
        match read {
            Some(Ok(list)) => list.unwrap_or_default(),
            Some(Err(e)) => {
                tracing::warn!("the quarantine list cannot be read and is begun anew: {}", chain(&e));
                Vec::new()
            }
            None => Vec::new(),
        }
    }

    pub(super) fn remember_quarantine(&mut self, list: Vec<Quarantined>) {
        self.receipt.quarantined = list;
        self.dirty = true;
    }

    /// Notes what the previous host was trying when it ended.
    pub(super) fn ended_in_trial(&mut self, message: &str) {
        self.receipt.ended_in_trial.push(shown(message));
        self.dirty = true;
    }

    /// Something in the registry changed.
    pub(super) fn touch(&mut self) {
        self.dirty = true;
    }

    /// Write everything, whatever was written before: the directory may be a new one.
    pub(super) fn force(&mut self) {
        self.dirty = true;
        self.written.clear();
    }

    /// Replaces a file, unless it would say what it says already.
    fn write<T: serde::Serialize>(&mut self, state: &StateDir, name: &'static str, value: &T) -> std::io::Result<()> {
        let text = text::json(serde_json::to_string_pretty(value)? + "\n");
        let digest = Digest::of(text.as_bytes());
        if self.written.get(name) != Some(&digest) {
            state.write(name, text.as_bytes())?;
            self.written.insert(name, digest);
        }
        Ok(())
    }

    /// Notes a change, done or refused.
    pub(super) fn changed(&mut self, ok: bool, code: &str, file: &str, message: &str, active_file_sha256: &str) {
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

    /// Notes which `active.json` is being served.
    pub(super) fn serves(&mut self, active_file_sha256: &str) {
        self.active_file_sha256 = active_file_sha256.to_owned();
        self.dirty = true;
    }

    /// Notes that a generation has answered, or has proved idle: from now on the receipt names it.
    pub(super) fn proved(&mut self, active: &Arc<Active>) {
        let before = self.last_good.take();
        self.last_good = LastGood::of(&active.info).map(|good| good.after(before.as_ref())).or(before);
        self.proved = Some(Arc::clone(active));
        self.dirty = true;
    }
}

impl Control {
    /// Whether files are out of date, and can be written.
    pub(super) fn owes_files(&self) -> bool {
        self.books.dirty && !self.books.complained && self.books.is_reachable()
    }

    /// Brings receipt and files up to date, if something changed or enough time has passed.
    pub(super) fn write_books(&mut self) {
        self.release_proved();
        let age = self.books.written_at.map_or(RECEIPT_INTERVAL, |at| at.elapsed());
        if !self.books.dirty && age < RECEIPT_INTERVAL {
            return;
        }
        self.fill_receipt();
        *self.shared.receipt.lock().unwrap_or_else(PoisonError::into_inner) = self.books.receipt.clone();
        // The first change is written at once, what follows closely together; stopping waits for nothing.
        if age < FILES_INTERVAL && !self.books.written.is_empty() {
            return;
        }
        let listed = self.list();
        *self.shared.listed.lock().unwrap_or_else(PoisonError::into_inner) = listed.clone();
        if !self.books.is_reachable() {
            // A directory that comes back is taken over anew.
            self.books.lock = None;
            self.books.written.clear();
            return;
        }
        if self.books.lock.is_none()
            && let Err(e) = self.books.take_over()
        {
            return self.complain(&chain(&e));
        }
        let Some(state) = self.books.state.clone() else { return };
        let all = self.books.dirty;
        let written = self.books.write(&state, RECEIPT_FILE, &self.books.receipt.clone()).and_then(|()| {
            if all {
                if let Some(good) = self.books.last_good.clone() {
                    self.books.write(&state, LAST_GOOD_FILE, &good)?;
                }
                self.books.write(&state, REGISTRY_FILE, &listed)?;
                self.books.write(&state, QUARANTINE_FILE, &self.books.receipt.quarantined.clone())?;
            }
            match self.books.written.contains_key(SCHEMA_FILE) {
                true => Ok(()),
                false => self.books.write(&state, SCHEMA_FILE, &activation::schema()),
            }
        });
        match written {
            Ok(()) => {
                self.books.dirty = false;
                self.books.complained = false;
                self.books.written_at = Some(Instant::now());
            }
            Err(e) => self.complain(&format!("{}: cannot be written: {}", state.path().display(), chain(&e))),
        }
    }

    fn complain(&mut self, message: &str) {
        if !std::mem::replace(&mut self.books.complained, true) {
            tracing::error!("the host's files are out of date: {message}");
        }
        // Not at every message, but again soon.
        self.books.written_at = Some(Instant::now());
    }

    fn list(&self) -> Vec<crate::state::receipt::Listed> {
        let lineup = self.shared.slot.load();
        let info = &lineup.serving().info;
        self.registry.list(|sha256, name| {
            (info.sha256 == sha256 && info.policy == name)
                || info.parts().any(|part| part.sha256 == sha256 && part.name == name)
        })
    }

    /// The receipt keeps a generation alive only while it is in the line-up.
    fn release_proved(&mut self) {
        let lineup = self.shared.slot.load();
        let in_lineup =
            |a: &Arc<Active>| [&lineup.active, &lineup.standby, &lineup.initial].into_iter().any(|l| Arc::ptr_eq(l, a));
        if self.books.proved.as_ref().is_some_and(|a| !in_lineup(a))
            && let Some(gone) = self.books.proved.take()
        {
            // The books may hold the last reference: dropping it is not for this thread.
            self.retire(gone);
        }
    }

    fn fill_receipt(&mut self) {
        let lineup = self.shared.slot.load();
        let (registry, books) = (&self.registry, &mut self.books);
        if let Some(active) = &books.proved {
            let info = &active.info;
            let (shadow, shadow_rounds_skipped) = active.shadows.as_ref().map(Shadows::receipts).unwrap_or_default();
            let mut receipt = ActiveReceipt {
                shadow,
                shadow_rounds_skipped,
                policy: info.policy.clone(),
                version: info.version.clone(),
                generation: info.generation,
                library: info.library.clone(),
                sha256: info.sha256.clone(),
                lane: info.lane.as_str().into(),
                since_unix_ms: unix_ms(info.since),
                rounds_answered: active.rounds.load(Ordering::Relaxed),
                filters: info.filters.iter().map(|filter| filter.receipt(1)).collect(),
                scores: info.scores.iter().map(|(score, weight)| score.receipt(*weight)).collect(),
                fallback: info.fallback.name().into(),
                deadline_ms: u64::try_from(info.deadline.as_millis()).unwrap_or(u64::MAX),
                cause: info.cause.as_str().into(),
                active_file_sha256: books.active_file_sha256.clone(),
                file_deleted: !info.sha256.is_empty() && !registry.has_file(&info.sha256),
                file_refused: registry.refused_since(&info.sha256).unwrap_or_default().to_owned(),
                guard: GuardReceipt {
                    misses: info.guard.misses,
                    restarts: info.guard.restarts,
                    window_s: info.guard.window.as_secs(),
                },
                ..ActiveReceipt::default()
            };
            receipt.fill_calls(active, &lineup);
            books.receipt.active = Some(receipt);
        }
        let in_use: std::collections::BTreeSet<&str> = std::iter::once(lineup.active.info.sha256.as_str())
            .chain(lineup.active.info.all_parts().map(|part| part.sha256.as_str()))
            .filter(|s| !s.is_empty())
            .collect();
        let mapped = mapped_libraries() as u64;
        books.receipt.mapped_libraries = mapped;
        books.receipt.retired_libraries = mapped.saturating_sub(in_use.len() as u64);
        books.receipt.fallback_rounds = self.shared.fallback_rounds.load(Ordering::Relaxed);
        books.receipt.empty_rounds = self.shared.empty_rounds.load(Ordering::Relaxed);
        books.receipt.dropped_rounds = self.shared.dropped_rounds.load(Ordering::Relaxed);
        books.receipt.dropped_messages = self.shared.dropped.load(Ordering::Relaxed);
        books.receipt.stuck_threads = stuck_threads() as u64;
        books.receipt.recording = self.shared.recorder.as_ref().map(Recorder::receipt);
        books.receipt.quarantined = registry.quarantined();
        books.receipt.rebuild = registry.to_rebuild();
        let next = lineup.serving();
        let binds = !next.closed.load(Ordering::Acquire);
        books.receipt.answers =
            if binds { format!("{} {}", next.info.policy, next.info.library) } else { String::new() };
        books.receipt.host.updated_unix_ms = unix_ms(SystemTime::now());
    }
}
