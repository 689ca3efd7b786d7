//! One round, on the caller's task: from the slot to a plan. Holds no lock while plugin code runs, and never waits for
//! the control task: what the control task should know is state in the generation, what is recorded goes by the tape.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use policy_wire::assemble::Round;

use crate::core::decided::Decided;
use crate::core::event::EventKind;
use crate::core::feedback::Batch;
use crate::core::foreign::Proposal;
use crate::core::guard::Fault;
use crate::core::limits::{MAX_LANES_TRIED, MAX_LINEUPS_TRIED};
use crate::core::taken::{Dump, Taken};
use crate::core::text::chain;
use crate::serving::lane::Ran;
use crate::serving::service::Service;
use crate::serving::slot::Active;
use crate::serving::validate::{FallbackReason, Plan, Rejected, validate};

pub(crate) async fn bind(service: &Service, round: Arc<Round>) -> Plan {
    service.counters.rounds.add(1);
    let batch = service.feedback.take();
    let mut begun = Begun::new(service, &round, &batch);
    // Generations that could not take the round: none of their code has seen it, nor its observations.
    let mut tried: Vec<u64> = Vec::new();
    for _ in 0..MAX_LINEUPS_TRIED {
        let lineup = service.slot.load();
        let active = if tried.is_empty() { Some(lineup.serving()) } else { lineup.serving_beside(&tried) };
        let Some(active) = active else { break };
        if active.closed.load(Ordering::Acquire) {
            // Filters that are asked for are not in force: without them, nothing may be bound.
            service.counters.empty_rounds.add(1);
            begun.over();
            return Plan::empty(&round, &active.info, None);
        }
        begun.asks(active);
        match active.lane.run(&round, &batch, || service.slot.is_current(&lineup)).await {
            // Replaced before its turn came: the new line-up has it.
            Ran::NotTaken if !service.slot.is_current(&lineup) => {}
            Ran::NotTaken if tried.len() >= MAX_LANES_TRIED => break,
            Ran::NotTaken => tried.push(active.info.generation),
            Ran::Answered { answer, decided } => {
                let took_us = begun.over();
                return Asked { service, round: &round, active, batch: &batch, decided, took_us }.settle(answer).await;
            }
        }
    }
    let lineup = service.slot.load();
    let took_us = begun.over();
    let asked =
        Asked { service, round: &round, active: &lineup.active, batch: &batch, decided: Decided::Undecided, took_us };
    asked.fall_back(Fault::busy(), None).await
}

/// A round that has begun. Dropped before it is over, its caller gave it up.
struct Begun<'a> {
    service: &'a Service,
    round: &'a Arc<Round>,
    batch: &'a Batch<'a>,
    /// With a recording: since when, and who is asked.
    recorded: Option<(Instant, Option<Arc<Active>>)>,
    over: bool,
}

impl<'a> Begun<'a> {
    fn new(service: &'a Service, round: &'a Arc<Round>, batch: &'a Batch<'a>) -> Self {
        let recorded = service.tape.as_ref().map(|_| (Instant::now(), None));
        Self { service, round, batch, recorded, over: false }
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
        self.service.counters.dropped_rounds.add(1);
        // A policy may have learnt from it: a replay needs to know.
        let took_us = self.took_us();
        if let (Some(tape), Some((_, Some(active)))) = (&self.service.tape, &self.recorded)
            && self.batch.is_delivered()
        {
            tape.round(Taken {
                round: Arc::clone(self.round),
                generation: active.as_recorded(false),
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
    service: &'a Service,
    round: &'a Arc<Round>,
    active: &'a Arc<Active>,
    batch: &'a Batch<'a>,
    decided: Decided,
    took_us: u64,
}

impl Asked<'_> {
    /// From an answer to a plan.
    async fn settle(self, answer: Result<Proposal, Fault>) -> Plan {
        let Self { service, round, active, .. } = &self;
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
        active.answered();
        if let (Some(shadows), Some(rows)) = (&active.shadows, plan.proposal()) {
            shadows.saw(round, &self.decided, rows);
        }
        if let Some(tape) = &service.tape {
            tape.round(self.taken(None, None, &plan));
        }
        plan
    }

    /// Binds the round with the compiled-in policy, tells why, and takes the generation out of service if the fault is of
    /// that kind.
    async fn fall_back(self, fault: Fault, rejected: Option<Arc<Proposal>>) -> Plan {
        let (service, active) = (self.service, self.active);
        // From here on the standby answers; the control task hears of it once the round is bound.
        let ejecting = if fault.ejects() { active.eject(fault.clone(), &service.control) } else { None };
        let plan = self.bind_otherwise(&fault).await;
        if let Some(tape) = &service.tape {
            tape.round(self.taken(Some(fault.clone()), rejected.clone(), &plan));
        }
        if let Some(ejecting) = ejecting {
            ejecting.keep(Dump(Box::new(self.taken(Some(fault), rejected, &plan))));
        }
        plan
    }

    fn taken(&self, fault: Option<Fault>, rejected: Option<Arc<Proposal>>, plan: &Plan) -> Taken {
        Taken {
            round: Arc::clone(self.round),
            generation: self.active.as_recorded(fault.is_none()),
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
        let Self { service, round, active, .. } = self;
        service.counters.fallback_rounds.add(1);
        let (policy, generation) = (active.info.policy().to_owned(), active.info.generation);
        let who = match &fault.part {
            None => format!("policy {policy}"),
            Some((kind, name)) => format!("{kind} {name} of {policy}"),
        };
        let message = format!("{who}, generation {generation}: {}", fault.message);
        service.events.emit(EventKind::FallbackRound {
            policy,
            generation,
            code: fault.code,
            message: message.clone(),
        });
        let reason = Some(FallbackReason { code: fault.code, message });
        // Where there are no filters, there is nothing to decide.
        let decided = match &self.decided {
            Decided::Undecided if active.info.composition.filters.is_empty() => &Decided::Unrestricted,
            decided => decided,
        };
        let stages = round.stage_refs();
        let Ok(view) = decided.view(round, &stages) else {
            service.counters.empty_rounds.add(1);
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
            service.counters.empty_rounds.add(1);
            Plan::empty(round, &active.info, reason)
        })
    }
}
