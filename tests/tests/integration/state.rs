//! What outlives a generation: the state of a policy, and the host's memory of what was bad.

use policy_host::{HostOptions, PolicyHost};

use crate::hosted::Hosted;
use crate::rounds::{jobs_round, round};
use crate::sandbox::{library, variant};

#[tokio::test]
async fn the_cursor_of_round_robin_survives_a_swap() {
    let mut hosted = Hosted::start();
    hosted.bring_up("policy_round_robin", r#"{ "policy": "round-robin" }"#, "round-robin").await;
    let executor = async |hosted: &Hosted| hosted.host.bind(round(4, 2, 1)).await.bindings()[0].executor.0;
    assert_eq!((executor(&hosted).await, executor(&hosted).await), (0, 1));
    hosted.sandbox.rename_in(&library("policy_round_robin"), &variant("policy_round_robin", 7));
    let second = hosted.receipted("round-robin").await;
    assert_eq!(hosted.host.active().generation, second);
    assert_eq!(executor(&hosted).await, 2, "the new generation goes on where the old one stopped");
}

#[tokio::test]
async fn a_refused_hand_over_is_a_cold_start_not_a_failed_swap() {
    let mut hosted = Hosted::start();
    let with = |import: &str| {
        format!(r#"{{ "policy": "hostile", "config": {{ "export_state": "ok", "import_state": "{import}" }} }}"#)
    };
    hosted.bring_up("fixture_hostile", &with("ok"), "hostile").await;
    for import in ["refuse", "panic"] {
        hosted.bind(1).await;
        hosted.sandbox.activate(&with(import));
        hosted.receipted("hostile").await;
        assert_eq!(hosted.bind(1).await.policy(), "hostile");
    }
    assert_eq!(hosted.host.receipt().fallback_rounds, 0);
}

#[tokio::test]
async fn a_restarted_host_remembers_what_was_bad_and_what_was_active() {
    let mut hosted = Hosted::start();
    hosted.bring_up("policy_bias", r#"{ "policy": "bias" }"#, "bias").await;
    hosted.bind(1).await;
    let bad = r#"{ "policy": "hostile", "config": { "job": "trap", "bind": "panic" } }"#;
    hosted.bring_up("fixture_hostile", bad, "hostile").await;
    hosted.host.bind(jobs_round(2, 2, &[("trap", "t", 1)])).await;
    hosted.receipted("bias").await;
    let Hosted { sandbox, host, .. } = hosted;
    host.shutdown().await;

    let mut again = Hosted::over(sandbox, HostOptions::default());
    let (code, message) = again.refused("active.json").await;
    assert_eq!(code, "quarantined", "{message}");
    again.receipted("bias").await;
    let plan = again.bind(1).await;
    assert_eq!((plan.policy(), plan.answered_by().library()), ("bias", &*library("policy_bias")));
    again.sandbox.activate(r#"{ "policy": "bias" }"#);
    again.heard("answer", |kind| matches!(kind, policy_host::EventKind::Receipted { .. }).then_some(())).await;
    let Hosted { sandbox, host, .. } = again;
    host.shutdown().await;

    let mut third = Hosted::over(sandbox, HostOptions::default());
    third.receipted("bias").await;
    assert_eq!(third.bind(1).await.policy(), "bias");
}

#[tokio::test]
async fn a_dropped_host_frees_its_state_directory() {
    let hosted = Hosted::start();
    let Hosted { sandbox, host, .. } = hosted;
    host.shutdown().await;
    PolicyHost::start(HostOptions::default().plugins(sandbox.plugins())).unwrap();
}
