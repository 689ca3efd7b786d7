//! Offers that Ballista does not make by itself: in push mode it looks for work when something happens, and a policy may
//! want to wait for time alone.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::limits::{REOFFER_AFTER, REOFFER_AFTER_AT_MOST, REOFFERS_BEFORE_WARNING};

/// Requests for another offer; [`crate::serve`] carries them out.
#[derive(Debug, Default)]
pub struct Reoffers {
    notify: Notify,
    pending: Mutex<Pending>,
}

#[derive(Debug, Default)]
struct Pending {
    executor: String,
    after: Duration,
    /// Offers in a row that bound nothing.
    fruitless: u32,
}

impl Reoffers {
    /// A round left work and free vcores, of them some on `executor`.
    pub(crate) fn ask(&self, executor: &str, bound_something: bool) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        executor.clone_into(&mut pending.executor);
        pending.after = if bound_something || pending.after.is_zero() {
            REOFFER_AFTER
        } else {
            (pending.after * 2).min(REOFFER_AFTER_AT_MOST)
        };
        pending.fruitless = if bound_something { 0 } else { pending.fruitless.saturating_add(1) };
        if pending.fruitless == REOFFERS_BEFORE_WARNING {
            tracing::warn!(executor, "tasks wait though vcores are free: the policy binds none of them");
        }
        drop(pending);
        self.notify.notify_one();
    }

    /// A round left no work, or no free vcores.
    pub(crate) fn reset(&self) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        (pending.after, pending.fruitless) = (Duration::ZERO, 0);
    }

    /// Waits until an offer is due; returns an executor to make it for.
    pub async fn due(&self) -> String {
        self.notify.notified().await;
        let (executor, after) = {
            let pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
            (pending.executor.clone(), pending.after)
        };
        tokio::time::sleep(after).await;
        executor
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_until_something_is_bound() {
        let offers = Reoffers::default();
        let after = |bound| {
            offers.ask("e", bound);
            offers.pending.lock().unwrap().after
        };
        assert_eq!([after(false), after(false), after(false)], [REOFFER_AFTER, REOFFER_AFTER * 2, REOFFER_AFTER * 4]);
        let waits: Vec<_> = (0..20).map(|_| after(false)).collect();
        assert_eq!(waits[19], REOFFER_AFTER_AT_MOST);
        assert_eq!(after(true), REOFFER_AFTER);
        offers.reset();
        assert_eq!(after(false), REOFFER_AFTER);
    }
}
