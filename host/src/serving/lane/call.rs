//! What a call in a lane comes to: an answer, or the state that a predecessor hands over.

use std::fmt;
use std::sync::OnceLock;
use std::time::Duration;

use policy_plugin_api::PolicyState;

use crate::core::decided::Decided;
use crate::core::foreign::{PolicyFault, Proposal};
use crate::core::guard::Fault;

/// What the filters of a round decided, once they have.
pub(crate) type LimitsCell = OnceLock<Decided>;

/// What became of a round in a lane.
#[derive(Debug)]
pub(crate) enum Ran {
    /// The policy was asked.
    Answered { answer: Result<Proposal, Fault>, decided: Decided },
    /// No code of this lane has seen the round: the policy is in a call that is late, or about to be replaced.
    NotTaken,
}

/// What a predecessor handed over. As long as it is kept, the predecessor is in no call.
pub(crate) struct Handed {
    state: Result<Option<PolicyState>, PolicyFault>,
    release: Option<Box<dyn FnOnce(bool) + Send>>,
}

impl Handed {
    pub(super) fn new(release: impl FnOnce(bool) + Send + 'static) -> Self {
        Self { state: Ok(None), release: Some(Box::new(release)) }
    }

    pub(super) fn with(mut self, state: Result<Option<PolicyState>, PolicyFault>) -> Self {
        self.state = state;
        self
    }

    pub(crate) fn take_state(&mut self) -> Result<Option<PolicyState>, PolicyFault> {
        std::mem::replace(&mut self.state, Ok(None))
    }

    /// The successor is in service: rounds that wait go to it.
    pub(crate) fn taken_over(mut self) {
        if let Some(release) = self.release.take() {
            release(true);
        }
    }
}

impl Drop for Handed {
    /// The hand-over came to nothing: the predecessor goes on.
    fn drop(&mut self) {
        if let Some(release) = self.release.take() {
            release(false);
        }
    }
}

impl fmt::Debug for Handed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handed").finish_non_exhaustive()
    }
}

/// Why a predecessor hands over no state.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoState {
    #[error("it is in a call that is late")]
    Busy,
    #[error("it did not export it within {} ms", .0.as_millis())]
    TooSlow(Duration, Handed),
    #[error("no thread to export it on")]
    Thread(#[source] std::io::Error),
}
