//! The tasks of a stage, written once.

use std::sync::Arc;

use crate::block::{Block, BlockKind, BlockWriter};
use crate::columns::stage;
use crate::ids::ExecutorUid;
use crate::key_hash;

/// One task, as its stage is built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskSpec {
    /// Vcores that it takes; zero counts as one.
    pub vcores: u32,
    /// Memory that it takes, MiB.
    pub memory_mib: u32,
    /// The key of its data; empty for none.
    pub key: String,
    /// The executor that the embedder wants for it.
    pub pin: Option<ExecutorUid>,
    /// Who holds how many bytes of its input.
    pub holders: Vec<(ExecutorUid, u64)>,
}

impl Default for TaskSpec {
    fn default() -> Self {
        Self { vcores: 1, memory_mib: 0, key: String::new(), pin: None, holders: Vec::new() }
    }
}

/// The tasks of a stage: built once, referred to by every later round.
#[derive(Clone, Debug)]
pub struct StageTasks {
    block: Block,
    tasks: u32,
}

impl StageTasks {
    /// A stage of `tasks` tasks that differ in nothing, each taking `vcores`.
    #[must_use]
    pub fn uniform(tasks: u32, vcores: u32) -> Arc<Self> {
        let mut w = BlockWriter::new(BlockKind::Stage, stage::COUNT);
        w.put(stage::TASKS, &[tasks]);
        if vcores != 1 {
            w.put(stage::VCORES, &[vcores.max(1)]);
        }
        Arc::new(Self { block: w.finish(), tasks })
    }

    /// A stage of these tasks.
    ///
    /// # Panics
    /// If there are 2^32 tasks or more.
    #[must_use]
    pub fn new(tasks: &[TaskSpec]) -> Arc<Self> {
        let count = u32::try_from(tasks.len()).expect("a stage of less than 2^32 tasks");
        let mut w = BlockWriter::new(BlockKind::Stage, stage::COUNT);
        w.put(stage::TASKS, &[count]);
        put_unless(&mut w, stage::VCORES, tasks.iter().map(|t| t.vcores.max(1)).collect(), 1);
        put_unless(&mut w, stage::MEMORY_MIB, tasks.iter().map(|t| t.memory_mib).collect(), 0);
        let pins = tasks.iter().map(|t| t.pin.map_or(u32::MAX, |p| p.0)).collect();
        put_unless(&mut w, stage::PIN, pins, u32::MAX);
        if tasks.iter().any(|t| !t.key.is_empty()) {
            let hashes: Vec<u64> = tasks.iter().map(|t| key_hash(&t.key)).collect();
            w.put(stage::KEY_HASH, &hashes);
            w.put_strings(stage::KEY_OFFSETS, stage::KEY_BYTES, tasks.iter().map(|t| &t.key));
        }
        if tasks.iter().any(|t| !t.holders.is_empty()) {
            let (mut offsets, mut uids, mut bytes) = (vec![0u32], Vec::new(), Vec::new());
            for t in tasks {
                let mut holders = t.holders.clone();
                holders.sort_by_key(|&(uid, bytes)| (std::cmp::Reverse(bytes), uid));
                uids.extend(holders.iter().map(|h| h.0.0));
                bytes.extend(holders.iter().map(|h| h.1));
                offsets.push(uids.len() as u32);
            }
            w.put(stage::HOLDER_OFFSETS, &offsets);
            w.put(stage::HOLDER_UID, &uids);
            w.put(stage::HOLDER_BYTES, &bytes);
        }
        Arc::new(Self { block: w.finish(), tasks: count })
    }

    pub(super) fn of_parts(block: Block, tasks: u32) -> Self {
        Self { block, tasks }
    }

    /// The number of tasks.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.tasks
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tasks == 0
    }

    /// The block.
    #[must_use]
    pub fn block(&self) -> &Block {
        &self.block
    }
}

/// Writes a per-task column: nothing when all are the default, one row when all are equal.
fn put_unless(w: &mut BlockWriter, column: u16, values: Vec<u32>, default: u32) {
    match values.first() {
        Some(&first) if values.iter().all(|&v| v == first) => {
            if first != default {
                w.put(column, &[first]);
            }
        }
        _ => w.put(column, &values),
    }
}
