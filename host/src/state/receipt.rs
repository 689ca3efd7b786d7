//! What the files of the state directory say: what the host promises to have done, for people and scripts to read.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What answers now, what changed last, what is out of service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Receipt {
    /// The version of this form. It changes when a reader of an older one could take a field wrongly; fields may be added
    /// without.
    pub version: u32,
    /// The generation that answers: named only once it has answered a round, or an admission probe if no work flows.
    pub active: Option<ActiveReceipt>,
    /// The last change, done or refused.
    pub last_change: Option<LastChange>,
    /// The latest changes, oldest first, at most [`RECENT_CHANGES`](crate::core::limits::RECENT_CHANGES).
    pub recent_changes: Vec<LastChange>,
    /// Rounds that the fallback bound since the host started.
    pub fallback_rounds: u64,
    /// Rounds in which a failed filter let nothing through, or that were lost to a late answer; none of them ran a task.
    pub empty_rounds: u64,
    /// Rounds whose caller dropped its `bind` before it had an answer: nobody's fault, and answered by nobody.
    pub dropped_rounds: u64,
    /// Libraries that are mapped but no longer answer.
    pub retired_libraries: u64,
    /// Libraries mapped in the life of the process.
    pub mapped_libraries: u64,
    /// Threads that were written off and are still in plugin code, over all hosts of the process.
    pub stuck_threads: u64,
    /// Observations that were dropped because no round took them in time.
    pub dropped_messages: u64,
    /// Libraries out of service.
    pub quarantined: Vec<Quarantined>,
    /// Files of the plugin directory that were built for another major version of the plugin API, with what to do.
    pub rebuild: Vec<Rebuild>,
    /// Who binds the next round: a policy and where it comes from; empty while nothing may be bound.
    pub answers: String,
    /// The rounds that took generations out of service, as kept by this host for `policy-host replay`, oldest first, at
    /// most [`MAX_DUMPS`](crate::core::limits::MAX_DUMPS).
    pub dumps: Vec<DumpReceipt>,
    /// What the previous host was trying when it ended without being asked to.
    pub ended_in_trial: Vec<String>,
    /// The recording, where one was asked for.
    pub recording: Option<RecordingReceipt>,
    /// The process that writes this.
    pub host: HostProcess,
}

/// A file that must be built again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Rebuild {
    /// The file.
    pub file: String,
    /// For which API it was built, and what to do.
    pub message: String,
}

/// The generation that answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ActiveReceipt {
    /// The policy's name.
    pub policy: String,
    /// Its version.
    pub version: String,
    /// Its generation: one number for every instance the host makes, ascending.
    pub generation: u64,
    /// The file name of its library; `(built-in)` for built-ins.
    pub library: String,
    /// The SHA-256 of its library; empty for built-ins.
    pub sha256: String,
    /// Where it runs.
    pub lane: String,
    /// Since when.
    pub since_unix_ms: u64,
    /// Rounds that it has answered; 0 when only an admission probe has shown that it works, no work flowing.
    pub rounds_answered: u64,
    /// The filters before it.
    pub filters: Vec<PartReceipt>,
    /// The scores that `composite` asks.
    pub scores: Vec<PartReceipt>,
    /// The candidates that see its rounds without effect.
    pub shadow: Vec<ShadowReceipt>,
    /// Rounds that went by while the shadows were busy with another.
    pub shadow_rounds_skipped: u64,
    /// The built-in that binds a round when it cannot.
    pub fallback: String,
    /// The deadline of a round.
    pub deadline_ms: u64,
    /// What takes it out of service.
    pub guard: GuardReceipt,
    /// Deadlines that it missed and that count. Those of a process that was itself held up do not.
    pub missed_deadlines: u64,
    /// Those of them that count now.
    pub missed_in_window: u64,
    /// Late calls that returned, after which it answered again.
    pub late_calls_returned: u64,
    /// Instances of it that were written off with their threads.
    pub instances_written_off: u64,
    /// Who answers while one of its calls is late: a policy's name; empty while it answers itself.
    pub stands_in: String,
    /// Why it is active.
    pub cause: String,
    /// SHA-256 of the `active.json` that asked for it; empty when none did.
    pub active_file_sha256: String,
    /// Said when its file is not in the plugin directory any more.
    pub file_deleted: bool,
    /// The code for which its file was refused since: the bytes that answer are those admitted before. Empty otherwise.
    pub file_refused: String,
}

/// What takes a generation out of service, besides the faults that do so at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct GuardReceipt {
    /// The missed deadline with this number in the window does.
    pub misses: u32,
    /// The same for restarts of a process of its own.
    pub restarts: u32,
    /// How long each of them counts.
    pub window_s: u64,
}

/// A filter or score beside the policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PartReceipt {
    /// Its name.
    pub policy: String,
    /// The weight of a score; 1 for a filter.
    pub weight: u32,
    /// Its version.
    pub version: String,
    /// The SHA-256 of its library.
    pub sha256: String,
    /// The file name of its library.
    pub library: String,
}

