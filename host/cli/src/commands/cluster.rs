//! The cluster that a command line names: so many equal executors, or those of a file.

use std::path::PathBuf;

/// What can stand for WORKLOAD, for the long help of the commands that take one.
macro_rules! workloads_help {
    () => {
        "Workloads:
  FILE                       jobs as JSON lines; examples/workloads/README.md has the format
  recorded:FILE              what `run --record` wrote; the file's name alone does it, too
  swim:FILE[?KEY=VALUE&...]  a SWIM Hadoop trace (job, submit s, gap s, map input, shuffle, reduce output bytes, input path)
  openb:PODS.csv,NODES.csv   the Alibaba GPU trace of 2023
  synthetic:[KEY=VALUE,...]  generated from a seed

Keys of swim:
  scale=1 (a factor for all bytes)  jobs=all (only the first so many)  tenants=1 (jobs are dealt to so many)
  block_mib=128 (input of a map task)  reduce_mib=1024 (shuffled or written bytes of a reduce task)
  throughput_mib_per_s=64 and startup_ms=500 (what a task takes)  max_tasks=1000 (of a stage)

Keys of synthetic, with their defaults:
  jobs=200  rate=20 (jobs a second)  arrivals=poisson (or bursty:ON:OFF)  seed=7
  tenants=3  tenant_zipf=0  priorities=1  stages=2 (a chain)  tasks=pareto:3:1.6 (of a stage)
  duration=lognormal:50ms:0.8  vcores=1  memory_mib=0  pin=0 (share of pinned tasks)
  keys=64 (0: none)  zipf=1.1  input=lognormal:8MiB:1 (bytes that a task of the first stage reads)
  Distributions: X, uniform:LEAST:MOST, exp:MEAN, lognormal:MEDIAN:SIGMA, pareto:LEAST:ALPHA; times in us, ms, s, m, bytes
  in B, KiB, MiB, GiB."
    };
}
pub(crate) use workloads_help;

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
