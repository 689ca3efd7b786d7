//! The slot: which generation answers. Rounds read it with one atomic load; only the control task writes it.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwap;
use policy_plugin_api::DistributionPolicy;

use crate::core::counters::Counter;
use crate::core::guard::Fault;
use crate::core::info::ActiveInfo;
use crate::core::taken::{Dump, GenerationOf};
use crate::core::wake::Wake;
use crate::serving::lane::Lane;
use crate::serving::shadow::Shadows;

/// A generation in service.
#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) info: Arc<ActiveInfo>,
    pub(crate) lane: Lane,
    pub(crate) fallback: Arc<dyn DistributionPolicy>,
    /// Candidates that see its rounds.
    pub(crate) shadows: Option<Shadows>,
    /// The event that caused the swap.
    pub(crate) caused_at: Instant,
    /// Rounds answered with a legal answer.
    pub(crate) rounds: Counter,
    /// When the first of them was. The control task looks here: waking it would cost that round more than the round.
    pub(crate) first_answer: OnceLock<Instant>,
    /// Set on what the host starts with, while filters that `active.json` asks for are not in force: nothing is bound.
    pub(crate) closed: AtomicBool,
    /// The first fault that ejects. From when it is set the standby answers, and the control task makes it official.
    ejection: OnceLock<Ejection>,
}

/// Why a generation is out of service.
#[derive(Debug)]
pub(crate) struct Ejection {
    pub(crate) fault: Fault,
    progress: AtomicU8,
    /// The round that showed it; taken by the control task.
    dump: Mutex<Option<Dump>>,
}

/// The round that showed the fault is still being bound by the fallback.
const BEGUN: u8 = 0;
/// The control task may take it up.
const COMPLETE: u8 = 1;
/// The control task has made it official.
const OFFICIAL: u8 = 2;

impl Ejection {
    /// The control task takes it up; `false` when it is not complete, or taken up already.
    pub(crate) fn take_up(&self) -> bool {
        self.progress.compare_exchange(COMPLETE, OFFICIAL, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    pub(crate) fn take_dump(&self) -> Option<Dump> {
        self.dump.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// An ejection whose round is still being bound. Dropping it lets the control task take it up.
pub(crate) struct Ejecting<'a> {
    ejection: &'a Ejection,
    control: &'a Wake,
}

impl Ejecting<'_> {
    /// Keeps the round that showed the fault.
    pub(crate) fn keep(&self, dump: Dump) {
        *self.ejection.dump.lock().unwrap_or_else(PoisonError::into_inner) = Some(dump);
    }
}

impl Drop for Ejecting<'_> {
    fn drop(&mut self) {
        self.ejection.progress.store(COMPLETE, Ordering::Release);
        self.control.wake();
    }
}

impl Active {
    pub(crate) fn new(info: ActiveInfo, lane: Lane, fallback: Arc<dyn DistributionPolicy>, caused_at: Instant) -> Self {
        Self {
            info: Arc::new(info),
            lane,
            fallback,
            shadows: None,
            caused_at,
            rounds: Counter::default(),
            first_answer: OnceLock::new(),
            closed: AtomicBool::new(false),
            ejection: OnceLock::new(),
        }
    }

    /// Takes it out of service at once. Of several faults the first counts; `None` for the others.
    pub(crate) fn eject<'a>(&'a self, fault: Fault, control: &'a Wake) -> Option<Ejecting<'a>> {
        let ejection = Ejection { fault, progress: AtomicU8::new(BEGUN), dump: Mutex::default() };
        self.ejection.set(ejection).ok()?;
        self.ejection.get().map(|ejection| Ejecting { ejection, control })
    }

    /// Why it is out of service; `None` while it is in service.
    #[inline]
    pub(crate) fn ejection(&self) -> Option<&Ejection> {
        self.ejection.get()
    }

    #[inline]
    pub(crate) fn is_suspended(&self) -> bool {
        self.ejection.get().is_some()
    }

    /// It has answered a round well.
    pub(crate) fn answered(&self) {
        if self.rounds.add(1) == 0 {
            let _ = self.first_answer.set(Instant::now());
        }
    }

