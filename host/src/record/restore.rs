//! Bytes to entries: the reading half of `codec`. Believes nothing: every length is checked.

use std::collections::HashMap;
use std::sync::Arc;

use policy_wire::assemble::{Roster, Round, StageTasks};
use policy_wire::block::{Block, BlockKind, BlockView};
use policy_wire::limits::LimitsView;
use policy_wire::{BoundTask, ExecutorId, TaskId};

use super::RecordedGeneration;
use super::codec::{Totals, flag, kind};
use super::entry::{Entry, RecordedFault, RecordedRound};
use crate::core::limits::MAX_FRAME_BYTES;
use crate::core::text::chain;

/// What an entry does not make sense for.
pub(super) type Broken = String;

/// What was read of shared parts so far.
#[derive(Default)]
pub(super) struct Restorer {
    rosters: HashMap<u64, Arc<Roster>>,
    stages: HashMap<u64, Arc<StageTasks>>,
    generations: HashMap<u64, Arc<RecordedGeneration>>,
    base: Vec<u64>,
}

/// What became of an entry.
pub(super) enum Restored {
    /// Something for the reader's user.
    Entry(Entry),
    /// The end of the recording.
    End(Totals),
    /// Something that later entries refer to, or that this version does not know.
    Nothing,
}

/// Bytes that are read from the front.
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

impl<'a> Bytes<'a> {
    pub(super) fn take(&mut self, n: usize) -> Result<&'a [u8], Broken> {
        let (head, rest) = self.0.split_at_checked(n).ok_or("an entry ends too early")?;
        self.0 = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Broken> {
        Ok(self.take(N)?.try_into().expect("as many as were asked for"))
    }

    pub(super) fn u8(&mut self) -> Result<u8, Broken> {
        Ok(self.array::<1>()?[0])
    }

    pub(super) fn u32(&mut self) -> Result<u32, Broken> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, Broken> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn many<const N: usize>(
        &mut self,
        n: usize,
    ) -> Result<impl ExactSizeIterator<Item = [u8; N]> + use<'a, N>, Broken> {
        let bytes = self.take(n.checked_mul(N).ok_or("a length beyond measure")?)?;
        Ok(bytes.chunks_exact(N).map(|c| c.try_into().expect("exact")))
    }

    fn words(&mut self) -> Result<Vec<u64>, Broken> {
        let n = self.u32()? as usize;
        Ok(self.many::<8>(n)?.map(u64::from_le_bytes).collect())
    }

    fn text(&mut self) -> Result<String, Broken> {
        let n = self.u32()? as usize;
        String::from_utf8(self.take(n)?.to_vec()).map_err(|e| chain(&e))
    }

    fn rows(&mut self) -> Result<Vec<BoundTask>, Broken> {
        let n = self.u32()? as usize;
        let mut task = 0u32;
        let steps = self.many::<4>(n)?.map(|step| {
            task = task.wrapping_add(u32::from_le_bytes(step));
            TaskId(task)
        });
        let tasks: Vec<TaskId> = steps.collect();
        let executors = self.many::<4>(n)?.map(|e| ExecutorId(u32::from_le_bytes(e)));
        Ok(tasks.into_iter().zip(executors).map(|(task, executor)| BoundTask::new(task, executor)).collect())
    }

    fn changes(&mut self, base: &[u64]) -> Result<Vec<u64>, Broken> {
        let n = self.u32()? as usize;
        if n > MAX_FRAME_BYTES as usize / 8 {
            return Err("a round larger than any frame".into());
        }
        let mut words = Vec::new();
        while words.len() < n {
            let same = self.u32()? as usize;
            let at = words.len();
            let kept =
                at.checked_add(same).and_then(|end| base.get(at..end)).ok_or("refers to a round that is not there")?;
            words.extend_from_slice(kept);
            let own = self.words()?;
            if same == 0 && own.is_empty() {
                return Err("a round without progress".into());
            }
            words.extend(own);
        }
        if words.len() == n { Ok(words) } else { Err("a round longer than it says".into()) }
    }
}

fn block(words: Vec<u64>, kind: BlockKind) -> Result<Block, Broken> {
    Block::from_words(words, kind).map_err(|e| chain(&e))
}

