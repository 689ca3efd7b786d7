//! The workload model: executors, and jobs of stages of tasks, with when they are submitted. Readers, importers and the
//! generator live in the modules below; what becomes of a workload at run time lives in [`cluster`](crate::cluster).

mod defaults;
pub mod error;
pub mod fault;
pub mod file;
mod interner;
mod model;
pub mod openb;
pub mod ran;
pub mod recorded;
mod rows;
pub mod source;
pub mod swim;
pub mod synthetic;
mod validate;

pub use defaults::ClusterDefaults;
pub use error::{Place, WorkloadError};
pub use fault::FaultPlan;
use interner::Interner;
pub(crate) use model::topological;
pub use model::{DEFAULT_NETWORK_MIB_PER_S, Header, Input, Job, Outage, Stage, Task, Workload};
pub use policy_host::round::ExecutorSpec;
pub use ran::Recorded;
pub use source::{is_seeded, parse_recorded, parse_seeded, parse_source, recording};
