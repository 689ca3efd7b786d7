//! The last good composition: what a restarted host takes when it finds an `active.json` that it must refuse, and the
//! bytes that answer for a file whose new ones were refused.
//!
//! A composition is noted in the state directory once it has answered, with the digest of each of its libraries; their
//! staged copies are kept. So a name in use means the same code before and after a restart.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::core::composition::Kind;
use crate::core::digest::Digest;
use crate::core::event::{Cause, unix_ms};
use crate::core::info::ActiveInfo;
use crate::core::text::chain;
use crate::state::directory::{LAST_GOOD_FILE, StateDir};

/// The newest version of the file that this host writes, and the newest that it reads.
const VERSION: u32 = 1;

/// A composition that has answered, as it stands in the state directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LastGood {
    version: u32,
    /// The `active.json` that asked for it.
    pub(crate) active_json: String,
    /// What it took from libraries.
    pub(crate) parts: Vec<GoodPart>,
    since_unix_ms: u64,
}

/// A policy, filter or score of a composition, with the bytes that gave it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GoodPart {
    /// As the library gives it: `policy`, `filter` or `score`.
    pub(crate) kind: Kind,
    pub(crate) name: String,
    pub(crate) file: String,
    pub(crate) sha256: String,
    /// Whether the file was deleted since: then it gives the name no more, and only the composition needs the bytes.
    #[serde(default)]
    deleted: bool,
}

impl GoodPart {
    pub(crate) fn digest(&self) -> Option<Digest> {
        self.sha256.parse().ok()
    }
}

/// Names that mean fixed bytes, whatever the files of the directory give: (kind, name) to digest.
pub(crate) type Pins = BTreeMap<(Kind, String), Digest>;

impl LastGood {
    /// The composition of a generation; `None` for the one that the host started with, and for what was taken of an
    /// earlier composition: that one stays the last good, whole, for the next host.
    pub(crate) fn of(info: &ActiveInfo) -> Option<Self> {
        if info.active_json.is_empty() || info.cause == Cause::Rollback {
            return None;
        }
        // What is compiled in has no digest.
        let leaves = info.composition.all().filter(|(.., part)| !part.sha256.is_empty());
        let parts = leaves.map(|(_, kind, part)| GoodPart {
            kind,
            name: part.name.clone(),
            file: part.library.clone(),
            sha256: part.sha256.clone(),
            deleted: false,
        });
        let since_unix_ms = unix_ms(info.since);
        Some(Self {
            version: VERSION,
            active_json: info.active_json.to_string(),
            parts: parts.collect(),
            since_unix_ms,
        })
    }

    /// Carries over which files were deleted.
    pub(crate) fn after(mut self, before: Option<&Self>) -> Self {
        let deleted = before.into_iter().flat_map(|before| before.parts.iter().filter(|part| part.deleted));
        for gone in deleted {
            let same = |part: &&mut GoodPart| part.file == gone.file && part.sha256 == gone.sha256;
            self.parts.iter_mut().filter(same).for_each(|part| part.deleted = true);
        }
        self
    }

    /// Reads the file of an earlier host. One that cannot be read is as good as none.
    pub(crate) fn read(state: &StateDir) -> Option<Self> {
        match state.read_json::<Self>(LAST_GOOD_FILE) {
            Ok(good) => good.filter(|good| good.version <= VERSION),
            Err(e) => {
                tracing::warn!("{LAST_GOOD_FILE} cannot be read and is begun anew: {}", chain(&e));
                None
            }
        }
    }

    /// The bytes that it needs.
    pub(crate) fn digests(&self) -> BTreeSet<Digest> {
        self.parts.iter().filter_map(GoodPart::digest).collect()
    }

    /// The bytes that a file had, unless it was deleted since.
    pub(crate) fn digest_of(&self, file: &str) -> Option<Digest> {
        self.parts.iter().find(|part| part.file == file && !part.deleted).and_then(GoodPart::digest)
    }

    /// Notes that a file was deleted, or is there again.
    pub(crate) fn set_deleted(&mut self, file: &str, deleted: bool) {
        self.parts.iter_mut().filter(|part| part.file == file).for_each(|part| part.deleted = deleted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good(active_json: &str) -> LastGood {
        let part = |name: &str, digit: &str| GoodPart {
            kind: Kind::Policy,
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
        let state = StateDir::at(directory.path().to_owned());
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
}
