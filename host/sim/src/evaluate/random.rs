//! The random policy: the reference that every comparison should include.

use policy_host::policy::*;

/// Binds pending tasks in the contract's order, each to an executor with room, drawn with equal chances (of the free
/// executors, not of the free vcores). Work conserving; the same round gives the same answer.
///
/// RSDS found that random placement "is surprisingly competitive" (arXiv 2010.11105): a policy that does not beat it is
/// not worth its while. Cost: O(free executors + stages + bindings). A stage whose next task fits on no executor drawn
/// in 16 tries is looked for among all of them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Random;

/// Draws for one task before all executors are looked at.
const TRIES: u32 = 16;

/// Pending tasks of unequal stages that are passed over in one round before the rest of the stage is left.
const MAX_PASSED_OVER: u32 = 4_096;

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Draws(u64);

impl Draws {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        // Lemire's multiply and shift; the bias is below n / 2^64.
        ((u128::from(z) * n as u128) >> 64) as usize
    }
}

impl Random {
    fn place(
        draws: &mut Draws,
        slots: &mut [AvailableTaskSlots],
        left: &mut usize,
        fits: impl Fn(&AvailableTaskSlots) -> bool,
    ) -> Option<usize> {
        for _ in 0..TRIES {
            let at = draws.below(*left);
            if fits(&slots[at]) {
                return Some(at);
            }
        }
        // Rare: few executors fit. From a drawn place on, so that none is preferred by its number.
        let first = draws.below(*left);
        (first..*left).chain(0..first).find(|&at| fits(&slots[at]))
    }
}

#[async_trait::async_trait]
impl DistributionPolicy for Random {
    async fn bind_tasks(
        &self,
        slots: &mut [AvailableTaskSlots],
        running_jobs: &RunningJobs<'_>,
    ) -> Result<Vec<BoundTask>> {
        let mut answer = Vec::with_capacity(running_jobs.bindable());
        let mut draws = Draws(running_jobs.seed());
        let limits = running_jobs.limits();
        let mut caps = limits.group_caps().to_vec();
        let mut left = slots.len();
        for stage in running_jobs.stages() {
            let mut passed_over = 0;
            for task in stage.pending() {
                if left == 0 {
                    return Ok(answer);
                }
                let (vcores, memory_mib) = (task.vcores(), u64::from(task.memory_mib()));
                let groups = limits.groups(stage.id());
                let capped = groups.iter().any(|&g| caps[g as usize] < vcores);
                let fits = |s: &AvailableTaskSlots| {
                    s.slots >= vcores && s.memory_mib >= memory_mib && limits.allows(stage.id(), s.executor)
                };
                let found = if capped { None } else { Self::place(&mut draws, slots, &mut left, fits) };
                let Some(at) = found else {
                    passed_over += 1;
                    if stage.uniform_vcores().is_some() && stage.uniform_memory_mib().is_some()
                        || passed_over == MAX_PASSED_OVER
                    {
                        break;
                    }
                    continue;
                };
                answer.push(BoundTask::new(task.id(), slots[at].executor));
                groups.iter().for_each(|&g| caps[g as usize] -= vcores);
                slots[at].slots -= vcores;
                slots[at].memory_mib -= memory_mib;
                if slots[at].slots == 0 {
                    left -= 1;
                    slots.swap(at, left);
                }
            }
        }
        Ok(answer)
    }
}
