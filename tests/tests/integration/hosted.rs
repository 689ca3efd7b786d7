//! A host over a sandbox, in this process.

use std::sync::Arc;
use std::time::{Duration, Instant};

use policy_host::{Event, EventKind, Events, HostOptions, Plan, PolicyHost};

use crate::rounds::round;
use crate::sandbox::Sandbox;

/// How long a test waits for what must happen: only a broken host takes that long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until something is so that no event tells of.
pub(crate) fn until(what: &str, mut so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < end, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A host with its sandbox and its events.
pub(crate) struct Hosted {
    pub(crate) sandbox: Sandbox,
    pub(crate) host: PolicyHost,
    events: Events,
    seen: Vec<Arc<Event>>,
}

impl Hosted {
    pub(crate) fn start() -> Self {
        Self::over(Sandbox::new(), HostOptions::default())
    }

    /// A host over libraries that it has admitted.
    pub(crate) async fn with(artifacts: &[&str]) -> Self {
        let mut hosted = Self::start();
        for artifact in artifacts {
            hosted.sandbox.drop_in(artifact);
            hosted.admitted(&crate::sandbox::library(artifact)).await;
        }
        hosted
    }

    pub(crate) fn over(sandbox: Sandbox, options: HostOptions) -> Self {
        // A busy machine must not look like a slow policy: tests of deadlines set their own in active.json.
        let options = HostOptions { deadline: PATIENCE, ..options };
        let host = PolicyHost::start(options.plugins(sandbox.plugins())).expect("the host starts");
        let events = host.events();
        Self { sandbox, host, events, seen: Vec::new() }
    }

    /// Waits for an event that `wanted` recognises, among those not waited for before.
    pub(crate) async fn wait_for<T>(&mut self, what: &str, wanted: impl Fn(&EventKind) -> Option<T>) -> T {
        let found = tokio::time::timeout(PATIENCE, async {
            loop {
                let event = self.events.next().await.expect("the host runs");
                self.seen.push(Arc::clone(&event));
                if let Some(found) = wanted(&event.kind) {
                    return found;
                }
            }
        });
        match found.await {
            Ok(found) => found,
            Err(_) => panic!("no {what} within {PATIENCE:?}; events so far: {:#?}", self.seen),
        }
    }

    /// As [`Hosted::wait_for`], but an event that came while something else was waited for counts as well.
    pub(crate) async fn heard<T>(&mut self, what: &str, wanted: impl Fn(&EventKind) -> Option<T>) -> T {
        match self.seen.iter().find_map(|event| wanted(&event.kind)) {
            Some(found) => found,
            None => self.wait_for(what, wanted).await,
        }
    }

    /// Waits until a generation of `policy` is receipted; returns its generation.
    pub(crate) async fn receipted(&mut self, policy: &str) -> u64 {
        self.wait_for(&format!("receipt of {policy}"), |kind| match kind {
            EventKind::Receipted { policy: p, generation, .. } if p == policy => Some(*generation),
            _ => None,
        })
        .await
    }

    /// Waits for a refusal; returns its code and message.
    pub(crate) async fn refused(&mut self, file: &str) -> (String, String) {
        self.wait_for(&format!("refusal of {file}"), |kind| match kind {
            EventKind::Refused { file: f, code, message } if f == file => Some(((*code).to_owned(), message.clone())),
            _ => None,
        })
        .await
    }

    pub(crate) async fn admitted(&mut self, file: &str) {
        self.wait_for(&format!("admission of {file}"), |kind| match kind {
            EventKind::Admitted { file: f, .. } if f == file => Some(()),
            _ => None,
        })
        .await;
    }

    /// Drops a library, activates a policy of it and waits until it is receipted.
    pub(crate) async fn bring_up(&mut self, library: &str, active_json: &str, policy: &str) -> u64 {
        self.sandbox.drop_in(library);
        self.admitted(&crate::sandbox::library(library)).await;
        self.sandbox.activate(active_json);
        self.receipted(policy).await
    }

    /// Binds a round of four executors with two vcores each and `tasks` tasks.
    pub(crate) async fn bind(&self, tasks: u32) -> Plan {
        self.host.bind(round(4, 2, tasks)).await
    }
}
