//! Policy `spread-by-rack`: spreads the tasks of each stage over racks, so that the loss of one rack costs every stage
//! only its share.
//!
//! Written from outside: it knows the plugin API and the test kit, nothing of the host.
#![forbid(unsafe_code)]

pub mod compose;

use policy_plugin_api::prelude::*;
use policy_plugin_api::schemars::JsonSchema;
use serde::Deserialize;

/// The knobs, as `config` in `active.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(crate = "policy_plugin_api::schemars")]
pub struct Config {
    /// The most tasks of one stage that one rack gets in one round; 0 for no bound.
    pub most_per_rack: u32,
}

/// Spreads each stage over racks.
#[derive(Debug)]
pub struct SpreadByRack {
    config: Config,
}

impl FromConfig for SpreadByRack {
    const NAME: &'static str = "spread-by-rack";
    type Config = Config;

    fn from_config(config: Config) -> Result<Self> {
        tracing::info!(most_per_rack = config.most_per_rack, "spreading by rack");
        Ok(Self { config })
    }
}

/// One rack: its executors with something free, and how many tasks of the stage it got in this round.
struct Rack {
    number: Option<u32>,
    slots: Vec<AvailableTaskSlots>,
    tasks: u32,
}

#[async_trait]
impl DistributionPolicy for SpreadByRack {
    async fn bind_tasks(
        &self,
        slots: &mut [AvailableTaskSlots],
        running_jobs: &RunningJobs<'_>,
    ) -> Result<Vec<BoundTask>> {
        let mut racks = racks(slots, running_jobs);
        let mut caps = running_jobs.limits().group_caps().to_vec();
        let mut bound = Vec::with_capacity(running_jobs.bindable());
        for stage in running_jobs.stages() {
            if racks.iter().all(|rack| rack.slots.is_empty()) {
                break;
            }
            racks.iter_mut().for_each(|rack| rack.tasks = 0);
            for task in stage.pending() {
                match self.place(&task, running_jobs, &mut racks, &mut caps) {
                    Some(executor) => bound.push(BoundTask::new(task.id(), executor)),
                    // What does not fit now is asked about again in the next round.
                    None => break,
                }
            }
        }
        tracing::debug!(round = running_jobs.number(), racks = racks.len(), tasks = bound.len(), "spread");
        Ok(bound)
    }
}

/// The free executors by rack; those without one count as one rack. Which rack is first is drawn with the round's seed,
/// the only randomness that a policy may use, so that small stages do not all begin in the same rack.
fn racks(slots: &[AvailableTaskSlots], jobs: &RunningJobs<'_>) -> Vec<Rack> {
    let mut racks: Vec<Rack> = Vec::new();
    for &slot in slots {
        let number = jobs.executors().get(slot.executor).rack_number();
        match racks.iter_mut().find(|rack| rack.number == number) {
            Some(rack) => rack.slots.push(slot),
            None => racks.push(Rack { number, slots: vec![slot], tasks: 0 }),
        }
    }
    fastrand::Rng::with_seed(jobs.seed()).shuffle(&mut racks);
    racks
}

impl SpreadByRack {
    /// Takes room for one task in the rack with fewest tasks of its stage, on the executor with most free.
    fn place(
        &self,
        task: &Task<'_>,
        jobs: &RunningJobs<'_>,
        racks: &mut [Rack],
        caps: &mut [u32],
    ) -> Option<ExecutorId> {
        let (limits, stage) = (jobs.limits(), task.stage().id());
        let (vcores, memory_mib) = (task.vcores(), u64::from(task.memory_mib()));
        // Filters: no group of the stage may go over its cap, and some executors may be closed to it.
        if limits.groups(stage).iter().any(|&group| caps[group as usize] < vcores) {
            return None;
        }
        let fits = |slot: &AvailableTaskSlots| {
            slot.slots >= vcores && slot.memory_mib >= memory_mib && limits.allows(stage, slot.executor)
        };
        let has_turn = |rack: &&mut Rack| self.config.most_per_rack == 0 || rack.tasks < self.config.most_per_rack;
        let roomiest = |rack: &Rack| {
            let fitting = rack.slots.iter().enumerate().filter(|(_, slot)| fits(slot));
            fitting.max_by_key(|(at, slot)| (slot.slots, std::cmp::Reverse(*at))).map(|(at, _)| at)
        };
        let candidates = racks.iter_mut().filter(has_turn).filter_map(|rack| roomiest(rack).map(|at| (rack, at)));
        let (rack, at) = candidates.min_by_key(|(rack, _)| rack.tasks)?;
        rack.tasks += 1;
        let slot = &mut rack.slots[at];
        slot.slots -= vcores;
        slot.memory_mib -= memory_mib;
        let executor = slot.executor;
        if slot.slots == 0 {
            rack.slots.remove(at);
        }
        limits.groups(stage).iter().for_each(|&group| caps[group as usize] -= vcores);
        Some(executor)
    }
}

policy_plugin_api::export_policy! {
    policies: [SpreadByRack],
    filters: [compose::NoDrain],
    scores: [compose::FasterFirst],
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy_testkit::spec::{executor, job, round, stage, RoundSpec};

    policy_testkit::policy_conformance!(SpreadByRack, defaults = "{}", bounded = r#"{"most_per_rack": 2}"#);

    fn two_racks() -> RoundSpec {
        let of = |name: &str, rack: &str| executor(name, 8).rack(rack);
        round().executor(of("a", "r1")).executor(of("b", "r1")).executor(of("c", "r1")).executor(of("d", "r2"))
    }

    fn by_rack(config: Config, tasks: usize) -> [usize; 2] {
        let policy = SpreadByRack::from_config(config).unwrap();
        let counts = two_racks().job(job("etl").stage(stage(tasks))).build().counts(&policy);
        [counts[..3].iter().map(|c| c.1).sum(), counts[3].1]
    }

    #[test]
    fn racks_share_a_stage_evenly_while_both_have_room() {
        assert_eq!(by_rack(Config::default(), 12), [6, 6]);
        assert_eq!(by_rack(Config::default(), 30), [22, 8]);
    }

    #[test]
    fn a_rack_gets_no_more_than_its_bound() {
        assert_eq!(by_rack(Config { most_per_rack: 5 }, 30), [5, 5]);
    }
}
