//! Runs of whole clusters, in virtual time and on a clock that the tests move, and reading of whole files.

mod binders;
mod conservation;
mod determinism;
mod importers;
mod known_answers;
mod policy_view;
mod real_time;
mod recorded;
mod series;
mod traces;
mod workload_file;

use std::future::Future;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use policy_sim::Binder;
use policy_sim::cluster::{Cluster, ClusterOptions};
use policy_sim::event_log::EventLog;
use policy_sim::outcome::Outcome;
use policy_sim::virtual_time::{self, VirtualTimeOptions};
use policy_sim::workload::{ClusterDefaults, Job, Stage, Task, Workload};

/// A writer whose bytes the test reads afterwards.
#[derive(Clone, Debug, Default)]
pub(crate) struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Waits for a future without any runtime services.
pub(crate) fn wait<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// Runs a workload in virtual time; returns the outcome and the event log.
pub(crate) fn simulate<B: Binder>(workload: Workload, options: ClusterOptions, binder: &B) -> (Outcome, String) {
    let captured = Captured::default();
    let options = ClusterOptions { record_happenings: true, ..options };
    let cluster = Cluster::new(Arc::new(workload), options).unwrap();
    let events = Some(EventLog::new(captured.clone()));
    let outcome =
        wait(virtual_time::run(cluster, binder, VirtualTimeOptions { events, ..VirtualTimeOptions::default() }))
            .unwrap();
    (outcome, captured.text())
}

/// Runs a workload in virtual time, without an event log.
pub(crate) fn measure<B: Binder>(workload: Workload, binder: &B) -> Outcome {
    let cluster = Cluster::new(Arc::new(workload), ClusterOptions::default()).unwrap();
    wait(virtual_time::run(cluster, binder, VirtualTimeOptions::default())).unwrap()
}

/// One job of one stage with these durations, on `executors` of one vcore each.
pub(crate) fn one_stage(executors: u32, durations_us: impl IntoIterator<Item = u64>) -> Workload {
    let tasks = durations_us.into_iter().map(Task::new).collect();
    let stages = vec![Stage { id: 0, depends_on: Vec::new(), tasks }];
    let job = Job { id: "j".to_owned(), tenant: "t".into(), submit_us: 0, priority: 0, stages };
    workload(ClusterDefaults::uniform(executors, 1), vec![job])
}

pub(crate) fn workload(cluster: ClusterDefaults, jobs: Vec<Job>) -> Workload {
    let header = cluster.cluster;
    Workload { header, jobs }
}
