//! A run as fast as possible: time jumps from event to event. With a binder that answers the same rounds with the same
//! rows, the same workload and seed give the same outcome and the same event log, byte by byte.

use std::sync::Arc;
use std::time::Duration;

use crate::bind::Binder;
use crate::cluster::Cluster;
use crate::drive::{Driver, Retry, RunError};
use crate::event_log::EventLog;
use crate::limits;
use crate::outcome::{End, Outcome};
use crate::progress::Progress;

/// How to run.
#[derive(Debug, Default)]
pub struct VirtualTimeOptions {
    /// Where to write what happens; the cluster must record it.
    pub events: Option<EventLog>,
    /// Ends the run at this virtual time in microseconds; whatever is left then is unfinished.
    pub until_us: Option<u64>,
    /// Where to write how far the run is.
    pub progress: Option<Arc<Progress>>,
}

/// Runs the workload to its end, or until nothing can happen any more.
///
/// A policy that leaves both work and room is asked again after [`limits::IDLE_RETRY_US`], then ever more seldom; after
/// [`limits::MAX_FRUITLESS_ROUNDS`] of that with no event left to come, the run ends as [`End::Stalled`].
///
/// # Errors
/// When the event log cannot be written.
pub async fn run<B: Binder>(cluster: Cluster, binder: &B, options: VirtualTimeOptions) -> Result<Outcome, RunError> {
    let retry = Retry::new(limits::IDLE_RETRY_US, limits::MAX_IDLE_RETRY_US);
    let mut driver = Driver::new(cluster, binder, options.progress.as_deref(), options.events, retry);
    let mut steps = 0u32;
    let end = loop {
        if driver.cluster.is_done() {
            break End::WorkloadDone;
        }
        let hopeless = driver.retry.fruitless() >= limits::MAX_FRUITLESS_ROUNDS;
        if hopeless && driver.cluster.next_event_us().is_none() {
            break End::Stalled;
        }
        let Some(next_us) = driver.next_us() else { break End::Stalled };
        if let Some(until_us) = options.until_us.filter(|&until| next_us > until) {
            driver.cluster.advance_to(until_us);
            break End::TimeUp;
        }
        driver.step(next_us, Duration::ZERO).await?;
        steps = steps.wrapping_add(1);
        if steps.is_multiple_of(limits::STEPS_PER_YIELD) {
            tokio::task::yield_now().await;
        }
    };
    driver.finish(end)
}
