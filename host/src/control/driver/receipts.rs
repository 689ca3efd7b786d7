//! Brings receipt and registry up to date.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use super::Control;
use crate::artifact::load::mapped_libraries;
use crate::core::event::unix_ms;
use crate::state::account;
use crate::state::receipt::Listed;

impl Control {
    /// Brings receipt and files up to date, if something changed or enough time has passed.
    pub(super) fn write_files(&mut self) {
        self.release_proved();
        if !self.files.is_stale() {
            return;
        }
        self.fill_receipt();
        self.published.set_receipt(self.files.receipt.clone());
        if self.files.is_time() {
            let listed = self.list();
            self.files.write(&listed);
            self.published.set_listed(listed);
        }
    }

    fn list(&self) -> Vec<Listed> {
        let lineup = self.service.slot.load();
        let composition = &lineup.serving().info.composition;
        self.registry.list(|sha256, name| composition.own().any(|(_, part)| part.sha256 == sha256 && part.name == name))
    }

    /// The receipt keeps a generation alive only while it is in the line-up.
    fn release_proved(&mut self) {
        let lineup = self.service.slot.load();
        self.proved.take_if(|proved| !lineup.all().iter().any(|active| Arc::ptr_eq(active, proved)));
    }

    fn fill_receipt(&mut self) {
        let lineup = self.service.slot.load();
        let receipt = &mut self.files.receipt;
        if let Some(active) = &self.proved {
            let sha256 = active.info.sha256();
            let mut said = account::of_active(active, &lineup);
            said.active_file_sha256.clone_from(&self.served_sha256);
            said.file_deleted = !sha256.is_empty() && !self.registry.has_file(sha256);
            self.registry.refused_since(sha256).unwrap_or_default().clone_into(&mut said.file_refused);
            receipt.active = Some(said);
        }
        let parts = lineup.active.info.composition.all().map(|(.., part)| part.sha256.as_str());
        let in_use: BTreeSet<&str> = parts.filter(|sha256| !sha256.is_empty()).collect();
        receipt.mapped_libraries = mapped_libraries() as u64;
        receipt.retired_libraries = receipt.mapped_libraries.saturating_sub(in_use.len() as u64);
        account::count(receipt, &self.service);
        receipt.recording = self.recorder.as_ref().map(|recorder| recorder.receipt());
        receipt.quarantined = self.registry.quarantined();
        receipt.rebuild = self.registry.to_rebuild();
        let next = lineup.serving();
        receipt.answers = match next.closed.load(Ordering::Acquire) {
            true => String::new(),
            false => format!("{} {}", next.info.policy(), next.info.library()),
        };
        receipt.host.updated_unix_ms = unix_ms(SystemTime::now());
    }
}
