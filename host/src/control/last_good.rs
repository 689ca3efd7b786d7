//! The last good composition: what a restarted host takes when it finds an `active.json` that it must refuse, and the
//! bytes that answer for a file whose new ones were refused.
//!
//! A composition is noted in the state directory once it has answered, with the digest of each of its libraries; their
//! staged copies are kept. So a name in use means the same code before and after a restart.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::admission::{Examination, Examined, RefusedFile, Source, examine};
use super::{Control, Message, Request};
use crate::artifact::vet::{self, Digest};
use crate::control::activation::{ACTIVE_FILE, Activation, Wanted};
use crate::core::event::{Cause, EventKind};
use crate::core::limits::MAX_ACTIVE_FILE_BYTES;
use crate::core::text::chain;
use crate::serving::slot::ActiveInfo;
use crate::state::receipt::{LAST_GOOD_FILE, unix_ms};

/// The newest version of the file that this host writes, and the newest that it reads.
const VERSION: u32 = 1;

/// A composition that has answered, as it stands in the state directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LastGood {
    version: u32,
    /// The `active.json` that asked for it.
    active_json: String,
    /// What it took from libraries.
    parts: Vec<GoodPart>,
    since_unix_ms: u64,
}

/// A policy, filter or score of a composition, with the bytes that gave it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct GoodPart {
    /// As the library gives it: `policy`, `filter` or `score`.
    kind: String,
    name: String,
    file: String,
    sha256: String,
    /// Whether the file was deleted since: then it gives the name no more, and only the composition needs the bytes.
    #[serde(default)]
    deleted: bool,
}

impl GoodPart {
    fn digest(&self) -> Option<Digest> {
        self.sha256.parse().ok()
    }
}

/// Names that mean fixed bytes, whatever the files of the directory give: (kind, name) to digest.
pub(super) type Pins = BTreeMap<(String, String), Digest>;

impl LastGood {
    /// The composition of a generation; `None` for the one that the host started with, and for what was taken of an
    /// earlier composition: that one stays the last good, whole, for the next host.
    pub(super) fn of(info: &ActiveInfo) -> Option<Self> {
        if info.active_json.is_empty() || info.cause == Cause::Rollback {
            return None;
        }
        let part = |kind: &str, name: &str, file: &str, sha256: &str| GoodPart {
            kind: kind.to_owned(),
            name: name.to_owned(),
            file: file.to_owned(),
            sha256: sha256.to_owned(),
            deleted: false,
        };
        let own = part("policy", &info.policy, &info.library, &info.sha256);
        let others = info.all_parts().map(|p| {
            let kind = if p.kind == "shadow" { "policy" } else { p.kind };
            part(kind, &p.name, &p.library, &p.sha256)
        });
        // What is compiled in has no digest.
        let parts = std::iter::once(own).chain(others).filter(|part| !part.sha256.is_empty()).collect();
        let since_unix_ms = unix_ms(info.since);
        Some(Self { version: VERSION, active_json: info.active_json.to_string(), parts, since_unix_ms })
    }

    /// Carries over which files were deleted.
    pub(super) fn after(mut self, before: Option<&Self>) -> Self {
        let deleted = before.into_iter().flat_map(|before| before.parts.iter().filter(|part| part.deleted));
        for gone in deleted {
            let same = |part: &&mut GoodPart| part.file == gone.file && part.sha256 == gone.sha256;
            self.parts.iter_mut().filter(same).for_each(|part| part.deleted = true);
        }
        self
    }

    /// Reads the file of an earlier host. One that cannot be read is as good as none.
    pub(super) fn read(state: &crate::state::receipt::StateDir) -> Option<Self> {
        match state.read_json::<Self>(LAST_GOOD_FILE) {
            Ok(good) => good.filter(|good| good.version <= VERSION),
            Err(e) => {
                tracing::warn!("{LAST_GOOD_FILE} cannot be read and is begun anew: {}", chain(&e));
                None
            }
        }
    }

    /// The bytes that it needs.
    pub(super) fn digests(&self) -> BTreeSet<Digest> {
        self.parts.iter().filter_map(GoodPart::digest).collect()
    }

    /// The bytes that a file had, unless it was deleted since.
    fn digest_of(&self, file: &str) -> Option<Digest> {
        self.parts.iter().find(|part| part.file == file && !part.deleted).and_then(GoodPart::digest)
    }

    /// Notes that a file was deleted, or is there again.
    pub(super) fn set_deleted(&mut self, file: &str, deleted: bool) {
        self.parts.iter_mut().filter(|part| part.file == file).for_each(|part| part.deleted = deleted);
    }

    fn has_filters(&self) -> bool {
        Activation::parse(self.active_json.as_bytes()).is_ok_and(|activation| !activation.filters.is_empty())
    }
}

