//! The slot: which generation answers. Rounds read it with one atomic load; only the control task writes it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use policy_plugin_api::DistributionPolicy;

use crate::control::activation::LaneKind;
use crate::control::admit::Recipe;
use crate::core::event::Cause;
use crate::core::guard::Guard;
use crate::serving::built_in::BuiltIn;
use crate::serving::lane::Lane;
use crate::serving::shadow::Shadows;
use crate::state::receipt::PartReceipt;

/// What a generation is: the truth that receipts and plans tell.
#[derive(Clone, Debug)]
pub struct ActiveInfo {
    /// The policy's name.
    pub policy: String,
    /// Its version.
    pub version: String,
    /// Its generation: one number for every instance the host makes, ascending.
    pub generation: u64,
    /// The file name of its library; `(built-in)` or `(embedder)` where it has none.
    pub library: String,
    /// The SHA-256 of its library; empty where it has none.
    pub sha256: String,
    /// Where it runs.
    pub lane: LaneKind,
    /// The deadline of a round.
    pub deadline: Duration,
    /// What takes it out of service.
    pub guard: Guard,
    /// The filters before it.
    pub filters: Vec<PartInfo>,
    /// The scores that `composite` asks, with their weights.
    pub scores: Vec<(PartInfo, u32)>,
    /// The candidates that see its rounds without effect.
    pub shadows: Vec<ShadowInfo>,
    /// Binds a round when it cannot.
    pub fallback: BuiltIn,
    /// When it was activated.
    pub since: SystemTime,
    /// Why.
    pub cause: Cause,
    /// SHA-256 of the `active.json` that asked for it; empty when none did.
    pub active_file_sha256: String,
    /// The text that asked for it: an `active.json`, or what an embedder switched to. Empty for what the host started
    /// with.
    pub active_json: Arc<str>,
    /// The `active.json` that makes it again: policy, config, filters, scores, fallback.
    pub activation: String,
}

impl ActiveInfo {
    /// Whether both are of the same libraries and configs; their shadows may differ.
    fn is_made_like(&self, other: &Self) -> bool {
        self.sha256 == other.sha256 && self.activation == other.activation && self.parts().eq(other.parts())
    }

    /// Its filters and scores.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &PartInfo> {
        self.filters.iter().chain(self.scores.iter().map(|(part, _)| part))
    }

    /// Its filters and scores, and its shadows with theirs.
    pub(crate) fn all_parts(&self) -> impl Iterator<Item = &PartInfo> {
        self.parts().chain(self.shadows.iter().flat_map(ShadowInfo::parts))
    }
}

/// A candidate beside a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShadowInfo {
    /// The candidate.
    pub policy: PartInfo,
    /// Its config as JSON text; empty for none.
    pub config: String,
    /// The scores that a candidate `composite` asks, with their weights.
    pub scores: Vec<(PartInfo, u32)>,
}

impl ShadowInfo {
    fn parts(&self) -> impl Iterator<Item = &PartInfo> {
        std::iter::once(&self.policy).chain(self.scores.iter().map(|(part, _)| part))
    }
}

/// A filter, score or shadow beside a policy, as a library gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartInfo {
    /// `filter`, `score` or `shadow`.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The file name of its library.
    pub library: String,
    /// The SHA-256 of its library.
    pub sha256: String,
}

impl PartInfo {
    pub(crate) fn receipt(&self, weight: u32) -> PartReceipt {
        PartReceipt {
            policy: self.name.clone(),
            weight,
            version: self.version.clone(),
            sha256: self.sha256.clone(),
            library: self.library.clone(),
        }
    }
}

/// A generation in service. Dropping the last reference runs plugin code: the registry keeps one until it can be
/// dropped on a thread that may be thrown away.
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
    pub(crate) rounds: AtomicU64,
    /// When the first of them was. The control task looks here: waking it would cost that round more than the round.
    pub(crate) first_answer: OnceLock<Instant>,
    /// Set on what the host starts with, while filters that `active.json` asks for are not in force: nothing is bound.
    pub(crate) closed: AtomicBool,
    /// Set by the first fault that ejects: from then on the standby answers, before the control task has even heard.
    pub(crate) suspended: AtomicBool,
    /// Set once the control task has made that official.
    pub(crate) ejected: AtomicBool,
    /// What makes its instance again; `None` for what the host started with.
    pub(crate) recipe: Option<Recipe>,
}

impl Active {
    pub(crate) fn is_suspended(&self) -> bool {
        self.suspended.load(Ordering::Acquire)
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

    /// Puts a new generation in service and returns those that left the line-up. Control task only.
    pub(crate) fn swap(&self, new: Arc<Active>) -> Vec<Arc<Active>> {
        let old = self.lineup.load_full();
        // The last good one: what serves now, if it ever answered, else what would have stood in for it.
        let serving = old.serving();
        let proven = serving.rounds.load(Ordering::Relaxed) > 0 || Arc::ptr_eq(serving, &old.initial);
        // The same code once more, as when only its shadows are others, stands in for nobody.
        let stands_in = proven && !serving.info.is_made_like(&new.info);
        let standby = if stands_in || old.standby.is_suspended() { serving } else { &old.standby };
        self.store(&old, new, Arc::clone(standby))
    }

    /// Formalises what rounds do already once the active generation is suspended. Control task only.
    pub(crate) fn roll_back(&self) -> (Arc<Active>, Vec<Arc<Active>>) {
        let old = self.lineup.load_full();
        let serving = Arc::clone(old.in_service());
        let left = self.store(&old, Arc::clone(&serving), Arc::clone(&old.initial));
        (serving, left)
    }

    fn store(&self, old: &Lineup, active: Arc<Active>, standby: Arc<Active>) -> Vec<Arc<Active>> {
        let kept = [&active, &standby, &old.initial].map(Arc::as_ptr);
        let mut left: Vec<Arc<Active>> = Vec::new();
        for a in [&old.active, &old.standby] {
            if !kept.contains(&Arc::as_ptr(a)) && !left.iter().any(|l| Arc::ptr_eq(l, a)) {
                left.push(Arc::clone(a));
            }
        }
        self.lineup.store(Arc::new(Lineup { active, standby, initial: Arc::clone(&old.initial) }));
        left
    }
}
