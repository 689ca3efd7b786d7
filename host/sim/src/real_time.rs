//! A run on the clock: virtual time passes `speed` times as fast as the wall clock. Sleeps until something is due.
//!
//! Events that are due are taken in instant by instant, each with its own round, so that the wall clock's jitter does not
//! leave vcores idle. Only when the cluster lags behind by more than [`limits::MAX_LAG_WALL`] is everything due taken in
//! at once, and one round asked for: so it catches up, whatever a round takes.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::str::FromStr;
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;

use crate::bind::Binder;
use crate::cluster::Cluster;
use crate::drive::{Driver, Retry, RunError};
use crate::event_log::EventLog;
use crate::limits;
use crate::outcome::{End, Outcome};
use crate::progress::Progress;

/// Virtual seconds per wall second, from [`limits::MIN_SPEED`] to [`limits::MAX_SPEED`].
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Speed(f64);

impl Speed {
    /// This speed; `None` outside of the range.
    #[must_use]
    pub fn new(speed: f64) -> Option<Self> {
        (limits::MIN_SPEED..=limits::MAX_SPEED).contains(&speed).then_some(Self(speed))
    }

    /// Virtual seconds per wall second.
    #[must_use]
    pub fn get(self) -> f64 {
        self.0
    }

    fn virtual_us(self, wall: Duration) -> u64 {
        (wall.as_secs_f64() * 1e6 * self.0) as u64
    }

    /// Rounded up, so that what is due at `virtual_us` is due by then.
    fn wall(self, virtual_us: u64) -> Duration {
        let nanos = (virtual_us as f64 * 1e3 / self.0).ceil();
        Duration::from_nanos(nanos as u64)
    }
}

impl Default for Speed {
    fn default() -> Self {
        Self(1.0)
    }
}

impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse().ok().and_then(Self::new).ok_or_else(|| {
            format!("`{text}` is not a speed: a number from {} to {}", limits::MIN_SPEED, limits::MAX_SPEED)
        })
    }
}

/// How to run.
#[derive(Debug, Default)]
pub struct RealTimeOptions {
    /// How fast.
    pub speed: Speed,
    /// Ends the run after this much wall time; whatever is left then is unfinished.
    pub duration: Option<Duration>,
    /// Where to write what happens; the cluster must record it.
    pub events: Option<EventLog>,
}

/// Runs until the workload ends, the duration passes, `stop` completes, or nothing can happen any more.
///
/// Every answer is waited for, also when `stop` completes meanwhile: what a policy bound is applied and counted. Give
/// [`std::future::pending`] as `stop` for a run that is never stopped. A policy that leaves both work and room is asked again
/// after a while, and at once after [`Progress::nudge`].
///
/// # Errors
/// When the event log cannot be written.
pub async fn run<B: Binder>(
    cluster: Cluster,
    binder: &B,
    options: RealTimeOptions,
    progress: &Progress,
    stop: impl Future<Output = ()> + Send,
) -> Result<Outcome, RunError> {
    let RealTimeOptions { speed, duration, events } = options;
    let retry = Retry::new(
        limits::IDLE_RETRY_US.max(speed.virtual_us(limits::MIN_RETRY_WALL)),
        limits::MAX_IDLE_RETRY_US.min(speed.virtual_us(limits::MAX_RETRY_WALL)),
    );
    let mut driver = Driver::new(cluster, binder, Some(progress), events, retry);
    let mut stop = pin!(stop);
    let start = Instant::now();
    let ends = duration.and_then(|d| start.checked_add(d));
    let mut steps = 0u32;
    let end = loop {
        let stopped = poll_fn(|cx| Poll::Ready(stop.as_mut().poll(cx).is_ready())).await;
        if let Some(end) = over(&driver, ends, stopped) {
            break end;
        }
        let now_us = speed.virtual_us(start.elapsed());
        match driver.next_us() {
            Some(due_us) if due_us <= now_us => {
                let lag = speed.wall(now_us - due_us);
                let to_us = if lag > limits::MAX_LAG_WALL { now_us } else { due_us };
                driver.step(to_us, lag).await?;
            }
            _ if progress.is_nudged() => driver.step(now_us, Duration::ZERO).await?,
            due_us => {
                driver.deliver();
                let due = due_us.and_then(|us| start.checked_add(speed.wall(us)));
                let until = [due, ends].into_iter().flatten().min();
                if let Wake::Stopped = sleep(until, progress, stop.as_mut()).await {
                    break End::Stopped;
                }
            }
        }
        steps = steps.wrapping_add(1);
        if steps.is_multiple_of(limits::STEPS_PER_YIELD) {
            tokio::task::yield_now().await;
        }
    };
    driver.finish(end)
}

/// Whether the run is over, and why.
fn over<B: Binder>(driver: &Driver<'_, B>, ends: Option<Instant>, stopped: bool) -> Option<End> {
    let cluster = &driver.cluster;
    if cluster.is_done() {
        return Some(End::WorkloadDone);
    }
    if stopped {
        return Some(End::Stopped);
    }
    if ends.is_some_and(|at| Instant::now() >= at) {
        return Some(End::TimeUp);
    }
    // Without an executor, and none to come back, no policy could help.
    (driver.next_us().is_none() && !cluster.has_work_and_room() && !cluster.wants_round()).then_some(End::Stalled)
}

enum Wake {
    Due,
    Stopped,
}

async fn sleep(until: Option<Instant>, progress: &Progress, stop: Pin<&mut (impl Future<Output = ()> + Send)>) -> Wake {
    let due = async {
        match until {
            Some(at) => tokio::time::sleep_until(at).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        () = stop => Wake::Stopped,
        () = progress.nudged() => Wake::Due,
        () = due => Wake::Due,
    }
}
