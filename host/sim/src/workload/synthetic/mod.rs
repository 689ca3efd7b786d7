//! The seeded generator of workloads: what a SPEC says is in `spec`, how jobs are drawn in `generate`.
//!
//! A SPEC is `KEY=VALUE` pairs joined by commas; what it does not name keeps its default:
//!
//! | key | what | default |
//! |---|---|---|
//! | `jobs` | number of jobs | 200 |
//! | `rate` | jobs per second, in the long run | 20 |
//! | `arrivals` | `poisson`, or `bursty:ON:OFF`: Poisson within bursts of mean length ON, nothing for OFF in between | `poisson` |
//! | `seed` | the same SPEC and cluster give the same workload | 7 |
//! | `tenants` | number of tenants, `team-a`, `team-b`, … | 3 |
//! | `tenant_zipf` | how unequally jobs fall on tenants; 0 is equally | 0 |
//! | `priorities` | jobs have priorities 0 to this, exclusive, equally often | 1 |
//! | `stages` | stages of a job, in a chain | 2 |
//! | `tasks` | tasks of a stage, a distribution | `pareto:3:1.6` |
//! | `duration` | of a task, a distribution | `lognormal:50ms:0.8` |
//! | `vcores` | of a task, a distribution, no more than the largest executor has | 1 |
//! | `memory_mib` | of a task, a distribution, no more than that executor has | 0 |
//! | `keys` | number of different data keys; 0 for none | 64 |
//! | `zipf` | how unequally keys are read; 0 is equally | 1.1 |
//! | `input` | bytes that a task of the first stage reads, a distribution | `lognormal:8MiB:1` |
//! | `pin` | share of tasks pinned to an executor, 0 to 1 | 0 |
//!
//! Distributions are `X`, `uniform:LEAST:MOST`, `exp:MEAN`, `lognormal:MEDIAN:SIGMA`, `pareto:LEAST:ALPHA`; times take
//! `us`, `ms`, `s`, `m`, bytes take `B`, `KiB`, `MiB`, `GiB`. The data of a key lies on one executor, chosen by the key's
//! hash; tasks of the first stage read it.
//!
//! ```
//! use policy_sim::workload::{ClusterDefaults, parse_source};
//!
//! let workload = parse_source("synthetic:jobs=10,duration=exp:20ms,seed=1", &ClusterDefaults::uniform(4, 2))?;
//! assert_eq!(workload.jobs.len(), 10);
//! # Ok::<(), policy_sim::workload::WorkloadError>(())
//! ```

mod dist;
mod generate;
mod spec;

pub use dist::{Dist, Unit};
pub use spec::{Arrivals, SyntheticSpec};

#[cfg(test)]
mod tests;
