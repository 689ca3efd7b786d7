//! Observations on their way to the next round.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use policy_wire::block::Block;
use policy_wire::observe::{self, Observation};

use crate::core::limits::MAX_OBSERVATIONS;

/// Observations that no round has taken along yet.
#[derive(Debug, Default)]
pub(crate) struct Feedback {
    waiting: Mutex<Vec<Observation>>,
    any: AtomicBool,
}

impl Feedback {
    /// Adds a batch; returns how many old ones had to go.
    pub(crate) fn add(&self, batch: Vec<Observation>) -> usize {
        self.change(|waiting| match waiting.is_empty() {
            true => *waiting = batch,
            false => waiting.extend(batch),
        })
    }

    /// Puts a batch back that no policy has seen, before what came meanwhile; returns how many old ones had to go.
    fn put_back(&self, mut batch: Vec<Observation>) -> usize {
        self.change(|waiting| {
            batch.append(waiting);
            *waiting = batch;
        })
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Observation>)) -> usize {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut waiting);
        let over = waiting.len().saturating_sub(MAX_OBSERVATIONS);
        waiting.drain(..over);
        self.any.store(!waiting.is_empty(), Ordering::Release);
        over
    }

    /// Takes what waits, for one round; costs one load when nothing does.
    pub(crate) fn take(&self) -> Batch<'_> {
        let mut batch = Batch { feedback: self, rows: Vec::new(), block: None, delivered: AtomicBool::new(false) };
        if !self.any.load(Ordering::Acquire) {
            return batch;
        }
        batch.rows = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            self.any.store(false, Ordering::Release);
            std::mem::take(&mut *waiting)
        };
        batch.block = (!batch.rows.is_empty()).then(|| Arc::new(observe::encode(&batch.rows)));
        batch
    }
}

/// What a round takes along. Dropped before it was delivered, it goes back.
#[derive(Debug)]
pub(crate) struct Batch<'a> {
    feedback: &'a Feedback,
    rows: Vec<Observation>,
    block: Option<Arc<Block>>,
    delivered: AtomicBool,
}

impl Batch<'_> {
    /// The observations; `None` where there are none.
    pub(crate) fn block(&self) -> Option<Arc<Block>> {
        self.block.clone()
    }

    /// A call has begun that takes them.
    pub(crate) fn delivered(&self) {
        self.delivered.store(true, Ordering::Relaxed);
    }

    /// Whether a call has begun that takes them.
    pub(crate) fn is_delivered(&self) -> bool {
        self.delivered.load(Ordering::Relaxed)
    }

    /// The observations, if a call took them.
    pub(crate) fn seen(&self) -> Option<&Arc<Block>> {
        self.block.as_ref().filter(|_| self.is_delivered())
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        if !self.rows.is_empty() && !*self.delivered.get_mut() {
            self.feedback.put_back(std::mem::take(&mut self.rows));
        }
    }
}

#[cfg(test)]
mod tests {
    use policy_wire::ExecutorUid;
    use policy_wire::block::BlockRef;
    use policy_wire::observe::{ObservationKind, Observations};

    use super::*;

    fn at(us: u64) -> Observation {
        Observation::new(ObservationKind::Started, ExecutorUid(0), us)
    }

    fn times(block: &Block) -> Vec<u64> {
        Observations::from_block(BlockRef::new(block)).unwrap().iter().map(|o| o.at_us).collect()
    }

    #[test]
    fn what_no_call_took_goes_back_before_what_came_meanwhile() {
        let feedback = Feedback::default();
        feedback.add(vec![at(1), at(2)]);
        let batch = feedback.take();
        assert!(feedback.take().block().is_none(), "one round takes them along");
        feedback.add(vec![at(3)]);
        drop(batch);
        let batch = feedback.take();
        assert_eq!(times(&batch.block().unwrap()), [1, 2, 3]);
        assert!(batch.seen().is_none());
        batch.delivered();
        assert!(batch.seen().is_some());
        drop(batch);
        assert!(feedback.take().block().is_none(), "what was delivered does not come again");
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many() {
        let feedback = Feedback::default();
        feedback.add((0..MAX_OBSERVATIONS as u64).map(at).collect());
        let batch = feedback.take();
        assert_eq!(feedback.add(vec![at(7)]), 0);
        drop(batch);
        let block = feedback.take().block().unwrap();
        assert_eq!((times(&block).len(), times(&block)[0]), (MAX_OBSERVATIONS, 1));
    }
}
