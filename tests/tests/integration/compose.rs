//! Filters and policies together: filter, then distribute; the validator sees to it.

use policy_host::EventKind;

use crate::hosted::Hosted;
use crate::rounds::jobs_round;
use crate::sandbox::library;

const JOBS: &[(&str, &str, u32)] = &[("a", "team-a", 6), ("b", "team-b", 6)];

fn by_tenant(plan: &policy_host::Plan) -> (usize, usize) {
    let of_a = plan.bindings().iter().filter(|b| b.task.0 < 6).count();
    (of_a, plan.bindings().len() - of_a)
}

#[tokio::test]
async fn a_quota_narrows_whatever_policy_stands_behind_it() {
    let mut hosted = Hosted::start();
    for artifact in ["policy_bias", "policy_round_robin", "policy_tenant_quota", "example_greedy"] {
        hosted.sandbox.drop_in(artifact);
        hosted.admitted(&library(artifact)).await;
    }
    for policy in ["bias", "round-robin", "greedy"] {
        hosted.sandbox.activate(&format!(
            r#"{{ "policy": "{policy}", "filters": [{{ "policy": "tenant-quota", "config": {{ "quotas": {{ "team-a": 2 }} }} }}] }}"#
        ));
        hosted.receipted(policy).await;
        let plan = hosted.host.bind(jobs_round(4, 4, JOBS)).await;
        assert_eq!((plan.fallback(), by_tenant(&plan)), (None, (2, 6)), "{policy}");
    }
    let filters = hosted.host.receipt().active.unwrap().filters;
    assert_eq!(filters.iter().map(|f| f.policy.as_str()).collect::<Vec<_>>(), ["tenant-quota"]);
}

#[tokio::test]
async fn filters_are_conjunctive() {
    let mut hosted = Hosted::start();
    for artifact in ["policy_bias", "policy_tenant_quota", "fixture_hostile"] {
        hosted.sandbox.drop_in(artifact);
        hosted.admitted(&library(artifact)).await;
    }
    let quota = r#"{ "policy": "tenant-quota", "config": { "quotas": { "team-a": 2 } } }"#;
    let forbid = r#"{ "policy": "hostile-filter", "config": { "filter": "forbid-executor", "executor": "e00000" } }"#;
    for filters in [format!("{quota}, {forbid}"), format!("{forbid}, {quota}")] {
        hosted.sandbox.activate(&format!(r#"{{ "policy": "bias", "filters": [{filters}] }}"#));
        hosted.receipted("bias").await;
        let plan = hosted.host.bind(jobs_round(4, 4, JOBS)).await;
        assert_eq!((plan.fallback(), by_tenant(&plan)), (None, (2, 6)));
        assert!(plan.bindings().iter().all(|b| b.executor.0 != 0), "the executor is forbidden");
    }
}

#[tokio::test]
async fn what_a_filter_forbids_cannot_be_bound_by_any_policy() {
    let mut hosted = Hosted::start();
    for artifact in ["policy_bias", "policy_tenant_quota", "fixture_hostile"] {
        hosted.sandbox.drop_in(artifact);
        hosted.admitted(&library(artifact)).await;
    }
    for (filter, code) in [
        (r#"{ "policy": "tenant-quota", "config": { "quotas": { "team-a": 2 } } }"#, "over-cap"),
        (
            r#"{ "policy": "hostile-filter", "config": { "filter": "forbid-executor", "executor": "e00000" } }"#,
            "ineligible-pair",
        ),
    ] {
        hosted.sandbox.activate(r#"{ "policy": "bias" }"#);
        hosted.receipted("bias").await;
        hosted.bind(1).await;
        // An explicit switch: it was taken out of service the first time.
        let active = format!(
            r#"{{ "policy": "hostile", "config": {{ "job": "trap", "bind": "ignore-limits" }}, "filters": [{filter}] }}"#
        );
        hosted.host.switch(&active).await.unwrap();
        let plan = hosted.host.bind(jobs_round(4, 4, &[("trap", "team-a", 6), ("b", "team-b", 6)])).await;
        assert_eq!(plan.fallback().map(|f| f.code), Some(code));
        // The fallback binds within the same limits.
        match code {
            "over-cap" => assert_eq!(by_tenant(&plan), (2, 6)),
            _ => assert!(plan.bindings().iter().all(|b| b.executor.0 != 0) && plan.bindings().len() == 12),
        }
        hosted.wait_for("quarantine", |kind| matches!(kind, EventKind::Quarantined { .. }).then_some(())).await;
    }
}

#[tokio::test]
async fn an_unknown_filter_and_a_policy_used_as_a_filter_are_refused() {
    let mut hosted = Hosted::start();
    hosted.bring_up("policy_bias", r#"{ "policy": "bias" }"#, "bias").await;
    for filter in ["nobody", "bias"] {
        hosted.sandbox.activate(&format!(r#"{{ "policy": "bias", "filters": [{{ "policy": "{filter}" }}] }}"#));
        let (code, message) = hosted.refused("active.json").await;
        assert_eq!(code, "unknown-policy");
        assert!(message.contains("filter"), "{message}");
    }
}