    /// As recordings name it.
    pub(crate) fn as_recorded(&self, answered_this: bool) -> GenerationOf {
        let rounds_before = self.rounds.get().saturating_sub(u64::from(answered_this));
        GenerationOf { info: Arc::clone(&self.info), rounds_before }
    }

    /// Whether a round that starts now should be put to it.
    fn takes_rounds(&self) -> bool {
        !self.is_suspended() && !self.lane.is_held_up()
    }
}

/// The generations that rounds choose from: the first that is not suspended answers.
#[derive(Debug)]
pub(crate) struct Lineup {
    /// The active generation.
    pub(crate) active: Arc<Active>,
    /// The last one that answered well before it.
    pub(crate) standby: Arc<Active>,
    /// Compiled in or the embedder's own: what the host started with.
    pub(crate) initial: Arc<Active>,
}

impl Lineup {
    /// The generation that answers a round starting now: the first that is in service and in no call that is late.
    pub(crate) fn serving(&self) -> &Arc<Active> {
        [&self.active, &self.standby].into_iter().find(|a| a.takes_rounds()).unwrap_or(&self.initial)
    }

    /// As [`Lineup::serving`], for a round that those of `tried` could not take.
    pub(crate) fn serving_beside(&self, tried: &[u64]) -> Option<&Arc<Active>> {
        let untried = |a: &&Arc<Active>| !tried.contains(&a.info.generation);
        let first = [&self.active, &self.standby].into_iter().filter(|a| a.takes_rounds()).find(untried);
        first.or(Some(&self.initial).filter(untried))
    }

    /// The generation that answers but for calls that are late: the first that is in service.
    pub(crate) fn in_service(&self) -> &Arc<Active> {
        [&self.active, &self.standby].into_iter().find(|a| !a.is_suspended()).unwrap_or(&self.initial)
    }

    /// Each of them once.
    pub(crate) fn all(&self) -> Vec<Arc<Active>> {
        let mut all = vec![Arc::clone(&self.active)];
        for a in [&self.standby, &self.initial] {
            if !all.iter().any(|other| Arc::ptr_eq(other, a)) {
                all.push(Arc::clone(a));
            }
        }
        all
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Slot {
    lineup: ArcSwap<Lineup>,
}

impl Slot {
    pub(crate) fn new(initial: Arc<Active>) -> Self {
        let lineup = Lineup { active: Arc::clone(&initial), standby: Arc::clone(&initial), initial };
        Self { lineup: ArcSwap::from_pointee(lineup) }
    }

    /// What answers now: one load for a whole round.
    #[inline]
    pub(crate) fn load(&self) -> Arc<Lineup> {
        self.lineup.load_full()
    }

    /// Whether this is what answers now.
    #[inline]
    pub(crate) fn is_current(&self, lineup: &Arc<Lineup>) -> bool {
        Arc::ptr_eq(&self.lineup.load(), lineup)
    }

    /// Puts a new generation in service; returns the line-up before. Control task only.
    pub(crate) fn swap(&self, new: Arc<Active>) -> Arc<Lineup> {
        let old = self.lineup.load_full();
        // The last good one: what serves now, if it ever answered, else what would have stood in for it.
        let serving = old.serving();
        let proven = serving.rounds.get() > 0 || Arc::ptr_eq(serving, &old.initial);
        // The same code once more, as when only its shadows are others, stands in for nobody.
        let stands_in = proven && !serving.info.is_made_like(&new.info);
        let standby = if stands_in || old.standby.is_suspended() { serving } else { &old.standby };
        self.store(new, Arc::clone(standby), &old);
        old
    }

    /// Formalises what rounds do already once the active generation is suspended; returns what answers. Control task only.
    pub(crate) fn roll_back(&self) -> Arc<Active> {
        let old = self.lineup.load_full();
        let serving = Arc::clone(old.in_service());
        self.store(Arc::clone(&serving), Arc::clone(&old.initial), &old);
        serving
    }

    fn store(&self, active: Arc<Active>, standby: Arc<Active>, old: &Lineup) {
        self.lineup.store(Arc::new(Lineup { active, standby, initial: Arc::clone(&old.initial) }));
    }
}
