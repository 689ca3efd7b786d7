//! `bias` and `round-robin` give the answers of plain programs that look at one task and one executor after the other,
//! whatever tasks take and whatever filters limit.

use policy_kit::{Bias, RoundRobin};
use policy_plugin_api::prelude::*;
use policy_testkit::arbitrary;
use proptest::prelude::*;

/// Offers each pending task the executors in the order of `places`; a stage of equal tasks ends with the first that fits
/// nowhere.
fn plain(
    slots: &mut [AvailableTaskSlots],
    jobs: &RunningJobs<'_>,
    mut places: impl FnMut(Option<usize>, usize) -> Vec<usize>,
) -> Vec<BoundTask> {
    let limits = jobs.limits();
    let (mut caps, mut answer, mut last) = (limits.group_caps().to_vec(), Vec::new(), None);
    for stage in jobs.stages() {
        let uniform = stage.uniform_vcores().is_some() && stage.uniform_memory_mib().is_some();
        let groups = limits.groups(stage.id());
        for task in stage.pending() {
            let (vcores, memory_mib) = (task.vcores(), u64::from(task.memory_mib()));
            let capped = groups.iter().any(|&group| caps[group as usize] < vcores);
            let fits = |&place: &usize| {
                let slot: &AvailableTaskSlots = &slots[place];
                slot.slots >= vcores && slot.memory_mib >= memory_mib && limits.allows(stage.id(), slot.executor)
            };
            let found = if capped { None } else { places(last, slots.len()).into_iter().find(fits) };
            let Some(place) = found else {
                if uniform {
                    break;
                }
                continue;
            };
            slots[place].slots -= vcores;
            slots[place].memory_mib -= memory_mib;
            groups.iter().for_each(|&group| caps[group as usize] -= vcores);
            answer.push(BoundTask::new(task.id(), slots[place].executor));
            last = Some(place);
        }
    }
    answer
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, ..ProptestConfig::default() })]

    #[test]
    fn bias_is_the_first_executor_that_fits(round in arbitrary::rounds()) {
        let expected = round.with(|slots, jobs| {
            slots.sort_by_key(|slot| (std::cmp::Reverse(slot.slots), slot.executor));
            plain(slots, jobs, |_, count| (0..count).collect())
        });
        prop_assert_eq!(round.ask(&Bias).unwrap(), expected);
    }

    #[test]
    fn round_robin_is_the_next_executor_that_fits(round in arbitrary::rounds()) {
        let expected = round.with(|slots, jobs| {
            plain(slots, jobs, |last, count| {
                let next = last.map_or(0, |place| place + 1);
                (next..count).chain(0..next.min(count)).collect()
            })
        });
        prop_assert_eq!(round.ask(&RoundRobin::default()).unwrap(), expected);
    }
}
