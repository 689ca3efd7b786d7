//! Lanes: where plugin code runs. A pipeline (filters, then a policy) is the same in every lane, and in one call at a
//! time: rounds wait for each other, and the hand-over of state is the last call before another generation takes over.

mod call;
mod inline;
mod pipeline;
mod station;
mod thread;
mod turns;

use std::sync::Arc;
use std::time::{Duration, Instant};

use policy_wire::assemble::Round;

pub(crate) use call::{Handed, LimitsCell, NoState, Ran};
pub(crate) use pipeline::{FilterInstance, Pipeline, PolicyInstance, ScoreInstance, Scored};
pub(crate) use turns::News;

use inline::Inline;
use thread::Runner;

use crate::core::feedback::Batch;
use crate::core::guard::{Fault, Guard};
use crate::core::info::LaneKind;
use crate::core::wake::Wake;

/// A pipeline where it runs.
#[derive(Debug)]
pub(crate) struct Lane {
    kind: Kind,
    /// Whether a part of it learns from observations.
    observes: bool,
}

#[derive(Debug)]
enum Kind {
    /// On the caller's task.
    Inline(Inline),
    /// On a thread of its own.
    Thread(Runner),
}

/// What the control task finds in a lane.
#[derive(Debug, Default)]
pub(crate) struct Looked {
    /// What happened since the last look.
    pub(crate) news: Vec<News>,
    /// A fault that ejects, of a call that nobody waited for.
    pub(crate) eject: Option<Fault>,
    /// Whether the instance was written off, so that another one may take its place.
    pub(crate) vacant: bool,
    /// When to look again, at the latest.
    pub(crate) again: Option<Instant>,
}

/// What receipts say of a lane's calls, since the generation was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CallCounts {
    /// Deadlines that were missed, and count.
    pub(crate) missed: u64,
    /// Those of them that count now.
    pub(crate) missed_in_window: u64,
    /// Late calls that returned, so that the generation went on.
    pub(crate) returned: u64,
    /// Instances that were written off with their threads.
    pub(crate) written_off: u64,
}

impl Lane {
    pub(crate) fn new(
        kind: LaneKind,
        pipeline: Pipeline,
        thread_name: &str,
        deadline: Duration,
        guard: Guard,
        control: Wake,
    ) -> std::io::Result<Self> {
        let observes = pipeline.observes();
        let rules = (deadline, guard);
        let kind = match kind {
            LaneKind::Inline => Kind::Inline(Inline::new(pipeline, rules, control)),
            LaneKind::Thread => Kind::Thread(Runner::start(pipeline, thread_name, rules, control)?),
        };
        Ok(Self { kind, observes })
    }

    /// Whether one of its parts learns from observations.
    pub(crate) fn observes(&self) -> bool {
        self.observes
    }

    /// Whether its policy is in a call that is late, so that rounds had better go elsewhere. Costs an atomic load.
    pub(crate) fn is_held_up(&self) -> bool {
        match &self.kind {
            Kind::Inline(inline) => inline.station().is_held_up(),
            Kind::Thread(runner) => runner.station().is_held_up(),
        }
    }

    /// Runs one round, within its deadline. `is_current` says whether the line-up that chose this lane still stands: a
    /// round that comes after a hand-over would be learnt from where nobody looks for it any more.
    pub(crate) async fn run(
        &self,
        round: &Arc<Round>,
        batch: &Batch<'_>,
        is_current: impl Fn() -> bool + Send + Sync,
    ) -> Ran {
        match &self.kind {
            Kind::Inline(inline) => inline.run(round, batch, is_current).await,
            Kind::Thread(runner) => runner.run(round, batch, is_current).await,
        }
    }

    /// Looks after calls that nobody waits for, and takes what happened. Control task only.
    pub(crate) fn look(&self, now: Instant) -> Looked {
        fn look<J: turns::Job>(turns: &mut turns::Turns<J>, now: Instant, own_thread: bool) -> Looked {
            let again = if own_thread { turns.look(now) } else { None };
            let (news, eject) = turns.take_news();
            // It looks right now.
            turns.nudge = false;
            Looked { news, eject, vacant: turns.is_vacant(), again }
        }
        match &self.kind {
            Kind::Inline(inline) => inline.station().with(|turns| look(turns, now, false)),
            Kind::Thread(runner) => runner.station().with(|turns| look(turns, now, true)),
        }
    }

    pub(crate) fn counts(&self, now: Instant) -> CallCounts {
        let [missed, missed_in_window, returned, written_off] = match &self.kind {
            Kind::Inline(inline) => inline.station().with(|turns| turns.counts(now)),
            Kind::Thread(runner) => runner.station().with(|turns| turns.counts(now)),
        };
        CallCounts { missed, missed_in_window, returned, written_off }
    }

    /// Exports the policy's state, after the last round that it answers: from then on rounds wait, as long as what is
    /// returned is kept, and for their deadline at most. Blocks for `limit` at most; runs plugin code on another thread.
    pub(crate) fn hand_over(&self, limit: Duration) -> Result<Handed, NoState> {
        match &self.kind {
            Kind::Inline(inline) => inline.hand_over(limit),
            Kind::Thread(runner) => runner.hand_over(limit),
        }
    }

    /// Ends a hand-over that came to nothing.
    pub(crate) fn release(&self) {
        match &self.kind {
            Kind::Inline(inline) => inline.release(),
            Kind::Thread(runner) => runner.station().with(|turns| turns.release(None, false)),
        }
    }

    /// Puts another instance in the place of one that was written off; `false` where there is no such place.
    pub(crate) fn replace(&self, pipeline: Pipeline) -> std::io::Result<bool> {
        match &self.kind {
            Kind::Inline(_) => Ok(false),
            Kind::Thread(runner) => runner.replace(pipeline),
        }
    }

    /// Whether an instance can be put in the place of one that was written off.
    pub(crate) fn is_replaceable(&self) -> bool {
        matches!(self.kind, Kind::Thread(_))
    }
}
