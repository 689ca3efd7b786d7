//! What a host takes that starts with an `active.json` it must refuse, or with a file whose new bytes it refuses: the last
//! good composition, or the bytes of before.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::Control;
use crate::control::activation::{ACTIVE_FILE, Activation};
use crate::control::examine::{Source, examine};
use crate::control::machine::Input;
use crate::control::message::{Examined, Message, RefusedFile, Restored};
use crate::control::request::{Refusal, Request};
use crate::core::composition::{Composition, Kind, Wanted};
use crate::core::digest::Digest;
use crate::core::event::{Cause, EventKind};
use crate::core::text::chain;
use crate::state::directory::LAST_GOOD_FILE;
use crate::state::last_good::{GoodPart, LastGood, Pins};

impl Control {
    /// A file was refused whose bytes of before answer: has them examined, if this host has not admitted them itself.
    /// Returns whether it does.
    pub(super) fn take_up_kept(&mut self, file: &str, arrival: u64) -> bool {
        let Some(digest) = self.files.last_good().and_then(|good| good.digest_of(file)) else { return false };
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
        let examination = self.examination();
        let inbox = self.inbox.clone();
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
        if self.service.slot.load().active.info.generation != self.service.slot.load().initial.info.generation {
            return self.drive(Input::NamesChanged);
        }
        match self.restorable_request(&good, why) {
            Some(request) if self.machine.is_idle() => self.drive(Input::Asked(request)),
            // An operator's request is newer.
            Some(_) => {}
            None => {
                let message = format!("{LAST_GOOD_FILE}: its libraries are gone or out of service: it cannot be taken");
                self.refuse(LAST_GOOD_FILE, Refusal::new("last-good-unusable", message), "", None);
                self.say_closed();
            }
        }
        self.drive(Input::NamesChanged);
    }

    /// The composition as far as its libraries can be used: without its shadows if need be, with the fallback in the
    /// place of its policy if need be, never without its filters.
    fn restorable_request(&self, good: &LastGood, why: &'static str) -> Option<Request> {
        let mut activation = Activation::parse(good.active_json.as_bytes()).ok()?;
        let usable = good.parts.iter().filter_map(|part| {
            let digest = part.digest()?;
            self.registry.library(digest)?;
            Some(((part.kind, part.name.clone()), digest))
        });
        let pins: Pins = usable.collect();
        let is_lost = |kind: Kind, wanted: &Wanted| {
            let named = |part: &&GoodPart| part.kind == kind && part.name == wanted.name;
            good.parts.iter().any(|part| named(&part)) && !pins.contains_key(&(kind, wanted.name.clone()))
        };
        let loses_policy = |of: &Composition<Wanted>| {
            is_lost(Kind::Policy, &of.policy) || of.scores.iter().any(|score| is_lost(Kind::Score, &score.part))
        };
        let composition = &mut activation.composition;
        if composition.filters.iter().any(|filter| is_lost(Kind::Filter, filter)) {
            return None;
        }
        composition.shadows.retain(|shadow| !loses_policy(shadow));
        let mut what = "the last good composition answers";
        if loses_policy(composition) {
            if composition.filters.is_empty() {
                return None;
            }
            let fallback = activation.fallback.unwrap_or(self.options.fallback);
            composition.policy = Wanted::plain(fallback.name());
            composition.scores.clear();
            what = "the fallback answers behind the filters of the last good composition";
        }
        let because = format!("the host started with an {ACTIVE_FILE} that it refused ({why}): {what}");
        Some(Request {
            active_file_sha256: Digest::of(good.active_json.as_bytes()).to_string(),
            pins: Some(pins),
            because: Some(because),
            ..Request::new(activation, Cause::Rollback, LAST_GOOD_FILE, Instant::now())
        })
    }

    /// Says that nothing is bound because filters that are asked for are not in force.
    pub(super) fn say_closed(&mut self) {
        let initial = Arc::clone(&self.service.slot.load().initial);
        if !initial.closed.load(Ordering::Acquire) || std::mem::replace(&mut self.said_closed, true) {
            return;
        }
        let message = format!(
            "{ACTIVE_FILE}: it asks for filters that cannot be put in force, and no composition with them is known to be \
             good: nothing is bound until it is mended"
        );
        self.refuse(ACTIVE_FILE, Refusal::new("filters-missing", message), "", None);
        self.files.touch();
    }

    /// A generation is in service: the filters that were asked for are in force, or an operator asks for none.
    pub(super) fn open_up(&mut self) {
        self.restorable = None;
        if self.service.slot.load().initial.closed.swap(false, Ordering::AcqRel) {
            let info = Arc::clone(&self.service.slot.load().active.info);
            let message = "rounds are bound again".to_owned();
            self.say(EventKind::Note { policy: info.policy().to_owned(), generation: info.generation, message });
        }
    }

    /// Where a file of the plugin directory lies, for messages.
    fn plugin_path(&self, file: &str) -> PathBuf {
        self.options.plugins.as_deref().unwrap_or(Path::new("")).join(file)
    }
}
