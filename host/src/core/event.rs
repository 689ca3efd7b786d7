//! What the host tells: one enum for listeners, logs and histories. A bad plugin is data here, not an exception.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::core::digest::Digest;
use crate::core::text::shown;

/// Milliseconds since the Unix epoch.
#[must_use]
pub fn unix_ms(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

/// Why a swap happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Cause {
    /// `active.json` changed.
    ActiveFile,
    /// A new library for the active policy (or one of its filters) arrived.
    NewLibrary,
    /// The active policy was taken out of service.
    Rollback,
    /// The embedder asked for it, or the host started with it.
    Api,
}

impl Cause {
    /// As it stands in summaries.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ActiveFile => "active-file",
            Self::NewLibrary => "new-library",
            Self::Rollback => "rollback",
            Self::Api => "api",
        }
    }
}

/// An event with its time.
#[derive(Clone, Debug)]
pub struct Event {
    /// Wall-clock time.
    pub at: SystemTime,
    /// Time since the host started.
    pub since_start: Duration,
    /// What happened.
    pub kind: EventKind,
}

impl Event {
    pub(crate) fn now(started: Instant, kind: EventKind) -> Self {
        Self { at: SystemTime::now(), since_start: started.elapsed(), kind: kind.with_message_shown() }
    }
}

/// What happened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum EventKind {
    /// The host began to host a plugin directory.
    Watching {
        /// The directory.
        directory: String,
    },
    /// A library passed every stage: its policies can be activated.
    Admitted {
        /// The file's name.
        file: String,
        /// Its content.
        digest: Digest,
        /// What it exports: (name, kind, version).
        exports: Vec<(String, String, String)>,
        /// From the file-system event.
        latency: Duration,
    },
    /// A file or an `active.json` was refused; nothing changed.
    Refused {
        /// The file's name.
        file: String,
        /// The stable code.
        code: &'static str,
        /// File, place, reason and what to do.
        message: String,
    },
    /// Two files give one name: the newer one wins.
    NameTaken {
        /// The name.
        name: String,
        /// The file that gives it now.
        winner: String,
        /// The file that gave it before.
        loser: String,
    },
    /// A file was refused whose bytes of before are good: they go on giving these names.
    NameKept {
        /// The file's name.
        file: String,
        /// The names.
        names: Vec<String>,
        /// The bytes that give them.
        digest: Digest,
    },
    /// A plugin file or `active.json` is gone; what it gave keeps running.
    FileGone {
        /// The file's name.
        file: String,
        /// What that means.
        message: String,
    },
    /// The plugin directory is gone, or back.
    Directory {
        /// Whether it is there.
        present: bool,
    },
    /// Another generation answers rounds from now on.
    Swapped {
        /// The policy that answered before.
        from: String,
        /// The policy that answers now.
        to: String,
        /// Its generation.
        generation: u64,
        /// Its library's content; empty for built-ins.
        sha256: String,
        /// Its library's file name; `(built-in)` for built-ins.
        library: String,
        /// Its version.
        version: String,
        /// Why.
        cause: Cause,
    },
    /// A generation answered its first round, or proved idle: the swap counts as done, and the receipt says so.
    Receipted {
        /// The policy.
        policy: String,
        /// Its generation.
        generation: u64,
        /// From the event that caused the swap to the first answered round (or to the activation, if no work flowed).
        latency: Duration,
        /// Whether a round was answered, or only the admission probe.
        by_round: bool,
    },
    /// A round was bound by the fallback.
    FallbackRound {
        /// The policy that did not answer.
        policy: String,
        /// Its generation.
        generation: u64,
        /// The stable code.
        code: &'static str,
        /// Policy, generation, violation or panic message.
        message: String,
    },
    /// A call missed its deadline. If that does not take the generation out of service, the standby answers until the
    /// call returns, or, after one more deadline, another instance of the same generation does.
    MissedDeadline {
        /// The policy.
        policy: String,
        /// Its generation.
        generation: u64,
        /// Which it is of how many, or that it does not count and why.
        message: String,
    },
    /// A generation that missed a deadline answers again.
    Resumed {
        /// The policy.
        policy: String,
        /// Its generation.
        generation: u64,
        /// Whether its call returned, or another instance has taken its place.
        message: String,
    },
    /// A library is out of service until an operator names it again.
    Quarantined {
        /// Its content; empty for a policy of the embedder's own.
        sha256: String,
        /// Its file's name.
        file: String,
        /// The stable code of what it did.
        code: &'static str,
    },
    /// The previous host ended, without being asked to, while it was trying this: it is judged again before it is used.
    EndedInTrial {
        /// The file that it comes from.
        file: String,
        /// The policy; empty if a library was being loaded.
        policy: String,
        /// What was being tried, and what happens now.
        message: String,
    },
    /// The round that took a generation out of service was kept, for `policy-host replay`.
    Dumped {
        /// The policy.
        policy: String,
        /// Its generation.
        generation: u64,
        /// The stable code of what it did.
        code: String,
        /// The file.
        file: String,
    },
    /// A retired policy's destructor panicked, or a hand-over of state was refused: nothing is lost, but say so.
    Note {
        /// The policy.
        policy: String,
        /// Its generation.
        generation: u64,
        /// What happened.
        message: String,
    },
}