/// Whether the `active.json` of a directory asks for filters: then nothing may be bound before they are in force. A file
/// that cannot be understood asks for them if it seems to name some, or if the last good composition had some.
pub(super) fn filters_are_due(plugins: &Path, last_good: Option<&LastGood>) -> bool {
    let Ok(bytes) = vet::read_text(&plugins.join(ACTIVE_FILE), MAX_ACTIVE_FILE_BYTES) else {
        return plugins.join(ACTIVE_FILE).exists() && last_good.is_some_and(LastGood::has_filters);
    };
    match Activation::parse(&bytes) {
        Ok(activation) => !activation.filters.is_empty(),
        Err(_) => {
            let seems_so = bytes.windows(FILTERS_KEY.len()).any(|word| word == FILTERS_KEY);
            seems_so || last_good.is_some_and(LastGood::has_filters)
        }
    }
}

const FILTERS_KEY: &[u8] = b"\"filters\"";

/// The libraries of the last good composition, examined anew.
#[derive(Debug)]
pub(crate) struct Restored {
    good: LastGood,
    why: &'static str,
    libraries: Vec<Result<Examined, RefusedFile>>,
}

impl Control {
    /// A file was refused whose bytes of before answer: has them examined, if this host has not admitted them itself.
    /// Returns whether it does.
    pub(super) fn take_up_kept(&mut self, file: &str, arrival: u64) -> bool {
        let Some(digest) = self.books.last_good().and_then(|good| good.digest_of(file)) else { return false };
        if self.registry.kept(file).is_some() {
            return false;
        }
        let source = Source::Kept { source: self.plugin_path(file), digest };
        self.examine_on_a_thread(file.to_owned(), arrival, Instant::now(), source)
    }

    /// The host started with an `active.json` that it refused: takes the last good composition, if there is one.
    pub(super) fn take_last_good(&mut self, why: &'static str) {
        let Some(good) = self.restorable.take() else { return self.say_closed() };
        let files: BTreeMap<Digest, PathBuf> =
            good.parts.iter().filter_map(|part| Some((part.digest()?, self.plugin_path(&part.file)))).collect();
        self.generation += 1;
        let examination = Examination::new(self, self.generation);
        let inbox = self.shared.inbox.clone();
        self.restoring = true;
        let spawned = self.examiners.run(move || {
            let sources = files.into_iter().map(|(digest, source)| Source::Kept { source, digest });
            let libraries = sources.map(|source| examine(&source, &examination)).collect();
            let _ = inbox.blocking_send(Message::Restored(Box::new(Restored { good, why, libraries })));
        });
        if let Err(e) = spawned {
            tracing::error!("no thread to take the last good composition: {}", chain(&e));
            self.restoring = false;
            self.say_closed();
        }
    }

    pub(super) fn take_restored(&mut self, restored: Restored) {
        self.restoring = false;
        let Restored { good, why, libraries } = restored;
        for library in libraries {
            match library {
                Ok(Examined { loaded, manifest, .. }) => self.registry.add(&loaded, &manifest, self.generation),
                Err(RefusedFile { code, message, .. }) => tracing::warn!(code, "the last good composition: {message}"),
            }
        }
        // Something was activated meanwhile.
        if self.shared.slot.load().active.info.generation != self.shared.slot.load().initial.info.generation {
            return self.retry_queued();
        }
        match self.restorable_request(&good, why) {
            Some(request) if self.constructing.is_none() && self.queued.is_none() => self.request(request),
            // An operator's request is newer.
            Some(_) => {}
            None => {
                let message = format!("{LAST_GOOD_FILE}: its libraries are gone or out of service: it cannot be taken");
                self.refuse(LAST_GOOD_FILE, "last-good-unusable", message, "", None);
                self.say_closed();
            }
        }
        self.retry_queued();
    }

    /// The composition as far as its libraries can be used: without its shadows if need be, with the fallback in the
    /// place of its policy if need be, never without its filters.
    fn restorable_request(&self, good: &LastGood, why: &'static str) -> Option<Request> {
        let mut activation = Activation::parse(good.active_json.as_bytes()).ok()?;
        let usable = good.parts.iter().filter_map(|part| {
            let digest = part.digest()?;
            self.registry.library(digest)?;
            Some(((part.kind.clone(), part.name.clone()), digest))
        });
        let pins: Pins = usable.collect();
        let is_lost = |kind: &str, wanted: &Wanted| {
            let named = |part: &&GoodPart| part.kind == kind && part.name == wanted.name;
            good.parts.iter().any(|part| named(&part)) && !pins.contains_key(&(kind.to_owned(), wanted.name.clone()))
        };
        if activation.filters.iter().any(|filter| is_lost("filter", filter)) {
            return None;
        }
        activation.shadow.retain(|candidate| {
            !is_lost("policy", &candidate.policy) && !candidate.scores.iter().any(|(score, _)| is_lost("score", score))
        });
        let mut what = "the last good composition answers";
        if is_lost("policy", &activation.policy) || activation.scores.iter().any(|(score, _)| is_lost("score", score)) {
            if activation.filters.is_empty() {
                return None;
            }
            let fallback = activation.fallback.unwrap_or(self.options.fallback);
            activation.policy = Wanted { name: fallback.name().to_owned(), config: String::new(), place: (1, 1) };
            activation.scores.clear();
            what = "the fallback answers behind the filters of the last good composition";
        }
        Some(Request {
            activation,
            cause: Cause::Rollback,
            file: LAST_GOOD_FILE.to_owned(),
            caused_at: Instant::now(),
            active_file_sha256: Digest::of(good.active_json.as_bytes()).to_string(),
            explicit: false,
            patience: None,
            reply: None,
            pins: Some(pins),
            because: Some(format!("the host started with an {ACTIVE_FILE} that it refused ({why}): {what}")),
        })
    }

