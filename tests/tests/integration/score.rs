//! Filter, score, pick: the policy `composite` with scores in plugins.

use policy_host::{EventKind, Plan};

use crate::hosted::Hosted;
use crate::rounds::jobs_round;
use crate::sandbox::library;

const JOBS: &[(&str, &str, u32)] = &[("a", "team-a", 6), ("b", "team-b", 6)];

/// Tasks by executor, of four executors.
fn counts(plan: &Plan) -> [usize; 4] {
    let mut counts = [0; 4];
    plan.bindings().iter().for_each(|b| counts[b.executor.index()] += 1);
    counts
}

fn composite(scores: &str, more: &str) -> String {
    format!(r#"{{ "policy": "composite", "config": {{ "candidates": 0 }}, "scores": [{scores}]{more} }}"#)
}

#[tokio::test]
async fn weights_edited_live_change_the_next_round() {
    let mut hosted = Hosted::with(&["policy_scores"]).await;
    let both = |least: u32, most: u32| {
        format!(
            r#"{{ "policy": "least-allocated", "weight": {least} }}, {{ "policy": "most-allocated", "weight": {most} }}"#
        )
    };
    hosted.sandbox.activate(&composite(&both(3, 1), ""));
    hosted.receipted("composite").await;
    let plan = hosted.host.bind(jobs_round(4, 4, &[("a", "team-a", 8)])).await;
    assert_eq!((plan.fallback(), counts(&plan)), (None, [2, 2, 2, 2]), "spread");
    let before = plan.answered_by().generation;

    hosted.sandbox.activate(&composite(&both(1, 3), ""));
    hosted.receipted("composite").await;
    let plan = hosted.host.bind(jobs_round(4, 4, &[("a", "team-a", 8)])).await;
    assert!(plan.answered_by().generation > before);
    let mut packed = counts(&plan);
    packed.sort_unstable();
    assert_eq!((plan.fallback(), packed), (None, [0, 0, 4, 4]), "packed");

    let scores = hosted.host.receipt().active.unwrap().scores;
    let told: Vec<_> = scores.iter().map(|s| (s.policy.as_str(), s.weight, s.sha256.len())).collect();
    assert_eq!(told, [("least-allocated", 1, 64), ("most-allocated", 3, 64)]);
}

#[tokio::test]
async fn filters_bind_the_composite_like_any_policy() {
    let mut hosted = Hosted::with(&["policy_scores", "policy_tenant_quota", "fixture_hostile"]).await;
    let filters = r#", "filters": [
        { "policy": "tenant-quota", "config": { "quotas": { "team-a": 2 } } },
        { "policy": "hostile-filter", "config": { "filter": "forbid-executor", "executor": "e00000" } }]"#;
    hosted.sandbox.activate(&composite(r#"{ "policy": "least-allocated" }"#, filters));
    hosted.receipted("composite").await;
    let plan = hosted.host.bind(jobs_round(4, 4, JOBS)).await;
    let of_a = plan.bindings().iter().filter(|b| b.task.0 < 6).count();
    assert_eq!((plan.fallback(), of_a, plan.bindings().len()), (None, 2, 8));
    assert_eq!(counts(&plan)[0], 0, "the executor is forbidden");
}

#[tokio::test]
async fn a_score_that_misbehaves_costs_one_fallback_round_and_is_named() {
    for (how, code) in [
        ("panic", "score-panicked"),
        ("error", "score-error"),
        ("out-of-range", "score-out-of-range"),
        ("not-a-number", "score-out-of-range"),
    ] {
        let mut hosted = Hosted::with(&["policy_scores", "fixture_hostile"]).await;
        // Well-behaved while it is rehearsed.
        let bad = format!(
            r#"{{ "policy": "hostile-score", "config": {{ "score": "{how}", "job": "target" }} }}, {{ "policy": "least-allocated" }}"#
        );
        hosted.sandbox.activate(&composite(&bad, ""));
        hosted.receipted("composite").await;
        let plan = hosted.host.bind(jobs_round(4, 4, &[("target", "team-a", 3)])).await;
        assert_eq!((plan.fallback().map(|f| f.code), plan.bindings().len()), (Some(code), 3), "{how}");
        let message = &plan.fallback().unwrap().message;
        assert!(message.contains("score hostile-score of composite"), "{message}");
        let file = hosted
            .wait_for("quarantine", |kind| match kind {
                EventKind::Quarantined { file, .. } => Some(file.clone()),
                _ => None,
            })
            .await;
        assert_eq!(file, library("fixture_hostile"), "the score's library, nobody else's");
        let plan = hosted.host.bind(jobs_round(4, 4, &[("target", "team-a", 3)])).await;
        assert_eq!((plan.fallback(), plan.bindings().len()), (None, 3), "{how}: the standby answers");
    }
}

#[tokio::test]
async fn a_new_library_of_a_score_is_swapped_in_by_itself() {
    let mut hosted = Hosted::with(&["policy_scores"]).await;
    hosted.sandbox.activate(&composite(r#"{ "policy": "least-allocated" }"#, ""));
    hosted.receipted("composite").await;
    let sha256 = hosted.host.receipt().active.unwrap().scores[0].sha256.clone();
    hosted.sandbox.rename_in(&library("policy_scores"), &crate::sandbox::variant("policy_scores", 1));
    hosted.receipted("composite").await;
    assert_ne!(hosted.host.receipt().active.unwrap().scores[0].sha256, sha256);
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_and_changes_nothing() {
    let mut hosted = Hosted::with(&["policy_bias", "policy_scores"]).await;
    hosted.sandbox.activate(r#"{ "policy": "bias" }"#);
    hosted.receipted("bias").await;
    for (json, code, part) in [
        (composite("", ""), "active-file-value", "needs \"scores\""),
        (composite(r#"{ "policy": "nobody" }"#, ""), "unknown-policy", "no score is called nobody"),
        (composite(r#"{ "policy": "bias" }"#, ""), "unknown-policy", "least-allocated"),
        (
            composite(r#"{ "policy": "preferred-labels", "config": { "gpu": 1 } }"#, ""),
            "invalid-config",
            "preferred-labels",
        ),
        (r#"{ "policy": "bias", "scores": [{ "policy": "alignment" }] }"#.into(), "active-file-value", "belong to"),
    ] {
        hosted.sandbox.activate(&json);
        let (told, message) = hosted.refused("active.json").await;
        assert_eq!(told, code, "{message}");
        assert!(message.contains(part), "{message}");
        assert_eq!(hosted.bind(3).await.policy(), "bias");
    }
}

#[test]
fn composites_are_evaluated_like_any_policy() {
    let sandbox = crate::sandbox::Sandbox::new();
    for artifact in ["policy_scores", "policy_tenant_quota"] {
        sandbox.drop_in(artifact);
    }
    let spec = composite(
        r#"{ "policy": "local-bytes" }"#,
        r#", "filters": [{ "policy": "tenant-quota", "config": { "default": 30 } }]"#,
    );
    let workload = "synthetic:jobs=30,tasks=6,seed=2";
    let (code, out, err) =
        crate::binary::over(&sandbox, &["evaluate", "--json", "--workload", workload, "--policy", "bias", &spec]);
    assert_eq!(code, 0, "{err}");
    let told: serde_json::Value = serde_json::from_str(&out).unwrap();
    let metrics = |at: usize, of: &str| told["policies"][at]["metrics"][of].clone();
    assert_eq!((metrics(1, "invalid_bindings"), metrics(1, "fallback_rounds")), (0.into(), 0.into()), "{out}");
    let local = |at: usize| metrics(at, "locality_bytes_share").as_f64().unwrap();
    assert!(local(1) > local(0), "it asks for local bytes, and gets more of them: {} and {}", local(1), local(0));
}
