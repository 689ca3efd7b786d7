//! The flight recorder: what every round was asked, and what was answered, kept in a file that can be replayed.
//!
//! Recording is off the hot path. `bind` hands over references to the round, the answer and the limits, and never waits;
//! what a full queue refuses is not recorded, and is counted. A thread of low priority writes. Three things
//! follow: a round that is being recorded cannot be reused by the embedder at once (its executor rows are copied for the
//! next one); memory in the queue is bounded by [`MAX_QUEUED_BYTES`](crate::core::limits::MAX_QUEUED_BYTES); and a recording
//! may have gaps, which it tells.
//!
//! # The file
//! A header, then frames. Every frame is checked and compressed for itself, so a file that was cut (by a crash, by a
//! full disk) is good up to its last whole frame. Rosters, stages and generations are written once, before the first
//! round that refers to them. All numbers are little-endian.
//! ```text
//! header  magic "PHRECORD" | format version u32 | length of the text u32 | JSON text | XXH3-64 of all before
//! frame   "FRAM" | length u32 | packed length u32 | check of these u32 | XXH3-64 of the packed bytes | LZ4 block
//! entry   kind u8 | length u32 | content                  (a frame unpacked is a run of entries)
//! ```
//! A reader skips kinds of entries that it does not know; a change that older readers cannot bear raises the version.
//! It is bounded: at [`RecordOptions::limit_bytes`] recording stops, an end that says so is written, and what comes later
//! is counted but not kept. The beginning is kept rather than the end, because a replay needs the state that policies
//! build up from their first round on; what happens in a bad round much later is kept by the guard's dumps.

mod codec;
mod dump;
mod entry;
mod error;
mod frame;
mod keep;
mod read;
mod restore;
mod writer;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use entry::{Entry, RecordedFault, RecordedRound};
pub use error::RecordingError;
pub use read::{Ending, Reader, is_recording};

pub(crate) use dump::write as write_dump;
pub(crate) use writer::Recorder;

use crate::core::limits::RECORDING_BYTES;

/// What a recording begins with.
pub const MAGIC: [u8; 8] = *b"PHRECORD";
/// The version of the format that this host writes, and the newest that it reads.
pub const VERSION: u32 = 1;

/// What to record, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordOptions {
    /// The file; it must not be there yet.
    pub file: PathBuf,
    /// How large it may become.
    pub limit_bytes: u64,
    /// What a reader should know besides (a cluster's network, a workload's name): goes into the header.
    pub about: serde_json::Map<String, serde_json::Value>,
}

impl RecordOptions {
    /// Records to this file, up to the default limit.
    #[must_use]
    pub fn new(file: impl Into<PathBuf>) -> Self {
        Self { file: file.into(), limit_bytes: RECORDING_BYTES, about: serde_json::Map::new() }
    }
}

/// What a recording says of itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Header {
    /// `recording`, or `dump` for the one round that took a generation out of service.
    pub kind: String,
    /// The version of the host that wrote it.
    pub host_version: String,
    /// The major version of the plugin API.
    pub api_major: u32,
    /// The minor version of the plugin API.
    pub api_minor: u32,
    /// When it was begun.
    pub started_unix_ms: u64,
    /// What the embedder adds.
    pub about: serde_json::Map<String, serde_json::Value>,
}

impl Header {
    fn new(kind: &str, about: serde_json::Map<String, serde_json::Value>) -> Self {
        Self {
            kind: kind.to_owned(),
            host_version: env!("CARGO_PKG_VERSION").to_owned(),
            api_major: policy_plugin_api::abi::API_MAJOR,
            api_minor: policy_plugin_api::abi::API_MINOR,
            started_unix_ms: crate::core::event::unix_ms(std::time::SystemTime::now()),
            about,
        }
    }
}

/// A generation that answered, as a recording has it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RecordedGeneration {
    /// Its number.
    pub generation: u64,
    /// The policy's name.
    pub policy: String,
    /// Its version.
    pub version: String,
    /// The file name of its library; `(built-in)` or `(embedder)` where it has none.
    pub library: String,
    /// The SHA-256 of its library; empty where it has none.
    pub sha256: String,
    /// The `active.json` that makes it: config, filters, scores, fallback.
    pub activation: serde_json::Value,
    /// The filters and scores beside it.
    pub parts: Vec<RecordedPart>,
    /// The deadline of a round.
    pub deadline_ms: u64,
    /// Why it was activated.
    pub cause: String,
    /// Rounds that it had answered before the first that is recorded: its state from those is not in the recording.
    pub rounds_before: u64,
}

/// A filter or score, as a recording has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RecordedPart {
    /// `filter` or `score`.
    pub kind: String,
    /// Its name.
    pub policy: String,
    /// Its version.
    pub version: String,
    /// The SHA-256 of its library.
    pub sha256: String,
}
