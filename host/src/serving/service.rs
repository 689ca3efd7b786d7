//! What rounds and the control task share.

use crate::core::counters::Counters;
use crate::core::events::EventBus;
use crate::core::feedback::Feedback;
use crate::core::tape::Tape;
use crate::core::wake::Wake;
use crate::serving::slot::Slot;

/// See the module.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) slot: Slot,
    pub(crate) feedback: Feedback,
    pub(crate) counters: Counters,
    pub(crate) events: EventBus,
    /// Where rounds are recorded, with a recording.
    pub(crate) tape: Option<Tape>,
    /// Wakes the control task.
    pub(crate) control: Wake,
}
