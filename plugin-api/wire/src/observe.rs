//! What happened to earlier bindings: the feedback that adaptive policies live on.

use crate::block::{Block, BlockError, BlockKind, BlockRef, BlockView, BlockWriter};
use crate::columns::observations as col;
use crate::ids::ExecutorUid;

/// What kind of happening an [`Observation`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ObservationKind {
    /// A task started on an executor.
    Started,
    /// A task finished well.
    Finished,
    /// A task failed and is pending again, or its job was given up.
    Failed,
    /// An executor went away; its running tasks are pending again.
    ExecutorLost,
    /// An executor came, or came back.
    ExecutorJoined,
    /// Something that this version of the API does not know.
    Other(u32),
}

impl ObservationKind {
    fn to_raw(self) -> u32 {
        match self {
            Self::Started => 1,
            Self::Finished => 2,
            Self::Failed => 3,
            Self::ExecutorLost => 4,
            Self::ExecutorJoined => 5,
            Self::Other(n) => n,
        }
    }

    fn from_raw(raw: u32) -> Self {
        match raw {
            1 => Self::Started,
            2 => Self::Finished,
            3 => Self::Failed,
            4 => Self::ExecutorLost,
            5 => Self::ExecutorJoined,
            n => Self::Other(n),
        }
    }
}

/// One happening. Fields that do not apply to its kind are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observation {
    /// What happened.
    pub kind: ObservationKind,
    /// On which executor.
    pub executor: ExecutorUid,
    /// The job's lasting number: [`Job::key`](crate::round::Job::key).
    pub job_key: u64,
    /// The stage's number in its job.
    pub stage_number: u32,
    /// The task's index in its stage.
    pub task: u32,
    /// When, in microseconds on the clock of the rounds.
    pub at_us: u64,
    /// How long the task ran, in microseconds.
    pub duration_us: u64,
    /// How long it had waited since its stage became runnable, in microseconds.
    pub queue_wait_us: u64,
    /// Input bytes that lay on its executor.
    pub local_bytes: u64,
    /// Input bytes that came over the network.
    pub remote_bytes: u64,
}

impl Observation {
    /// A happening of `kind` at `at_us` on `executor`; the rest zero.
    #[must_use]
    pub fn new(kind: ObservationKind, executor: ExecutorUid, at_us: u64) -> Self {
        Self {
            kind,
            executor,
            job_key: 0,
            stage_number: 0,
            task: 0,
            at_us,
            duration_us: 0,
            queue_wait_us: 0,
            local_bytes: 0,
            remote_bytes: 0,
        }
    }
}

/// A batch of happenings in the order in which they happened.
#[derive(Clone, Copy, Debug)]
pub struct Observations<'a> {
    block: BlockView<'a>,
}

impl<'a> Observations<'a> {
    /// Reads a batch.
    ///
    /// # Errors
    /// When the block is not one of observations.
    pub fn from_block(block: impl Into<BlockRef<'a>>) -> Result<Self, BlockError> {
        Ok(Self { block: BlockView::parse(block.into().words(), BlockKind::Observations)? })
    }

    /// The number of happenings.
    #[must_use]
    pub fn len(&self) -> usize {
        self.block.column::<u32>(col::KIND).len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The happenings, oldest first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Observation> + use<'a> {
        let b = self.block;
        let small = move |c: u16, i: usize| b.column::<u32>(c).get(i).copied().unwrap_or(0);
        let large = move |c: u16, i: usize| b.column::<u64>(c).get(i).copied().unwrap_or(0);
        (0..self.len()).map(move |i| Observation {
            kind: ObservationKind::from_raw(small(col::KIND, i)),
            executor: ExecutorUid(small(col::EXECUTOR_UID, i)),
            job_key: large(col::JOB_KEY, i),
            stage_number: small(col::STAGE_NUMBER, i),
            task: small(col::TASK, i),
            at_us: large(col::AT_US, i),
            duration_us: large(col::DURATION_US, i),
            queue_wait_us: large(col::QUEUE_WAIT_US, i),
            local_bytes: large(col::LOCAL_BYTES, i),
            remote_bytes: large(col::REMOTE_BYTES, i),
        })
    }
}

/// Writes a batch of happenings as a block; for hosts and test kits.
#[must_use]
pub fn encode(batch: &[Observation]) -> Block {
    let mut w = BlockWriter::new(BlockKind::Observations, col::COUNT);
    w.put_each(col::KIND, batch.iter().map(|o| o.kind.to_raw()));
    w.put_each(col::EXECUTOR_UID, batch.iter().map(|o| o.executor.0));
    w.put_each(col::JOB_KEY, batch.iter().map(|o| o.job_key));
    w.put_each(col::STAGE_NUMBER, batch.iter().map(|o| o.stage_number));
    w.put_each(col::TASK, batch.iter().map(|o| o.task));
    w.put_each(col::AT_US, batch.iter().map(|o| o.at_us));
    w.put_each(col::DURATION_US, batch.iter().map(|o| o.duration_us));
    w.put_each(col::QUEUE_WAIT_US, batch.iter().map(|o| o.queue_wait_us));
    w.put_each(col::LOCAL_BYTES, batch.iter().map(|o| o.local_bytes));
    w.put_each(col::REMOTE_BYTES, batch.iter().map(|o| o.remote_bytes));
    w.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_reads_back() {
        let mut finished = Observation::new(ObservationKind::Finished, ExecutorUid(3), 77);
        (finished.job_key, finished.stage_number, finished.task, finished.duration_us) = (9, 1, 4, 1_000);
        let batch = [Observation::new(ObservationKind::ExecutorLost, ExecutorUid(1), 70), finished];
        let block = encode(&batch);
        let read = Observations::from_block(&block).unwrap();
        assert_eq!(read.iter().collect::<Vec<_>>(), batch);
    }
}
