//! One round, on the caller's task: from the slot to a plan. Holds no lock while plugin code runs, and never waits for
//! the control task: what the control task should know is posted to its inbox, what is recorded to the recorder's.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use policy_wire::assemble::Round;

use crate::core::event::EventKind;
use crate::core::feedback::Batch;
use crate::core::guard::Fault;
use crate::core::limits::{MAX_LANES_TRIED, MAX_LINEUPS_TRIED};
use crate::core::text::chain;
use crate::facade::{Outcome, Shared};
use crate::foreign::Proposal;
use crate::record::{Dump, GenerationOf, Taken};
use crate::serving::lane::{Decided, Ran};
use crate::serving::slot::Active;
use crate::serving::validate::{FallbackReason, Plan, Rejected, validate};

pub(crate) async fn bind(shared: &Shared, round: Arc<Round>) -> Plan {
    shared.rounds.fetch_add(1, Ordering::Relaxed);
    let batch = shared.feedback.take();
    let mut begun = Begun::new(shared, &round, &batch);
    // Generations that could not take the round: none of their code has seen it, nor its observations.
    let mut tried: Vec<u64> = Vec::new();
    for _ in 0..MAX_LINEUPS_TRIED {
        let lineup = shared.slot.load();
        let active = if tried.is_empty() { Some(lineup.serving()) } else { lineup.serving_beside(&tried) };
        let Some(active) = active else { break };
        if active.closed.load(Ordering::Acquire) {
            // Filters that are asked for are not in force: without them, nothing may be bound.
            shared.empty_rounds.fetch_add(1, Ordering::Relaxed);
            begun.over();
            return Plan::empty(&round, &active.info, None);
        }
        begun.asks(active);
        match active.lane.run(&round, &batch, || shared.slot.is_current(&lineup)).await {
            // Replaced before its turn came: the new line-up has it.
            Ran::NotTaken if !shared.slot.is_current(&lineup) => {}
            Ran::NotTaken if tried.len() >= MAX_LANES_TRIED => break,
            Ran::NotTaken => tried.push(active.info.generation),
            Ran::Answered { answer, decided } => {
                let took_us = begun.over();
                return Asked { shared, round: &round, active, batch: &batch, decided, took_us }.settle(answer).await;
            }
        }
    }
    let lineup = shared.slot.load();
    let took_us = begun.over();
    let asked =
        Asked { shared, round: &round, active: &lineup.active, batch: &batch, decided: Decided::Undecided, took_us };
    asked.fall_back(Fault::busy(), None).await
}

/// A round that has begun. Dropped before it is over, its caller gave it up.
struct Begun<'a> {
    shared: &'a Shared,
    round: &'a Arc<Round>,
    batch: &'a Batch<'a>,
    /// With a recording: since when, and who is asked.
    recorded: Option<(Instant, Option<Arc<Active>>)>,
    over: bool,
}

impl<'a> Begun<'a> {
    fn new(shared: &'a Shared, round: &'a Arc<Round>, batch: &'a Batch<'a>) -> Self {
        let recorded = shared.recorder.as_ref().map(|_| (Instant::now(), None));
        Self { shared, round, batch, recorded, over: false }
    }

    fn asks(&mut self, active: &Arc<Active>) {
        if let Some((_, asked)) = &mut self.recorded {
            *asked = Some(Arc::clone(active));
        }
    }

    /// There is an answer; returns how long that took, with a recording.
    fn over(&mut self) -> u64 {
        self.over = true;
        self.took_us()
    }

    fn took_us(&self) -> u64 {
        let since = self.recorded.as_ref().map(|(since, _)| since.elapsed());
        since.map_or(0, |took| u64::try_from(took.as_micros()).unwrap_or(u64::MAX))
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        self.shared.dropped_rounds.fetch_add(1, Ordering::Relaxed);
        // A policy may have learnt from it: a replay needs to know.
        let took_us = self.took_us();
        if let (Some(recorder), Some((_, Some(active)))) = (&self.shared.recorder, &self.recorded)
            && self.batch.is_delivered()
        {
            recorder.round(Taken {
                round: Arc::clone(self.round),
                generation: GenerationOf::new(active, false),
                observations: self.batch.block(),
                limits: Decided::Undecided,
                rows: None,
                rejected: None,
                fault: Some(Fault::dropped()),
                took_us,
            });
        }
    }
}

/// A round that a generation was asked about, or that none could take.
struct Asked<'a> {
    shared: &'a Shared,
    round: &'a Arc<Round>,
    active: &'a Arc<Active>,
    batch: &'a Batch<'a>,
    decided: Decided,
    took_us: u64,
}

