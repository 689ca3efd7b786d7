//! SWIM Hadoop traces: from bytes a job to tasks and times.
//!
//! Columns, tab separated: job, submit s, gap s, map input bytes, shuffle bytes, reduce output bytes, then optionally
//! an input path; rows may end with more tabs. A trace gives bytes, not tasks; this is how they become a workload
//! (all numbers are [`SwimOptions`], with these defaults):
//!
//! - **Map stage 0**: one task for each 128 MiB of input, at least one, at most 1000 a stage. A task takes 500 ms plus
//!   its share of the input, at 64 MiB/s. Where nothing is shuffled, the maps write the output too: it adds to their
//!   time, and counts instead of the input where it is larger.
//! - **Reduce stage 1**, where bytes are shuffled: one task for each GiB of them, or of the output where that is larger,
//!   at most 1000; it depends on stage 0. A task takes 500 ms plus its share of both, at 64 MiB/s.
//! - **The cap leaves the work as it is**: a stage of more blocks has tasks of more bytes each, so that all bytes are
//!   still processed; only the 500 ms a task are saved.
//! - **Where data lies**: a block lies on one executor, chosen by the XXH3 hash of `path#block`, or of `job#block` where
//!   the trace has no paths. Jobs that read the same path find its blocks in the same places. What is shuffled has no
//!   known place, since it depends on where the maps ran; it counts as part of the duration.
//! - **Keys**: `path#block` where the trace has paths.
//! - **Tenants**: the trace has none, and all jobs are `default`'s. With `tenants=N`, jobs are dealt to `team-0` up to
//!   `team-(N-1)` by the hash of their path, or of their name: jobs that read the same data get the same tenant.
//!
//! With these constants the day of 2009 is some 900,000 vcore seconds, a third of what 32 vcores do in a day. The
//! trace of 2010 is of a much larger cluster (12 million vcore seconds in ten hours): give it 400 vcores, or
//! `swim:FILE?scale=0.05`, which scales all bytes.
//!
//! `OPTIONS` after `?`, joined by `&`: `scale` (a factor for all bytes), `jobs` (only the first so many), `tenants`,
//! `block_mib`, `reduce_mib`, `throughput_mib_per_s`, `startup_ms`, `max_tasks` (a stage).

use std::fs;
use std::path::Path;
use std::sync::Arc;

use policy_host::round::key_hash;
use policy_host::vet::text_of;

use super::{ClusterDefaults, ExecutorSpec, Input, Interner, Job, Place, Stage, Task, Workload, WorkloadError};
use crate::limits::MAX_DEALT_TENANTS;

/// How bytes become tasks and times.
#[derive(Clone, Debug, PartialEq)]
pub struct SwimOptions {
    /// A factor for all bytes.
    pub scale: f64,
    /// Only the first so many jobs.
    pub jobs: usize,
    /// To how many tenants jobs are dealt.
    pub tenants: u64,
    /// Input of one map task.
    pub block_mib: u64,
    /// Shuffled or written bytes of one reduce task.
    pub reduce_mib: u64,
    /// What one task processes.
    pub throughput_mib_per_s: u64,
    /// What every task takes before it processes anything.
    pub startup_ms: u64,
    /// Most tasks of one stage; beyond, tasks grow instead.
    pub max_tasks: u64,
}

impl Default for SwimOptions {
    fn default() -> Self {
        Self {
            scale: 1.0,
            jobs: usize::MAX,
            tenants: 1,
            block_mib: 128,
            reduce_mib: 1024,
            throughput_mib_per_s: 64,
            startup_ms: 500,
            max_tasks: 1000,
        }
    }
}

impl SwimOptions {
    /// Reads `key=value` pairs joined by `&`; what is not named keeps its default.
    ///
    /// # Errors
    /// On an unknown key or a value that makes no sense.
    pub fn parse(text: &str) -> Result<Self, WorkloadError> {
        let mut options = Self::default();
        for pair in text.split('&').filter(|p| !p.is_empty()) {
            options.set(pair).map_err(|reason| WorkloadError::BadSource { spec: text.to_owned(), reason })?;
        }
        Ok(options)
    }

