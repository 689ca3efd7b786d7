//! The Alibaba GPU cluster trace of 2023 (`openb`): pods become jobs of one task, nodes become executors.
//!
//! - A node has `cpu_milli / 1000` vcores and its memory; labels `gpu` (how many) and, where known, `model`.
//! - A pod is a job with its own name, submitted at its creation. Its task takes `cpu_milli` in vcores, rounded up and at
//!   least one, and its memory; it runs from when it was scheduled to when it was deleted. For the pods that were never
//!   scheduled (one in nine), from creation to deletion, since nothing else is known.
//! - The tenant is the class of service (`LS`, `BE`, `Burstable`, `Guaranteed`). GPUs are labels only: the model has
//!   vcores and memory, so a pod may run on a node without the GPU it asked for.
//!
//! Most pods come in the last fifth of 149 days: run it in virtual time. Data for research use; none of it is here.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;

use policy_host::text::chain;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::file::expect_text;
use super::{ClusterDefaults, ExecutorSpec, Header, Interner, Job, Place, Stage, Task, Workload, WorkloadError};

#[derive(Deserialize)]
struct NodeRow {
    sn: String,
    cpu_milli: u32,
    memory_mib: u64,
    gpu: u32,
    #[serde(default)]
    model: String,
}

#[derive(Deserialize)]
struct PodRow {
    name: String,
    cpu_milli: u32,
    memory_mib: u32,
    qos: String,
    creation_time: u64,
    deletion_time: u64,
    scheduled_time: Option<u64>,
}

/// Reads the two files. Of `defaults`, only the network is used, unless they take the place of the nodes.
///
/// # Errors
/// When a file cannot be read, a row does not fit (with its line), or a pod fits no node.
pub fn read(pods: &Path, nodes: &Path, defaults: &ClusterDefaults) -> Result<Workload, WorkloadError> {
    let executors = rows::<NodeRow>(nodes)?.into_iter().map(executor).collect();
    let mut tenants = Interner::default();
    let mut jobs: Vec<Job> = rows::<PodRow>(pods)?.into_iter().map(|pod| job(pod, &mut tenants)).collect();
    jobs.sort_by_key(|j| j.submit_us);
    let header = match defaults.instead {
        true => defaults.cluster.clone(),
        false => Header::new(defaults.cluster.network_mib_per_s, executors),
    };
    let workload = Workload { header, jobs };
    workload.validate(&pods.display().to_string())?;
    Ok(workload)
}

fn executor(node: NodeRow) -> ExecutorSpec {
    let mut labels = vec![("gpu".to_owned(), node.gpu.to_string())];
    if !node.model.is_empty() {
        labels.push(("model".to_owned(), node.model));
    }
    let mut executor = ExecutorSpec::new(node.sn, node.cpu_milli / 1000);
    executor.memory_mib = node.memory_mib;
    executor.labels = labels;
    executor
}

fn job(pod: PodRow, tenants: &mut Interner) -> Job {
    let began = pod.scheduled_time.unwrap_or(pod.creation_time);
    let mut task = Task::new(pod.deletion_time.saturating_sub(began).saturating_mul(1_000_000));
    task.vcores = pod.cpu_milli.div_ceil(1000).max(1);
    task.memory_mib = pod.memory_mib;
    let tenant: Arc<str> = tenants.share(&pod.qos);
    Job {
        id: pod.name,
        tenant,
        submit_us: pod.creation_time.saturating_mul(1_000_000),
        priority: 0,
        stages: vec![Stage { id: 0, depends_on: Vec::new(), tasks: vec![task] }],
    }
}

fn rows<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, WorkloadError> {
    let unreadable = |source| WorkloadError::Unreadable { file: path.to_owned(), source };
    let mut file = BufReader::new(File::open(path).map_err(unreadable)?);
    expect_text(&mut file, &path.display().to_string())?;
    csv::Reader::from_reader(file).into_deserialize().collect::<Result<_, _>>().map_err(|e| {
        let line = e.position().map_or(0, csv::Position::line);
        match e.into_kind() {
            csv::ErrorKind::Io(source) => unreadable(source),
            csv::ErrorKind::Deserialize { err, .. } => malformed(path, line, chain(&err)),
            csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
                malformed(path, line, format!("{len} fields, the line before has {expected_len}"))
            }
            csv::ErrorKind::Utf8 { err, .. } => malformed(path, line, chain(&err)),
            _ => malformed(path, line, "this is not CSV".to_owned()),
        }
    })
}

fn malformed(path: &Path, line: u64, reason: String) -> WorkloadError {
    let place = Place { source: path.display().to_string(), line, column: 0 };
    WorkloadError::Malformed { place, reason }
}
