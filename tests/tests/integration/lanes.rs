//! Lanes: what a late call costs, what becomes of a caller that leaves, of a process that was held up, and of what a policy
//! has learnt when it is replaced. `stuck.rs` counts the threads, in a process of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use policy_host::round::{ExecutorUid, Observation, ObservationKind};
use policy_host::{EventKind, Plan};
use serde_json::Value;

use crate::binary::{Running, over};
use crate::hosted::{Hosted, PATIENCE};
use crate::rounds::{jobs_round, round};
use crate::sandbox::Sandbox;

/// A host with `bias` as the standby of `hostile`, which misbehaves in rounds that have a job named `trap`.
async fn hostile(config: &str, more: &str) -> Hosted {
    let mut hosted = Hosted::start();
    hosted.bring_up("policy_bias", r#"{ "policy": "bias" }"#, "bias").await;
    assert_eq!(hosted.bind(3).await.policy(), "bias");
    let active = format!(r#"{{ "policy": "hostile", "config": {{ "job": "trap", {config} }}, {more} }}"#);
    hosted.bring_up("fixture_hostile", &active, "hostile").await;
    assert_eq!(hosted.bind(3).await.policy(), "hostile", "it behaves until it is trapped");
    hosted
}

async fn trap(hosted: &Hosted) -> Plan {
    hosted.host.bind(jobs_round(4, 2, &[("trap", "team-a", 5)])).await
}

/// Waits for a missed deadline; returns what is said of it.
async fn missed(hosted: &mut Hosted) -> String {
    hosted
        .wait_for("missed deadline", |kind| match kind {
            EventKind::MissedDeadline { policy, message, .. } if policy == "hostile" => Some(message.clone()),
            _ => None,
        })
        .await
}

async fn resumed(hosted: &mut Hosted) -> String {
    hosted
        .wait_for("resumption", |kind| match kind {
            EventKind::Resumed { policy, message, .. } if policy == "hostile" => Some(message.clone()),
            _ => None,
        })
        .await
}

fn is_out_of_service(hosted: &Hosted) -> bool {
    !hosted.host.receipt().quarantined.is_empty()
}

#[tokio::test]
async fn after_a_missed_deadline_the_standby_answers_until_the_late_call_returns() {
    // The call is back before a second deadline is over.
    let mut hosted = hostile(r#""bind": "sleep", "sleep_ms": 3000"#, r#""deadline_ms": 2000"#).await;
    let generation = hosted.host.active().generation;
    let plan = trap(&hosted).await;
    let reason = plan.fallback().expect("the deadline is missed");
    assert_eq!((reason.code, plan.bindings().len()), ("deadline-exceeded", 5));
    assert!(reason.message.contains("missed deadline 1 of 3 in 60 s"), "{}", reason.message);
    assert_eq!((hosted.bind(3).await.policy(), hosted.host.active().policy()), ("bias", "bias"));
    assert!(missed(&mut hosted).await.contains("1 of 3"));
    let message = resumed(&mut hosted).await;
    assert!(message.contains("returned"), "{message}");
    let plan = hosted.bind(3).await;
    assert_eq!((plan.policy(), plan.answered_by().generation), ("hostile", generation));
    let receipt = hosted.host.receipt();
    assert_eq!((receipt.fallback_rounds, is_out_of_service(&hosted)), (1, false));
    let active = receipt.active.unwrap();
    assert_eq!((active.missed_deadlines, active.missed_in_window, active.late_calls_returned), (1, 1, 1));
    assert_eq!((active.instances_written_off, active.guard.misses, active.guard.window_s), (0, 3, 60));
}

#[tokio::test]
async fn a_call_that_does_not_return_gets_another_instance_and_the_last_miss_ejects() {
    let more = r#""deadline_ms": 500, "guard": { "misses": 2 }"#;
    let mut hosted = hostile(r#""bind": "sleep", "sleep_ms": 600000"#, more).await;
    let generation = hosted.host.active().generation;
    assert_eq!(trap(&hosted).await.fallback().map(|f| f.code), Some("deadline-exceeded"));
    let message = resumed(&mut hosted).await;
    assert!(message.contains("written off") && message.contains("another instance"), "{message}");
    let plan = hosted.bind(3).await;
    assert_eq!((plan.policy(), plan.answered_by().generation), ("hostile", generation), "the same generation");
    assert!(!is_out_of_service(&hosted));
    let plan = trap(&hosted).await;
    assert!(plan.fallback().is_some_and(|f| f.message.contains("missed deadline 2 of 2")), "{:?}", plan.fallback());
    assert_eq!(hosted.bind(3).await.policy(), "bias");
    assert_eq!(hosted.receipted("bias").await, hosted.host.active().generation);
    let receipt = hosted.host.receipt();
    assert_eq!((receipt.quarantined[0].code.as_str(), receipt.fallback_rounds), ("deadline-exceeded", 2));
}

#[tokio::test]
async fn misses_of_an_inline_policy_count_as_well_and_its_call_is_dropped() {
    let more = r#""lane": "inline", "deadline_ms": 200, "guard": { "misses": 3 }"#;
    let mut hosted = hostile(r#""bind": "pending-forever""#, more).await;
    for number in 1..=3 {
        let plan = trap(&hosted).await;
        let message = plan.fallback().map(|f| f.message.clone()).unwrap_or_default();
        assert!(message.contains(&format!("missed deadline {number} of 3")), "{message}");
        let next = if number < 3 { "hostile" } else { "bias" };
        assert_eq!(hosted.bind(3).await.policy(), next, "after miss {number}");
    }
    hosted.receipted("bias").await;
    assert_eq!(hosted.host.receipt().quarantined[0].code, "deadline-exceeded");
}

#[tokio::test]
async fn a_caller_that_leaves_before_the_deadline_blames_nobody() {
    let mut hosted = hostile(r#""bind": "sleep", "sleep_ms": 1000"#, r#""deadline_ms": 60000"#).await;
    assert!(tokio::time::timeout(Duration::from_millis(20), trap(&hosted)).await.is_err(), "its caller leaves");
    let plan = hosted.bind(3).await;
    assert_eq!((plan.policy(), plan.fallback()), ("hostile", None), "the next round waits for its turn");
    let receipt = hosted.host.receipt();
    assert_eq!((receipt.dropped_rounds, receipt.fallback_rounds, receipt.active.unwrap().missed_deadlines), (1, 0, 0));
    hosted.sandbox.activate(r#"{ "policy": "bias" }"#);
    hosted.receipted("bias").await;
}

#[tokio::test]
async fn a_call_that_outlives_its_caller_is_a_miss_after_its_deadline() {
    let more = r#""deadline_ms": 500, "guard": { "misses": 2 }"#;
    let mut hosted = hostile(r#""bind": "sleep", "sleep_ms": 600000"#, more).await;
    assert!(tokio::time::timeout(Duration::from_millis(20), trap(&hosted)).await.is_err(), "its caller leaves");
    // Nobody asks for anything: the host finds out by itself.
    assert!(missed(&mut hosted).await.contains("1 of 2"));
    let message = resumed(&mut hosted).await;
    assert!(message.contains("another instance"), "{message}");
    assert!(tokio::time::timeout(Duration::from_millis(20), trap(&hosted)).await.is_err());
    hosted.receipted("bias").await;
    let receipt = hosted.host.receipt();
    assert_eq!((receipt.quarantined[0].code.as_str(), receipt.dropped_rounds), ("deadline-exceeded", 2));
    assert_eq!(receipt.fallback_rounds, 0, "no round was bound by the fallback");
    assert_eq!(hosted.bind(3).await.policy(), "bias");
}

#[tokio::test]
async fn a_panic_in_a_call_that_nobody_waits_for_ejects_like_any_other() {
    let config = r#""bind": "sleep", "sleep_ms": 700, "observe": "panic""#;
    let mut hosted = hostile(config, r#""deadline_ms": 60000"#).await;
    assert!(tokio::time::timeout(Duration::from_millis(20), trap(&hosted)).await.is_err(), "its caller leaves");
    hosted.host.observe(vec![Observation::new(ObservationKind::Started, ExecutorUid(0), 1)]);
    // Queued behind the other, and left before it begins: what it brought goes to the next round.
    assert!(tokio::time::timeout(Duration::from_millis(20), hosted.bind(3)).await.is_err());
    let plan = hosted.bind(3).await;
    assert_eq!(plan.fallback().map(|f| f.code), Some("policy-panicked"), "nothing observed is lost");
    hosted.receipted("bias").await;

    let config = r#""bind": "panic", "after": 1"#;
    let mut hosted = hostile(config, r#""deadline_ms": 60000"#).await;
    trap(&hosted).await;
    // Asked for and left at once: it may begin, or not; if it does, its panic is heard.
    let left = tokio::time::timeout(Duration::ZERO, trap(&hosted)).await;
    if left.is_err() && hosted.host.receipt().dropped_rounds == 1 {
        trap(&hosted).await;
    }
    hosted.receipted("bias").await;
    assert_eq!(hosted.host.receipt().quarantined[0].code, "policy-panicked");
}

#[test]
fn a_process_that_was_held_up_is_not_the_policys_fault() {
    use rustix::process::Signal;
    let sandbox = Sandbox::new();
    sandbox.drop_in("fixture_hostile");
    // In its call nearly all the time, and never too long: only a stop makes it late.
    let active =
        r#"{ "policy": "hostile", "deadline_ms": 400, "config": { "bind": "sleep", "sleep_ms": 40, "job": "live" } }"#;
    sandbox.activate(active);
    let workload = sandbox.root().join("live.jsonl");
    let header = r#"{"format":"policy-host-workload","version":1,"network_mib_per_s":1000,"executors":[{"id":"e0","vcores":64}]}"#;
    let job = |i: u64| {
        format!(
            "{{\"id\":\"live-{i}\",\"tenant\":\"t\",\"submit_us\":{},\"stages\":[{{\"id\":0,\"tasks\":[{{\"duration_us\":1000}}]}}]}}\n",
            i * 20_000
        )
    };
    std::fs::write(&workload, format!("{header}\n{}", (0..20_000).map(job).collect::<String>())).unwrap();
    let mut running = Running::start(&sandbox, &["--workload", workload.to_str().unwrap()]);
    running.wait_for("receipt    hostile");
    let status = || -> Value { serde_json::from_str(&over(&sandbox, &["status", "--json"]).1).unwrap() };
    for _ in 0..6 {
        running.signal(Signal::STOP);
        std::thread::sleep(Duration::from_millis(1_000));
        running.signal(Signal::CONT);
        let until = std::time::Instant::now() + PATIENCE;
        let before = status()["active"]["rounds_answered"].as_u64().unwrap();
        while status()["active"]["rounds_answered"].as_u64().unwrap() <= before + 1 {
            assert!(std::time::Instant::now() < until, "it answers again: {}", status());
        }
    }
    let status = status();
    assert_eq!((&status["active"]["policy"], &status["active"]["missed_deadlines"]), (&"hostile".into(), &0.into()));
    assert_eq!((&status["quarantined"], &status["fallback_rounds"]), (&serde_json::json!([]), &0.into()), "{status}");
    assert_eq!(running.stop().0, 0);
}

/// Binds one round after the other until told to stop.
fn keep_binding(hosted: &Arc<Hosted>, over: &Arc<AtomicBool>) -> tokio::task::JoinHandle<Vec<Plan>> {
    let (hosted, over) = (Arc::clone(hosted), Arc::clone(over));
    tokio::spawn(async move {
        let mut plans = Vec::new();
        while !over.load(Ordering::Relaxed) {
            plans.push(hosted.host.bind(round(4, 2, 1)).await);
        }
        plans
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_is_learnt_before_a_swap_is_lost() {
    for lane in ["thread", "inline"] {
        let mut hosted = Hosted::start();
        let active = format!(r#"{{ "policy": "round-robin", "lane": "{lane}" }}"#);
        hosted.bring_up("policy_round_robin", &active, "round-robin").await;
        let (hosted, over) = (Arc::new(hosted), Arc::new(AtomicBool::new(false)));
        let binder = keep_binding(&hosted, &over);
        for number in 0..60 {
            let active =
                format!(r#"{{ "policy": "round-robin", "lane": "{lane}", "deadline_ms": {} }}"#, 50_000 + number);
            hosted.host.switch(&active).await.unwrap();
        }
        over.store(true, Ordering::Relaxed);
        let plans = binder.await.unwrap();
        let generations: std::collections::BTreeSet<u64> = plans.iter().map(|p| p.answered_by().generation).collect();
        assert!(generations.len() > 40, "{lane}: rounds flow meanwhile: {generations:?}");
        // The cursor goes on where it stopped, over every swap.
        for (number, plan) in plans.iter().enumerate() {
            assert!(plan.fallback().is_none(), "{:?}", plan.fallback());
            let generation = plan.answered_by().generation;
            assert_eq!(plan.bindings()[0].executor.0 as usize, number % 4, "{lane}: round {number} of {generation}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_export_is_in_no_round_and_no_fault() {
    for lane in ["thread", "inline"] {
        let active = |bind: &str, number: u64| {
            format!(
                r#"{{ "policy": "hostile", "config": {{ "export_state": "slow", "sleep_ms": 600, "job": "trap", "bind": "{bind}",
                     "after": {number} }}, "lane": "{lane}", "deadline_ms": 100, "guard": {{ "misses": 1000 }} }}"#
            )
        };
        let mut hosted = Hosted::start();
        hosted.bring_up("policy_bias", r#"{ "policy": "bias" }"#, "bias").await;
        hosted.bind(1).await;
        let first = hosted.bring_up("fixture_hostile", &active("ok", 0), "hostile").await;
        for _ in 0..3 {
            trap(&hosted).await;
        }
        let (mut shared, over) = (Arc::new(hosted), Arc::new(AtomicBool::new(false)));
        let binders = [(); 3].map(|()| keep_binding(&shared, &over));
        let info = shared.host.switch(&active("panic", 3)).await.unwrap();
        over.store(true, Ordering::Relaxed);
        for binder in binders {
            for plan in binder.await.unwrap() {
                // Late on a busy machine, perhaps; never in two calls at a time.
                let code = plan.fallback().map(|f| f.code);
                assert!(matches!(code, None | Some("deadline-exceeded")), "{lane}: {:?}", plan.fallback());
            }
        }
        assert!(info.generation > first && !is_out_of_service(&shared), "{lane}");
        let hosted = Arc::get_mut(&mut shared).expect("the binders are gone");
        assert_eq!(hosted.host.active().generation, info.generation);
        // Its predecessor had answered three rounds that count: it knows, and panics in the fourth.
        assert_eq!(trap(hosted).await.fallback().map(|f| f.code), Some("policy-panicked"), "{lane}");
    }
}

#[tokio::test]
async fn an_export_that_hangs_is_a_cold_start_and_takes_nobody_out_of_service() {
    for lane in ["thread", "inline"] {
        let active = |how: &str| {
            format!(r#"{{ "policy": "hostile", "config": {{ "export_state": "{how}" }}, "lane": "{lane}" }}"#)
        };
        let mut hosted = Hosted::start();
        hosted.bring_up("fixture_hostile", &active("hang"), "hostile").await;
        hosted.bind(1).await;
        hosted.sandbox.activate(&active("none"));
        let second = hosted.receipted("hostile").await;
        let plan = hosted.bind(1).await;
        assert_eq!((plan.answered_by().generation, plan.fallback()), (second, None), "{lane}");
        hosted
            .heard("cold start", |kind| match kind {
                EventKind::Note { message, .. } if message.contains("starts cold") => Some(()),
                _ => None,
            })
            .await;
        assert!(!is_out_of_service(&hosted), "{lane}");
    }
}

#[tokio::test]
async fn when_the_new_instance_does_not_take_the_state_in_time_the_old_one_goes_on() {
    for lane in ["thread", "inline"] {
        let mut hosted = Hosted::over(
            Sandbox::new(),
            policy_host::HostOptions { admission_deadline: Duration::from_secs(5), ..Default::default() },
        );
        let active = |how: &str| {
            format!(
                r#"{{ "policy": "hostile", "config": {{ "export_state": "ok", "import_state": "{how}" }}, "lane": "{lane}",
                     "deadline_ms": 500 }}"#
            )
        };
        let first = hosted.bring_up("fixture_hostile", &active("ok"), "hostile").await;
        hosted.sandbox.activate(&active("hang"));
        assert_eq!(hosted.refused("active.json").await.0, "admission-timeout");
        let plan = hosted.bind(1).await;
        assert_eq!((plan.answered_by().generation, plan.fallback()), (first, None), "{lane}");
        assert!(!is_out_of_service(&hosted), "{lane}");
    }
}
