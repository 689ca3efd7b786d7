//! Shadows: candidates that see live rounds without effect, and what the receipt says of them.

use std::time::Instant;

use policy_host::receipt::ClearRequest;
use policy_host::receipt::ShadowReceipt;

use crate::binary::{Running, over};
use crate::hosted::{Hosted, PATIENCE};
use crate::rounds::jobs_round;
use crate::sandbox::{Sandbox, library, variant};

/// Binds rounds until the shadows satisfy `done`; returns what they have shown. Every plan is the active policy's own.
async fn watch(hosted: &Hosted, done: impl Fn(&[ShadowReceipt]) -> bool) -> Vec<ShadowReceipt> {
    let until = Instant::now() + PATIENCE;
    loop {
        let plan = hosted.host.bind(jobs_round(4, 4, &[("target", "team-a", 8)])).await;
        assert_eq!((plan.policy(), plan.fallback(), plan.bindings().len()), ("bias", None, 8));
        let mut executors: Vec<_> = plan.bindings().iter().map(|b| b.executor).collect();
        executors.dedup();
        assert_eq!(executors.len(), 2, "packed: the shadows have no effect");
        let shadow = hosted.host.receipt().active.map(|active| active.shadow).unwrap_or_default();
        if done(&shadow) {
            return shadow;
        }
        assert!(Instant::now() < until, "the shadows are not there yet: {shadow:?}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn agreement_is_what_both_bind_alike() {
    let mut hosted = Hosted::with(&["policy_bias", "policy_round_robin", "policy_tenant_quota"]).await;
    hosted.sandbox.activate(
        r#"{ "policy": "bias", "shadow": [{ "policy": "bias" }, { "policy": "round-robin" }, { "policy": "binding" }] }"#,
    );
    hosted.receipted("bias").await;
    let shown = watch(&hosted, |shadow| shadow.len() == 3 && shadow.iter().all(|s| s.rounds >= 5)).await;
    let told = |at: usize| (shown[at].policy.as_str(), shown[at].sha256.len(), shown[at].failed.as_str());
    assert_eq!([told(0), told(1), told(2)], [("bias", 64, ""), ("round-robin", 64, ""), ("binding", 0, "")]);
    assert!((shown[0].agreement - 1.0).abs() < 1e-9, "{shown:?}");
    // Eight tasks packed on two executors, against two on each of four.
    assert!(shown[1].agreement < 0.6, "{shown:?}");
    assert!(shown.iter().all(|s| s.tasks == 8 * s.rounds && s.tasks_of_active == s.tasks && s.latency_us_p50 > 0));
}

#[tokio::test]
async fn shadows_are_held_to_the_limits_of_the_filters() {
    let mut hosted = Hosted::with(&["policy_bias", "policy_round_robin", "fixture_hostile"]).await;
    let forbid = r#"{ "policy": "hostile-filter", "config": { "filter": "forbid-executor", "executor": "e00001" } }"#;
    hosted.sandbox.activate(&format!(
        r#"{{ "policy": "bias", "filters": [{forbid}], "shadow": [
            {{ "policy": "round-robin" }},
            {{ "policy": "hostile", "config": {{ "bind": "ignore-limits", "job": "target" }} }}] }}"#
    ));
    hosted.receipted("bias").await;
    let shown =
        watch(&hosted, |s| s.first().is_some_and(|s| s.rounds >= 5) && s.iter().any(|s| !s.failed.is_empty())).await;
    assert_eq!(shown[0].failed, "");
    assert_eq!(shown[1].failed, "ineligible-pair", "{shown:?}");
}

