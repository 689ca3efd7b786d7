//! Files: from a change in the directory to an admitted library. The stages run on a thread of their own, under a
//! deadline: vet, judge, load, probe.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use policy_plugin_api::abi::manifest::ManifestInfo;

use super::trying::{CRASHED_THE_HOST, Trial, Trials};
use super::{Control, Message, Request};
use crate::artifact::judge::{self, Judge, Unfit, intern};
use crate::artifact::load::{self, Loaded};
use crate::artifact::vet::{self, Digest, StagingDir};
use crate::artifact::watch::{Change, ChangeKind};
use crate::control::activation::{ACTIVE_FILE, Activation};
use crate::control::registry::Kept;
use crate::core::event::{Cause, EventKind};
use crate::core::limits::{MAX_ACTIVE_FILE_BYTES, MAX_LIBRARIES};
use crate::core::text::chain;

/// What became of a file.
#[derive(Debug)]
pub(crate) struct Admission {
    file: String,
    arrival: u64,
    seen_at: Instant,
    generation: u64,
    /// Whether these are the bytes that the file had before, not those that it has now.
    kept: bool,
    result: Result<Examined, RefusedFile>,
}

/// Where the bytes of a library come from.
#[derive(Debug)]
pub(super) enum Source {
    /// A file of the plugin directory.
    File(PathBuf),
    /// The staged copy of bytes that a file had when they were admitted last. `source` is where the file lies.
    Kept { source: PathBuf, digest: Digest },
}

/// What an examination needs, away from the control task.
#[derive(Debug)]
pub(super) struct Examination {
    staging: StagingDir,
    judge: Option<Judge>,
    generation: u64,
    trials: Trials,
    /// Libraries under which hosts ended, by SHA-256: they are not mapped.
    barred: BTreeSet<String>,
}

impl Examination {
    pub(super) fn new(control: &mut Control, generation: u64) -> Self {
        Self {
            staging: control.books.staging(),
            judge: control.options.judge.clone(),
            generation,
            trials: control.books.trials.clone(),
            barred: control.registry.out_for(CRASHED_THE_HOST),
        }
    }
}

/// A library that can be used, though perhaps not all of it.
#[derive(Debug)]
pub(super) struct Examined {
    pub(super) loaded: Arc<Loaded>,
    pub(super) manifest: ManifestInfo,
    pub(super) unfit: Vec<Unfit>,
}

