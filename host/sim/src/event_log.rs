//! The event log (`--events`): one JSON line for each thing that happened, in virtual time. The same workload, seed and
//! answers give the same bytes.
//!
//! ```json
//! {"t_us":0,"event":"started","job":"j1","stage":0,"task":0,"executor":"e0"}
//! ```
//! `event` is `submitted`, `bound`, `started` or `finished`; `failed` for an attempt that failed, `requeued` for a
//! task whose executor went away (either is pending again);
//! `executor-lost` or `executor-joined`. What does not apply is `null`.

use std::fmt;
use std::io::{self, Write};

use policy_host::text::json;
use serde::Serialize;

use crate::cluster::{Cluster, Happening, HappeningKind};

/// Writes happenings. Give it a buffered writer: it writes line by line.
pub struct EventLog {
    to: Box<dyn Write + Send>,
}

impl fmt::Debug for EventLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventLog").finish_non_exhaustive()
    }
}

#[derive(Serialize)]
struct Line<'a> {
    t_us: u64,
    event: &'static str,
    job: Option<&'a str>,
    stage: Option<u32>,
    task: Option<u32>,
    executor: Option<&'a str>,
}

impl EventLog {
    /// A log that goes to `to`. The cluster must record happenings.
    #[must_use]
    pub fn new(to: impl Write + Send + 'static) -> Self {
        Self { to: Box::new(to) }
    }

    /// Writes what the cluster recorded since the last call.
    ///
    /// # Errors
    /// When the writer fails; the log then ends in the middle.
    pub fn write(&mut self, cluster: &mut Cluster) -> io::Result<()> {
        for happening in cluster.take_happenings() {
            // Names of jobs and executors are a workload's: they may hold what a terminal acts on.
            let text = json(serde_json::to_string(&line(cluster, &happening))? + "\n");
            self.to.write_all(text.as_bytes())?;
        }
        Ok(())
    }

    /// Flushes the writer.
    ///
    /// # Errors
    /// When the writer fails.
    pub fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

fn line<'a>(cluster: &'a Cluster, happening: &Happening) -> Line<'a> {
    let task = happening.task;
    Line {
        t_us: happening.at_us,
        event: match happening.kind {
            HappeningKind::Submitted => "submitted",
            HappeningKind::Bound => "bound",
            HappeningKind::Started => "started",
            HappeningKind::Finished => "finished",
            HappeningKind::Failed => "failed",
            HappeningKind::Requeued => "requeued",
            HappeningKind::ExecutorLost => "executor-lost",
            HappeningKind::ExecutorJoined => "executor-joined",
        },
        job: task.map(|t| cluster.workload().jobs[t.job as usize].id.as_str()),
        stage: task.map(|t| t.stage),
        task: task.map(|t| t.task),
        executor: happening.executor.map(|e| cluster.executor_name(e)),
    }
}
