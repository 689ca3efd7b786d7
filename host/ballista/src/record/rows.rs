//! The lines of a recording: rows of a workload file, with how they ran. Times are microseconds from the recorder's
//! start.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What records.
pub(super) fn by() -> String {
    format!("policy-ballista {} on Ballista {}", env!("CARGO_PKG_VERSION"), ballista_core::BALLISTA_VERSION)
}

/// The first line of a journal.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Begin {
    pub(super) by: String,
    pub(super) began_unix_us: u64,
    pub(super) network_mib_per_s: u64,
}

/// A job that is not recorded.
#[derive(Debug, Serialize)]
pub(super) struct LeftOut<'a> {
    pub(super) id: &'a str,
    pub(super) why: &'a str,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ExecutorRow {
    pub(super) id: String,
    pub(super) vcores: u32,
    pub(super) labels: BTreeMap<String, String>,
}

impl ExecutorRow {
    pub(super) fn new(id: &str, host: &str, vcores: u32) -> Self {
        let labels = BTreeMap::from([("host".to_owned(), host.to_owned())]);
        Self { id: id.to_owned(), vcores, labels }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct HeaderRow<'a> {
    pub(super) format: &'a str,
    pub(super) version: u64,
    pub(super) network_mib_per_s: u64,
    pub(super) executors: Vec<&'a ExecutorRow>,
    pub(super) recorded: Origin<'a>,
}

#[derive(Debug, Serialize)]
pub(super) struct Origin<'a> {
    pub(super) by: &'a str,
    pub(super) began_unix_us: u64,
    pub(super) jobs_left_out: u64,
    pub(super) cut: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct JobRow {
    pub(super) id: String,
    pub(super) tenant: String,
    pub(super) submit_us: u64,
    pub(super) priority: i32,
    pub(super) stages: Vec<StageRow>,
    pub(super) ran: JobRun,
}

#[derive(Debug, Serialize)]
pub(super) struct JobRun {
    pub(super) policy: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) name: String,
    pub(super) end_us: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) rounds: Vec<RoundRow>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct RoundRow {
    pub(super) round: u64,
    pub(super) at_us: u64,
    pub(super) free: BTreeMap<String, u32>,
}

#[derive(Debug, Serialize)]
pub(super) struct StageRow {
    pub(super) id: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) depends_on: Vec<usize>,
    pub(super) tasks: Vec<TaskRow>,
}

#[derive(Debug, Serialize)]
pub(super) struct TaskRow {
    pub(super) duration_us: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) inputs: Vec<InputRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<String>,
    pub(super) ran: TaskRun,
}

#[derive(Debug, Serialize)]
pub(super) struct InputRow {
    pub(super) executor: String,
    pub(super) bytes: u64,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct TaskRun {
    pub(super) executor: String,
    pub(super) task: usize,
    pub(super) bound_us: u64,
    pub(super) start_us: u64,
    pub(super) end_us: u64,
    pub(super) reported_us: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) round: Option<u64>,
}