/// Why a file was refused.
#[derive(Debug)]
pub(super) struct RefusedFile {
    pub(super) code: String,
    pub(super) message: String,
    pub(super) sha256: String,
}

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
                self.retry_queued();
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
                    self.refuse(&name, "still-changing", message, "", None);
                }
            },
        }
    }

    fn directory(&mut self, present: bool) {
        self.tell(EventKind::Directory { present });
        if present {
            self.books.force();
        } else {
            let directory = self.options.plugins.as_deref().map(|p| p.display().to_string()).unwrap_or_default();
            let message = format!("{directory}: the plugin directory is not there; what is active stays active");
            self.refuse(&directory, "directory-gone", message, "", None);
        }
    }

    fn active_file_changed(&mut self, path: &Path, seen_at: Instant) {
        let bytes = match vet::read_text(path, MAX_ACTIVE_FILE_BYTES) {
            Ok(bytes) => bytes,
            Err(e) => {
                self.refuse(ACTIVE_FILE, e.code(), chain(&e), "", None);
                return self.take_last_good(e.code());
            }
        };
        self.clear_as_asked();
        let sha256 = Digest::of(&bytes).to_string();
        let is_unchanged = self.active_file_read.replace(sha256.clone()).is_some_and(|before| before == sha256);
        // The bytes decide: a mode or a link that changes does not undo what an embedder switched to since.
        if is_unchanged && self.wish.as_ref().is_some_and(|wish| wish.cause == Cause::Api) {
            return tracing::debug!("{ACTIVE_FILE} says what it said before");
        }
        match Activation::parse(&bytes) {
            Err(e) => {
                self.refuse(ACTIVE_FILE, e.code(), chain(&e), &sha256, None);
                self.take_last_good(e.code());
            }
            Ok(activation) => self.request(Request {
                activation,
                cause: Cause::ActiveFile,
                file: ACTIVE_FILE.to_owned(),
                caused_at: seen_at,
                active_file_sha256: sha256,
                explicit: false,
                patience: None,
                reply: None,
                pins: None,
                because: None,
            }),
        }
    }

    fn file_gone(&mut self, name: &str) {
        if name == ACTIVE_FILE {
            let message = format!("{ACTIVE_FILE}: deleted; what is active stays active");
            self.tell(EventKind::FileGone { file: name.to_owned(), message: message.clone() });
            return self.refuse(name, "active-file-deleted", message, "", None);
        }
        self.books.set_deleted(name, true);
        let digest = self.registry.gone(name).map(|d| d.to_string());
        let lineup = self.shared.slot.load();
        let active = &lineup.active.info;
        let in_use = digest.as_ref().is_some_and(|d| {
            (active.sha256 == *d || active.parts().any(|part| part.sha256 == *d)) && !self.registry.has_file(d)
        });
        let message = match in_use {
            true => format!("{name}: deleted while active; {} keeps running from the host's own copy", active.policy),
            false => format!("{name}: deleted; its policies can no longer be activated"),
        };
        self.tell(EventKind::FileGone { file: name.to_owned(), message: message.clone() });
        if in_use {
            self.refuse(name, "plugin-file-deleted", message, "", None);
        }
        self.books.touch();
    }

    fn library_changed(&mut self, file: String, path: PathBuf, seen_at: Instant) {
        let arrival = self.registry.arrived(&file);
        self.examine_on_a_thread(file, arrival, seen_at, Source::File(path));
    }

    /// Has bytes of a file examined; returns whether somebody does.
    pub(super) fn examine_on_a_thread(&mut self, file: String, arrival: u64, seen_at: Instant, source: Source) -> bool {
        self.generation += 1;
        let generation = self.generation;
        self.admitting.push((file.clone(), arrival, Instant::now() + self.options.admission_deadline));
        let examination = Examination::new(self, generation);
        let inbox = self.shared.inbox.clone();
        let named = file.clone();
        let kept = matches!(source, Source::Kept { .. });
        let spawned = self.examiners.run(move || {
            let result = examine(&source, &examination);
            let admission = Admission { file: named, arrival, seen_at, generation, kept, result };
            let _ = inbox.blocking_send(Message::Admission(Box::new(admission)));
        });
        let Err(e) = spawned else { return true };
        self.admitting.retain(|(f, a, _)| *f != file || *a != arrival);
        if !kept {
            self.reject(
                &file,
                arrival,
                "no-thread",
                format!("{file}: no thread to examine it: {}", chain(&e)),
                String::new(),
            );
        }
        false
    }

    pub(super) fn take_admission(&mut self, admission: Admission) {
        let Admission { file, arrival, seen_at, generation, kept, result } = admission;
        let under_way = self.admitting.iter().position(|(f, a, _)| *f == file && *a == arrival);
        // Given up in the meantime, or overtaken by a later arrival of the same file.
        let Some(at) = under_way else { return };
        if !self.registry.is_current(&file, arrival) {
            self.admitting.swap_remove(at);
            return self.retry_queued();
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
                self.books.touch();
                self.renew(loaded, seen_at);
            }
            Err(RefusedFile { code, message, sha256 }) => {
                self.reject(&file, arrival, intern(&code), message, sha256);
            }
            Ok(Examined { loaded, manifest, unfit }) => {
                self.admitting.swap_remove(at);
                self.books.set_deleted(&file, false);
                let taken = self.registry.admitted(&file, &loaded, &manifest, generation);
                let exports = loaded.exports().iter();
                self.tell(EventKind::Admitted {
                    file: file.clone(),
                    digest: loaded.digest(),
                    exports: exports.map(|e| (e.name.clone(), e.kind.clone(), e.version.clone())).collect(),
                    latency: seen_at.elapsed(),
                });
                for (name, loser) in taken {
                    self.tell(EventKind::NameTaken { name, winner: file.clone(), loser });
                }
                for Unfit { name, code, message } in unfit {
                    let message =
                        format!("{file}: with its default config, {message}; {name} can still be tried with another");
                    self.registry.unfit(&loaded, &name, code);
                    self.refuse(&file, code, message, "", None);
                }
                self.books.touch();
                self.renew(loaded, seen_at);
            }
        }
        self.retry_queued();
    }

    fn reject(&mut self, file: &str, arrival: u64, code: &'static str, message: String, sha256: String) {
        self.admitting.retain(|(f, a, _)| f != file || *a != arrival);
        self.registry.rejected(file, code, &message, sha256);
        self.refuse(file, code, message, "", None);
        if !self.take_up_kept(file, arrival) {
            self.say_kept(file);
        }
    }

    /// Says what a refused file still gives.
    fn say_kept(&mut self, file: &str) {
        let Some(Kept { digest, names }) = self.registry.kept(file) else { return };
        self.tell(EventKind::NameKept { file: file.to_owned(), names, digest });
    }

    pub(super) fn give_up_admissions(&mut self, now: Instant) {
        let late: Vec<(String, u64)> =
            self.admitting.iter().filter(|(.., at)| *at <= now).map(|(f, a, _)| (f.clone(), *a)).collect();
        for (file, arrival) in late {
            let seconds = self.options.admission_deadline.as_secs_f32();
            let message = format!("{file}: not admitted after {seconds} s: it hangs while it is loaded or tried out");
            self.reject(&file, arrival, "admission-timeout", message, String::new());
            self.retry_queued();
        }
    }

    /// A library that gives the wished policy, one of its filters, scores or shadows anew is swapped in by itself.
    pub(super) fn renew(&mut self, loaded: Arc<Loaded>, seen_at: Instant) {
        if self.constructing.is_some() {
            self.arrived.push((loaded, seen_at));
            return;
        }
        let Some(wish) = &self.wish else { return };
        let lineup = self.shared.slot.load();
        let info = &lineup.active.info;
        let digest = loaded.digest().to_string();
        let gives = |kind: &str, name: &str| loaded.export(name).is_some_and(|e| e.kind == kind);
        let newest =
            |kind: &str, name: &str| self.registry.resolve(kind, name).is_ok_and(|l| l.digest() == loaded.digest());
        // `kind` is what the library gives it as, `role` what it is here.
        let renews = |kind: &str, name: &str, role: &str| {
            let serves = match role {
                "policy" => info.policy == name && info.sha256 == digest,
                _ => info.all_parts().any(|part| part.kind == role && part.name == name && part.sha256 == digest),
            };
            gives(kind, name) && newest(kind, name) && !serves
        };
        let asked = &wish.activation;
        let is_news = renews("policy", &asked.policy.name, "policy")
            || asked.parts().any(|(kind, part)| renews(kind, &part.name, kind))
            || asked.shadow.iter().any(|candidate| {
                renews("policy", &candidate.policy.name, "shadow")
                    || candidate.scores.iter().any(|(score, _)| renews("score", &score.name, "score"))
            });
        if is_news {
            let request = Request {
                activation: wish.activation.clone(),
                cause: Cause::NewLibrary,
                file: loaded.file_name().to_owned(),
                caused_at: seen_at,
                active_file_sha256: wish.active_file_sha256.clone(),
                explicit: false,
                patience: None,
                reply: None,
                pins: None,
                because: None,
            };
            self.request(request);
        }
    }
}

