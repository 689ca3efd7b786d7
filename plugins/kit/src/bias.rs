//! `bias`: packs the executor with most free vcores, then the next.
//!
//! As `bind_task_bias` of Apache DataFusion Ballista 55 (`ballista/scheduler/src/cluster/mod.rs`): executors by free
//! vcores, descending, filled one after another; with two things settled that Ballista leaves open: equals go by name
//! (there: in the order of a map), and jobs in the contract's order (there: in the order of a hash map).

use policy_plugin_api::prelude::*;

use crate::first_fit::FirstFit;
use crate::gate::Gate;

/// Packs the executor with most free vcores first.
///
/// Keeps busy executors few, so that others stay empty for large tasks or can be released; not for spreading load.
/// Work conserving, deterministic, without state. Cost: O(free executors), a sort of as many of them as are
/// needed, and O(bindings).
#[derive(Clone, Copy, Debug, Default)]
pub struct Bias;

impl FromConfig for Bias {
    const NAME: &'static str = "bias";
    const OBSERVES: bool = false;
    type Config = NoConfig;

    fn from_config(_: NoConfig) -> Result<Self> {
        Ok(Self)
    }
}

#[async_trait]
impl DistributionPolicy for Bias {
    async fn bind_tasks(
        &self,
        slots: &mut [AvailableTaskSlots],
        running_jobs: &RunningJobs<'_>,
    ) -> Result<Vec<BoundTask>> {
        let mut answer = Vec::with_capacity(running_jobs.bindable());
        let mut gate = Gate::new(running_jobs);
        let mut executors = FirstFit::most_free_first(slots, running_jobs.bindable());
        for stage in running_jobs.stages() {
            if executors.is_exhausted() {
                break;
            }
            let pass = gate.pass(stage.id());
            executors.bind(&stage, &mut gate, &pass, &mut answer);
        }
        Ok(answer)
    }
}