#[tokio::test]
async fn a_shadow_that_fails_costs_no_round_and_is_asked_no_more() {
    for (how, code) in [("panic", "policy-panicked"), ("overbook", "executor-overbooked"), ("error", "policy-error")] {
        let mut hosted = Hosted::with(&["policy_bias", "fixture_hostile"]).await;
        hosted.sandbox.activate(&format!(
            r#"{{ "policy": "bias", "shadow": [
                {{ "policy": "hostile", "config": {{ "bind": "{how}", "job": "target" }} }}] }}"#
        ));
        hosted.receipted("bias").await;
        let shown = watch(&hosted, |s| s.first().is_some_and(|s| !s.failed.is_empty())).await;
        assert_eq!((shown[0].failed.as_str(), shown[0].rounds), (code, 0), "{how}: {shown:?}");
        let receipt = hosted.host.receipt();
        assert_eq!((receipt.fallback_rounds, receipt.quarantined.len()), (0, 0), "{how}");
    }
}

/// Two configs of one policy are told apart, and `composite` is tried with its scores.
#[tokio::test]
async fn what_a_shadow_was_made_of_is_told() {
    let mut hosted = Hosted::with(&["policy_bias", "policy_consistent_hash", "policy_scores"]).await;
    hosted.sandbox.activate(
        r#"{ "policy": "bias", "shadow": [
            { "policy": "consistent-hash", "config": { "balance_factor_percent": 150 } },
            { "policy": "consistent-hash" },
            { "policy": "composite", "scores": [{ "policy": "least-allocated", "weight": 3 }] }] }"#,
    );
    hosted.receipted("bias").await;
    let shown = watch(&hosted, |shadow| shadow.len() == 3 && shadow.iter().all(|s| s.rounds >= 3)).await;
    assert_eq!(shown[0].config, serde_json::json!({ "balance_factor_percent": 150 }));
    assert_eq!((shown[1].policy.as_str(), &shown[1].config), ("consistent-hash", &serde_json::Value::Null));
    let composite = &shown[2];
    assert_eq!((composite.policy.as_str(), composite.failed.as_str()), ("composite", ""));
    let scores: Vec<_> = composite.scores.iter().map(|s| (s.policy.as_str(), s.weight, s.sha256.len())).collect();
    assert_eq!(scores, [("least-allocated", 3, 64)]);
    // It spreads over four executors what the active policy packs on two.
    assert!(composite.tasks == 8 * composite.rounds && composite.agreement < 0.6, "{composite:?}");
}

#[tokio::test]
async fn a_new_library_of_a_shadow_or_of_its_score_is_taken_by_itself() {
    let mut hosted = Hosted::with(&["policy_bias", "policy_round_robin", "policy_scores"]).await;
    hosted.sandbox.activate(
        r#"{ "policy": "bias", "shadow": [
            { "policy": "round-robin" }, { "policy": "composite", "scores": [{ "policy": "least-allocated" }] }] }"#,
    );
    hosted.receipted("bias").await;
    let parts = |shown: &[ShadowReceipt]| [shown[0].sha256.clone(), shown[1].scores[0].sha256.clone()];
    let both = |shadow: &[ShadowReceipt]| shadow.len() == 2 && shadow.iter().all(|s| s.rounds > 0);
    let before = parts(&watch(&hosted, both).await);
    for (at, artifact) in ["policy_round_robin", "policy_scores"].into_iter().enumerate() {
        hosted.sandbox.rename_in(&library(artifact), &variant(artifact, 1));
        watch(&hosted, |shadow| both(shadow) && parts(shadow)[at] != before[at]).await;
        hosted.receipted("bias").await;
        let change = hosted.host.receipt().last_change.expect("something changed");
        assert_eq!((change.ok, change.file), (true, library(artifact)));
    }
}

