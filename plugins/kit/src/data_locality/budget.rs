//! How long each stage has waited for locality, and how long it still may.
//!
//! The clock of a stage runs from a round in which it left usable slots alone to the next round, and at no other time:
//! a stage that waits for a full cluster spends nothing. Nothing gives time back, least of all a local launch. (Spark's
//! delay scheduling did, so that a stage whose tasks all prefer one executor never left it: SPARK-18886.)

use std::collections::BTreeMap;

use policy_plugin_api::key_hash;
use policy_plugin_api::prelude::*;

/// The version of the exported state: rows of 24 bytes, little endian: hash of the job's name (XXH3-64), number of the
/// stage (64 bits), time waited in microseconds.
pub const STATE_VERSION: u32 = 1;

/// Stages whose budgets are kept at most; beyond, those seen longest ago are forgotten.
pub const MAX_STAGES: usize = 65_536;

/// A stage that has not come up for this long is forgotten, in microseconds.
pub const FORGET_AFTER_US: u64 = 60_000_000;

const ROW_BYTES: usize = 24;

/// A stage by what survives a restart: the hash of its job's name, and its number.
pub(super) type StageKey = (u64, u64);

/// How far from its data a stage may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// Only to executors that hold its data.
    Node,
    /// Also to executors in a rack with one that does.
    Rack,
    /// Anywhere.
    Any,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Spent {
    us: u64,
    seen_us: u64,
}

/// The budgets of all stages.
#[derive(Debug, Default)]
pub(super) struct Budgets {
    spent: BTreeMap<StageKey, Spent>,
    /// The stages that left usable slots alone in the round before.
    waiting: Vec<StageKey>,
    now_us: u64,
}

/// The identity of a stage.
pub(super) fn key_of(stage: &Stage<'_>) -> StageKey {
    (key_hash(stage.job().name()), u64::from(stage.number()))
}

impl Budgets {
    /// A round begins: stages that waited are charged for the time since the round before.
    pub(super) fn begin(&mut self, now_us: u64) {
        let passed = now_us.saturating_sub(self.now_us);
        self.now_us = now_us;
        for key in self.waiting.drain(..) {
            let spent = self.spent.entry(key).or_insert(Spent { us: 0, seen_us: now_us });
            *spent = Spent { us: spent.us.saturating_add(passed), seen_us: now_us };
        }
        self.forget();
    }

    /// How far a stage may go by now.
    pub(super) fn level(&self, key: StageKey, wait_us: u64, rack_wait_us: u64) -> Level {
        let us = self.spent.get(&key).map_or(0, |spent| spent.us);
        match us {
            us if us < wait_us => Level::Node,
            us if us - wait_us < rack_wait_us => Level::Rack,
            _ => Level::Any,
        }
    }

    /// The stage leaves slots alone in this round that it could use.
    pub(super) fn wait(&mut self, key: StageKey) {
        self.waiting.push(key);
    }

    /// The stage has come up: it is not to be forgotten yet.
    pub(super) fn seen(&mut self, key: StageKey) {
        if let Some(spent) = self.spent.get_mut(&key) {
            spent.seen_us = self.now_us;
        }
    }

    fn forget(&mut self) {
        let now_us = self.now_us;
        self.spent.retain(|_, spent| {
            // What was imported, or seen before the clock was set back, counts as seen now.
            spent.seen_us = spent.seen_us.min(now_us);
            now_us - spent.seen_us < FORGET_AFTER_US
        });
        let over = self.spent.len().saturating_sub(MAX_STAGES);
        if over > 0 {
            let mut seen: Vec<(u64, StageKey)> = self.spent.iter().map(|(&key, spent)| (spent.seen_us, key)).collect();
            seen.sort_unstable();
            for (_, key) in &seen[..over] {
                self.spent.remove(key);
            }
        }
    }

    pub(super) fn export(&self) -> Option<PolicyState> {
        let rows = self.spent.iter().flat_map(|(&(job, stage), spent)| [job, stage, spent.us]);
        let bytes: Vec<u8> = rows.flat_map(u64::to_le_bytes).collect();
        (!bytes.is_empty()).then_some(PolicyState { version: STATE_VERSION, bytes })
    }

    pub(super) fn import(&mut self, state: &PolicyState) -> Result<()> {
        let declined = |why: String| Err(PolicyError::declined(why));
        if state.version != STATE_VERSION {
            return declined(format!("state version {}, this policy reads {STATE_VERSION}", state.version));
        }
        let length = state.bytes.len();
        if !length.is_multiple_of(ROW_BYTES) || length / ROW_BYTES > MAX_STAGES {
            return declined(format!("the state has {length} bytes: at most {MAX_STAGES} rows of {ROW_BYTES}"));
        }
        let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap_or_default());
        let rows = state.bytes.chunks_exact(ROW_BYTES);
        // Seen when the first round comes, whenever that is.
        let row = |row: &[u8]| {
            let spent = Spent { us: word(&row[16..]), seen_us: u64::MAX };
            ((word(&row[..8]), word(&row[8..16])), spent)
        };
        self.spent = rows.map(row).collect();
        Ok(())
    }

    #[cfg(test)]
    fn known(&self) -> usize {
        self.spent.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_time_in_which_slots_were_left_alone_is_charged() {
        let (mut budgets, key) = (Budgets::default(), (7, 1));
        budgets.begin(1_000);
        budgets.wait(key);
        budgets.begin(1_400);
        assert_eq!(budgets.level(key, 500, 100), Level::Node);
        // It had no slots to leave alone in the round of 1,400: the next hour costs nothing.
        budgets.seen(key);
        budgets.begin(50_000_000);
        assert_eq!(budgets.level(key, 500, 100), Level::Node);
        budgets.wait(key);
        budgets.begin(50_000_100);
        assert_eq!(budgets.level(key, 500, 100), Level::Rack);
        budgets.wait(key);
        budgets.begin(50_000_200);
        assert_eq!(budgets.level(key, 500, 100), Level::Any);
        assert_eq!((budgets.level((8, 1), 500, 100), budgets.level((8, 1), 0, 0)), (Level::Node, Level::Any));
    }

    #[test]
    fn stages_that_are_gone_are_forgotten() {
        let mut budgets = Budgets::default();
        budgets.begin(0);
        (0..10).for_each(|job| budgets.wait((job, 0)));
        budgets.begin(5);
        assert_eq!(budgets.known(), 10);
        budgets.begin(FORGET_AFTER_US);
        budgets.seen((3, 0));
        budgets.begin(FORGET_AFTER_US + 10);
        assert_eq!(budgets.known(), 1);
        (0..MAX_STAGES as u64 + 9).for_each(|job| budgets.wait((job, 1)));
        budgets.begin(FORGET_AFTER_US + 20);
        assert_eq!(budgets.known(), MAX_STAGES);
    }

    #[test]
    fn budgets_survive_a_hand_over_and_strange_states_are_refused() {
        let (mut old, mut new) = (Budgets::default(), Budgets::default());
        assert_eq!(old.export(), None);
        old.begin(0);
        old.wait((7, 1));
        old.begin(300);
        let state = old.export().unwrap();
        new.import(&state).unwrap();
        assert_eq!(new.export(), Some(state.clone()));
        new.begin(9_000_000_000);
        assert_eq!(new.level((7, 1), 300, 1), Level::Rack);
        assert!(new.import(&PolicyState { version: 2, ..state.clone() }).is_err());
        assert!(new.import(&PolicyState { version: 1, bytes: vec![0; 25] }).is_err());
    }
}
