//! The roster: the executors of the cluster and their lasting numbers.

use std::collections::HashMap;
use std::sync::Arc;

use crate::block::{Block, BlockKind, BlockWriter};
use crate::columns::roster;
use crate::ids::{ExecutorId, ExecutorUid};

/// What of an executor does not change while it is in the cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct ExecutorSpec {
    /// Unique name.
    pub name: String,
    /// Capacity in vcores.
    pub vcores: u32,
    /// Capacity in MiB; zero where memory is not accounted for.
    pub memory_mib: u64,
    /// Rack, where known.
    pub rack: Option<String>,
    /// Relative speed, 1.0 where unknown.
    pub speed: f32,
    /// Labels (key, value).
    pub labels: Vec<(String, String)>,
}

impl ExecutorSpec {
    /// An executor with this name and these vcores, and defaults for the rest.
    #[must_use]
    pub fn new(name: impl Into<String>, vcores: u32) -> Self {
        Self { name: name.into(), vcores, memory_mib: 0, rack: None, speed: 1.0, labels: Vec::new() }
    }
}

/// Gives every executor name its lasting number. Keep one for the life of the host.
#[derive(Clone, Debug, Default)]
pub struct UidTable {
    by_name: HashMap<String, ExecutorUid>,
}

impl UidTable {
    /// The number of this name, given now if it has none.
    pub fn uid(&mut self, name: &str) -> ExecutorUid {
        if let Some(&uid) = self.by_name.get(name) {
            return uid;
        }
        let uid = ExecutorUid::from_index(self.by_name.len());
        self.by_name.insert(name.to_owned(), uid);
        uid
    }

    /// How many names have a number.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether none has.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }
}

/// The executors of the cluster, ordered by name. Immutable; make a new one when an executor comes or goes.
#[derive(Clone, Debug)]
pub struct Roster {
    block: Block,
    names: Vec<String>,
    uids: Vec<ExecutorUid>,
}

impl Roster {
    /// Builds the roster. The order of `executors` does not matter; of two with one name, the first counts.
    #[must_use]
    pub fn new(executors: &[ExecutorSpec], uids: &mut UidTable) -> Arc<Self> {
        let mut sorted: Vec<&ExecutorSpec> = executors.iter().collect();
        sorted.sort_by(|a, b| a.name.cmp(&b.name));
        sorted.dedup_by(|later, first| later.name == first.name);
        let own: Vec<ExecutorUid> = sorted.iter().map(|e| uids.uid(&e.name)).collect();
        let mut w = BlockWriter::new(BlockKind::Roster, roster::COUNT);
        w.put_strings(roster::NAME_OFFSETS, roster::NAME_BYTES, sorted.iter().map(|e| &e.name));
        w.put(roster::UID, &own.iter().map(|u| u.0).collect::<Vec<_>>());
        w.put(roster::VCORES, &sorted.iter().map(|e| e.vcores).collect::<Vec<_>>());
        if sorted.iter().any(|e| e.memory_mib > 0) {
            w.put(roster::MEMORY_MIB, &sorted.iter().map(|e| e.memory_mib).collect::<Vec<_>>());
        }
        Self::put_racks(&mut w, &sorted);
        if sorted.iter().any(|e| e.speed != 1.0) {
            w.put(roster::SPEED, &sorted.iter().map(|e| e.speed).collect::<Vec<_>>());
        }
        Self::put_labels(&mut w, &sorted);
        let mut index_by_uid = vec![u32::MAX; uids.len()];
        own.iter().enumerate().for_each(|(i, uid)| index_by_uid[uid.index()] = i as u32);
        w.put(roster::INDEX_BY_UID, &index_by_uid);
        Arc::new(Self { block: w.finish(), names: sorted.iter().map(|e| e.name.clone()).collect(), uids: own })
    }

    fn put_racks(w: &mut BlockWriter, sorted: &[&ExecutorSpec]) {
        let mut racks: Vec<&str> = sorted.iter().filter_map(|e| e.rack.as_deref()).collect();
        racks.sort_unstable();
        racks.dedup();
        if racks.is_empty() {
            return;
        }
        let number = |e: &&ExecutorSpec| {
            e.rack.as_deref().and_then(|r| racks.binary_search(&r).ok()).map_or(u32::MAX, |i| i as u32)
        };
        w.put(roster::RACK, &sorted.iter().map(number).collect::<Vec<_>>());
        w.put_strings(roster::RACK_OFFSETS, roster::RACK_BYTES, &racks);
    }

    fn put_labels(w: &mut BlockWriter, sorted: &[&ExecutorSpec]) {
        let mut offsets = vec![0u32];
        let mut labels: Vec<&(String, String)> = Vec::new();
        for e in sorted {
            let mut own: Vec<_> = e.labels.iter().collect();
            own.sort();
            labels.extend(own);
            offsets.push(labels.len() as u32);
        }
        if !labels.is_empty() {
            w.put(roster::LABEL_OFFSETS, &offsets);
            w.put_strings(roster::LABEL_KEY_OFFSETS, roster::LABEL_KEY_BYTES, labels.iter().map(|l| &l.0));
            w.put_strings(roster::LABEL_VALUE_OFFSETS, roster::LABEL_VALUE_BYTES, labels.iter().map(|l| &l.1));
        }
    }

    pub(super) fn of_parts(block: Block, names: Vec<String>, uids: Vec<ExecutorUid>) -> Self {
        Self { block, names, uids }
    }

    /// The number of executors.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Where an executor stands.
    #[must_use]
    pub fn position(&self, name: &str) -> Option<ExecutorId> {
        self.names.binary_search_by(|n| n.as_str().cmp(name)).ok().map(ExecutorId::from_index)
    }

    /// An executor's name.
    #[must_use]
    pub fn name(&self, id: ExecutorId) -> &str {
        self.names.get(id.index()).map_or("", String::as_str)
    }

    /// An executor's lasting number.
    #[must_use]
    pub fn uid(&self, id: ExecutorId) -> Option<ExecutorUid> {
        self.uids.get(id.index()).copied()
    }

    /// The block.
    #[must_use]
    pub fn block(&self) -> &Block {
        &self.block
    }
}
