//! What is out of service: put there by a fault or by an earlier host's end, and back by an operator.

use super::Control;
use crate::artifact::judge::intern;
use crate::control::message::{Dumped, Message};
use crate::control::request::Refusal;
use crate::core::event::EventKind;
use crate::core::guard::Fault;
use crate::core::info::ActiveInfo;
use crate::core::taken::Dump;
use crate::core::text::chain;
use crate::record;
use crate::state::directory::CLEAR_FILE;
use crate::state::receipt::{ClearRequest, Quarantined};
use crate::state::trying::{CRASHED_THE_HOST, ENDS_IN_A_ROW, Trial};

impl Control {
    /// Puts a library, or a library in a recipe, out of service.
    pub(super) fn out_of_service(&mut self, entry: Quarantined) {
        let code = intern(&entry.code);
        self.say(EventKind::Quarantined { sha256: entry.sha256.clone(), file: entry.file.clone(), code });
        // A policy of the embedder's own has no library that could be kept out.
        if !entry.sha256.is_empty() {
            self.registry.quarantine(entry);
            self.files.touch();
        }
    }

    /// Puts the library at fault out of service.
    pub(super) fn quarantine(&mut self, info: &ActiveInfo, fault: &Fault) {
        let is_guilty = |kind, name: &str| fault.part.as_ref().is_some_and(|(k, n)| *k == kind && n == name);
        let guilty = info.composition.parts().find(|(kind, part)| is_guilty(*kind, &part.name));
        let part = guilty.map_or(&info.composition.policy, |(_, part)| part);
        let (sha256, file) = (part.sha256.clone(), part.library.clone());
        self.out_of_service(Quarantined { sha256, file, code: fault.code.into(), recipe: String::new() });
    }

    /// Carries out a request that lies in the state directory: `policy-host quarantine clear` and `switch` leave one.
    pub(super) fn clear_as_asked(&mut self) {
        if self.registry.quarantined().is_empty() {
            return;
        }
        let Some(state) = self.files.reachable().cloned() else { return };
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
        self.files.touch();
        lifted
    }

    /// Says under what the previous host ended, and puts out of service what two in a row ended under.
    pub(super) fn say_ended_trials(&mut self) {
        for trial in std::mem::take(&mut self.files.left_trials) {
            let (what, pid) = (trial.what(), trial.pid);
            if trial.attempt < ENDS_IN_A_ROW {
                let message = format!(
                    "the previous host (process {pid}) ended while it was {what}; that is judged again before it is used"
                );
                self.files.changed(false, "host-ended-in-trial", &trial.file, &message, "");
                self.files.ended_in_trial(&message);
                self.say(EventKind::EndedInTrial { file: trial.file, policy: trial.policy, message });
                continue;
            }
            let message = format!(
                "{} hosts in a row ended while they were {what}, the last as process {pid}: it is out of service; put \
                 another library or config in its place, or lift it with `policy-host quarantine clear`",
                trial.attempt
            );
            self.files.ended_in_trial(&message);
            let Trial { file, sha256, recipe, .. } = trial;
            self.out_of_service(Quarantined { sha256, file: file.clone(), code: CRASHED_THE_HOST.into(), recipe });
            self.refuse(&file, Refusal::new(CRASHED_THE_HOST, message), "", None);
        }
    }

    /// Has the round written that took a generation out of service, if there is a state directory to hold it: a round may
    /// be large.
    pub(super) fn dump(&mut self, dump: Dump) {
        let Some(state_dir) = self.files.reachable().map(|state| state.path().to_owned()) else { return };
        let inbox = self.inbox.clone();
        let spawned = self.makers.run(move || {
            let info = &dump.0.generation.info;
            let (policy, generation) = (info.policy().to_owned(), info.generation);
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
                self.say(EventKind::Dumped { policy, generation, code: dump.code.clone(), file: dump.file.clone() });
                self.files.dumped(dump);
            }
            Err(e) => {
                let message = format!("the round that took it out of service could not be kept: {}", chain(&e));
                self.say(EventKind::Note { policy, generation, message });
            }
        }
    }
}
