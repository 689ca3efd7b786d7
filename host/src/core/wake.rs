//! Waking the control task. A wake-up carries nothing: what happened is state where it happened, and the control task
//! looks there. So nothing can be lost, however many there are.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Wakes the control task; never waits.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wake(Arc<Inside>);

#[derive(Debug, Default)]
struct Inside {
    notify: Notify,
    stop: AtomicBool,
}

impl Wake {
    /// There is something to look at.
    pub(crate) fn wake(&self) {
        self.0.notify.notify_one();
    }

    /// The host is gone: the control task ends.
    pub(crate) fn stop(&self) {
        self.0.stop.store(true, Ordering::Release);
        self.wake();
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.0.stop.load(Ordering::Acquire)
    }

    /// Waits until there is something to look at; at once if there was since the last time.
    pub(crate) async fn woken(&self) {
        self.0.notify.notified().await;
    }
}