/// What a shadow would have done, in the rounds that it saw since its activation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ShadowReceipt {
    /// Its name.
    pub policy: String,
    /// Its version.
    pub version: String,
    /// The SHA-256 of its library; empty for built-ins.
    pub sha256: String,
    /// The file name of its library.
    pub library: String,
    /// Its config, as `active.json` has it; `null` for none.
    pub config: Value,
    /// The scores that it asks, if it is `composite`.
    pub scores: Vec<PartReceipt>,
    /// Rounds that it answered legally.
    pub rounds: u64,
    /// Rounds that it declined.
    pub declined: u64,
    /// Tasks that it bound in these rounds.
    pub tasks: u64,
    /// Tasks that the active policy bound in them.
    pub tasks_of_active: u64,
    /// Tasks that both bound to the same executor, as a share of the larger of the two numbers; 1 where neither bound any.
    pub agreement: f64,
    /// Input bytes on the executor as a share of all input bytes of the tasks that it bound; 0 without input.
    pub local_bytes_share: f64,
    /// The same for the active policy.
    pub local_bytes_share_of_active: f64,
    /// Time of a round, median, in microseconds.
    pub latency_us_p50: u64,
    /// Time of a round, 99th percentile, in microseconds.
    pub latency_us_p99: u64,
    /// The code of the fault after which it was asked no more; empty while it is well.
    pub failed: String,
    /// What happened then.
    pub message: String,
}

/// The last change, done or refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LastChange {
    /// Counts changes since the host started.
    pub number: u64,
    /// Whether it was carried out.
    pub ok: bool,
    /// The stable code of the refusal; `ok` when carried out.
    pub code: String,
    /// The file it came from.
    pub file: String,
    /// What happened.
    pub message: String,
    /// When.
    pub at_unix_ms: u64,
    /// SHA-256 of the `active.json` that asked for it; empty when none did.
    pub active_file_sha256: String,
}

/// A library out of service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Quarantined {
    /// Its SHA-256.
    pub sha256: String,
    /// Its file name.
    pub file: String,
    /// The stable code of what it did.
    pub code: String,
    /// Which use of the library is out of service, where not all are: the digest of the libraries and configs that it was
    /// tried with.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub recipe: String,
}

/// What an operator asks to put back in service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ClearRequest {
    /// Policies, filters and scores by name: the library that gives each.
    pub names: Vec<String>,
    /// Libraries by SHA-256.
    pub sha256: Vec<String>,
    /// Everything.
    pub all: bool,
}

/// A round that took a generation out of service, kept in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct DumpReceipt {
    /// The file.
    pub file: String,
    /// The policy.
    pub policy: String,
    /// Its generation.
    pub generation: u64,
    /// The SHA-256 of its library.
    pub sha256: String,
    /// The stable code of what it did.
    pub code: String,
    /// When it was written.
    pub at_unix_ms: u64,
    /// How large it is.
    pub bytes: u64,
}

/// How a recording is getting on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RecordingReceipt {
    /// The file.
    pub file: String,
    /// Rounds written.
    pub rounds: u64,
    /// Rounds that found no room in the queue.
    pub rounds_missed: u64,
    /// Rounds that came too late: recording had stopped, or stopped before it came to them.
    pub rounds_after_stop: u64,
    /// Bytes written.
    pub bytes: u64,
    /// How large it may become.
    pub limit_bytes: u64,
    /// Why recording stopped: `limit`, `unwritable`, `closed`; empty while it goes on.
    pub stopped: String,
    /// Why it cannot be written; empty otherwise.
    pub message: String,
}

/// The process that writes the receipt.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct HostProcess {
    /// Its process id.
    pub pid: u32,
    /// When it started.
    pub started_unix_ms: u64,
    /// When it last wrote.
    pub updated_unix_ms: u64,
}

/// One policy of the registry, as `policy-host list --json` prints it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Listed {
    /// The policy's name; empty for a file that was refused before it could say.
    pub name: String,
    /// `policy`, `filter` or `score`.
    pub kind: String,
    /// The version of its package.
    pub version: String,
    /// The plugin API version that it was built against.
    pub api_version: String,
    /// Its file's name.
    pub file: String,
    /// The SHA-256 of its library.
    pub sha256: String,
    /// The newest generation made from it; 0 for none.
    pub generation: u64,
    /// `rejected`, `candidate`, `active`, `retired` or `quarantined`.
    pub state: String,
    /// The stable code of a refusal or quarantine; empty otherwise.
    pub code: String,
    /// Why it was refused; empty otherwise.
    pub message: String,
    /// Whether its file has other bytes by now, refused or not yet examined: these were admitted before, and give the
    /// name until better ones are admitted or the file is deleted.
    pub kept: bool,
    /// The JSON Schema of its config.
    pub config_schema: serde_json::Value,
}
