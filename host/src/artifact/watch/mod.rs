//! Watching a plugin directory: the only code that knows `notify`.
//!
//! The directory is watched, never a file. What the watcher says is only a hint to look: whether something changed is
//! decided by the file's fingerprint, and a periodic rescan finds what the watcher missed (lost events, network file
//! systems, a directory that was deleted and recreated). A swap of the `..data` link of a ConfigMap mount counts as the
//! arrival of everything behind it.

mod settle;

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime};

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind, RenameMode};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};

use crate::core::composition::ACTIVE_FILE;
use crate::core::limits::{CHANGING_LIMIT, MAX_PLUGIN_FILES, QUIET_PERIOD};
use crate::core::text;
use settle::{Due, Settle, Signal, Times};

/// How long a written file may stay unclosed before it is read all the same.
const UNCLOSED_PERIOD: Duration = Duration::from_millis(400);

/// What happened to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChangeKind {
    /// It is there, new or different, and still.
    Changed,
    /// It is gone.
    Gone,
    /// It keeps changing.
    KeepsChanging,
}

/// What the watcher tells the control task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// A library or the active file.
    File { name: String, path: PathBuf, kind: ChangeKind, seen_at: Instant },
    /// The directory is there (again), or gone.
    Directory { present: bool },
    /// The first look at the directory is complete.
    Scanned,
}

/// Ends the watching when dropped.
#[derive(Debug)]
pub(crate) struct WatchHandle {
    stop: mpsc::Sender<Input>,
}

impl Drop for WatchHandle {
    fn drop(&mut self) {
        let _ = self.stop.send(Input::Stop);
    }
}

#[derive(Debug)]
enum Input {
    Notify(notify::Result<notify::Event>),
    Stop,
}

/// Watches `directory` on a thread of its own until the handle is dropped; `tell` may block.
pub(crate) fn watch(
    directory: PathBuf,
    rescan: Duration,
    tell: impl FnMut(Change) -> bool + Send + 'static,
) -> std::io::Result<WatchHandle> {
    let (sender, inputs) = mpsc::channel();
    let stop = sender.clone();
    let times = Times { quiet: QUIET_PERIOD, unclosed: UNCLOSED_PERIOD, limit: CHANGING_LIMIT };
    std::thread::Builder::new().name("policy-watch".into()).spawn(move || {
        Watching {
            directory,
            rescan,
            settle: Settle::new(times),
            reported: HashMap::new(),
            armed: None,
            present: None,
            sender,
            looked_at: Instant::now(),
            tell: Box::new(tell),
        }
        .run(&inputs);
    })?;
    Ok(WatchHandle { stop })
}

/// What makes two versions of a file different without reading them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fingerprint {
    identity: (u64, u64),
    length: u64,
    modified: Option<SystemTime>,
    changed: (i64, i64),
    /// A path that exists but cannot be looked at, say a circle of links.
    broken: bool,
}

impl Fingerprint {
    fn of(path: &Path) -> Option<Self> {
        match fs::metadata(path) {
            Ok(metadata) => Some(Self::new(&metadata, false)),
            // There may be something all the same: vetting will say what.
            Err(_) => fs::symlink_metadata(path).ok().map(|metadata| Self::new(&metadata, true)),
        }
    }

    /// Whether somebody wrote a moment ago.
    fn is_fresh(self) -> bool {
        let age = self.modified.and_then(|at| at.elapsed().ok());
        age.is_some_and(|age| age < UNCLOSED_PERIOD)
    }

    /// When a change happened that came without an event: as the file says, but after the last look and not after `now`.
    /// What the file says may be wrong (another machine's clock, a rename that leaves its times alone): then it counts
    /// from the last look, so that no latency is shown shorter than it was.
    fn happened(self, wall: SystemTime, now: Instant, last_look: Instant) -> Instant {
        let age = self.changed_at().and_then(|at| wall.duration_since(at).ok());
        age.and_then(|age| now.checked_sub(age)).map_or(last_look, |at| at.max(last_look))
    }

    #[cfg(unix)]
    fn changed_at(self) -> Option<SystemTime> {
        let (seconds, nanos) = self.changed;
        let since_epoch = Duration::new(u64::try_from(seconds).ok()?, u32::try_from(nanos).ok()?);
        (!since_epoch.is_zero()).then(|| SystemTime::UNIX_EPOCH + since_epoch)
    }

    #[cfg(not(unix))]
    fn changed_at(self) -> Option<SystemTime> {
        self.modified
    }

