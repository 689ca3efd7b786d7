//! Entries to bytes: the writing half. Pure; knows no file. The reading half is `restore`.
//!
//! A round's block is written as what differs from the round before it in the same frame: its executor rows come first
//! and hardly change, and LZ4 looks back 64 KiB only. Rows of an answer are written by column, tasks as steps from one
//! to the next, which are nearly all alike.

use std::collections::HashSet;

use policy_wire::BoundTask;
use policy_wire::assemble::{Roster, StageTasks};
use policy_wire::block::Block;

use super::keep::Kept;
use super::{RecordedGeneration, RecordedPart};
use crate::core::composition::Kind;
use crate::core::info::PartInfo;
use crate::core::taken::{GenerationOf, Taken};

/// Kinds of entries. Numbers are part of the format.
pub(super) mod kind {
    pub(in crate::record) const ROSTER: u8 = 1;
    pub(in crate::record) const STAGE: u8 = 2;
    pub(in crate::record) const GENERATION: u8 = 3;
    pub(in crate::record) const ROUND: u8 = 4;
    pub(in crate::record) const OBSERVED: u8 = 5;
    pub(in crate::record) const MISSED: u8 = 6;
    pub(in crate::record) const END: u8 = 7;
}

/// Flags of a round.
pub(super) mod flag {
    /// The filters came to a decision.
    pub(in crate::record) const DECIDED: u8 = 1;
    /// They decided on limits.
    pub(in crate::record) const LIMITED: u8 = 2;
    /// Observations were delivered before it.
    pub(in crate::record) const OBSERVED: u8 = 4;
    /// The policy's own answer was rejected.
    pub(in crate::record) const REJECTED: u8 = 8;
    /// The policy did not answer well: a fault follows.
    pub(in crate::record) const FAULT: u8 = 16;
}

fn record(of: &GenerationOf) -> RecordedGeneration {
    let info = &of.info;
    let part = |(kind, part): (Kind, &PartInfo)| RecordedPart {
        kind: kind.as_str().to_owned(),
        policy: part.name.clone(),
        version: part.version.clone(),
        sha256: part.sha256.clone(),
    };
    RecordedGeneration {
        generation: info.generation,
        policy: info.policy().to_owned(),
        version: info.version().to_owned(),
        library: info.library().to_owned(),
        sha256: info.sha256().to_owned(),
        activation: info.activation(),
        parts: info.composition.parts().map(part).collect(),
        deadline_ms: u64::try_from(info.deadline.as_millis()).unwrap_or(u64::MAX),
        cause: info.cause.as_str().to_owned(),
        rounds_before: of.rounds_before,
    }
}

/// How a recording ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) rounds: u64,
    pub(super) missed: u64,
    pub(super) limit: bool,
}

/// Turns what is recorded into entries.
#[derive(Default)]
pub(super) struct Encoder {
    out: Vec<u8>,
    /// The block of the round before, in this frame.
    base: Vec<u64>,
    rosters: Kept<Roster>,
    stages: Kept<StageTasks>,
    generations: HashSet<u64>,
}

impl Encoder {
    /// Entries since the last [`Encoder::take`], in bytes.
    pub(super) fn len(&self) -> usize {
        self.out.len()
    }

    /// Hands over the entries of a frame, and begins the next.
    pub(super) fn take(&mut self) -> Vec<u8> {
        self.base.clear();
        std::mem::take(&mut self.out)
    }

    fn entry(&mut self, kind: u8, content: impl FnOnce(&mut Vec<u8>)) {
        self.out.push(kind);
        let at = self.out.len();
        self.out.extend([0; 4]);
        content(&mut self.out);
        let length = u32::try_from(self.out.len() - at - 4).unwrap_or(u32::MAX);
        self.out[at..at + 4].copy_from_slice(&length.to_le_bytes());
    }

    pub(super) fn round(&mut self, taken: &Taken) {
        let round = &taken.round;
        let (roster, new) = self.rosters.number(round.roster(), |r| bytemuck::cast_slice(r.block().words()));
        if new {
            self.shared(kind::ROSTER, roster, round.roster().block().words());
        }
        let mut stages = Vec::new();
        for at in 0.. {
            let Some(tasks) = round.stage_tasks(policy_wire::StageId(at)) else { break };
            let (stage, new) = self.stages.number(tasks, |s| bytemuck::cast_slice(s.block().words()));
            if new {
                self.shared(kind::STAGE, stage, tasks.block().words());
            }
            stages.push(stage);
        }
        if self.generations.insert(taken.generation.info.generation) {
            let text = serde_json::to_vec(&record(&taken.generation)).unwrap_or_default();
            self.entry(kind::GENERATION, |out| out.extend(text));
        }
        let base = std::mem::take(&mut self.base);
        self.entry(kind::ROUND, |out| put_round(out, taken, roster, &stages, &base));
        self.base = base;
        self.base.clear();
        self.base.extend_from_slice(round.body().words());
    }

