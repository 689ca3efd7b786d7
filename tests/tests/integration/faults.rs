//! Faults of plugins: each costs one round, bound by the fallback, and takes the generation out of service; missed
//! deadlines do so here at the first, because the guard is told so (`lanes.rs` has what else they do).

use policy_host::receipt::ClearRequest;
use policy_host::{EventKind, HostOptions};

use crate::hosted::Hosted;
use crate::rounds::{jobs_round, round};
use crate::sandbox::Sandbox;

/// A host with `hostile` active, which misbehaves in rounds that have a job named `trap`.
async fn hostile(config: &str, lane: &str, deadline_ms: u64) -> Hosted {
    let mut hosted = Hosted::start();
    hosted.bring_up("policy_bias", r#"{ "policy": "bias" }"#, "bias").await;
    assert_eq!(hosted.bind(3).await.policy(), "bias");
    let active = format!(
        r#"{{ "policy": "hostile", "config": {{ "job": "trap", {config} }}, "lane": "{lane}",
             "deadline_ms": {deadline_ms}, "guard": {{ "misses": 1 }} }}"#
    );
    hosted.bring_up("fixture_hostile", &active, "hostile").await;
    assert_eq!(hosted.bind(3).await.policy(), "hostile", "it behaves until it is trapped");
    hosted
}

/// Springs the trap, and checks what it cost.
async fn one_round(mut hosted: Hosted, code: &str) -> Hosted {
    let generation = hosted.host.active().generation;
    let plan = hosted.host.bind(jobs_round(4, 2, &[("trap", "team-a", 5)])).await;
    let reason = plan.fallback().unwrap_or_else(|| panic!("{code}: the fallback answers"));
    assert_eq!(reason.code, code);
    assert!(
        reason.message.contains("hostile") && reason.message.contains(&generation.to_string()),
        "{}",
        reason.message
    );
    assert_eq!(plan.bindings().len(), 5, "{code}: the fallback binds what can be bound");
    assert_eq!(plan.policy(), "round-robin");
    // From the very next round on, the last good generation answers.
    let next = hosted.host.bind(jobs_round(4, 2, &[("trap", "team-a", 5)])).await;
    assert_eq!((next.policy(), next.fallback()), ("bias", None), "{code}");
    let quarantined = hosted
        .wait_for("quarantine", |kind| match kind {
            EventKind::Quarantined { code, .. } => Some(*code),
            _ => None,
        })
        .await;
    assert_eq!(quarantined, code);
    assert_eq!(hosted.receipted("bias").await, next.answered_by().generation);
    let receipt = hosted.host.receipt();
    assert_eq!((receipt.fallback_rounds, receipt.quarantined.len()), (1, 1), "{code}: {receipt:#?}");
    assert_eq!(receipt.quarantined[0].code, code);
    assert_eq!(receipt.active.unwrap().policy, "bias");
    hosted
}

