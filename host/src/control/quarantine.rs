//! Lifting a quarantine when an operator asks for it, through a file: `policy-host quarantine clear` and `switch` leave a
//! request in the state directory, and the control task carries it out.

use std::time::Duration;

use super::Control;
use crate::core::text::chain;
use crate::state::receipt::{CLEAR_FILE, ClearRequest, Quarantined, StateDir};

/// How often the control task looks for a request while something is out of service.
pub(super) const CLEAR_TICK: Duration = Duration::from_millis(100);

impl Control {
    /// Carries out a request that lies in the state directory.
    pub(super) fn clear_as_asked(&mut self) {
        if self.registry.quarantined().is_empty() {
            return;
        }
        let Some(state) = self.books.reachable_state_dir().map(StateDir::at) else { return };
        let request = match state.read_json::<ClearRequest>(CLEAR_FILE) {
            Ok(None) => return,
            Ok(Some(request)) => request,
            Err(e) => {
                tracing::warn!("{CLEAR_FILE} cannot be read and is ignored: {}", chain(&e));
                ClearRequest::default()
            }
        };
        self.clear(&request);
        if let Err(e) = std::fs::remove_file(state.path().join(CLEAR_FILE)) {
            tracing::warn!("{CLEAR_FILE} cannot be removed: {}", chain(&e));
        }
    }

    /// Puts back in service what is asked for; returns what was out of it.
    pub(super) fn clear(&mut self, request: &ClearRequest) -> Vec<Quarantined> {
        let lifted = self.registry.clear(request);
        for entry in &lifted {
            tracing::info!(file = entry.file, sha256 = entry.sha256, code = entry.code, "back in service");
        }
        self.books.remember_quarantine(self.registry.quarantined());
        lifted
    }

    /// Whether a request could come.
    pub(super) fn may_be_asked_to_clear(&self) -> bool {
        !self.registry.quarantined().is_empty()
    }
}
