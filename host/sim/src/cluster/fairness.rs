//! How evenly vcores are shared among tenants with pending tasks, over time. Knows tenants by number only.

/// What each tenant holds and has pending, and the time-average of Jain's index over those that have pending tasks.
///
/// Over a whole run every tenant gets what it asked for, whatever the policy; what a policy decides is which tenant waits
/// meanwhile. So the index is taken at every instant at which two tenants or more have pending tasks and something runs,
/// over the vcores that these tenants hold. Every change costs O(1).
#[derive(Clone, Debug, Default)]
pub(super) struct Shares {
    tenants: Vec<Share>,
    backlogged: u64,
    sum: u128,
    squares: u128,
    at_us: u64,
    index_us: f64,
    contested_us: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Share {
    vcores: u64,
    pending: u64,
}

impl Shares {
    pub(super) fn new(tenants: usize) -> Self {
        Self { tenants: vec![Share::default(); tenants], ..Self::default() }
    }

    /// Counts the time up to `at_us` under what holds since the last call.
    #[inline]
    pub(super) fn accrue(&mut self, at_us: u64) {
        let passed_us = at_us.saturating_sub(self.at_us);
        self.at_us = self.at_us.max(at_us);
        if passed_us == 0 {
            return;
        }
        let Some(now) = self.now() else { return };
        self.index_us += now * passed_us as f64;
        self.contested_us += passed_us;
    }

    /// The index as it stands; `None` while tenants do not compete.
    #[inline]
    pub(super) fn now(&self) -> Option<f64> {
        if self.backlogged < 2 || self.squares == 0 {
            return None;
        }
        let (sum, squares) = (self.sum as f64, self.squares as f64);
        Some(sum * sum / (self.backlogged as f64 * squares))
    }

    #[inline]
    pub(super) fn adds_pending(&mut self, tenant: u32, tasks: u64) {
        self.change(tenant, |s| s.pending += tasks);
    }

    /// A pending task starts with so many vcores.
    #[inline]
    pub(super) fn starts(&mut self, tenant: u32, vcores: u32) {
        self.change(tenant, |s| {
            s.pending -= 1;
            s.vcores += u64::from(vcores);
        });
    }

    #[inline]
    pub(super) fn ends(&mut self, tenant: u32, vcores: u32) {
        self.change(tenant, |s| s.vcores -= u64::from(vcores));
    }

    fn change(&mut self, tenant: u32, change: impl FnOnce(&mut Share)) {
        let share = &mut self.tenants[tenant as usize];
        if share.pending > 0 {
            self.backlogged -= 1;
            self.sum -= u128::from(share.vcores);
            self.squares -= u128::from(share.vcores) * u128::from(share.vcores);
        }
        change(share);
        if share.pending > 0 {
            self.backlogged += 1;
            self.sum += u128::from(share.vcores);
            self.squares += u128::from(share.vcores) * u128::from(share.vcores);
        }
    }

    /// The time-average; `None` when tenants never competed.
    pub(super) fn index(&self) -> Option<f64> {
        (self.contested_us > 0).then(|| self.index_us / self.contested_us as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_is_that_of_the_tenants_that_compete() {
        let mut shares = Shares::new(3);
        shares.adds_pending(0, 10);
        shares.starts(0, 4);
        shares.accrue(100);
        assert_eq!(shares.index(), None, "one tenant alone");
        shares.adds_pending(1, 1);
        shares.accrue(200);
        assert_eq!(shares.index(), Some(0.5), "one holds all");
        shares.adds_pending(1, 5);
        shares.starts(1, 4);
        shares.accrue(300);
        assert_eq!(shares.index(), Some(0.75), "equal for the second half");
        shares.ends(1, 4);
        shares.ends(0, 4);
        shares.accrue(400);
        assert_eq!(shares.index(), Some(0.75), "nothing runs");
    }
}