#[tokio::test]
async fn an_illegal_answer_is_not_applied_not_even_in_part() {
    for (bind, code) in [
        ("unknown-task", "unknown-task"),
        ("unknown-executor", "unknown-executor"),
        ("twice", "task-bound-twice"),
        ("overbook", "executor-overbooked"),
        ("too-many-rows", "too-many-rows"),
        ("far-too-many-rows", "too-many-rows"),
    ] {
        let hosted = hostile(&format!(r#""bind": "{bind}""#), "thread", 10_000).await;
        one_round(hosted, code).await;
    }
}

#[tokio::test]
async fn a_panic_in_a_round_is_caught_in_either_lane() {
    for lane in ["thread", "inline"] {
        for bind in ["panic", "panic-in-payload"] {
            let hosted = hostile(&format!(r#""bind": "{bind}""#), lane, 10_000).await;
            one_round(hosted, "policy-panicked").await;
        }
        let hosted = hostile(r#""bind": "error""#, lane, 10_000).await;
        one_round(hosted, "policy-error").await;
    }
}

#[tokio::test]
async fn a_late_answer_costs_one_round_and_its_thread_is_written_off() {
    let hosted = hostile(r#""bind": "sleep", "sleep_ms": 600000"#, "thread", 500).await;
    let hosted = one_round(hosted, "deadline-exceeded").await;
    assert!(hosted.host.receipt().stuck_threads >= 1);
}

#[tokio::test]
async fn a_future_that_is_never_ready_costs_one_round_in_either_lane() {
    for lane in ["thread", "inline"] {
        let hosted = hostile(r#""bind": "pending-forever""#, lane, 500).await;
        one_round(hosted, "deadline-exceeded").await;
    }
}

#[tokio::test]
async fn a_declined_round_is_the_fallbacks_and_no_fault() {
    let hosted = hostile(r#""bind": "decline""#, "thread", 10_000).await;
    let plan = hosted.host.bind(jobs_round(4, 2, &[("trap", "team-a", 5)])).await;
    assert_eq!(plan.fallback().map(|f| f.code), Some("declined"));
    assert_eq!(hosted.bind(3).await.policy(), "hostile", "it stays in service");
    assert!(hosted.host.receipt().quarantined.is_empty());
}

#[tokio::test]
async fn a_panic_in_observe_costs_one_round() {
    use policy_host::round::{ExecutorUid, Observation, ObservationKind};
    let hosted = hostile(r#""observe": "panic""#, "thread", 10_000).await;
    assert!(hosted.host.wants_observations(), "it does not say that it does not learn");
    hosted.host.observe(vec![Observation::new(ObservationKind::Started, ExecutorUid(0), 1)]);
    let plan = hosted.bind(3).await;
    assert_eq!(plan.fallback().map(|f| f.code), Some("policy-panicked"));
    assert_eq!(hosted.bind(3).await.policy(), "bias");
}

#[tokio::test]
async fn a_panic_in_drop_is_told_and_costs_nothing() {
    let mut hosted = hostile(r#""drop": "panic""#, "thread", 10_000).await;
    // It stands by for one swap more; after that it is dropped.
    for policy in ["bias", "round-robin"] {
        hosted.sandbox.activate(&format!(r#"{{ "policy": "{policy}" }}"#));
        hosted.receipted(policy).await;
        hosted.bind(1).await;
    }
    hosted
        .heard("note about the destructor", |kind| match kind {
            EventKind::Note { message, .. } if message.contains("destructor") && message.contains("panicked") => {
                Some(())
            }
            _ => None,
        })
        .await;
    assert_eq!(hosted.host.receipt().fallback_rounds, 0);
}

#[tokio::test]
async fn a_filter_that_fails_lets_nothing_through() {
    for (filter, code) in [("panic", "filter-panicked"), ("error", "filter-error")] {
        let mut hosted = Hosted::start();
        hosted.bring_up("policy_bias", r#"{ "policy": "bias" }"#, "bias").await;
        hosted.bind(1).await;
        let active = format!(
            r#"{{ "policy": "bias", "filters": [{{ "policy": "hostile-filter", "config": {{ "job": "trap", "filter": "{filter}" }} }}] }}"#
        );
        hosted.bring_up("fixture_hostile", &active, "bias").await;
        assert_eq!(hosted.bind(3).await.bindings().len(), 3);
        let plan = hosted.host.bind(jobs_round(4, 2, &[("trap", "team-a", 5)])).await;
        assert_eq!(plan.fallback().map(|f| f.code), Some(code));
        assert!(plan.bindings().is_empty(), "what the filter would have forbidden is not known");
        let receipt = hosted.receipted("bias").await;
        assert_eq!(hosted.bind(3).await.answered_by().generation, receipt);
        assert!(hosted.host.active().composition.filters.is_empty(), "the last good activation had none");
        assert_eq!(hosted.host.receipt().empty_rounds, 1);
    }
}

#[tokio::test]
async fn limits_that_cannot_be_read_completely_let_nothing_through() {
    for (how, column) in [
        ("other-type", "column 2"),
        ("past-the-end", "column 2"),
        ("no-caps", "column 3"),
        ("unknown-column", "column 7"),
        ("huge", "words"),
        ("no-kind", "of kind 0 with 0 words"),
        ("unknown-kind", "of kind 9"),
        ("contradicting", "of kind 1 with"),
        ("no-words", "not a block"),
    ] {
        let mut hosted = Hosted::start();
        hosted.bring_up("policy_bias", r#"{ "policy": "bias" }"#, "bias").await;
        hosted.bind(1).await;
        let filter = format!(r#"{{ "policy": "raw-limits", "config": {{ "how": "{how}" }} }}"#);
        let active = format!(r#"{{ "policy": "bias", "filters": [{filter}] }}"#);
        hosted.bring_up("fixture_raw_limits", &active, "bias").await;
        assert_eq!(hosted.bind(3).await.bindings().len(), 3, "{how}: no trap, no limits");
        let plan = hosted.host.bind(jobs_round(4, 2, &[("trap", "team-a", 5)])).await;
        let reason = plan.fallback().unwrap_or_else(|| panic!("{how}: what it says cannot be known"));
        assert_eq!(reason.code, "filter-bad-limits", "{how}");
        assert!(reason.message.contains("raw-limits") && reason.message.contains(column), "{}", reason.message);
        assert!(plan.bindings().is_empty(), "{how}: everything was forbidden");
        let receipt = hosted.receipted("bias").await;
        assert_eq!(hosted.bind(3).await.answered_by().generation, receipt);
        assert!(hosted.host.active().composition.filters.is_empty(), "{how}: the last good activation had none");
    }
}

#[tokio::test]
async fn limits_that_close_everything_close_everything() {
    let mut hosted = Hosted::start();
    hosted.bring_up("policy_bias", r#"{ "policy": "bias" }"#, "bias").await;
    hosted.bind(1).await;
    let active = r#"{ "policy": "bias", "filters": [{ "policy": "raw-limits", "config": { "how": "well" } }] }"#;
    hosted.bring_up("fixture_raw_limits", active, "bias").await;
    let plan = hosted.host.bind(jobs_round(4, 2, &[("trap", "team-a", 5)])).await;
    assert_eq!((plan.fallback(), plan.bindings().len()), (None, 0));
}

#[tokio::test]
async fn an_ejected_library_comes_back_only_when_an_operator_says_so_or_it_is_mended() {
    let hosted = hostile(r#""bind": "panic""#, "thread", 10_000).await;
    let mut hosted = one_round(hosted, "policy-panicked").await;
    // The same bytes again, by themselves: no.
    hosted.sandbox.drop_as("fixture_hostile", "again");
    hosted.admitted(&crate::sandbox::library("again")).await;
    assert_eq!(hosted.bind(3).await.policy(), "bias");
    let state = |hosted: &Hosted| {
        let listed = hosted.host.policies();
        listed.iter().find(|l| l.name == "hostile").map(|l| (l.state.clone(), l.code.clone()))
    };
    assert_eq!(state(&hosted), Some(("quarantined".into(), "policy-panicked".into())));
    // Whatever active.json says, its bytes are no reason to try it again.
    hosted.sandbox.activate(r#"{ "policy": "hostile" }"#);
    let (code, message) = hosted.refused("active.json").await;
    assert!(code == "quarantined" && message.contains("quarantine clear hostile"), "{code}: {message}");
    let lifted =
        hosted.host.clear_quarantine(ClearRequest { names: vec!["hostile".into()], ..Default::default() }).await;
    assert_eq!(lifted.iter().map(|q| q.code.as_str()).collect::<Vec<_>>(), ["policy-panicked"]);
    hosted.sandbox.activate(r#"{ "policy": "hostile", "deadline_ms": 59000 }"#);
    hosted.receipted("hostile").await;
    assert_eq!(hosted.bind(3).await.policy(), "hostile");
}

#[tokio::test]
async fn when_nothing_good_is_left_the_initial_policy_answers() {
    let mut hosted = Hosted::over(Sandbox::new(), HostOptions::default());
    hosted
        .bring_up(
            "fixture_hostile",
            r#"{ "policy": "hostile", "config": { "job": "trap", "bind": "panic" } }"#,
            "hostile",
        )
        .await;
    let trap = || jobs_round(4, 2, &[("trap", "team-a", 5)]);
    assert_eq!(hosted.host.bind(trap()).await.fallback().map(|f| f.code), Some("policy-panicked"));
    let plan = hosted.host.bind(trap()).await;
    assert_eq!((plan.policy(), plan.answered_by().library()), ("round-robin", "(built-in)"));
    assert!(plan.fallback().is_none());
    assert_eq!(hosted.host.bind(round(1, 1, 1)).await.bindings().len(), 1);
}
