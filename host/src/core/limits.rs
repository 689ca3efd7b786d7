//! Every limit of the host, in one place: name, unit, default, and what happens when it is reached.

use std::time::Duration;

/// Largest library file that is staged. Larger: refused with `too-large`.
pub const MAX_LIBRARY_BYTES: u64 = 256 * 1024 * 1024;
/// Largest `active.json`. Larger: refused with `too-large`.
pub const MAX_ACTIVE_FILE_BYTES: u64 = 1024 * 1024;
/// Distinct libraries mapped in the life of the process; code is never unloaded. Reached: further libraries are refused
/// with `too-many-libraries` until the host is restarted.
pub const MAX_LIBRARIES: usize = 256;
/// Threads that were written off and are still in plugin code, at one time, over all hosts of the process. Reached:
/// activations of loaded policies in the `thread` lane are refused with `too-many-stuck-threads`, and an instance whose
/// thread is written off gets no successor: its generation is taken out of service.
pub const MAX_STUCK_THREADS: usize = 16;
/// Threads that may run foreign code, at one time, over all hosts of the process. Reached: what needs another is refused with
/// `no-thread`.
pub const MAX_THREADS: usize = 1_024;
/// Files looked at in one plugin directory. Further ones are ignored, with a warning.
pub const MAX_PLUGIN_FILES: usize = 1_024;
/// Filters in one `active.json`.
pub const MAX_FILTERS: usize = 16;
/// Scores in one `active.json`.
pub const MAX_SCORES: usize = 16;
/// Largest weight of a score.
pub const MAX_WEIGHT: u32 = 1_000;
/// Shadow candidates in one `active.json`.
pub const MAX_SHADOWS: usize = 4;
/// Rounds and batches of observations waiting for the shadows. Full: they pass; rounds are counted.
pub const SHADOW_MESSAGES: usize = 64;
/// How long a shadow may take for a round before it counts as failed; the shadows behind it see nothing from then on.
pub const SHADOW_PATIENCE: Duration = Duration::from_secs(10);
/// How long the shadows rest after a round, in times of what they took for it: they get a twentieth of a core at most.
pub const SHADOW_REST: u32 = 19;
/// How large a recording may become, unless the embedder says otherwise. Reached: recording stops, and says so.
pub const RECORDING_BYTES: u64 = 256 * 1024 * 1024;
/// What of a recording's limit is kept for its end.
pub const RECORDING_END_BYTES: u64 = 256;
/// Longest text in the header of a recording.
pub const MAX_RECORDING_HEADER_BYTES: u32 = 1024 * 1024;
/// Rounds waiting to be recorded. Full: they are not recorded, and counted.
pub const RECORD_MESSAGES: usize = 16_384;
/// Memory of rounds waiting to be recorded. Reached: as above; a larger round goes alone.
pub const MAX_QUEUED_BYTES: usize = 64 * 1024 * 1024;
/// A frame of a recording is closed when it is larger than this, unpacked.
pub const FRAME_BYTES: usize = 1024 * 1024;
/// A frame of a recording is closed when it is older than this: what a crash loses at most.
pub const FRAME_AGE: Duration = Duration::from_secs(1);
/// Largest frame of a recording, unpacked: one round that is larger is not recorded, and ends the recording.
pub const MAX_FRAME_BYTES: u32 = 1024 * 1024 * 1024;
/// How long the recorder sleeps while it has nothing to write.
pub const RECORD_TICK: Duration = Duration::from_millis(2);
/// After this long without a round, the recorder sleeps until the next one wakes it.
pub const RECORD_IDLE: Duration = Duration::from_millis(250);
/// Dumps of rounds that took a generation out of service, in the state directory. More: the oldest are removed.
pub const MAX_DUMPS: usize = 16;
/// Bytes of all these dumps together. More: the oldest are removed; a larger one is not written.
pub const MAX_DUMPS_BYTES: u64 = 64 * 1024 * 1024;
/// Messages waiting for the control task. Full: whoever sends one waits; rounds send none.
pub const INBOX_MESSAGES: usize = 1_024;
/// Events kept for a slow listener. Overrun: the oldest are lost to that listener, and the log says how many.
pub const EVENTS_KEPT: usize = 4_096;
/// Observations waiting for the next round. Full: the oldest are dropped and counted.
pub const MAX_OBSERVATIONS: usize = 65_536;
/// Recipes (libraries with configs) remembered as rehearsed. Full: begun anew, which costs a few rehearsals.
pub const MAX_REHEARSED: usize = 4_096;
/// Changes that the receipt keeps.
pub const RECENT_CHANGES: usize = 32;
/// How long vetting, loading, construction and canned rounds of one file may take together.
pub const ADMISSION_DEADLINE: Duration = Duration::from_secs(10);
/// How long a file written in place must keep still before it is read. Files renamed into place are read at once.
pub const QUIET_PERIOD: Duration = Duration::from_millis(25);
/// A file that has kept changing for this long is refused with `still-changing`, and looked at again once it is still.
pub const CHANGING_LIMIT: Duration = Duration::from_secs(5);
/// How often the directory is read whether or not the watcher said anything: for network file systems, lost events,
/// and directories that were deleted and recreated.
pub const RESCAN_INTERVAL: Duration = Duration::from_secs(1);
/// Default deadline of a round in the `thread` lane.
pub const ROUND_DEADLINE: Duration = Duration::from_millis(50);
/// Longest deadline that `active.json` may ask for.
pub const MAX_ROUND_DEADLINE: Duration = Duration::from_secs(60);
/// How long a round may wait for its policy's thread to pick it up, on top of the deadline, which counts from then:
/// a machine that is busy elsewhere is not the policy's fault. Reached: the round goes to the standby, and nothing counts.
pub const PICKUP_GRACE: Duration = Duration::from_secs(2);
/// Missed deadlines in [`GUARD_WINDOW`] with which a generation is taken out of service, unless `"guard"` in
/// `active.json` says otherwise.
pub const GUARD_MISSES: u32 = 3;
/// The same for restarts of a worker process, of which no lane has one yet.
pub const GUARD_RESTARTS: u32 = 3;
/// How long a missed deadline counts, unless `"guard"` says otherwise.
pub const GUARD_WINDOW: Duration = Duration::from_secs(60);
/// Largest `misses` and `restarts` that `active.json` may ask for.
pub const MAX_GUARD_COUNT: u32 = 1_000;
/// Largest `window_s` that `active.json` may ask for.
pub const MAX_GUARD_WINDOW: Duration = Duration::from_secs(86_400);
/// How often the deadline of one call begins anew because this process was itself held up for longer than the deadline.
/// Reached: the round falls back, and the miss does not count.
pub const DEADLINE_RENEWALS: u32 = 3;
/// How long a policy may take to export its state for its successor. Reached: the successor starts cold. Rounds that come
/// meanwhile wait for their deadline, and then go to the standby.
pub const HAND_OVER_LIMIT: Duration = Duration::from_secs(1);
/// Generations that one round is put to, while those before were in calls that are late. Reached: the fallback binds it.
pub const MAX_LANES_TRIED: usize = 4;
/// How often one round is put to a new line-up because the one that it was put to was replaced before its turn came.
/// Reached: the fallback binds it.
pub const MAX_LINEUPS_TRIED: usize = 64;
/// What happened in one lane and the control task has not seen yet. More: the oldest is lost; nothing depends on it.
pub const LANE_NEWS: usize = 64;
/// How long a round looks for the answer of its policy's thread before it sleeps, where there is more than one core, and
/// when the last answer came in that time: the task that asks does nothing else meanwhile, as in the `inline` lane.
pub const LOOK_FOR_ANSWER: Duration = Duration::from_micros(100);
/// How long a policy's thread looks for the next round before it sleeps, where there is more than one core, and when one
/// of the last [`LOOKS_FOR_ROUND`] came in that time: of a core that nobody else wants, so much a round at most.
pub const LOOK_FOR_ROUND: Duration = Duration::from_micros(200);
/// See [`LOOK_FOR_ROUND`].
pub const LOOKS_FOR_ROUND: u32 = 2;
/// A generation that got no round for this long after its activation is receipted by its admission probe.
pub const IDLE_AFTER: Duration = Duration::from_millis(200);
/// How long an `active.json` waits for a name that no library gives yet: the file may be on its way.
pub const UNKNOWN_NAME_GRACE: Duration = Duration::from_millis(300);
/// How often the host's files are written at most: the first change at once, what follows closely together.
pub const FILES_INTERVAL: Duration = Duration::from_millis(25);
/// How long line-ups that were replaced are kept, so that what left is ended together.
pub const RETIRE_INTERVAL: Duration = Duration::from_millis(100);
/// How often the receipt's counters are brought up to date while rounds flow.
pub const RECEIPT_INTERVAL: Duration = Duration::from_secs(1);
/// Threads of a kind that wait for their next work; more of them end when they have nothing to do.
pub const IDLE_WORKERS: usize = 2;
/// Stack of a thread that runs plugin code.
pub const PLUGIN_STACK_BYTES: usize = 4 * 1024 * 1024;
/// Longest message of an error or event, in bytes; longer ones are cut.
pub const MAX_MESSAGE_BYTES: usize = crate::core::text::MAX_TEXT_BYTES;
/// How long the trial of what an earlier host ended under waits until nothing else is tried, and others for its end.
pub const TRIED_ALONE: Duration = Duration::from_secs(2);
/// How long the judge's child process may take for one file.
pub const JUDGE_TIME_LIMIT: Duration = Duration::from_secs(10);
/// Stack on which the judge's child runs foreign code, initialisers included: less than any stack that the code meets in a
/// host, which is [`PLUGIN_STACK_BYTES`] in lanes and during admission, and what a tokio worker has (2 MiB unless the
/// embedder says otherwise) in the `inline` lane. More is needed: refused with `crashes`.
pub const JUDGE_STACK_BYTES: usize = 1024 * 1024;
/// Longest order to the judge's child: paths, and the configs of one `active.json`.
pub const MAX_ORDER_BYTES: u64 = 16 * 1024 * 1024;
/// What is read of all that the judge's child says. A verdict beyond it is none.
pub const MAX_VERDICT_BYTES: u64 = 4 * 1024 * 1024;
/// What is kept of the judge's child's standard error: its end.
pub const JUDGE_STDERR_BYTES: usize = 64 * 1024;
/// Address space of the judge's child process.
pub const JUDGE_ADDRESS_SPACE_BYTES: u64 = 8 * 1024 * 1024 * 1024;
