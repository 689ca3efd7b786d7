//! Swaps: by file, by new library, by rename, by copy over the mapped file; receipts that tell the truth.

use std::time::Duration;

use policy_host::{Cause, EventKind};

use crate::hosted::Hosted;
use crate::sandbox::{artifact, library, variant};

#[tokio::test]
async fn a_dropped_library_and_an_edited_file_change_what_answers() {
    let mut hosted = Hosted::start();
    assert_eq!(hosted.host.active().library(), "(built-in)");
    let generation = hosted.bring_up("policy_bias", r#"{ "policy": "bias" }"#, "bias").await;
    let plan = hosted.bind(3).await;
    assert_eq!((plan.policy(), plan.answered_by().generation), ("bias", generation));
    assert_eq!(plan.answered_by().library(), library("policy_bias"));
    assert!(plan.fallback().is_none());
    let executors: Vec<u32> = plan.bindings().iter().map(|b| b.executor.0).collect();
    assert_eq!(executors, [0, 0, 1], "bias packs");

    hosted.bring_up("policy_round_robin", r#"{ "policy": "round-robin" }"#, "round-robin").await;
    let plan = hosted.bind(3).await;
    let executors: Vec<u32> = plan.bindings().iter().map(|b| b.executor.0).collect();
    assert_eq!(executors, [0, 1, 2], "round-robin spreads");
}

#[tokio::test]
async fn a_receipt_names_the_hash_that_answered() {
    let mut hosted = Hosted::start();
    let generation = hosted.bring_up("policy_bias", r#"{ "policy": "bias" }"#, "bias").await;
    let before = hosted.host.receipt().active.expect("receipted");
    assert_eq!((before.generation, before.rounds_answered), (generation, 0), "proved by its probe: no work flows");
    let digest = policy_host::vet::Digest::of(&std::fs::read(artifact("policy_bias")).unwrap()).to_string();
    assert_eq!(before.sha256, digest);
    hosted.bind(1).await;
    hosted.bind(1).await;
    assert_eq!(hosted.host.receipt().active.unwrap().rounds_answered, 2);
}

#[tokio::test]
async fn while_work_flows_only_an_answered_round_makes_a_receipt() {
    let mut hosted = Hosted::start();
    hosted.sandbox.drop_in("policy_bias");
    hosted.admitted(&library("policy_bias")).await;
    hosted.sandbox.activate(r#"{ "policy": "bias" }"#);
    // Work flows: rounds are bound until the swap is receipted.
    let by_round = loop {
        hosted.bind(1).await;
        let receipted = |kind: &EventKind| match kind {
            EventKind::Receipted { policy, by_round, .. } if policy == "bias" => Some(*by_round),
            _ => None,
        };
        let waited = tokio::time::timeout(std::time::Duration::from_millis(1), hosted.wait_for("receipt", receipted));
        if let Ok(by_round) = waited.await {
            break by_round;
        }
    };
    assert!(by_round);
    assert!(hosted.host.receipt().active.unwrap().rounds_answered >= 1);
}

#[tokio::test]
async fn a_new_library_for_the_active_name_is_swapped_in_by_itself() {
    let mut hosted = Hosted::start();
    let first = hosted.bring_up("policy_bias", r#"{ "policy": "bias" }"#, "bias").await;
    hosted.sandbox.rename_in(&library("policy_bias"), &variant("policy_bias", 1));
    let cause = hosted
        .wait_for("swap", |kind| match kind {
            EventKind::Swapped { to, cause, .. } if to == "bias" => Some(*cause),
            _ => None,
        })
        .await;
    assert_eq!(cause, Cause::NewLibrary);
    let second = hosted.receipted("bias").await;
    assert!(second > first);
    let plan = hosted.bind(1).await;
    assert_eq!(plan.answered_by().generation, second);
    assert_ne!(plan.answered_by().sha256(), "");
}

#[tokio::test]
async fn a_copy_over_the_mapped_file_neither_kills_the_host_nor_keeps_the_old_code() {
    let mut hosted = Hosted::start();
    hosted.bring_up("policy_bias", r#"{ "policy": "bias" }"#, "bias").await;
    let old = hosted.host.active().sha256().to_owned();
    for number in 10..15 {
        // Truncates and overwrites the very file that was loaded.
        hosted.sandbox.copy_over(&library("policy_bias"), &variant("policy_bias", number));
        assert_eq!(hosted.bind(3).await.policy(), "bias");
        hosted.receipted("bias").await;
        assert_eq!(hosted.bind(3).await.policy(), "bias");
    }
    assert_ne!(hosted.host.active().sha256(), old);
}

#[tokio::test]
async fn a_library_and_its_active_file_may_arrive_at_once_in_any_order() {
    for active_first in [false, true] {
        let mut hosted = Hosted::start();
        hosted.bring_up("policy_bias", r#"{ "policy": "bias" }"#, "bias").await;
        if active_first {
            hosted.sandbox.activate(r#"{ "policy": "greedy" }"#);
        }
        hosted.sandbox.drop_in("example_greedy");
        if !active_first {
            hosted.sandbox.activate(r#"{ "policy": "greedy" }"#);
        }
        hosted.receipted("greedy").await;
        assert_eq!(hosted.bind(1).await.policy(), "greedy");
    }
}

/// While what was asked for later is under construction, a library of what was active before changes nothing.
#[tokio::test]
async fn a_new_library_does_not_undo_a_switch_that_is_under_way() {
    let mut hosted = Hosted::with(&["policy_bias", "fixture_hostile"]).await;
    hosted.sandbox.activate(r#"{ "policy": "bias" }"#);
    hosted.receipted("bias").await;
    hosted.sandbox.activate(r#"{ "policy": "hostile", "config": { "construct": "slow" } }"#);
    hosted.sandbox.rename_in(&library("policy_bias"), &variant("policy_bias", 1));
    hosted.receipted("hostile").await;
    // The new library is there by now, or will be soon; nothing is swapped for it.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(hosted.host.active().policy(), "hostile");
}

#[tokio::test]
async fn the_newest_of_two_files_with_one_name_wins_and_the_event_says_which_lost() {
    let mut hosted = Hosted::start();
    hosted.bring_up("policy_bias", r#"{ "policy": "bias" }"#, "bias").await;
    hosted.sandbox.rename_in(&library("other_bias"), &variant("policy_bias", 2));
    let (winner, loser) = hosted
        .wait_for("name taken", |kind| match kind {
            EventKind::NameTaken { winner, loser, .. } => Some((winner.clone(), loser.clone())),
            _ => None,
        })
        .await;
    assert_eq!((winner, loser), (library("other_bias"), library("policy_bias")));
    hosted.receipted("bias").await;
    assert_eq!(hosted.host.active().library(), library("other_bias"));
    let states: Vec<(String, String)> = hosted.host.policies().into_iter().map(|l| (l.file, l.state)).collect();
    assert!(states.contains(&(library("policy_bias"), "retired".into())), "{states:?}");
}

#[tokio::test]
async fn the_same_bytes_are_mapped_once() {
    let mut hosted = Hosted::start();
    hosted.bring_up("policy_bias", r#"{ "policy": "bias" }"#, "bias").await;
    hosted.bring_up("policy_round_robin", r#"{ "policy": "round-robin" }"#, "round-robin").await;
    let lines = || {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
        maps.lines().filter(|l| l.contains(&*hosted.sandbox.root().to_string_lossy())).count()
    };
    let before = lines();
    drop(hosted.sandbox.drop_as("policy_bias", "copy_of_bias"));
    hosted.admitted(&library("copy_of_bias")).await;
    for _ in 0..20 {
        hosted.sandbox.activate(r#"{ "policy": "bias" }"#);
        hosted.receipted("bias").await;
        hosted.sandbox.activate(r#"{ "policy": "round-robin" }"#);
        hosted.receipted("round-robin").await;
    }
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let after = maps.lines().filter(|l| l.contains(&*hosted.sandbox.root().to_string_lossy())).count();
    assert_eq!(after, before);
}

#[tokio::test]
async fn an_embedder_switches_without_a_file_and_is_told_why_not() {
    let mut hosted = Hosted::start();
    hosted.sandbox.drop_in("policy_bias");
    hosted.admitted(&library("policy_bias")).await;
    let active = hosted.host.switch(r#"{ "policy": "bias", "lane": "inline" }"#).await.unwrap();
    assert_eq!((active.policy(), active.cause), ("bias", Cause::Api));
    let refusal = hosted.host.switch(r#"{ "policy": "nobody" }"#).await.unwrap_err();
    assert_eq!(refusal.code, "unknown-policy");
    assert!(refusal.message.contains("bias"), "names what there is: {}", refusal.message);
    assert_eq!(hosted.host.active().policy(), "bias");
}

#[tokio::test]
async fn what_waits_for_its_library_is_overtaken_by_a_later_wish() {
    let mut hosted = Hosted::start();
    hosted.bring_up("policy_bias", r#"{ "policy": "bias" }"#, "bias").await;
    // Nobody gives greedy yet: the first switch waits a moment for its library.
    let (waits, later) = tokio::join!(
        hosted.host.switch(r#"{ "policy": "greedy" }"#),
        hosted.host.switch(r#"{ "policy": "round-robin" }"#)
    );
    assert_eq!(waits.unwrap_err().code, "superseded");
    later.expect("a built-in");
    hosted.sandbox.drop_in("example_greedy");
    hosted.admitted(&library("example_greedy")).await;
    hosted.host.switch(r#"{ "policy": "round-robin", "deadline_ms": 9999 }"#).await.expect("a built-in");
    assert_eq!(hosted.bind(3).await.policy(), "round-robin", "nobody asks for greedy any more");
}

/// Collecting observations costs an embedder something: it is told when nobody learns from them.
#[tokio::test]
async fn observations_are_wanted_where_somebody_learns_from_them() {
    let libraries = ["policy_bias", "policy_adaptive", "policy_tenant_quota", "fixture_hostile"];
    let mut hosted = Hosted::with(&libraries).await;
    assert!(!hosted.host.wants_observations(), "the built-in does not learn");
    for (active, policy, wanted) in [
        (r#"{ "policy": "bias" }"#, "bias", false),
        (r#"{ "policy": "adaptive" }"#, "adaptive", true),
        (r#"{ "policy": "bias", "filters": [{ "policy": "tenant-quota" }] }"#, "bias", false),
        (r#"{ "policy": "bias", "filters": [{ "policy": "hostile-filter" }] }"#, "bias", true),
        (r#"{ "policy": "bias", "shadow": [{ "policy": "round-robin" }] }"#, "bias", true),
    ] {
        hosted.sandbox.activate(active);
        hosted.receipted(policy).await;
        assert_eq!(hosted.host.wants_observations(), wanted, "{active}");
    }
}
