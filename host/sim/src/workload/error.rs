//! Why a workload was refused, and where in its source.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// A place in a workload's source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file, or the text that a generated workload was asked for with.
    pub source: String,
    /// Line in the file, from 1; 0 where it does not apply.
    pub line: u64,
    /// Column in the line, from 1; 0 where the whole line is at fault.
    pub column: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        if self.column > 0 {
            write!(f, ":{}", self.column)?;
        }
        Ok(())
    }
}

/// Why a workload was refused. Nothing of it is run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkloadError {
    /// The file is not there, or cannot be read.
    #[error("cannot read the workload {}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file cannot be written.
    #[error("cannot write the workload {}", file.display())]
    Unwritable {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line is not what the format asks for: broken JSON, an unknown key, a wrong type, a missing field.
    #[error("{place}: {reason}")]
    Malformed {
        /// Where.
        place: Place,
        /// What is wrong there.
        reason: String,
    },
    /// The file is of another format.
    #[error("{place}: the format is `{found}`, not `policy-host-workload`")]
    Format {
        /// Where.
        place: Place,
        /// What it says it is.
        found: String,
    },
    /// The file is of a version that this program does not read.
    #[error("{place}: the format's version is {found}; this program reads version {known}")]
    Version {
        /// Where.
        place: Place,
        /// What it says it is.
        found: u64,
        /// What would be read.
        known: u64,
    },
    /// Jobs do not stand in order of submission.
    #[error("{place}: job `{job}` is submitted at {submit_us} us, but the job before it at {before_us} us")]
    OutOfOrder {
        /// Where.
        place: Place,
        /// The job.
        job: String,
        /// When it is submitted.
        submit_us: u64,
        /// When the job before it is.
        before_us: u64,
    },
    /// Two jobs have one id.
    #[error("{place}: there is a job `{job}` already")]
    DuplicateJob {
        /// Where the second one is.
        place: Place,
        /// The id.
        job: String,
    },
    /// Two executors have one id.
    #[error("{place}: there is an executor `{executor}` already")]
    DuplicateExecutor {
        /// Where.
        place: Place,
        /// The id.
        executor: String,
    },
    /// A job's stages cannot be put in an order: one number twice, a dependency that does not exist, a circle.
    #[error("{place}: job `{job}`: {reason}")]
    BadStages {
        /// Where.
        place: Place,
        /// The job.
        job: String,
        /// What is wrong with its stages.
        reason: String,
    },
    /// No executor of the cluster can ever hold the task.
    #[error(
        "{place}: task {task} of stage {stage} of job `{job}` takes {vcores} vcores and {memory_mib} MiB, which no \
         executor has (most vcores: {most_vcores}, most memory: {most_memory_mib} MiB)"
    )]
    NeverFits {
        /// Where.
        place: Place,
        /// The job.
        job: String,
        /// The stage's number.
        stage: u32,
        /// The task's index.
        task: u32,
        /// What it takes.
        vcores: u32,
        /// What it takes, MiB.
        memory_mib: u32,
        /// The most that any executor has.
        most_vcores: u32,
        /// The most that any executor has, MiB.
        most_memory_mib: u64,
    },
    /// A pin or a fault names an executor that is not of the cluster.
    #[error("{place}: there is no executor `{executor}`")]
    UnknownExecutor {
        /// Where.
        place: Place,
        /// What it names.
        executor: String,
    },
    /// Neither the workload nor the command line gives executors.
    #[error("{place}: the workload names no executors, and none were given")]
    NoExecutors {
        /// Where.
        place: Place,
    },
    /// A number is beyond what the model takes.
    #[error("{place}: {what} is {found}, the range is {range}")]
    OutOfRange {
        /// Where.
        place: Place,
        /// Which number.
        what: &'static str,
        /// Its value.
        found: String,
        /// What is allowed: least to most.
        range: String,
    },
    /// A recording cannot be read as a workload.
    #[error(transparent)]
    Recording(#[from] policy_host::record::RecordingError),
    /// The text that names the workload makes no sense.
    #[error("`{spec}`: {reason}")]
    BadSource {
        /// The text.
        spec: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl WorkloadError {
    /// The stable code, as scripts and people search for it.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "workload-unreadable",
            Self::Unwritable { .. } => "workload-unwritable",
            Self::Malformed { .. } => "workload-malformed",
            Self::Format { .. } => "workload-format",
            Self::Version { .. } => "workload-version",
            Self::OutOfOrder { .. } => "jobs-out-of-order",
            Self::DuplicateJob { .. } => "duplicate-job",
            Self::DuplicateExecutor { .. } => "duplicate-executor",
            Self::BadStages { .. } => "bad-stages",
            Self::NeverFits { .. } => "task-never-fits",
            Self::UnknownExecutor { .. } => "unknown-executor",
            Self::NoExecutors { .. } => "no-executors",
            Self::OutOfRange { .. } => "out-of-range",
            Self::Recording(source) => source.code(),
            Self::BadSource { .. } => "bad-workload-source",
        }
    }
}
