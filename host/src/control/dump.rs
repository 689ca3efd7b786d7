//! Dumps of the guard, written away from the control thread: a round may be large.

use super::{Control, Message};
use crate::core::event::EventKind;
use crate::core::text::chain;
use crate::record::{self, Dump};
use crate::state::receipt::DumpReceipt;

/// What became of a dump.
#[derive(Debug)]
pub(crate) struct Dumped {
    policy: String,
    generation: u64,
    written: std::io::Result<DumpReceipt>,
}

impl Control {
    /// Writes the round that took a generation out of service, if there is a state directory to hold it.
    pub(super) fn dump(&mut self, dump: Dump) {
        let Some(state_dir) = self.books.reachable_state_dir() else { return };
        let inbox = self.shared.inbox.clone();
        let spawned = self.makers.run(move || {
            let info = &dump.0.generation.info;
            let (policy, generation) = (info.policy.clone(), info.generation);
            let written = record::write_dump(&state_dir, &dump);
            drop(dump);
            let _ = inbox.blocking_send(Message::Dumped(Box::new(Dumped { policy, generation, written })));
        });
        if let Err(e) = spawned {
            tracing::warn!("no thread to write a dump: {}", chain(&e));
        }
    }

    pub(super) fn take_dumped(&mut self, dumped: Dumped) {
        let Dumped { policy, generation, written } = dumped;
        match written {
            Ok(dump) => {
                self.tell(EventKind::Dumped { policy, generation, code: dump.code.clone(), file: dump.file.clone() });
                self.books.dumped(dump);
            }
            Err(e) => {
                let message = format!("the round that took it out of service could not be kept: {}", chain(&e));
                self.tell(EventKind::Note { policy, generation, message });
            }
        }
    }
}
