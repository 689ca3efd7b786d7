//! The cluster of a workload that names none.

use super::{DEFAULT_NETWORK_MIB_PER_S, ExecutorSpec, Header};

/// The cluster that a workload gets where it names no executors itself, or instead of those that it names.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterDefaults {
    /// The cluster. Its network, racks and faults are for importers and the generator; a workload file has its own.
    pub cluster: Header,
    /// Whether all of this cluster takes the place of the workload's own: what would happen over there.
    pub instead: bool,
}

impl ClusterDefaults {
    /// `executors` equal executors `e0`, `e1`, … of `vcores` each, memory not accounted for.
    #[must_use]
    pub fn uniform(executors: u32, vcores: u32) -> Self {
        let executors = (0..executors).map(|i| ExecutorSpec::new(format!("e{i}"), vcores)).collect();
        Self { cluster: Header::new(DEFAULT_NETWORK_MIB_PER_S, executors), instead: false }
    }
}

impl Default for ClusterDefaults {
    /// Eight executors of four vcores.
    fn default() -> Self {
        Self::uniform(8, 4)
    }
}
