//! What receipts say of generations and rounds.

use std::time::Instant;

use crate::core::event::unix_ms;
use crate::core::info::PartInfo;
use crate::core::threads;
use crate::serving::lane::CallCounts;
use crate::serving::service::Service;
use crate::serving::shadow::Shown;
use crate::serving::slot::{Active, Lineup};
use crate::state::receipt::{ActiveReceipt, GuardReceipt, PartReceipt, Receipt, ShadowReceipt};

/// The counters of rounds, as of now.
pub(crate) fn count(receipt: &mut Receipt, service: &Service) {
    let counters = &service.counters;
    receipt.fallback_rounds = counters.fallback_rounds.get();
    receipt.empty_rounds = counters.empty_rounds.get();
    receipt.dropped_rounds = counters.dropped_rounds.get();
    receipt.dropped_messages = counters.dropped_observations.get();
    receipt.stuck_threads = threads::stuck() as u64;
}

/// What a generation is, and what it has done so far.
pub(crate) fn of_active(active: &Active, lineup: &Lineup) -> ActiveReceipt {
    let info = &active.info;
    let mut receipt = ActiveReceipt {
        policy: info.policy().to_owned(),
        version: info.version().to_owned(),
        generation: info.generation,
        library: info.library().to_owned(),
        sha256: info.sha256().to_owned(),
        lane: info.lane.as_str().into(),
        since_unix_ms: unix_ms(info.since),
        filters: info.composition.filters.iter().map(|filter| of_part(filter, 1)).collect(),
        scores: info.composition.scores.iter().map(|score| of_part(&score.part, score.weight)).collect(),
        fallback: info.fallback.name().into(),
        deadline_ms: u64::try_from(info.deadline.as_millis()).unwrap_or(u64::MAX),
        cause: info.cause.as_str().into(),
        guard: GuardReceipt {
            misses: info.guard.misses,
            restarts: info.guard.restarts,
            window_s: info.guard.window.as_secs(),
        },
        ..ActiveReceipt::default()
    };
    update(&mut receipt, active, lineup);
    receipt
}

/// What a generation has done so far, as of now.
pub(crate) fn update(receipt: &mut ActiveReceipt, active: &Active, lineup: &Lineup) {
    receipt.rounds_answered = active.rounds.get();
    let CallCounts { missed, missed_in_window, returned, written_off } = active.lane.counts(Instant::now());
    (receipt.missed_deadlines, receipt.missed_in_window) = (missed, missed_in_window);
    (receipt.late_calls_returned, receipt.instances_written_off) = (returned, written_off);
    let serving = lineup.serving();
    let is_held_up = active.lane.is_held_up() && serving.info.generation != active.info.generation;
    receipt.stands_in = if is_held_up { serving.info.policy().to_owned() } else { String::new() };
    if let Some(shadows) = &active.shadows {
        let (shown, skipped) = shadows.shown();
        receipt.shadow = shown.iter().map(of_shadow).collect();
        receipt.shadow_rounds_skipped = skipped;
    }
}

fn of_part(part: &PartInfo, weight: u32) -> PartReceipt {
    PartReceipt {
        policy: part.name.clone(),
        weight,
        version: part.version.clone(),
        sha256: part.sha256.clone(),
        library: part.library.clone(),
    }
}

fn of_shadow(shown: &Shown) -> ShadowReceipt {
    let share = |part: u64, all: u64| if all == 0 { 0.0 } else { part as f64 / all as f64 };
    let [tasks, tasks_of_active] = shown.tasks;
    let most = tasks.max(tasks_of_active);
    let (failed, message) = shown.failed.clone().unwrap_or_default();
    let (policy, scores) = (&shown.info.policy, &shown.info.scores);
    ShadowReceipt {
        policy: policy.name.clone(),
        version: policy.version.clone(),
        sha256: policy.sha256.clone(),
        library: policy.library.clone(),
        config: serde_json::from_str(&policy.config).unwrap_or_default(),
        scores: scores.iter().map(|score| of_part(&score.part, score.weight)).collect(),
        rounds: shown.rounds,
        declined: shown.declined,
        tasks,
        tasks_of_active,
        agreement: if most == 0 { 1.0 } else { share(shown.same, most) },
        local_bytes_share: share(shown.local_bytes[0], shown.bytes[0]),
        local_bytes_share_of_active: share(shown.local_bytes[1], shown.bytes[1]),
        latency_us_p50: shown.latency_us[0],
        latency_us_p99: shown.latency_us[1],
        failed: failed.to_owned(),
        message,
    }
}
