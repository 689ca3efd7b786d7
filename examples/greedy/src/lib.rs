//! The policy of the demo: fills executors one after the other, in the order of their names. Built with the feature
//! `reverse`, it starts with the last one: a new version of the same policy, easy to tell from the old.
//!
//! Written the simplest way that is right: it honours vcores, memory and the limits of filters, and stops a stage at
//! its first task that fits nowhere.

use policy_plugin_api::prelude::*;

policy_plugin_api::export_policy! { policies: [Greedy] }

/// Fills executors one after the other.
#[derive(Debug)]
pub struct Greedy;

impl FromConfig for Greedy {
    const NAME: &'static str = "greedy";
    type Config = NoConfig;

    fn from_config(_: NoConfig) -> Result<Self> {
        Ok(Self)
    }
}

#[async_trait]
impl DistributionPolicy for Greedy {
    async fn bind_tasks(
        &self,
        mut slots: &mut [AvailableTaskSlots],
        running_jobs: &RunningJobs<'_>,
    ) -> Result<Vec<BoundTask>> {
        if cfg!(feature = "reverse") {
            slots.reverse();
        }
        let limits = running_jobs.limits();
        let mut caps = limits.group_caps().to_vec();
        let mut bound = Vec::with_capacity(running_jobs.bindable());
        for stage in running_jobs.stages() {
            let groups = limits.groups(stage.id());
            for task in stage.pending() {
                // What is full at the front is not looked at again.
                while slots.first().is_some_and(|slot| slot.slots == 0) {
                    slots = &mut slots[1..];
                }
                let (vcores, memory_mib) = (task.vcores(), u64::from(task.memory_mib()));
                let fits = |slot: &AvailableTaskSlots| {
                    slot.slots >= vcores && slot.memory_mib >= memory_mib && limits.allows(stage.id(), slot.executor)
                };
                if groups.iter().any(|&group| caps[group as usize] < vcores) {
                    break;
                }
                let Some(slot) = slots.iter_mut().find(|slot| fits(slot)) else { break };
                slot.slots -= vcores;
                slot.memory_mib -= memory_mib;
                groups.iter().for_each(|&group| caps[group as usize] -= vcores);
                bound.push(BoundTask::new(task.id(), slot.executor));
            }
        }
        Ok(bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use policy_testkit::spec::{job, round, stage};

    policy_testkit::policy_conformance!(Greedy);

    #[test]
    fn fills_one_executor_after_the_other() {
        let round = round().executors(3, 4).job(job("etl").stage(stage(6))).build();
        let counts: Vec<usize> = round.counts(&Greedy).into_iter().map(|(_, count)| count).collect();
        assert_eq!(counts, if cfg!(feature = "reverse") { [0, 2, 4] } else { [4, 2, 0] });
    }
}
