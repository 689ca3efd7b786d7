//! The lines of a workload file as they are written: what may stand where, and what is meant by what is left out.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ran::{JobRun, Origin, RecordedJob, TaskRun};
use super::{DEFAULT_NETWORK_MIB_PER_S, ExecutorSpec, Header, Input, Interner, Job, Outage, Stage, Task};

/// What the header's `format` says.
pub const FORMAT: &str = "policy-host-workload";
/// What the header's `version` says.
pub const VERSION: u64 = 1;

const DEFAULT_TENANT: &str = "default";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HeaderRow<'a> {
    #[serde(borrow)]
    format: Cow<'a, str>,
    version: u64,
    #[serde(default = "default_network")]
    network_mib_per_s: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rack_mib_per_s: Option<u64>,
    #[serde(borrow, default)]
    executors: Vec<ExecutorRow<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    faults: Vec<FaultRow<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) recorded: Option<Origin>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FaultRow<'a> {
    #[serde(borrow)]
    executor: Cow<'a, str>,
    lost_us: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    back_us: Option<u64>,
}

impl<'a> FaultRow<'a> {
    fn into_model(self) -> Outage {
        Outage { executor: self.executor.into_owned(), lost_us: self.lost_us, back_us: self.back_us }
    }

    fn from_model(fault: &'a Outage) -> Self {
        Self { executor: fault.executor.as_str().into(), lost_us: fault.lost_us, back_us: fault.back_us }
    }
}

fn default_network() -> u64 {
    DEFAULT_NETWORK_MIB_PER_S
}

impl<'a> HeaderRow<'a> {
    pub(super) fn into_model(self) -> Header {
        Header {
            network_mib_per_s: self.network_mib_per_s,
            executors: self.executors.into_iter().map(ExecutorRow::into_model).collect(),
            rack_mib_per_s: self.rack_mib_per_s,
            faults: self.faults.into_iter().map(FaultRow::into_model).collect(),
        }
    }

    pub(super) fn from_model(header: &'a Header) -> Self {
        Self {
            format: FORMAT.into(),
            version: VERSION,
            network_mib_per_s: header.network_mib_per_s,
            rack_mib_per_s: header.rack_mib_per_s,
            executors: header.executors.iter().map(ExecutorRow::from_model).collect(),
            faults: header.faults.iter().map(FaultRow::from_model).collect(),
            recorded: None,
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExecutorRow<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(default = "one")]
    vcores: u32,
    #[serde(default)]
    memory_mib: u64,
    #[serde(borrow, default)]
    rack: Option<Cow<'a, str>>,
    #[serde(default = "unit_speed")]
    speed: f32,
    #[serde(borrow, default)]
    labels: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
}

fn one() -> u32 {
    1
}

fn unit_speed() -> f32 {
    1.0
}

impl<'a> ExecutorRow<'a> {
    fn into_model(self) -> ExecutorSpec {
        let labels = self.labels.into_iter().map(|(k, v)| (k.into_owned(), v.into_owned())).collect();
        ExecutorSpec {
            name: self.id.into_owned(),
            vcores: self.vcores,
            memory_mib: self.memory_mib,
            rack: self.rack.map(Cow::into_owned),
            speed: self.speed,
            labels,
        }
    }

    fn from_model(e: &'a ExecutorSpec) -> Self {
        Self {
            id: e.name.as_str().into(),
            vcores: e.vcores,
            memory_mib: e.memory_mib,
            rack: e.rack.as_deref().map(Cow::from),
            speed: e.speed,
            labels: e.labels.iter().map(|(k, v)| (k.as_str().into(), v.as_str().into())).collect(),
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JobRow<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow, default = "default_tenant")]
    tenant: Cow<'a, str>,
    submit_us: u64,
    #[serde(default)]
    priority: i32,
    #[serde(borrow, default)]
    stages: Vec<StageRow<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ran: Option<JobRun>,
}

fn default_tenant() -> Cow<'static, str> {
    DEFAULT_TENANT.into()
}

impl<'a> JobRow<'a> {
    pub(super) fn into_model(self, shared: &mut Interner) -> Job {
        Job {
            id: self.id.into_owned(),
            tenant: shared.share(&self.tenant),
            submit_us: self.submit_us,
            priority: self.priority,
            stages: self.stages.into_iter().map(|s| s.into_model(shared)).collect(),
        }
    }

    pub(super) fn from_model(job: &'a Job) -> Self {
        Self {
            id: job.id.as_str().into(),
            tenant: Cow::Borrowed(&job.tenant),
            submit_us: job.submit_us,
            priority: job.priority,
            stages: job.stages.iter().map(StageRow::from_model).collect(),
            ran: None,
        }
    }

    /// How it ran, where that was recorded.
    pub(super) fn into_recorded(self) -> Option<RecordedJob> {
        let stages = self.stages.into_iter().map(|s| s.tasks.into_iter().map(|t| t.ran).collect());
        self.ran.map(|run| RecordedJob { run, stages: stages.collect() })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StageRow<'a> {
    id: u32,
    #[serde(default)]
    depends_on: Vec<u32>,
    #[serde(borrow, default)]
    tasks: Vec<TaskRow<'a>>,
}

impl<'a> StageRow<'a> {
    pub(super) fn into_model(self, shared: &mut Interner) -> Stage {
        let tasks = self.tasks.into_iter().map(|t| t.into_model(shared)).collect();
        Stage { id: self.id, depends_on: self.depends_on, tasks }
    }

    pub(super) fn from_model(stage: &'a Stage) -> Self {
        let tasks = stage.tasks.iter().map(TaskRow::from_model).collect();
        Self { id: stage.id, depends_on: stage.depends_on.clone(), tasks }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TaskRow<'a> {
    duration_us: u64,
    #[serde(default = "one")]
    vcores: u32,
    #[serde(default)]
    memory_mib: u32,
    #[serde(borrow, default)]
    inputs: Vec<InputRow<'a>>,
    #[serde(borrow, default)]
    key: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pin: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    fails_after_us: Vec<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ran: Option<TaskRun>,
}

impl<'a> TaskRow<'a> {
    pub(super) fn into_model(self, shared: &mut Interner) -> Task {
        let inputs = self.inputs.iter().map(|i| Input { executor: shared.share(&i.executor), bytes: i.bytes });
        Task {
            duration_us: self.duration_us,
            vcores: self.vcores,
            memory_mib: self.memory_mib,
            inputs: inputs.collect(),
            key: self.key.map(|k| shared.share(&k)),
            pin: self.pin.map(|p| shared.share(&p)),
            fails_after_us: self.fails_after_us.into_boxed_slice(),
        }
    }

    pub(super) fn from_model(task: &'a Task) -> Self {
        let inputs = task.inputs.iter().map(|i| InputRow { executor: Cow::Borrowed(&i.executor), bytes: i.bytes });
        Self {
            duration_us: task.duration_us,
            vcores: task.vcores,
            memory_mib: task.memory_mib,
            inputs: inputs.collect(),
            key: task.key.as_deref().map(Cow::from),
            pin: task.pin.as_deref().map(Cow::from),
            fails_after_us: task.fails_after_us.to_vec(),
            ran: None,
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct InputRow<'a> {
    #[serde(borrow)]
    executor: Cow<'a, str>,
    bytes: u64,
}
