//! What foreign code is being tried in this process: a file in the state directory that is there only while it is, so that
//! a host whose predecessor died can say of what, and does not die of the same thing again and again.
//!
//! A trial is begun before a library is mapped, or a recipe constructed, and ends when that is over, or when the generation
//! that comes of it has answered. The file is written without waiting for the disk: what a process has written survives its
//! death; only a power loss can lose it, and that is nobody's fault.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::core::event::unix_ms;
use crate::core::limits::TRIED_ALONE;
use crate::core::text::chain;
use crate::state::directory::{StateDir, TRYING_FILE};

/// The newest version of the file that this host writes, and the newest that it reads.
const VERSION: u32 = 1;
/// In how many trials in a row a host must have ended before the recipe or library is put out of service.
pub(crate) const ENDS_IN_A_ROW: u32 = 2;
/// The code of what a host ended under twice.
pub(crate) const CRASHED_THE_HOST: &str = "crashed-the-host";

/// What is tried.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Trial {
    /// What it is doing: `load`, `construct`, `first-round`.
    pub(crate) stage: String,
    /// The file that it comes from.
    pub(crate) file: String,
    /// The policy; empty while a library is loaded.
    pub(crate) policy: String,
    /// The SHA-256 of the library whose code is tried first.
    pub(crate) sha256: String,
    /// What tells recipes apart: a digest of their libraries and configs; empty while a library is loaded.
    pub(crate) recipe: String,
    /// The recipe for people: what `active.json` would say.
    pub(crate) active: Value,
    /// How many hosts in a row have begun this trial without ending it, with this one.
    pub(crate) attempt: u32,
    /// The process.
    pub(crate) pid: u32,
    /// When it was begun.
    pub(crate) at_unix_ms: u64,
}

impl Trial {
    /// Loading a library and trying what it exports.
    pub(crate) fn of_library(file: &str, sha256: String) -> Self {
        Self {
            stage: "load".into(),
            file: file.to_owned(),
            policy: String::new(),
            sha256,
            recipe: String::new(),
            active: Value::Null,
            attempt: 0,
            pid: std::process::id(),
            at_unix_ms: unix_ms(SystemTime::now()),
        }
    }

    /// What tells it from others, over a restart.
    fn key(&self) -> (String, String) {
        (self.sha256.clone(), self.recipe.clone())
    }

    pub(crate) fn what(&self) -> String {
        let short = self.sha256.get(..12).unwrap_or("no library");
        match self.policy.as_str() {
            "" => format!("loading {} (sha256 {short})", self.file),
            policy => format!("trying {policy} of {} (sha256 {short}, {})", self.file, self.stage),
        }
    }
}

/// The file.
#[derive(Debug, Serialize, Deserialize)]
struct Trying {
    version: u32,
    trials: Vec<Trial>,
}

/// Keeps the file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trials(Arc<Together>);

#[derive(Debug, Default)]
struct Together {
    kept: Mutex<Kept>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct Kept {
    state: Option<StateDir>,
    current: Vec<(u64, Trial)>,
    begun: u64,
    /// Under what earlier hosts ended, and how often in a row.
    suspects: BTreeMap<(String, String), u32>,
    complained: bool,
    closed: bool,
}

impl Trials {
    /// Takes over what an earlier host left in the state directory, which this host has locked.
    pub(crate) fn take_over(&self, state: &StateDir) -> Vec<Trial> {
        let mut kept = self.lock();
        kept.state = Some(state.clone());
        let left = match state.read_json::<Trying>(TRYING_FILE) {
            Ok(Some(Trying { version: ..=VERSION, trials })) => trials,
            Ok(_) => Vec::new(),
            // What a power loss cut off names nobody.
            Err(e) => {
                tracing::warn!("{TRYING_FILE} cannot be read and is ignored: {}", chain(&e));
                Vec::new()
            }
        };
        for trial in &left {
            kept.suspects.insert(trial.key(), trial.attempt);
        }
        kept.write();
        left
    }

    /// Notes that a trial begins; it ends when the value is dropped. A suspect is tried alone, as far as possible, so that
    /// a host that ends again names nobody else: may wait for [`TRIED_ALONE`].
    pub(crate) fn begin(&self, mut trial: Trial) -> UnderTrial {
        let kept = self.lock();
        let suspect = kept.suspects.contains_key(&trial.key());
        let busy = |kept: &mut Kept| kept.current.iter().any(|(_, other)| suspect || other.attempt > 1);
        let waited = self.0.ended.wait_timeout_while(kept, TRIED_ALONE, busy);
        let mut kept = waited.unwrap_or_else(PoisonError::into_inner).0;
        trial.attempt = kept.suspects.get(&trial.key()).copied().unwrap_or(0) + 1;
        kept.begun += 1;
        let number = kept.begun;
        kept.current.push((number, trial));
        kept.write();
        drop(kept);
        UnderTrial { trials: self.clone(), number }
    }

    /// Whether an earlier host ended under the trial of this library and recipe.
    pub(crate) fn suspects(&self, sha256: &str, recipe: &str) -> bool {
        self.lock().suspects.contains_key(&(sha256.to_owned(), recipe.to_owned()))
    }

    /// Nothing is tried any more, as far as a later host is concerned: this one ends on request.
    pub(crate) fn close(&self) {
        let mut kept = self.lock();
        kept.current.clear();
        kept.write();
        kept.closed = true;
        self.0.ended.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// Brings the file up to date. A trial that cannot be written down goes on all the same.
    fn write(&mut self) {
        let Some(state) = self.state.as_ref().filter(|_| !self.closed) else { return };
        let written = if self.current.is_empty() {
            match std::fs::remove_file(state.path().join(TRYING_FILE)) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
                _ => Ok(()),
            }
        } else {
            let trials = self.current.iter().map(|(_, trial)| trial.clone()).collect();
            match state.path().is_dir() {
                true => state.write_json(TRYING_FILE, &Trying { version: VERSION, trials }),
                // It was deleted: it is not for a trial to bring it back.
                false => Ok(()),
            }
        };
        if let Err(e) = written
            && !std::mem::replace(&mut self.complained, true)
        {
            tracing::warn!("{TRYING_FILE} cannot be kept, so a crash would name nobody: {}", chain(&e));
        }
    }
}

/// A trial under way.
#[derive(Debug)]
pub(crate) struct UnderTrial {
    trials: Trials,
    number: u64,
}

impl UnderTrial {
    /// Notes that it has come to another stage.
    pub(crate) fn stage(&self, stage: &str) {
        let mut kept = self.trials.lock();
        if let Some((_, trial)) = kept.current.iter_mut().find(|(number, _)| *number == self.number) {
            stage.clone_into(&mut trial.stage);
            kept.write();
        }
    }
}

impl Drop for UnderTrial {
    fn drop(&mut self) {
        let mut kept = self.trials.lock();
        let Some(at) = kept.current.iter().position(|(number, _)| *number == self.number) else { return };
        let (_, trial) = kept.current.swap_remove(at);
        // The host has outlived it.
        kept.suspects.remove(&trial.key());
        kept.write();
        self.trials.0.ended.notify_all();
    }
}