/// Limits that fit their round: what cannot be read must not pass for no restriction.
fn limits_of(round: &Round, words: Vec<u64>) -> Result<Block, Broken> {
    let block = block(words, BlockKind::Limits)?;
    let view = BlockView::parse(block.words(), BlockKind::Limits);
    let fits = view.and_then(|view| LimitsView::new(view, round.stage_refs().len(), round.roster().len()));
    fits.map_err(|e| chain(&e))?;
    Ok(block)
}

impl Restorer {
    /// A frame begins: its first round stands for itself.
    pub(super) fn begin_frame(&mut self) {
        self.base.clear();
    }

    /// Reads one entry off the front.
    pub(super) fn entry(&mut self, frame: &mut Bytes<'_>) -> Result<Restored, Broken> {
        let kind = frame.u8()?;
        let length = frame.u32()? as usize;
        let mut content = Bytes(frame.take(length)?);
        Ok(match kind {
            kind::ROSTER => {
                let (number, words) = (content.u64()?, content.words()?);
                let roster = Roster::from_block(block(words, BlockKind::Roster)?).map_err(|e| chain(&e))?;
                self.rosters.insert(number, roster);
                Restored::Nothing
            }
            kind::STAGE => {
                let (number, words) = (content.u64()?, content.words()?);
                let stage = StageTasks::from_block(block(words, BlockKind::Stage)?).map_err(|e| chain(&e))?;
                self.stages.insert(number, stage);
                Restored::Nothing
            }
            kind::GENERATION => {
                let made: RecordedGeneration = serde_json::from_slice(content.0).map_err(|e| chain(&e))?;
                let made = Arc::new(made);
                self.generations.insert(made.generation, Arc::clone(&made));
                Restored::Entry(Entry::Generation(made))
            }
            kind::ROUND => Restored::Entry(Entry::Round(Box::new(self.round(&mut content)?))),
            kind::OBSERVED => Restored::Entry(Entry::Observed(block(content.words()?, BlockKind::Observations)?)),
            kind::MISSED => Restored::Entry(Entry::Missed(content.u64()?)),
            kind::END => {
                let (rounds, missed, limit) = (content.u64()?, content.u64()?, content.u64()? != 0);
                Restored::End(Totals { rounds, missed, limit })
            }
            _ => Restored::Nothing,
        })
    }

    fn round(&mut self, content: &mut Bytes<'_>) -> Result<RecordedRound, Broken> {
        let flags = content.u8()?;
        let has = |flag: u8| flags & flag != 0;
        let (generation, took_us, roster) = (content.u64()?, content.u64()?, content.u64()?);
        let generation = self.generations.get(&generation).ok_or("of a generation that is not in the recording")?;
        let roster = self.rosters.get(&roster).ok_or("on a roster that is not in the recording")?;
        let n = content.u32()? as usize;
        let stages = content.many::<8>(n)?.map(|number| self.stages.get(&u64::from_le_bytes(number)).cloned());
        let stages: Vec<_> = stages.collect::<Option<_>>().ok_or("with a stage that is not in the recording")?;
        let words = content.changes(&self.base)?;
        self.base.clone_from(&words);
        let round = Round::from_block(block(words, BlockKind::Round)?, Arc::clone(roster), stages);
        let round = round.map_err(|e| chain(&e))?;
        let limits = has(flag::LIMITED).then(|| limits_of(&round, content.words()?)).transpose()?;
        let observations = has(flag::OBSERVED).then(|| block(content.words()?, BlockKind::Observations)).transpose()?;
        let rows = content.rows()?;
        let rejected = has(flag::REJECTED).then(|| content.rows()).transpose()?;
        let fault = |content: &mut Bytes<'_>| {
            let (code, part) = (content.text()?, (content.text()?, content.text()?));
            Ok::<_, Broken>(RecordedFault { code, part, message: content.text()? })
        };
        let fault = has(flag::FAULT).then(|| fault(content)).transpose()?;
        let (generation, undecided) = (Arc::clone(generation), !has(flag::DECIDED));
        Ok(RecordedRound { round, generation, observations, limits, undecided, rows, rejected, fault, took_us })
    }
}