impl Asked<'_> {
    /// From an answer to a plan.
    async fn settle(self, answer: Result<Proposal, Fault>) -> Plan {
        let Self { shared, round, active, .. } = &self;
        if let (Some(shadows), Some(batch)) = (&active.shadows, self.batch.seen()) {
            shadows.observed(batch);
        }
        let proposal = match answer {
            Err(fault) => return self.fall_back(fault, None).await,
            Ok(proposal) => proposal,
        };
        let plan = match validate(proposal, round, &self.decided, &active.info, None) {
            Err(Rejected { fault, proposal }) => return self.fall_back(fault, Some(Arc::new(proposal))).await,
            Ok(plan) => plan,
        };
        if active.rounds.fetch_add(1, Ordering::AcqRel) == 0 {
            let _ = active.first_answer.set(Instant::now());
        }
        if let (Some(shadows), Some(rows)) = (&active.shadows, plan.proposal()) {
            shadows.saw(round, &self.decided, rows);
        }
        if let Some(recorder) = &shared.recorder {
            recorder.round(self.taken(None, None, &plan));
        }
        plan
    }

    /// Binds the round with the compiled-in policy, tells why, and takes the generation out of service if the fault is of
    /// that kind.
    async fn fall_back(self, fault: Fault, rejected: Option<Arc<Proposal>>) -> Plan {
        let (shared, active) = (self.shared, self.active);
        let plan = self.bind_otherwise(&fault).await;
        if let Some(recorder) = &shared.recorder {
            recorder.round(self.taken(Some(fault.clone()), rejected.clone(), &plan));
        }
        if fault.ejects() {
            let dump = Dump(Box::new(self.taken(Some(fault.clone()), rejected, &plan)));
            let generation = active.info.generation;
            if !shared.post(Outcome::Ejected { generation, fault: fault.clone(), dump }) {
                // The control task finds it in the lane, without the dump.
                active.lane.report(fault);
            }
        }
        plan
    }

    fn taken(&self, fault: Option<Fault>, rejected: Option<Arc<Proposal>>, plan: &Plan) -> Taken {
        Taken {
            round: Arc::clone(self.round),
            generation: GenerationOf::new(self.active, fault.is_none()),
            observations: self.batch.seen().cloned(),
            limits: self.decided.clone(),
            rows: plan.proposal().cloned(),
            rejected,
            fault,
            took_us: self.took_us,
        }
    }

    /// Binds within the limits that the filters set; a filter that did not decide lets nothing through.
    async fn bind_otherwise(&self, fault: &Fault) -> Plan {
        let Self { shared, round, active, .. } = self;
        if fault.ejects() {
            active.suspended.store(true, Ordering::Release);
        }
        shared.fallback_rounds.fetch_add(1, Ordering::Relaxed);
        let (policy, generation) = (active.info.policy.clone(), active.info.generation);
        let who = match &fault.part {
            None => format!("policy {policy}"),
            Some((kind, name)) => format!("{kind} {name} of {policy}"),
        };
        let message = format!("{who}, generation {generation}: {}", fault.message);
        shared.emit(EventKind::FallbackRound { policy, generation, code: fault.code, message: message.clone() });
        let reason = Some(FallbackReason { code: fault.code, message });
        // Where there are no filters, there is nothing to decide.
        let decided = match &self.decided {
            Decided::Undecided if active.info.filters.is_empty() => &Decided::Unrestricted,
            decided => decided,
        };
        let stages = round.stage_refs();
        let Ok(view) = decided.view(round, &stages) else {
            shared.empty_rounds.fetch_add(1, Ordering::Relaxed);
            return Plan::empty(round, &active.info, reason);
        };
        let mut slots = Vec::new();
        view.available_slots(&mut slots);
        let rows = active.fallback.bind_tasks(&mut slots, &view).await;
        let rows = rows.map(Proposal::from).map_err(|e| chain(&e));
        let plan = rows.and_then(|rows| {
            let plan = validate(rows, round, decided, &active.info, reason.clone());
            plan.map_err(|rejected| rejected.fault.message)
        });
        plan.unwrap_or_else(|message| {
            tracing::error!(fallback = active.info.fallback.name(), "the fallback failed, nothing is bound: {message}");
            shared.empty_rounds.fetch_add(1, Ordering::Relaxed);
            Plan::empty(round, &active.info, reason)
        })
    }
}
