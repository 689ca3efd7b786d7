//! What a recording holds, before anything of it is replayed.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use policy_host::record::{Ending, Entry, Header, Reader, RecordedGeneration};
use serde_json::{Value, json};

use crate::commands::evaluate::candidate::BUILT_IN;
use crate::failure::Failure;

/// A generation, and how many rounds it was asked.
pub(super) struct Made {
    pub(super) about: Arc<RecordedGeneration>,
    pub(super) rounds: u64,
}

impl Made {
    /// Whether it can be made again: an embedder's own policy is not in any library.
    pub(super) fn is_replayable(&self) -> bool {
        self.about.library != "(embedder)"
    }

    /// Whether no library has a part in it.
    pub(super) fn is_compiled_in(&self) -> bool {
        self.about.library == BUILT_IN && self.about.parts.is_empty()
    }
}

/// What a recording holds, from one pass over it.
pub(super) struct Contents {
    pub(super) header: Header,
    pub(super) generations: BTreeMap<u64, Made>,
    pub(super) rounds: u64,
    pub(super) missed: u64,
    /// Times of the first and the last round, microseconds.
    pub(super) from_us: u64,
    pub(super) to_us: u64,
    pub(super) ending: Ending,
    /// The first round's number.
    first_number: u64,
}

impl Contents {
    pub(super) fn read(file: &Path) -> Result<Self, Failure> {
        let mut reader = Reader::open(file)?;
        let mut this = Self {
            header: reader.header().clone(),
            generations: BTreeMap::new(),
            rounds: 0,
            missed: 0,
            from_us: 0,
            to_us: 0,
            ending: Ending::Closed,
            first_number: 0,
        };
        while let Some(entry) = reader.read_next()? {
            match entry {
                Entry::Generation(about) => {
                    this.generations.insert(about.generation, Made { about, rounds: 0 });
                }
                Entry::Round(recorded) => {
                    let clock = recorded.round.clock();
                    if this.rounds == 0 {
                        (this.from_us, this.first_number) = (clock.now_us, clock.number);
                    }
                    this.rounds += 1;
                    this.to_us = clock.now_us;
                    if let Some(made) = this.generations.get_mut(&recorded.generation.generation) {
                        made.rounds += 1;
                    }
                }
                Entry::Missed(rounds) => this.missed += rounds,
                _ => {}
            }
        }
        this.ending = reader.ending().unwrap_or(Ending::Closed);
        if this.rounds == 0 {
            let message = format!("{}: holds no round that could be replayed", file.display());
            let code =
                if matches!(this.ending, Ending::Cut { .. }) { "recording-truncated" } else { "recording-empty" };
            return Err(Failure::new(code, message));
        }
        Ok(this)
    }

    pub(super) fn is_dump(&self) -> bool {
        self.header.kind == "dump"
    }

    /// The generation that was asked most rounds.
    pub(super) fn most_rounds(&self) -> Option<&Made> {
        self.generations.values().max_by_key(|made| made.rounds)
    }

    /// What an operator must know to read the results.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.missed > 0 {
            let missed = self.missed;
            notes.push(format!(
                "{missed} rounds are missing, recording could not keep up: state of policies may differ"
            ));
        }
        match self.ending {
            Ending::Closed => {}
            Ending::Limit => notes.push("recording stopped at its limit: later rounds are missing".into()),
            Ending::Cut { at } => notes.push(format!(
                "recording-truncated: it is cut at byte {at}, after its last whole frame; what was read is good"
            )),
        }
        for made in self.generations.values().filter(|made| made.about.rounds_before > 0) {
            let (about, what) = (&made.about, if self.is_dump() { "the dump" } else { "the recording" });
            let (policy, generation, before) = (&about.policy, about.generation, about.rounds_before);
            notes.push(format!(
                "{policy} (generation {generation}) had answered {before} rounds before {what}: its state from them is missing"
            ));
        }
        if self.first_number > 1 && !self.is_dump() {
            notes.push(format!("recording began in round {}", self.first_number));
        }
        notes
    }

    pub(super) fn json(&self, file: &Path) -> Value {
        let (ending, cut) = match self.ending {
            Ending::Closed => ("closed", None),
            Ending::Limit => ("limit", None),
            Ending::Cut { at } => ("cut", Some(at)),
        };
        json!({
            "file": file.display().to_string(),
            "kind": self.header.kind,
            "host_version": self.header.host_version,
            "started_unix_ms": self.header.started_unix_ms,
            "about": self.header.about,
            "rounds": self.rounds,
            "rounds_missed": self.missed,
            "from_us": self.from_us,
            "to_us": self.to_us,
            "ending": ending,
            "cut_at_byte": cut,
        })
    }
}