    fn set(&mut self, pair: &str) -> Result<(), String> {
        let (key, value) = pair.split_once('=').ok_or_else(|| format!("`{pair}` is not KEY=VALUE"))?;
        let whole = |least: u64| match value.parse::<u64>() {
            Ok(n) if n >= least => Ok(n),
            _ => Err(format!("{key} is `{value}`, not a whole number from {least}")),
        };
        match key {
            "scale" => match value.parse::<f64>() {
                Ok(scale) if scale > 0.0 && scale <= 1e6 => self.scale = scale,
                _ => return Err(format!("scale is `{value}`, not a number above 0 and up to 1e6")),
            },
            "jobs" => self.jobs = usize::try_from(whole(1)?).unwrap_or(usize::MAX),
            "tenants" => match whole(1)? {
                n if n <= MAX_DEALT_TENANTS => self.tenants = n,
                n => return Err(format!("tenants is {n}, at most {MAX_DEALT_TENANTS} are dealt to")),
            },
            "block_mib" => self.block_mib = whole(1)?.min(1 << 40),
            "reduce_mib" => self.reduce_mib = whole(1)?.min(1 << 40),
            "throughput_mib_per_s" => self.throughput_mib_per_s = whole(1)?.min(1 << 40),
            "startup_ms" => self.startup_ms = whole(0)?.min(1 << 40),
            "max_tasks" => self.max_tasks = whole(1)?,
            _ => {
                return Err(format!(
                    "unknown key `{key}`; there are: scale, jobs, tenants, block_mib, reduce_mib, throughput_mib_per_s, \
                     startup_ms, max_tasks"
                ));
            }
        }
        Ok(())
    }
}

/// Reads a SWIM trace.
///
/// # Errors
/// When the file cannot be read, or a row is not one of the trace (with its line).
pub fn read(path: &Path, options: &SwimOptions, defaults: &ClusterDefaults) -> Result<Workload, WorkloadError> {
    let name = path.display().to_string();
    let bytes = fs::read(path).map_err(|source| WorkloadError::Unreadable { file: path.to_owned(), source })?;
    let text = text_of(&bytes).map_err(|what| WorkloadError::Malformed {
        place: Place { source: name.clone(), line: 0, column: 0 },
        reason: what.into_owned(),
    })?;
    from_text(text, &name, options, defaults)
}

/// Reads a SWIM trace from its text; `name` stands for it in errors.
///
/// # Errors
/// As [`read`].
pub fn from_text(
    text: &str,
    name: &str,
    options: &SwimOptions,
    defaults: &ClusterDefaults,
) -> Result<Workload, WorkloadError> {
    let header = defaults.cluster.clone();
    let mut maker = Maker::new(options, &header.executors);
    let mut jobs = Vec::new();
    let rows = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    for (at, line) in rows.take(options.jobs) {
        let row = Row::parse(line, options.scale).map_err(|(column, reason)| WorkloadError::Malformed {
            place: Place { source: name.to_owned(), line: at as u64 + 1, column },
            reason,
        })?;
        jobs.push(maker.job(&row));
    }
    // The trace's own order stands within a second.
    jobs.sort_by_key(|j| j.submit_us);
    let workload = Workload { header, jobs };
    workload.validate(name)?;
    Ok(workload)
}

struct Row<'a> {
    job: &'a str,
    submit_us: u64,
    input: u64,
    shuffle: u64,
    output: u64,
    path: Option<&'a str>,
}

