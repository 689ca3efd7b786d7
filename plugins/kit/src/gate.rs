//! The limits of filters, counted down while a policy binds. Costs nothing where there are none.

use policy_plugin_api::limits::LimitsView;
use policy_plugin_api::{ExecutorId, RunningJobs, StageId};

/// What is left of the round's limits.
#[derive(Clone, Debug)]
pub struct Gate<'a> {
    limits: LimitsView<'a>,
    group_left: Vec<u32>,
}

impl<'a> Gate<'a> {
    /// The limits of a round, untouched.
    #[must_use]
    pub fn new(jobs: &RunningJobs<'a>) -> Self {
        let limits = jobs.limits();
        Self { limits, group_left: limits.group_caps().to_vec() }
    }

    /// Whether there are no limits at all.
    #[inline]
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.limits.is_unrestricted()
    }

    /// What concerns one stage; get it once a stage, not once a task.
    #[inline]
    #[must_use]
    pub fn pass(&self, stage: StageId) -> Pass<'a> {
        if self.is_open() {
            return Pass::default();
        }
        Pass { mask: self.limits.mask(stage), only: None, groups: self.limits.groups(stage) }
    }

    /// Vcores that the groups of a stage leave to it.
    #[inline]
    #[must_use]
    pub fn room(&self, pass: &Pass<'_>) -> u32 {
        pass.groups.iter().map(|&g| self.group_left[g as usize]).min().unwrap_or(u32::MAX)
    }

    /// Counts vcores that a stage was given; no more than [`Gate::room`].
    #[inline]
    pub fn take(&mut self, pass: &Pass<'_>, vcores: u32) {
        for &group in pass.groups {
            self.group_left[group as usize] -= vcores;
        }
    }
}

/// The limits of one stage.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pass<'a> {
    mask: Option<&'a [u64]>,
    only: Option<&'a [u64]>,
    groups: &'a [u32],
}

impl<'a> Pass<'a> {
    /// Narrows the executors further, to those of a bit set in words of 64.
    #[must_use]
    pub fn among(self, only: Option<&'a [u64]>) -> Self {
        Self { only, ..self }
    }

    /// The same caps, and every executor.
    #[must_use]
    pub fn of_groups(self) -> Self {
        Self { mask: None, only: None, ..self }
    }

    /// Whether masks leave no more than `most` executors, counting some of each mask's last word that there may not be.
    #[must_use]
    pub fn allows_at_most(&self, most: usize) -> bool {
        let few = |mask: &[u64]| mask.iter().map(|word| word.count_ones() as usize).sum::<usize>() <= most;
        self.mask.is_some_and(few) || self.only.is_some_and(few)
    }

    /// Whether every executor is allowed.
    #[inline]
    #[must_use]
    pub fn allows_all(&self) -> bool {
        self.mask.is_none() && self.only.is_none()
    }

    /// Whether this executor is allowed.
    #[inline]
    #[must_use]
    pub fn allows(&self, executor: ExecutorId) -> bool {
        let has =
            |mask: &[u64]| mask.get(executor.index() / 64).is_some_and(|w| (w >> (executor.index() % 64)) & 1 == 1);
        self.mask.is_none_or(has) && self.only.is_none_or(has)
    }
}
