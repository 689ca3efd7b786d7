//! The event bus: listeners and the log hear of events in the order in which they are sent.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::broadcast;

use crate::core::event::{Event, EventKind};
use crate::core::limits::EVENTS_KEPT;

/// Sends events; any thread may.
#[derive(Clone, Debug)]
pub(crate) struct EventBus {
    started: Instant,
    sender: broadcast::Sender<Arc<Event>>,
}

impl EventBus {
    /// A bus, with the receiver of its first listener: it hears everything since the start.
    pub(crate) fn new() -> (Self, broadcast::Receiver<Arc<Event>>) {
        let (sender, first_listener) = broadcast::channel(EVENTS_KEPT);
        (Self { started: Instant::now(), sender }, first_listener)
    }

    /// An event of this moment, to be sent later.
    pub(crate) fn event(&self, kind: EventKind) -> Event {
        Event::now(self.started, kind)
    }

    /// Sends an event of this moment to listeners and the log.
    pub(crate) fn emit(&self, kind: EventKind) {
        self.send(self.event(kind));
    }

    /// Sends an event that happened before.
    pub(crate) fn send(&self, event: Event) {
        event.kind.trace();
        // Nobody listening is fine.
        let _ = self.sender.send(Arc::new(event));
    }

    /// A listener to what is sent from now on.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Arc<Event>> {
        self.sender.subscribe()
    }
}
