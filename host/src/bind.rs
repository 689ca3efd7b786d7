//! One round, on the caller's task: from the slot to a plan. Holds no lock while plugin code runs, and never waits for
//! the control task: what the control task should know is posted to its inbox, what is recorded to the recorder's.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use policy_plugin_api::abi::Proposal;
use policy_plugin_api::assemble::Round;
use policy_plugin_api::block::Block;

use crate::event::EventKind;
use crate::guard::Fault;
use crate::host::{Outcome, Shared};
use crate::lane::limited_view;
use crate::record::{Dump, GenerationOf, Taken};
use crate::slot::Active;
use crate::text::chain;
use crate::validate::{FallbackReason, Plan, Rejected, validate};

pub(crate) async fn bind(shared: &Shared, round: Arc<Round>) -> Plan {
    shared.rounds.fetch_add(1, Ordering::Relaxed);
    let lineup = shared.slot.load();
    let active = lineup.serving();
    if active.closed.load(Ordering::Acquire) {
        // Filters that are asked for are not in force: without them, nothing may be bound.
        shared.empty_rounds.fetch_add(1, Ordering::Relaxed);
        return Plan::empty(&round, &active.info, None);
    }
    let observations = shared.feedback.take();
    if let (Some(shadows), Some(batch)) = (&active.shadows, &observations) {
        shadows.observed(batch);
    }
    let begun = shared.recorder.as_ref().map(|_| Instant::now());
    let ran = active.lane.run(&round, observations.clone(), active.info.deadline).await;
    let took_us = begun.map_or(0, |at| u64::try_from(at.elapsed().as_micros()).unwrap_or(u64::MAX));
    let (fault, rejected) = match ran.answer {
        Err(fault) => (fault, None),
        Ok(proposal) => {
            // Filters have decided if the policy has answered.
            let limits = ran.limits.as_ref().and_then(Option::as_deref);
            match validate(proposal, &round, limits, &active.info, None) {
                Ok(plan) => {
                    if active.rounds.fetch_add(1, Ordering::AcqRel) == 0 {
                        let _ = active.first_answer.set(Instant::now());
                    }
                    if let (Some(shadows), Some(rows)) = (&active.shadows, plan.proposal()) {
                        shadows.saw(&round, ran.limits.as_ref().and_then(Option::as_ref), rows);
                    }
                    if let Some(recorder) = &shared.recorder {
                        let generation = GenerationOf::new(active, true);
                        let (limits, rows) = (ran.limits, plan.proposal().cloned());
                        let (fault, rejected) = (None, None);
                        recorder.round(Taken {
                            round,
                            generation,
                            observations,
                            limits,
                            rows,
                            rejected,
                            fault,
                            took_us,
                        });
                    }
                    return plan;
                }
                Err(Rejected { violation, proposal }) => (Fault::of_violation(&violation), Some(Arc::new(proposal))),
            }
        }
    };
    let plan = fall_back(shared, &round, active, &fault, &ran.limits).await;
    let generation = || GenerationOf::new(active, false);
    let (rows, limits) = (|| plan.proposal().cloned(), || ran.limits.clone());
    let taken = |fault: Fault| {
        let (round, observations, rejected) = (Arc::clone(&round), observations.clone(), rejected.clone());
        let (generation, limits, rows) = (generation(), limits(), rows());
        Taken { round, generation, observations, limits, rows, rejected, fault: Some(fault), took_us }
    };
    if let Some(recorder) = &shared.recorder {
        recorder.round(taken(fault.clone()));
    }
    if fault.ejects() {
        let dump = Dump(Box::new(taken(fault.clone())));
        shared.post(Outcome::Ejected { generation: active.info.generation, fault, dump });
    }
    plan
}

/// Binds the round with the compiled-in policy, within the limits that the filters set; a filter that did not decide
/// lets nothing through.
async fn fall_back(
    shared: &Shared,
    round: &Arc<Round>,
    active: &Arc<Active>,
    fault: &Fault,
    limits: &Option<Option<Arc<Block>>>,
) -> Plan {
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
    let Some(limits) = limits else {
        shared.empty_rounds.fetch_add(1, Ordering::Relaxed);
        return Plan::empty(round, &active.info, reason);
    };
    let stages = round.stage_refs();
    let view = limited_view(round, &stages, limits.as_deref());
    let mut slots = Vec::new();
    view.available_slots(&mut slots);
    let rows = active.fallback.bind_tasks(&mut slots, &view).await;
    let rows = rows.map(Proposal::from).map_err(|e| chain(&e));
    let plan = rows.and_then(|rows| {
        let plan = validate(rows, round, limits.as_deref(), &active.info, reason.clone());
        plan.map_err(|rejected| chain(&rejected.violation))
    });
    plan.unwrap_or_else(|message| {
        tracing::error!(fallback = active.info.fallback.name(), "the fallback failed, nothing is bound: {message}");
        shared.empty_rounds.fetch_add(1, Ordering::Relaxed);
        Plan::empty(round, &active.info, reason)
    })
}