impl EventKind {
    /// With its message on one line, cut and escaped. Names of files stay as they are: they say which file it is.
    fn with_message_shown(mut self) -> Self {
        match &mut self {
            Self::Refused { message, .. }
            | Self::FileGone { message, .. }
            | Self::FallbackRound { message, .. }
            | Self::Note { message, .. } => *message = shown(message.as_str()),
            _ => {}
        }
        self
    }

    /// Writes the event to the log. Names of files may hold anything: they are escaped here.
    pub(crate) fn trace(&self) {
        match self {
            Self::Watching { directory } => tracing::info!(directory = shown(directory), "watching"),
            Self::Admitted { file, digest, exports, .. } => {
                tracing::info!(file = shown(file), sha256 = %digest, ?exports, "library admitted");
            }
            Self::Refused { file, code, message } => tracing::warn!(file = shown(file), code, "{message}"),
            Self::NameKept { file, names, digest } => {
                let names = names.join(", ");
                tracing::info!(file = shown(file), names, sha256 = %digest, "the bytes admitted before go on answering");
            }
            Self::NameTaken { name, winner, loser } => {
                let (winner, loser) = (shown(winner), shown(loser));
                tracing::warn!(name, winner, loser, "two files give one policy name: the newer wins");
            }
            Self::FileGone { file, message } => tracing::warn!(file = shown(file), "{message}"),
            Self::Directory { present: true } => tracing::info!("the plugin directory is there"),
            Self::Directory { present: false } => tracing::warn!("the plugin directory is gone"),
            Self::Swapped { from, to, generation, sha256, cause, .. } => {
                tracing::info!(from, to, generation, sha256, cause = cause.as_str(), "policy swapped");
            }
            Self::Receipted { policy, generation, latency, by_round } => {
                let latency_us = latency.as_micros() as u64;
                tracing::info!(policy, generation, latency_us, by_round, "generation receipted");
            }
            Self::FallbackRound { policy, generation, code, message } => {
                tracing::error!(policy, generation, code, "fallback round: {message}");
            }
            Self::MissedDeadline { policy, generation, message } => {
                tracing::warn!(policy, generation, "missed deadline: {message}");
            }
            Self::Resumed { policy, generation, message } => tracing::warn!(policy, generation, "resumed: {message}"),
            Self::EndedInTrial { file, policy, message } => tracing::warn!(file, policy, "{message}"),
            Self::Quarantined { sha256, file, code } => {
                tracing::error!(sha256, file = shown(file), code, "library quarantined");
            }
            Self::Dumped { policy, generation, code, file } => {
                tracing::info!(policy, generation, code, file = shown(file), "round kept");
            }
            Self::Note { policy, generation, message } => tracing::warn!(policy, generation, "{message}"),
        }
    }
}