    fn shared(&mut self, kind: u8, number: u64, words: &[u64]) {
        self.entry(kind, |out| {
            put_u64(out, number);
            put_words(out, words);
        });
    }

    /// What happened after the last round.
    pub(super) fn observed(&mut self, batch: &Block) {
        self.entry(kind::OBSERVED, |out| put_words(out, batch.words()));
    }

    /// Rounds between the last one and the next that are not recorded.
    pub(super) fn missed(&mut self, rounds: u64) {
        self.entry(kind::MISSED, |out| put_u64(out, rounds));
    }

    pub(super) fn end(&mut self, totals: Totals) {
        self.entry(kind::END, |out| {
            [totals.rounds, totals.missed, u64::from(totals.limit)].iter().for_each(|&n| put_u64(out, n));
        });
    }
}

fn put_round(out: &mut Vec<u8>, taken: &Taken, roster: u64, stages: &[u64], base: &[u64]) {
    let limits = taken.limits.block();
    let set = |is: bool, flag: u8| if is { flag } else { 0 };
    out.push(
        set(!taken.limits.is_undecided(), flag::DECIDED)
            | set(limits.is_some(), flag::LIMITED)
            | set(taken.observations.is_some(), flag::OBSERVED)
            | set(taken.rejected.is_some(), flag::REJECTED)
            | set(taken.fault.is_some(), flag::FAULT),
    );
    [taken.generation.info.generation, taken.took_us, roster].iter().for_each(|&n| put_u64(out, n));
    put_u32(out, stages.len());
    stages.iter().for_each(|&n| put_u64(out, n));
    put_changes(out, taken.round.body().words(), base);
    for block in [limits, taken.observations.as_deref()].into_iter().flatten() {
        put_words(out, block.words());
    }
    put_rows(out, taken.rows.as_ref().map_or(&[], |rows| rows.rows()));
    if let Some(rejected) = &taken.rejected {
        put_rows(out, rejected.rows());
    }
    if let Some(fault) = &taken.fault {
        put_text(out, fault.code);
        let (kind, name) = fault.part.as_ref().map_or(("", ""), |(kind, name)| (kind.as_str(), name.as_str()));
        [kind, name, fault.message.as_str()].iter().for_each(|text| put_text(out, text));
    }
}

fn put_u32(out: &mut Vec<u8>, n: usize) {
    out.extend(u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes());
}

fn put_u64(out: &mut Vec<u8>, n: u64) {
    out.extend(n.to_le_bytes());
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_u32(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

fn put_words(out: &mut Vec<u8>, words: &[u64]) {
    put_u32(out, words.len());
    out.extend_from_slice(bytemuck::cast_slice(words));
}

/// Rows by column.
fn put_rows(out: &mut Vec<u8>, rows: &[BoundTask]) {
    put_u32(out, rows.len());
    let mut before = 0u32;
    for row in rows {
        out.extend(row.task.0.wrapping_sub(before).to_le_bytes());
        before = row.task.0;
    }
    rows.iter().for_each(|row| out.extend(row.executor.0.to_le_bytes()));
}

/// `words` as stretches that are the same as in `base`, each followed by a stretch that is not: (same, other, words…).
fn put_changes(out: &mut Vec<u8>, words: &[u64], base: &[u64]) {
    /// A stretch that is the same is worth a mention from this length on.
    const WORTH: usize = 2;
    put_u32(out, words.len());
    let same_from =
        |at: usize| words[at..].iter().zip(base.get(at..).unwrap_or(&[])).take_while(|(a, b)| a == b).count();
    let mut at = 0;
    while at < words.len() {
        let same = same_from(at);
        at += same;
        let from = at;
        while at < words.len() {
            let next = same_from(at);
            if next >= WORTH {
                break;
            }
            at += next.max(1);
        }
        put_u32(out, same);
        put_words(out, &words[from..at]);
    }
}
