//! The cluster that a command line names: so many equal executors, or those of a file.

use std::path::PathBuf;

use clap::Args;
use policy_sim::workload::{ClusterDefaults, WorkloadError};

/// The cluster where the workload names none, or instead of it.
#[derive(Debug, Args)]
pub(crate) struct ClusterArgs {
    /// Executors, where the workload names none.
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    executors: u32,
    /// Vcores of each executor.
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    vcores: u32,
    /// The cluster of this file instead of the workload's own: executors, racks, network and faults, written as the
    /// header of a workload file. Jobs in it are ignored.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["executors", "vcores"])]
    cluster: Option<PathBuf>,
}

impl ClusterArgs {
    pub(crate) fn defaults(&self) -> Result<ClusterDefaults, WorkloadError> {
        match &self.cluster {
            Some(file) => ClusterDefaults::instead_of_any(file),
            None => Ok(ClusterDefaults::uniform(self.executors, self.vcores)),
        }
    }

    /// The options that say the same again, by name.
    pub(crate) fn words(&self) -> Vec<(&'static str, String)> {
        match &self.cluster {
            Some(file) => vec![("cluster", file.display().to_string())],
            None => vec![("executors", self.executors.to_string()), ("vcores", self.vcores.to_string())],
        }
    }
}
