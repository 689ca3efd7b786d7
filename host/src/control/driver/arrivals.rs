//! Files: from a change in the directory to an admitted library, and from `active.json` to a request.

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::{Admitting, Arrival, Control};
use crate::artifact::judge::intern;
use crate::artifact::vet;
use crate::artifact::watch::{Change, ChangeKind};
use crate::control::activation::{ACTIVE_FILE, Activation};
use crate::control::examine::{Examination, Source, examine};
use crate::control::machine::Input;
use crate::control::message::{Admission, Examined, Message, RefusedFile};
use crate::control::registry::Kept;
use crate::control::request::{Refusal, Request};
use crate::control::tryout::Unfit;
use crate::core::digest::Digest;
use crate::core::event::{Cause, EventKind};
use crate::core::limits::MAX_ACTIVE_FILE_BYTES;
use crate::core::text::chain;
use crate::state::trying::CRASHED_THE_HOST;

impl Control {
    pub(super) fn take_change(&mut self, change: Change) {
        tracing::debug!(?change, "seen");
        match change {
            Change::Scanned => {
                self.scanned = true;
                // Nothing was asked for: what the host starts with is meant.
                if self.options.plugins.as_ref().is_none_or(|p| !p.join(ACTIVE_FILE).exists()) {
                    self.restorable = None;
                }
                self.drive(Input::NamesChanged);
            }
            Change::Directory { present } => self.directory(present),
            Change::File { name, path, kind, seen_at } => match (name == ACTIVE_FILE, kind) {
                (true, ChangeKind::Changed) => self.active_file_changed(&path, seen_at),
                (false, ChangeKind::Changed) => self.library_changed(name, path, seen_at),
                (_, ChangeKind::Gone) => self.file_gone(&name),
                (_, ChangeKind::KeepsChanging) => {
                    let message = format!("{}: keeps changing; it is looked at again once it is still", path.display());
                    if name != ACTIVE_FILE {
                        self.registry.arrived(&name);
                        self.registry.rejected(&name, "still-changing", &message, String::new());
                    }
                    self.refuse(&name, Refusal::new("still-changing", message), "", None);
                }
            },
        }
    }

    fn directory(&mut self, present: bool) {
        self.say(EventKind::Directory { present });
        if present {
            self.files.force();
        } else {
            let directory = self.options.plugins.as_deref().map(|p| p.display().to_string()).unwrap_or_default();
            let message = format!("{directory}: the plugin directory is not there; what is active stays active");
            self.refuse(&directory, Refusal::new("directory-gone", message), "", None);
        }
    }

    fn active_file_changed(&mut self, path: &Path, seen_at: Instant) {
        let bytes = match vet::read_text(path, MAX_ACTIVE_FILE_BYTES) {
            Ok(bytes) => bytes,
            Err(e) => {
                self.refuse(ACTIVE_FILE, Refusal::new(e.code(), chain(&e)), "", None);
                return self.take_last_good(e.code());
            }
        };
        self.clear_as_asked();
        let sha256 = Digest::of(&bytes).to_string();
        let is_unchanged = self.active_file_read.replace(sha256.clone()).is_some_and(|before| before == sha256);
        // The bytes decide: a mode or a link that changes does not undo what an embedder switched to since.
        if is_unchanged && self.machine.intent().is_some_and(|before| before.cause == Cause::Api) {
            return tracing::debug!("{ACTIVE_FILE} says what it said before");
        }
        match Activation::parse(&bytes) {
            Err(e) => {
                self.refuse(ACTIVE_FILE, Refusal::new(e.code(), chain(&e)), &sha256, None);
                self.take_last_good(e.code());
            }
            Ok(activation) => {
                let request = Request::new(activation, Cause::ActiveFile, ACTIVE_FILE, seen_at);
                self.drive(Input::Asked(Request { active_file_sha256: sha256, ..request }));
            }
        }
    }

    fn file_gone(&mut self, name: &str) {
        if name == ACTIVE_FILE {
            let message = format!("{ACTIVE_FILE}: deleted; what is active stays active");
            self.say(EventKind::FileGone { file: name.to_owned(), message: message.clone() });
            return self.refuse(name, Refusal::new("active-file-deleted", message), "", None);
        }
        self.files.set_deleted(name, true);
        let digest = self.registry.gone(name).map(|d| d.to_string());
        let lineup = self.service.slot.load();
        let active = &lineup.active.info;
        let in_use = digest
            .as_ref()
            .is_some_and(|d| active.composition.own().any(|(_, part)| part.sha256 == *d) && !self.registry.has_file(d));
        let message = match in_use {
            true => format!("{name}: deleted while active; {} keeps running from the host's own copy", active.policy()),
            false => format!("{name}: deleted; its policies can no longer be activated"),
        };
        self.say(EventKind::FileGone { file: name.to_owned(), message: message.clone() });
        if in_use {
            self.refuse(name, Refusal::new("plugin-file-deleted", message), "", None);
        }
        self.files.touch();
    }