impl<'a> Row<'a> {
    /// A row, or the column and what is wrong there.
    fn parse(line: &'a str, scale: f64) -> Result<Self, (u64, String)> {
        let fields: Vec<&str> = line.split('\t').map(str::trim).collect();
        let [job, submit, _gap, input, shuffle, output, rest @ ..] = fields.as_slice() else {
            let reason = format!("{} fields, at least 6 are needed, separated by tabs", fields.len());
            return Err((line.len() as u64 + 1, reason));
        };
        let number = |what: &str, text: &str| {
            let column = (text.as_ptr().addr() - line.as_ptr().addr()) as u64 + 1;
            text.parse::<u64>().map_err(|_| (column, format!("{what} is `{text}`, not a whole number")))
        };
        let bytes = |what: &str, text: &str| {
            let n = number(what, text)?;
            Ok::<u64, (u64, String)>(if scale == 1.0 { n } else { (n as f64 * scale).round() as u64 })
        };
        Ok(Self {
            job,
            submit_us: number("submit", submit)?.saturating_mul(1_000_000),
            input: bytes("map input bytes", input)?,
            shuffle: bytes("shuffle bytes", shuffle)?,
            output: bytes("reduce output bytes", output)?,
            path: rest.first().copied().filter(|p| !p.is_empty()),
        })
    }
}

struct Maker<'a> {
    options: &'a SwimOptions,
    executors: Vec<Arc<str>>,
    keys: Interner,
    tenants: Interner,
}

impl<'a> Maker<'a> {
    fn new(options: &'a SwimOptions, executors: &[ExecutorSpec]) -> Self {
        let executors = executors.iter().map(|e| Arc::from(e.name.as_str())).collect();
        Self { options, executors, keys: Interner::default(), tenants: Interner::default() }
    }

    fn job(&mut self, row: &Row<'_>) -> Job {
        let mut stages = vec![Stage { id: 0, depends_on: Vec::new(), tasks: self.maps(row) }];
        if row.shuffle > 0 {
            let count = self.count(row.shuffle.max(row.output), self.options.reduce_mib);
            let shuffle = shares(row.shuffle, count);
            let tasks = shuffle.zip(shares(row.output, count)).map(|(s, o)| Task::new(self.duration_us(s, o)));
            stages.push(Stage { id: 1, depends_on: vec![0], tasks: tasks.collect() });
        }
        Job { id: row.job.to_owned(), tenant: self.tenant(row), submit_us: row.submit_us, priority: 0, stages }
    }

    fn tenant(&mut self, row: &Row<'_>) -> Arc<str> {
        match self.options.tenants {
            1 => self.tenants.share("default"),
            n => self.tenants.share(&format!("team-{}", key_hash(row.path.unwrap_or(row.job)) % n)),
        }
    }

    fn maps(&mut self, row: &Row<'_>) -> Vec<Task> {
        let written = if row.shuffle > 0 { 0 } else { row.output };
        let count = self.count(row.input.max(written), self.options.block_mib);
        let of = row.path.unwrap_or(row.job);
        let mut tasks = Vec::with_capacity(count as usize);
        for (block, (input, output)) in shares(row.input, count).zip(shares(written, count)).enumerate() {
            let mut task = Task::new(self.duration_us(input, output));
            let name = format!("{of}#{block}");
            if input > 0 && !self.executors.is_empty() {
                let holder = (key_hash(&name) % self.executors.len() as u64) as usize;
                task.inputs = vec![Input { executor: Arc::clone(&self.executors[holder]), bytes: input }];
            }
            task.key = row.path.map(|_| self.keys.share(&name));
            tasks.push(task);
        }
        tasks
    }

    fn count(&self, bytes: u64, size_mib: u64) -> u64 {
        bytes.div_ceil(size_mib << 20).clamp(1, self.options.max_tasks)
    }

    fn duration_us(&self, read: u64, written: u64) -> u64 {
        let per_s = u128::from(self.options.throughput_mib_per_s) << 20;
        let bytes = u128::from(read) + u128::from(written);
        let us = (bytes * 1_000_000).div_ceil(per_s) + u128::from(self.options.startup_ms) * 1000;
        u64::try_from(us).unwrap_or(u64::MAX)
    }
}

/// `total` in `count` parts that differ by one at most.
fn shares(total: u64, count: u64) -> impl Iterator<Item = u64> {
    (0..count).map(move |i| total / count + u64::from(i < total % count))
}