    /// Says that nothing is bound because filters that are asked for are not in force.
    pub(super) fn say_closed(&mut self) {
        let initial = Arc::clone(&self.shared.slot.load().initial);
        if !initial.closed.load(Ordering::Acquire) || std::mem::replace(&mut self.said_closed, true) {
            return;
        }
        let message = format!(
            "{ACTIVE_FILE}: it asks for filters that cannot be put in force, and no composition with them is known to be \
             good: nothing is bound until it is mended"
        );
        self.refuse(ACTIVE_FILE, "filters-missing", message, "", None);
        self.books.touch();
    }

    /// A generation is in service: the filters that were asked for are in force, or an operator asks for none.
    pub(super) fn open_up(&mut self) {
        self.restorable = None;
        if self.shared.slot.load().initial.closed.swap(false, Ordering::AcqRel) {
            let info = Arc::clone(&self.shared.slot.load().active.info);
            let message = "rounds are bound again".to_owned();
            self.tell(EventKind::Note { policy: info.policy.clone(), generation: info.generation, message });
        }
    }

    /// Where a file of the plugin directory lies, for messages.
    fn plugin_path(&self, file: &str) -> PathBuf {
        self.options.plugins.as_deref().unwrap_or(Path::new("")).join(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good(active_json: &str) -> LastGood {
        let part = |name: &str, digit: &str| GoodPart {
            kind: "policy".into(),
            name: name.into(),
            file: format!("lib{name}.so"),
            sha256: digit.repeat(64),
            deleted: false,
        };
        let parts = vec![part("a", "1"), part("b", "2")];
        LastGood { version: VERSION, active_json: active_json.into(), parts, since_unix_ms: 7 }
    }

    #[test]
    fn it_survives_its_file_and_a_newer_one_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let state = crate::state::receipt::StateDir::at(directory.path().to_owned());
        assert_eq!(LastGood::read(&state), None);
        state.write_json(LAST_GOOD_FILE, &good("{}")).unwrap();
        assert_eq!(LastGood::read(&state), Some(good("{}")));
        state.write_json(LAST_GOOD_FILE, &LastGood { version: VERSION + 1, ..good("{}") }).unwrap();
        assert_eq!(LastGood::read(&state), None);
        state.write(LAST_GOOD_FILE, b"{ \"version\": 1").unwrap();
        assert_eq!(LastGood::read(&state), None);
    }

    #[test]
    fn a_deleted_file_gives_no_name_and_its_bytes_are_kept() {
        let mut good = good("{}");
        good.set_deleted("liba.so", true);
        assert_eq!((good.digest_of("liba.so"), good.digest_of("libb.so").is_some()), (None, true));
        assert_eq!(good.digests().len(), 2);
        good.set_deleted("liba.so", false);
        assert!(good.digest_of("liba.so").is_some());
    }

    #[test]
    fn filters_are_due_where_the_file_asks_for_them_or_may() {
        let directory = tempfile::tempdir().unwrap();
        let with = good(r#"{ "policy": "a", "filters": [{ "policy": "f" }] }"#);
        let without = good(r#"{ "policy": "a" }"#);
        let due = |last_good| filters_are_due(directory.path(), last_good);
        assert!(!due(Some(&with)), "no active.json: what the host starts with is meant");
        for (text, of_itself, after_with) in [
            (r#"{ "policy": "a" }"#, false, false),
            (r#"{ "policy": "a", "filters": [] }"#, false, false),
            (r#"{ "policy": "a", "filters": [{ "policy": "f" }] }"#, true, true),
            (r#"{ "policy": "a", "filters": [{ "policy": "f" }"#, true, true),
            ("not JSON", false, true),
            ("", false, true),
        ] {
            std::fs::write(directory.path().join(ACTIVE_FILE), text).unwrap();
            assert_eq!(
                (due(None), due(Some(&without)), due(Some(&with))),
                (of_itself, of_itself, after_with),
                "{text}"
            );
        }
    }
}
