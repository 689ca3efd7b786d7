//! How a host is started, and why it is not.

use std::path::PathBuf;
use std::time::Duration;

use crate::artifact::judge::Judge;
use crate::artifact::vet::Unsafe;
use crate::core::built_in::{BuiltIn, TaskDistributionPolicy};
use crate::core::info::LaneKind;
use crate::core::limits::{ADMISSION_DEADLINE, RESCAN_INTERVAL, ROUND_DEADLINE};
use crate::record::RecordOptions;
use crate::state::directory::StateDir;
use crate::state::files::HoldError;

/// How to start a host.
#[derive(Clone, Debug)]
pub struct HostOptions {
    /// What answers until an `active.json` says otherwise, and when nothing else can.
    pub policy: TaskDistributionPolicy,
    /// The plugin directory; `None` hosts the built-in or custom policy only. It may appear later. A relative path, here
    /// and below, is resolved once, when the host starts.
    pub plugins: Option<PathBuf>,
    /// The host's own files; `None` puts them under the plugin directory.
    pub state_dir: Option<PathBuf>,
    /// The lane of policies whose `active.json` names none.
    pub lane: LaneKind,
    /// What binds a round when the policy cannot, where `active.json` names none.
    pub fallback: BuiltIn,
    /// The deadline of rounds whose `active.json` names none.
    pub deadline: Duration,
    /// How often the directory is read whether or not a file event came.
    pub rescan: Duration,
    /// How long vetting, loading, construction and canned rounds of one file may take together.
    pub admission_deadline: Duration,
    /// Judges each new file in a child process before it is mapped here.
    pub judge: Option<Judge>,
    /// Records every round to a file.
    pub record: Option<RecordOptions>,
}

impl Default for HostOptions {
    fn default() -> Self {
        Self {
            policy: TaskDistributionPolicy::default(),
            plugins: None,
            state_dir: None,
            lane: LaneKind::default(),
            fallback: BuiltIn::default(),
            deadline: ROUND_DEADLINE,
            rescan: RESCAN_INTERVAL,
            admission_deadline: ADMISSION_DEADLINE,
            judge: None,
            record: None,
        }
    }
}

impl HostOptions {
    /// Starts with this policy.
    #[must_use]
    pub fn with_policy(policy: TaskDistributionPolicy) -> Self {
        Self { policy, ..Self::default() }
    }

    /// Hosts this plugin directory.
    #[must_use]
    pub fn plugins(mut self, directory: impl Into<PathBuf>) -> Self {
        self.plugins = Some(directory.into());
        self
    }

    /// The state directory that these options name; `None` for a host without files.
    #[must_use]
    pub fn state_directory(&self) -> Option<StateDir> {
        match (&self.plugins, &self.state_dir) {
            (Some(plugins), state_dir) => Some(StateDir::of(plugins, state_dir.as_deref())),
            (None, Some(state_dir)) => Some(StateDir::of(state_dir, Some(state_dir))),
            (None, None) => None,
        }
    }

    /// Makes every path absolute: a plugin may change the working directory of the process. Links stay as they are, so
    /// that one that is made to point elsewhere is followed.
    pub(crate) fn with_absolute_paths(mut self) -> Result<Self, StartError> {
        let record = self.record.as_mut().map(|record| &mut record.file);
        for path in [self.plugins.as_mut(), self.state_dir.as_mut(), record].into_iter().flatten() {
            *path = std::path::absolute(&*path).map_err(|source| StartError::Path { path: path.clone(), source })?;
        }
        Ok(self)
    }

    /// Records every round as these options say.
    #[must_use]
    pub fn record(mut self, options: RecordOptions) -> Self {
        self.record = Some(options);
        self
    }
}

/// Why a host could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The state directory cannot be used.
    #[error("{path}: cannot hold the host's files (--state-dir names another directory)")]
    StateDir {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Another host uses the state directory.
    #[error("{path}: another host (process {pid}) uses this directory; stop it, or name another --state-dir")]
    InUse {
        /// The directory.
        path: PathBuf,
        /// The other host.
        pid: u32,
    },
    /// Somebody else could change the host's files.
    #[error(transparent)]
    Unsafe(#[from] Unsafe),
    /// The plugin path is not a directory.
    #[error("{path}: is not a directory")]
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// The recording cannot be begun.
    #[error("{path}: cannot be recorded to (name a file that is not there yet)")]
    Recording {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A relative path, and no working directory to resolve it in.
    #[error("{path}: cannot be made absolute (name an absolute path)")]
    Path {
        /// The path.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A thread cannot be started.
    #[error("cannot start a thread")]
    Thread {
        /// What the system says.
        #[from]
        source: std::io::Error,
    },
}

impl StartError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::StateDir { .. } => "state-dir-unusable",
            Self::InUse { .. } => "state-dir-in-use",
            Self::Unsafe(_) => "state-dir-unsafe",
            Self::NotADirectory { .. } => "not-a-directory",
            Self::Recording { .. } => "recording-unwritable",
            Self::Path { .. } => "path-unusable",
            Self::Thread { .. } => "no-thread",
        }
    }
}

impl From<HoldError> for StartError {
    fn from(error: HoldError) -> Self {
        match error {
            HoldError::Unusable { path, source } => Self::StateDir { path, source },
            HoldError::InUse { path, pid } => Self::InUse { path, pid },
            HoldError::Unsafe(error) => Self::Unsafe(error),
        }
    }
}