    #[cfg(unix)]
    fn new(m: &Metadata, broken: bool) -> Self {
        use std::os::unix::fs::MetadataExt;
        // The times of a directory change with its content, which is none of our business.
        let (length, modified, changed) = match m.is_dir() {
            true => (0, None, (0, 0)),
            false => (m.len(), m.modified().ok(), (m.ctime(), m.ctime_nsec())),
        };
        Self { identity: (m.dev(), m.ino()), length, modified, changed, broken }
    }

    #[cfg(not(unix))]
    fn new(m: &Metadata, broken: bool) -> Self {
        Self { identity: (0, 0), length: m.len(), modified: m.modified().ok(), changed: (0, 0), broken }
    }
}

struct Watching {
    directory: PathBuf,
    rescan: Duration,
    settle: Settle<OsString>,
    reported: HashMap<OsString, Fingerprint>,
    armed: Option<(RecommendedWatcher, Fingerprint)>,
    present: Option<bool>,
    sender: mpsc::Sender<Input>,
    /// When the whole directory was looked at last.
    looked_at: Instant,
    tell: Box<dyn FnMut(Change) -> bool + Send>,
}

impl Watching {
    fn run(mut self, inputs: &mpsc::Receiver<Input>) {
        self.first_look();
        if !(self.tell)(Change::Scanned) {
            return;
        }
        let mut next_scan = Instant::now() + self.rescan;
        loop {
            let wake = self.settle.next_due().map_or(next_scan, |due| due.min(next_scan));
            match inputs.recv_timeout(wake.saturating_duration_since(Instant::now())) {
                Ok(Input::Notify(event)) => {
                    self.take(event);
                    // What came together is looked at together.
                    loop {
                        match inputs.try_recv() {
                            Ok(Input::Notify(event)) => self.take(event),
                            Ok(Input::Stop) => return,
                            Err(_) => break,
                        }
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Input::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            }
            if Instant::now() >= next_scan {
                self.scan(Signal::Written);
                next_scan = Instant::now() + self.rescan;
            }
            if !self.report() {
                return;
            }
        }
    }

    /// Everything that is there already, oldest first. What was written just now may still be: it gets a second look.
    fn first_look(&mut self) {
        self.arm();
        let now = Instant::now();
        let look = |names: Vec<OsString>| -> Vec<(Option<Fingerprint>, OsString)> {
            names.into_iter().map(|n| (Fingerprint::of(&self.directory.join(&n)), n)).collect()
        };
        let mut seen = look(self.names());
        if seen.iter().any(|(print, _)| print.is_some_and(Fingerprint::is_fresh)) {
            std::thread::sleep(QUIET_PERIOD);
        }
        seen.sort_by_key(|(print, name)| (print.and_then(|p| p.modified), name.clone()));
        for (before, name) in seen {
            if Fingerprint::of(&self.directory.join(&name)) == before {
                self.look(name, now);
            } else {
                let now = Instant::now();
                self.settle.signal(name, Signal::Written, now, now);
            }
        }
    }

    /// Sees to it that the directory that is there now is the one that is watched.
    fn arm(&mut self) {
        let there = Fingerprint::of(&self.directory).filter(|_| self.directory.is_dir());
        if self.present != Some(there.is_some()) {
            self.present = Some(there.is_some());
            (self.tell)(Change::Directory { present: there.is_some() });
        }
        let identity = |p: &Fingerprint| p.identity;
        if self.armed.as_ref().map(|(_, p)| identity(p)) == there.as_ref().map(identity) && self.armed.is_some() {
            return;
        }
        self.armed = None;
        let Some(print) = there else { return };
        let sender = self.sender.clone();
        let watcher = notify::recommended_watcher(move |event| {
            let _ = sender.send(Input::Notify(event));
        });
        let armed = watcher.and_then(|mut w| w.watch(&self.directory, RecursiveMode::NonRecursive).map(|()| w));
        match armed {
            Ok(watcher) => self.armed = Some((watcher, print)),
            // The rescan goes on without it.
            Err(e) => tracing::warn!(
                directory = text::path(&self.directory),
                "no file events, polling instead: {}",
                text::chain(&e)
            ),
        }
    }

    fn take(&mut self, event: notify::Result<notify::Event>) {
        let now = Instant::now();
        let event = match event {
            Ok(event) if !event.need_rescan() => event,
            Ok(_) => return self.scan(Signal::Written),
            Err(e) => {
                tracing::warn!("file events were lost, looking again: {}", text::chain(&e));
                return self.scan(Signal::Written);
            }
        };
        let signal = match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => Signal::Closed,
            EventKind::Modify(ModifyKind::Name(RenameMode::From)) | EventKind::Remove(_) => Signal::Removed,
            EventKind::Modify(ModifyKind::Name(_)) => Signal::Arrived,
            EventKind::Create(_) | EventKind::Modify(_) => Signal::Written,
            _ => return,
        };
        for path in &event.paths {
            // The directory itself: gone, moved or replaced.
            if *path == self.directory {
                self.arm();
                continue;
            }
            match path.file_name() {
                Some(name) if name.to_string_lossy().starts_with("..") => self.scan(Signal::Arrived),
                // Only this directory is watched, so the name says it all: a path may be spelled in more than one way.
                Some(name) if concerns_us(&name.to_string_lossy()) => {
                    self.settle.signal(name.to_owned(), signal, now, now)
                }
                _ => {}
            }
        }
    }

    fn names(&self) -> Vec<OsString> {
        let Ok(entries) = fs::read_dir(&self.directory) else { return Vec::new() };
        let mut names: Vec<OsString> =
            entries.flatten().map(|e| e.file_name()).filter(|n| concerns_us(&n.to_string_lossy())).collect();
        names.sort_unstable();
        if names.len() > MAX_PLUGIN_FILES {
            tracing::warn!(files = names.len(), limit = MAX_PLUGIN_FILES, "too many plugin files: the rest is ignored");
            names.truncate(MAX_PLUGIN_FILES);
        }
        names
    }

    /// Compares what is there with what was reported.
    fn scan(&mut self, signal: Signal) {
        self.arm();
        let now = Instant::now();
        let last_look = std::mem::replace(&mut self.looked_at, now);
        let names = self.names();
        for name in &names {
            let print = Fingerprint::of(&self.directory.join(name));
            let changed = print != self.reported.get(name).copied();
            if changed && (signal == Signal::Arrived || !self.settle.is_waiting(name)) {
                let happened = print.map_or(now, |print| print.happened(SystemTime::now(), now, last_look));
                self.settle.signal(name.clone(), signal, now, happened);
            }
        }
        let gone: Vec<OsString> = self.reported.keys().filter(|n| names.binary_search(n).is_err()).cloned().collect();
        for name in gone {
            if !self.settle.is_waiting(&name) {
                self.settle.signal(name, Signal::Removed, now, now);
            }
        }
    }

    fn report(&mut self) -> bool {
        for (name, due, seen_at) in self.settle.due(Instant::now()) {
            let going = match due {
                Due::Look => self.look(name, seen_at),
                Due::KeepsChanging => self.say(&name, ChangeKind::KeepsChanging, seen_at),
            };
            if !going {
                return false;
            }
        }
        true
    }

    fn look(&mut self, name: OsString, seen_at: Instant) -> bool {
        let print = Fingerprint::of(&self.directory.join(&name));
        let kind = match (print, self.reported.get(&name)) {
            (Some(now), Some(before)) if now == *before => return true,
            (None, None) => return true,
            (Some(now), _) => {
                self.reported.insert(name.clone(), now);
                ChangeKind::Changed
            }
            (None, Some(_)) => {
                self.reported.remove(&name);
                ChangeKind::Gone
            }
        };
        self.say(&name, kind, seen_at)
    }

    fn say(&mut self, name: &OsString, kind: ChangeKind, seen_at: Instant) -> bool {
        let path = self.directory.join(name);
        (self.tell)(Change::File { name: name.to_string_lossy().into_owned(), path, kind, seen_at })
    }
}

/// Whether a name in the plugin directory is a library's or the active file's. Names that begin with a dot are ours or
/// somebody's half-done work.
#[must_use]
pub fn concerns_us(name: &str) -> bool {
    let extension = Path::new(name).extension().and_then(|e| e.to_str());
    !name.starts_with('.') && (name == ACTIVE_FILE || matches!(extension, Some("so" | "dll" | "dylib")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_change_without_an_event_counts_from_when_it_happened() {
        let second = Duration::from_secs(1);
        let (now, wall) = (Instant::now() + 100 * second, SystemTime::UNIX_EPOCH + 1000 * second);
        let print = |changed| Fingerprint { identity: (0, 0), length: 1, modified: None, changed, broken: false };
        let happened = |changed| print(changed).happened(wall, now, now - 10 * second);
        assert_eq!(happened((997, 0)), now - 3 * second);
        assert_eq!(happened((999, 500_000_000)), now - second / 2);
        // Before the last look it was not there yet; a clock that is ahead says nothing.
        assert_eq!(happened((900, 0)), now - 10 * second);
        assert_eq!(happened((1001, 0)), now - 10 * second);
        assert_eq!(happened((0, 0)), now - 10 * second);
    }
}