/// Vet, judge, load, probe: in this order, none skipped.
pub(super) fn examine(source: &Source, examination: &Examination) -> Result<Examined, RefusedFile> {
    let Examination { staging, judge, generation, trials, barred } = examination;
    let (path, vetted) = match source {
        Source::File(path) => (path, vet::vet(path, staging)),
        Source::Kept { source, digest } => (source, vet::vet_kept(source, *digest, staging)),
    };
    let vetted =
        vetted.map_err(|e| RefusedFile { code: e.code().into(), message: chain(&e), sha256: String::new() })?;
    let sha256 = vetted.digest().to_string();
    let refused = |code: &str, message: String| RefusedFile { code: code.into(), message, sha256: sha256.clone() };
    if barred.contains(&sha256) {
        let message = format!(
            "{}: hosts ended while they were loading it; put another library in its place, or lift it with `policy-host \
             quarantine clear` and write it again",
            path.display()
        );
        return Err(refused(CRASHED_THE_HOST, message));
    }
    let known = load::is_mapped(vetted.digest());
    if !known && load::mapped_libraries() >= MAX_LIBRARIES {
        let e = load::LoadError::TooMany { file: path.to_owned() };
        return Err(refused(e.code(), chain(&e)));
    }
    if let Some(judge) = judge.as_ref().filter(|_| !known) {
        let verdict = judge.examine_staged(&vetted);
        if !verdict.is_usable() {
            return Err(refused(&verdict.code, verdict.message));
        }
    }
    let trial = (!known).then(|| {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        trials.begin(Trial::of_library(&file, sha256.clone()))
    });
    let loaded = load::load(&vetted).map_err(|e| refused(e.code(), chain(&e)))?;
    // What passed before in these very bytes passes again.
    let unfit = if known { Vec::new() } else { judge::probe(&loaded, *generation, |_| ()) };
    drop(trial);
    match unfit.first().filter(|_| unfit.len() == loaded.exports().len()) {
        Some(first) => Err(refused(first.code, format!("{}: {}", path.display(), first.message))),
        None => Ok(Examined { loaded, manifest: vetted.manifest().clone(), unfit }),
    }
}
