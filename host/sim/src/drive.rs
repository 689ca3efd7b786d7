//! What real time and virtual time share: asking the binder in a round, applying its answer, counting what came of it,
//! and asking again after a while when a policy left pending tasks and free vcores.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::bind::{Answer, Binder};
use crate::cluster::Cluster;
use crate::cluster::metrics::{histogram, record};
use crate::event_log::EventLog;
use crate::outcome::{End, Outcome};
use crate::progress::Progress;
use crate::summary::PolicyCounts;

/// Why a run broke off.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The event log cannot be written. The run ends there, since an incomplete log would mislead.
    #[error("cannot write the event log")]
    EventLog {
        /// Why.
        #[from]
        source: io::Error,
    },
}

impl RunError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::EventLog { .. } => "event-log-unwritable",
        }
    }
}

/// A cluster with its binder, its event log and its progress.
pub(crate) struct Driver<'a, B: Binder> {
    pub(crate) cluster: Cluster,
    pub(crate) retry: Retry,
    binder: &'a B,
    progress: Option<&'a Progress>,
    events: Option<EventLog>,
    fallback_rounds: u64,
    latency_ns: Histogram<u64>,
    by_policy: BTreeMap<String, PolicyCounts>,
}

impl<'a, B: Binder> Driver<'a, B> {
    pub(crate) fn new(
        cluster: Cluster,
        binder: &'a B,
        progress: Option<&'a Progress>,
        events: Option<EventLog>,
        retry: Retry,
    ) -> Self {
        let (latency_ns, by_policy) = (histogram(), BTreeMap::new());
        Self { cluster, retry, binder, progress, events, fallback_rounds: 0, latency_ns, by_policy }
    }

    /// When the cluster must be looked at next: an event, or time to ask again. `None` when nothing is to come.
    pub(crate) fn next_us(&self) -> Option<u64> {
        [self.cluster.next_event_us(), self.retry.due_us()].into_iter().flatten().min()
    }

    /// Moves time on, then asks the binder if a round is due.
    pub(crate) async fn step(&mut self, to_us: u64, lag: Duration) -> Result<(), RunError> {
        self.cluster.advance_to(to_us);
        let nudged = self.progress.is_some_and(Progress::take_nudge);
        if self.retry.take_due(self.cluster.now_us()) || nudged {
            self.cluster.ask_again();
        }
        if self.cluster.wants_round() {
            self.round().await;
        }
        if let Some(events) = &mut self.events {
            events.write(&mut self.cluster)?;
        }
        if let Some(progress) = self.progress {
            progress.update(&self.cluster, self.fallback_rounds, lag);
        }
        Ok(())
    }

    async fn round(&mut self) {
        self.deliver();
        let round = self.cluster.begin_round();
        let asked = Instant::now();
        let answer = self.binder.bind(round).await;
        record(&mut self.latency_ns, u64::try_from(asked.elapsed().as_nanos()).unwrap_or(u64::MAX));
        let applied = self.cluster.apply(answer.rows());
        self.fallback_rounds += u64::from(answer.fallback());
        let counts = match self.by_policy.get_mut(answer.policy()) {
            Some(counts) => counts,
            None => self.by_policy.entry(answer.policy().to_owned()).or_default(),
        };
        counts.rounds += 1;
        counts.tasks += applied.started;
        self.retry.after_round(&self.cluster, applied.started);
    }

    /// Hands the binder what happened since the last call.
    pub(crate) fn deliver(&mut self) {
        if !self.binder.wants_observations() {
            return self.cluster.forget_observations();
        }
        let batch = self.cluster.take_observations();
        if !batch.is_empty() {
            self.binder.observe(batch);
        }
    }

    pub(crate) fn finish(mut self, end: End) -> Result<Outcome, RunError> {
        self.deliver();
        if let Some(events) = &mut self.events {
            events.write(&mut self.cluster)?;
            events.flush()?;
        }
        if let Some(progress) = self.progress {
            progress.update(&self.cluster, self.fallback_rounds, Duration::ZERO);
        }
        Ok(Outcome {
            end,
            virtual_us: self.cluster.now_us(),
            rounds: self.cluster.rounds(),
            fallback_rounds: self.fallback_rounds,
            counts: self.cluster.audit(),
            round_latency_ns: self.latency_ns,
            by_policy: self.by_policy,
            oldest_wait_us: self.cluster.oldest_wait_us(),
            metrics: self.cluster.metrics(),
            series: self.cluster.take_series(),
        })
    }
}

/// When to ask again though nothing changed: after a round that left both work and room, after a wait that doubles with
/// every round in a row that started nothing.
#[derive(Debug)]
pub(crate) struct Retry {
    least_us: u64,
    most_us: u64,
    wait_us: u64,
    due_us: Option<u64>,
    fruitless: u32,
}

impl Retry {
    pub(crate) fn new(least_us: u64, most_us: u64) -> Self {
        let least_us = least_us.max(1);
        Self { least_us, most_us: most_us.max(least_us), wait_us: least_us, due_us: None, fruitless: 0 }
    }

    pub(crate) fn due_us(&self) -> Option<u64> {
        self.due_us
    }

    /// Whether it is time; it is once only, until the next round says so again.
    fn take_due(&mut self, now_us: u64) -> bool {
        self.due_us.take_if(|due| *due <= now_us).is_some()
    }

    /// Rounds in a row that started nothing.
    pub(crate) fn fruitless(&self) -> u32 {
        self.fruitless
    }

    fn after_round(&mut self, cluster: &Cluster, started: u64) {
        if started > 0 {
            (self.wait_us, self.fruitless) = (self.least_us, 0);
        } else {
            self.fruitless = self.fruitless.saturating_add(1);
        }
        self.due_us = cluster.has_work_and_room().then(|| cluster.now_us().saturating_add(self.wait_us));
        if started == 0 {
            self.wait_us = self.wait_us.saturating_mul(2).min(self.most_us);
        }
    }
}