    fn library_changed(&mut self, file: String, path: PathBuf, seen_at: Instant) {
        let arrival = self.registry.arrived(&file);
        self.examine_on_a_thread(file, arrival, seen_at, Source::File(path));
    }

    /// Has bytes of a file examined; returns whether somebody does.
    pub(super) fn examine_on_a_thread(&mut self, file: String, arrival: u64, seen_at: Instant, source: Source) -> bool {
        self.generation += 1;
        let generation = self.generation;
        let examination = self.examination();
        let inbox = self.inbox.clone();
        let named = file.clone();
        let kept = matches!(source, Source::Kept { .. });
        let spawned = self.examiners.run(move || {
            let result = examine(&source, &examination);
            let admission = Admission { file: named, arrival, seen_at, generation, kept, result };
            let _ = inbox.blocking_send(Message::Admission(Box::new(admission)));
        });
        match spawned {
            Ok(job) => self.admitting.push(Admitting { file, arrival, job }),
            Err(_) if kept => return false,
            Err(e) => {
                let message = format!("{file}: no thread to examine it: {}", chain(&e));
                self.reject(&file, arrival, "no-thread", message, String::new());
                return false;
            }
        }
        true
    }

    /// What an examination needs.
    pub(super) fn examination(&mut self) -> Examination {
        Examination {
            staging: self.files.staging(),
            judge: self.options.judge.clone(),
            generation: self.generation,
            trials: self.files.trials.clone(),
            barred: self.registry.out_for(CRASHED_THE_HOST),
        }
    }

    pub(super) fn take_admission(&mut self, admission: Admission) {
        let Admission { file, arrival, seen_at, generation, kept, result } = admission;
        let under_way = self.admitting.iter().position(|a| a.file == file && a.arrival == arrival);
        // Given up in the meantime, or overtaken by a later arrival of the same file.
        let Some(at) = under_way else { return };
        if !self.registry.is_current(&file, arrival) {
            self.admitting.swap_remove(at);
            return self.drive(Input::NamesChanged);
        }
        match result {
            Err(RefusedFile { code, message, .. }) if kept => {
                self.admitting.swap_remove(at);
                tracing::warn!(code, file, "the bytes that were admitted last cannot be used: {message}");
            }
            Ok(Examined { loaded, manifest, .. }) if kept => {
                self.admitting.swap_remove(at);
                self.registry.admitted_before(&file, &loaded, &manifest, generation);
                self.say_kept(&file);
                self.files.touch();
                self.drive(Input::Arrived(Arrival { loaded, seen_at }));
            }
            Err(RefusedFile { code, message, sha256 }) => {
                self.reject(&file, arrival, intern(&code), message, sha256);
            }
            Ok(Examined { loaded, manifest, unfit }) => {
                self.admitting.swap_remove(at);
                self.files.set_deleted(&file, false);
                let taken = self.registry.admitted(&file, &loaded, &manifest, generation);
                let exports = loaded.exports().iter();
                self.say(EventKind::Admitted {
                    file: file.clone(),
                    digest: loaded.digest(),
                    exports: exports.map(|e| (e.name.clone(), e.kind.clone(), e.version.clone())).collect(),
                    latency: seen_at.elapsed(),
                });
                for (name, loser) in taken {
                    self.say(EventKind::NameTaken { name, winner: file.clone(), loser });
                }
                for Unfit { name, code, message } in unfit {
                    let message =
                        format!("{file}: with its default config, {message}; {name} can still be tried with another");
                    self.registry.unfit(&loaded, &name, code);
                    self.refuse(&file, Refusal::new(code, message), "", None);
                }
                self.files.touch();
                self.drive(Input::Arrived(Arrival { loaded, seen_at }));
            }
        }
        self.drive(Input::NamesChanged);
    }

    fn reject(&mut self, file: &str, arrival: u64, code: &'static str, message: String, sha256: String) {
        self.admitting.retain(|a| a.file != file || a.arrival != arrival);
        self.registry.rejected(file, code, &message, sha256);
        self.refuse(file, Refusal::new(code, message), "", None);
        if !self.take_up_kept(file, arrival) {
            self.say_kept(file);
        }
    }

    /// Says what a refused file still gives.
    fn say_kept(&mut self, file: &str) {
        let Some(Kept { digest, names }) = self.registry.kept(file) else { return };
        self.say(EventKind::NameKept { file: file.to_owned(), names, digest });
    }

    pub(super) fn give_up_admissions(&mut self, now: Instant) {
        let limit = self.options.admission_deadline;
        let late = self.admitting.iter().filter(|a| a.job.is_overdue(now, limit));
        let late: Vec<(String, u64)> = late.map(|a| (a.file.clone(), a.arrival)).collect();
        for (file, arrival) in late {
            self.admitting.iter().filter(|a| a.arrival == arrival).for_each(|a| a.job.give_up());
            let seconds = self.options.admission_deadline.as_secs_f32();
            let message = format!("{file}: not admitted after {seconds} s: it hangs while it is loaded or tried out");
            self.reject(&file, arrival, "admission-timeout", message, String::new());
            self.drive(Input::NamesChanged);
        }
    }
}