/// The active policy is made anew with its shadows: the same code must not become its own standby.
#[tokio::test]
async fn a_change_of_shadows_does_not_cost_the_last_good_generation() {
    let mut hosted = Hosted::with(&["policy_bias", "fixture_hostile"]).await;
    hosted.sandbox.activate(r#"{ "policy": "bias" }"#);
    hosted.receipted("bias").await;
    let round = |job| jobs_round(4, 4, &[(job, "team-a", 8)]);
    assert_eq!(hosted.host.bind(round("other")).await.policy(), "bias");
    for shadow in ["", r#"{ "policy": "round-robin" }"#, r#"{ "policy": "binding" }"#] {
        hosted.sandbox.activate(&format!(
            r#"{{ "policy": "hostile", "config": {{ "bind": "panic", "job": "target" }}, "shadow": [{shadow}] }}"#
        ));
        hosted.receipted("hostile").await;
        assert_eq!(hosted.host.bind(round("other")).await.policy(), "hostile");
    }
    assert!(hosted.host.bind(round("target")).await.fallback().is_some());
    let next = hosted.host.bind(round("target")).await;
    assert_eq!((next.policy(), next.fallback()), ("bias", None));
}

/// What is out of service is tried again once it is put back: as a shadow, too.
#[tokio::test]
async fn what_failed_in_service_can_be_tried_as_a_shadow() {
    let mut hosted = Hosted::with(&["policy_bias", "fixture_hostile"]).await;
    let hostile = r#"{ "policy": "hostile", "config": { "bind": "panic", "job": "trap" } }"#;
    hosted.sandbox.activate(hostile);
    hosted.receipted("hostile").await;
    assert!(hosted.host.bind(jobs_round(4, 4, &[("trap", "team-a", 8)])).await.fallback().is_some());
    hosted.receipted("round-robin").await;
    hosted.host.clear_quarantine(ClearRequest { all: true, ..Default::default() }).await;
    hosted.sandbox.activate(&format!(r#"{{ "policy": "bias", "shadow": [{hostile}] }}"#));
    hosted.receipted("bias").await;
    let shown = watch(&hosted, |shadow| shadow.first().is_some_and(|s| s.rounds >= 1)).await;
    assert_eq!((shown[0].policy.as_str(), shown[0].failed.as_str()), ("hostile", ""));
    assert!(hosted.host.receipt().quarantined.is_empty());
}

#[tokio::test]
async fn a_shadow_that_cannot_be_made_is_refused_with_its_place() {
    let mut hosted = Hosted::with(&["policy_bias", "fixture_hostile"]).await;
    hosted.sandbox.activate(r#"{ "policy": "bias" }"#);
    hosted.receipted("bias").await;
    for (shadow, code, part) in [
        (r#"{ "policy": "nobody" }"#, "unknown-policy", "no policy is called nobody"),
        (r#"{ "policy": "hostile", "config": { "wrong": 1 } }"#, "invalid-config", "unknown field `wrong`"),
        (r#"{ "policy": "composite" }"#, "active-file-value", "shadow: composite needs \"scores\""),
        (r#"{ "policy": "composite", "scores": [{ "policy": "nil" }] }"#, "unknown-policy", "no score is called nil"),
    ] {
        hosted.sandbox.activate(&format!(r#"{{ "policy": "bias", "shadow": [{shadow}] }}"#));
        let (told, message) = hosted.refused("active.json").await;
        assert!(told == code && message.contains(part), "{told}: {message}");
    }
}

#[test]
fn an_operator_watches_a_candidate_and_promotes_it() {
    let sandbox = Sandbox::new();
    sandbox.drop_in("policy_bias");
    sandbox.drop_in("policy_round_robin");
    sandbox.activate(r#"{ "policy": "bias", "shadow": [{ "policy": "round-robin" }] }"#);
    let mut running = Running::start(&sandbox, &[]);
    running.wait_for("-> bias");
    let until = Instant::now() + PATIENCE;
    loop {
        let (code, out, _) = over(&sandbox, &["status"]);
        if code == 0 && out.contains("shadow    round-robin") && !out.contains(": 0 rounds") {
            assert!(out.contains("agreement") && out.contains("would bind"), "{out}");
            break;
        }
        assert!(Instant::now() < until, "{out}");
    }
    let (code, metrics, err) = over(&sandbox, &["status", "--metrics"]);
    assert_eq!(code, 0, "{err}");
    for line in [
        "policy_host_up 1",
        "policy_host_fallback_rounds_total 0",
        "policy_host_shadow_failed{policy=\"round-robin\",place=\"0\"} 0.0",
        "# EOF",
    ] {
        assert!(metrics.lines().any(|l| l == line), "no {line} in {metrics}");
    }
    assert!(metrics.contains("policy_host_active_generation{policy=\"bias\","), "{metrics}");
    assert!(metrics.contains("policy_host_shadow_agreement_ratio{policy=\"round-robin\""), "{metrics}");
    assert_eq!(over(&sandbox, &["switch", "round-robin"]).0, 0);
    let active = std::fs::read_to_string(sandbox.path("active.json")).unwrap();
    let active: serde_json::Value = serde_json::from_str(&active).unwrap();
    assert_eq!((&active["policy"], &active["shadow"]), (&"round-robin".into(), &serde_json::json!([])));
    let (code, summary) = running.stop();
    assert_eq!((code, &summary["fallback_rounds"]), (0, &0.into()));
}

/// What was watched is what goes into service: with its config.
#[test]
fn a_promoted_candidate_keeps_its_config() {
    let sandbox = Sandbox::new();
    let tried = r#"{ "policy": "consistent-hash", "config": { "balance_factor_percent": 150 } }"#;
    let other = r#"{ "policy": "consistent-hash", "config": { "balance_factor_percent": 200 } }"#;
    sandbox.activate(&format!(r#"{{ "policy": "bias", "shadow": [{tried}, {{ "policy": "binding" }}] }}"#));
    let mut running = Running::start(&sandbox, &[]);
    running.wait_for("-> bias");
    let active = || -> serde_json::Value {
        serde_json::from_str(&std::fs::read_to_string(sandbox.path("active.json")).unwrap()).unwrap()
    };
    let (code, out, err) = over(&sandbox, &["switch", "consistent-hash"]);
    assert_eq!(code, 0, "{out}{err}");
    assert_eq!(active()["config"], serde_json::json!({ "balance_factor_percent": 150 }));
    assert_eq!(active()["shadow"], serde_json::json!([{ "policy": "binding" }]));
    let scores = serde_json::json!([{ "policy": "least-allocated", "weight": 2 }]);
    sandbox.drop_in("policy_scores");
    sandbox
        .activate(&format!(r#"{{ "policy": "bias", "shadow": [{{ "policy": "composite", "scores": {scores} }}] }}"#));
    let (code, out, err) = over(&sandbox, &["switch", "composite"]);
    assert_eq!(code, 0, "{out}{err}");
    assert_eq!((&active()["scores"], &active()["shadow"]), (&scores, &serde_json::json!([])));
    // No config tells one of two apart that differ in their scores.
    let other_scores = serde_json::json!([{ "policy": "least-allocated", "weight": 9 }, { "policy": "local-bytes" }]);
    let two = |scores: &serde_json::Value| format!(r#"{{ "policy": "composite", "scores": {scores} }}"#);
    sandbox.activate(&format!(r#"{{ "policy": "bias", "shadow": [{}, {}] }}"#, two(&scores), two(&other_scores)));
    let (code, out, err) = over(&sandbox, &["switch", "composite", "--config", "{}"]);
    assert!(code == 1 && err.contains("error[ambiguous-shadow]"), "{code} {out}{err}");
    assert_eq!((&active()["policy"], active()["shadow"].as_array().map(Vec::len)), (&"bias".into(), Some(2)));
    // Of two, it cannot tell which is meant.
    sandbox.activate(&format!(r#"{{ "policy": "bias", "shadow": [{tried}, {other}] }}"#));
    let (code, out, err) = over(&sandbox, &["switch", "consistent-hash"]);
    assert_eq!(code, 1, "{out}");
    assert!(err.contains("error[ambiguous-shadow]: consistent-hash is 2 of the shadows: say with --config"), "{err}");
    assert_eq!(active()["policy"], "bias", "nothing was written");
    let told = ["switch", "consistent-hash", "--config", r#"{ "balance_factor_percent": 200 }"#];
    assert_eq!(over(&sandbox, &told).0, 0);
    assert_eq!(active()["config"], serde_json::json!({ "balance_factor_percent": 200 }));
    assert_eq!(over(&sandbox, &["switch", "bias", "--config", "{}"]).0, 0);
    assert_eq!(running.stop().0, 0);
}
