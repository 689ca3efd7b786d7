//! A name means the bytes that were admitted last: through refusals, refused switches and restarts. The bytes of
//! `active.json` decide, and what was quarantined comes back only when an operator says so.

use std::fs;

use policy_host::HostOptions;
use serde_json::{Value, json};

use crate::binary::{Running, over, read_json};
use crate::hosted::Hosted;
use crate::rounds::jobs_round;
use crate::sandbox::{Sandbox, artifact, library, variant};

fn status(sandbox: &Sandbox) -> Value {
    let (code, out, err) = over(sandbox, &["status", "--json"]);
    assert_eq!(code, 0, "{err}");
    serde_json::from_str(&out).unwrap()
}

fn sha256(bytes: &[u8]) -> String {
    policy_host::vet::Digest::of(bytes).to_string()
}

/// A `run` in which a library answers whose file is then refused; returns what the status says of it.
fn refused_while_active(sandbox: &Sandbox, name: &str, artifact_name: &str, bytes: &[u8]) -> Running {
    sandbox.drop_in(artifact_name);
    sandbox.activate(&json!({ "policy": name }).to_string());
    let mut running = Running::start(sandbox, &[]);
    running.wait_for(&format!("receipt    {name}"));
    sandbox.rename_in(&library(artifact_name), bytes);
    running.wait_for(&format!("kept       {name}"));
    running
}

#[test]
fn a_refused_rebuild_leaves_the_name_to_the_bytes_admitted_before() {
    let sandbox = Sandbox::new();
    let good = sha256(&fs::read(artifact("policy_data_locality")).unwrap());
    let mut running = refused_while_active(&sandbox, "data-locality", "policy_data_locality", b"garbage");
    let (code, _, err) = over(&sandbox, &["switch", "data-locality", "--config", r#"{ "wait_ms": 100 }"#]);
    assert_eq!(code, 0, "{err}");
    let active = &status(&sandbox)["active"];
    assert_eq!((&active["sha256"], &active["file_refused"]), (&json!(good), &json!("not-a-library")), "{active}");
    assert_eq!(active["file_deleted"], false);
    let (_, out, _) = over(&sandbox, &["status"]);
    assert!(out.contains("was changed and refused (not-a-library)"), "{out}");
    let (_, out, _) = over(&sandbox, &["list", "--json"]);
    let listed: Vec<Value> = serde_json::from_str(&out).unwrap();
    let states: Vec<_> = listed.iter().map(|l| (l["state"].as_str().unwrap(), l["kept"].as_bool().unwrap())).collect();
    assert_eq!(states, [("active", true), ("rejected", false)], "{out}");
    // Better bytes take over by themselves.
    let better = variant("policy_data_locality", 3);
    sandbox.rename_in(&library("policy_data_locality"), &better);
    running.wait_for("cause new-library");
    running.wait_for("receipt    data-locality");
    let active = &status(&sandbox)["active"];
    assert_eq!((&active["sha256"], &active["file_refused"]), (&json!(sha256(&better)), &json!("")), "{active}");
    assert_eq!(running.stop().0, 0);
}

#[test]
fn a_built_in_does_not_take_over_the_name_of_a_refused_file_over_a_restart_neither() {
    let sandbox = Sandbox::new();
    let bytes = fs::read(artifact("policy_bias")).unwrap();
    let good = sha256(&bytes);
    // Half a library, as a copy that was interrupted leaves it.
    let mut running = refused_while_active(&sandbox, "bias", "policy_bias", &bytes[..bytes.len() / 2]);
    sandbox.activate(r#"{ "policy": "bias", "deadline_ms": 50000 }"#);
    running.wait_for("receipt    bias");
    assert_eq!(status(&sandbox)["active"]["sha256"], json!(good), "not the built-in");
    assert_eq!(running.stop().0, 0);
    for _ in 0..2 {
        let mut again = Running::start(&sandbox, &[]);
        again.wait_for("refused    libpolicy_bias");
        again.wait_for("receipt    bias");
        let active = &status(&sandbox)["active"];
        assert_eq!((&active["sha256"], &active["library"]), (&json!(good), &json!(library("policy_bias"))), "{active}");
        assert_ne!(active["file_refused"], json!(""), "{active}");
        // The name still means these bytes, whatever else changes.
        let (code, _, err) = over(&sandbox, &["switch", "bias"]);
        assert_eq!(code, 0, "{err}");
        assert_eq!(status(&sandbox)["active"]["sha256"], json!(good));
        assert_eq!(again.stop().0, 0);
    }
}

#[test]
fn a_deleted_file_gives_its_name_no_more_whatever_comes_in_its_place() {
    let sandbox = Sandbox::new();
    let mut running = refused_while_active(&sandbox, "data-locality", "policy_data_locality", b"garbage");
    let file = library("policy_data_locality");
    fs::remove_file(sandbox.path(&file)).unwrap();
    running.wait_for("plugin-file-deleted");
    for _ in 0..2 {
        sandbox.rename_in(&file, b"other garbage");
        running.wait_for(&format!("refused    {file} [not-a-library]"));
        let (code, _, err) = over(&sandbox, &["switch", "data-locality", "--config", r#"{ "wait_ms": 100 }"#]);
        assert!(code == 1 && err.contains("error[unknown-policy]"), "{err}");
        assert_eq!(status(&sandbox)["active"]["policy"], "data-locality", "what is active stays active");
        running.stop();
        running = Running::start(&sandbox, &[]);
        running.wait_for("receipt    data-locality");
    }
}

#[test]
fn a_filter_and_a_score_keep_their_names_too() {
    let sandbox = Sandbox::new();
    for name in ["policy_tenant_quota", "policy_scores"] {
        sandbox.drop_in(name);
    }
    let active = |weight: u32| {
        json!({
            "policy": "composite",
            "scores": [{ "policy": "least-allocated", "weight": weight }],
            "filters": [{ "policy": "tenant-quota", "config": { "quotas": { "team-a": 4 } } }]
        })
    };
    sandbox.activate(&active(1).to_string());
    let mut running = Running::start(&sandbox, &[]);
    running.wait_for("receipt    composite");
    for name in ["policy_tenant_quota", "policy_scores"] {
        sandbox.rename_in(&library(name), b"#!/bin/sh");
        running.wait_for("kept       ");
    }
    sandbox.activate(&active(2).to_string());
    running.wait_for("receipt    composite");
    assert_eq!(running.stop().0, 0);
    let mut again = Running::start(&sandbox, &[]);
    again.wait_for("receipt    composite");
    let parts = &status(&sandbox)["active"];
    let of = |name: &str| json!(sha256(&fs::read(artifact(name)).unwrap()));
    assert_eq!(parts["filters"][0]["sha256"], of("policy_tenant_quota"));
    assert_eq!(parts["scores"][0]["sha256"], of("policy_scores"));
    assert_eq!(again.stop().0, 0);
}

#[test]
fn a_refused_switch_puts_the_old_file_back() {
    let sandbox = Sandbox::new();
    for name in ["policy_bias", "fixture_hostile"] {
        sandbox.drop_in(name);
    }
    let mut running = Running::start(&sandbox, &[]);
    running.wait_for_all(&["discovered policy bias", "discovered policy hostile"]);
    let refused = ["switch", "hostile", "--config", r#"{ "construct": "fail" }"#];
    // There was none: there is none again.
    let (code, _, err) = over(&sandbox, &refused);
    assert!(code == 1 && err.contains("error[constructor-error]") && err.contains("removed again"), "{err}");
    assert!(!sandbox.path("active.json").exists());
    let written = "{\n  \"policy\":   \"bias\"\n}";
    sandbox.activate(written);
    running.wait_for("receipt    bias");
    let generation = status(&sandbox)["active"]["generation"].clone();
    for (switch, part) in [
        (&refused[..], "constructor-error"),
        (&["switch", "nobody"], "unknown-policy"),
        (&["switch", "hostile", "--config", r#"{ "no": "such key" }"#], "invalid-config"),
    ] {
        let (code, _, err) = over(&sandbox, switch);
        assert!(code == 1 && err.contains(part) && err.contains("says again what it said before"), "{err}");
        assert_eq!(fs::read_to_string(sandbox.path("active.json")).unwrap(), written);
    }
    assert_eq!(status(&sandbox)["active"]["generation"], generation, "what was active was not made anew");
    // What cannot be understood may name filters: it is left alone.
    for broken in ["{ \"policy\": \"bias\", \"filters\": [", ""] {
        sandbox.activate(broken);
        let (code, _, err) = over(&sandbox, &["switch", "hostile"]);
        assert!(code == 1 && err.contains("error[active-file-syntax]") && err.contains("mend it"), "{err}");
        assert_eq!(fs::read_to_string(sandbox.path("active.json")).unwrap(), broken);
    }
    sandbox.activate(written);
    running.stop();
    let mut again = Running::start(&sandbox, &[]);
    again.wait_for("receipt    bias");
    assert_eq!(status(&sandbox)["active"]["library"], json!(library("policy_bias")));
    assert_eq!(again.stop().0, 0);
}

#[test]
fn a_host_that_starts_with_a_refused_file_takes_the_last_good_composition() {
    let sandbox = Sandbox::new();
    for name in ["policy_data_locality", "policy_tenant_quota"] {
        sandbox.drop_in(name);
    }
    let good = json!({
        "policy": "data-locality",
        "config": { "wait_ms": 70 },
        "filters": [{ "policy": "tenant-quota", "config": { "quotas": { "team-a": 4 } } }],
        "deadline_ms": 40000
    });
    sandbox.activate(&good.to_string());
    let mut running = Running::start(&sandbox, &[]);
    running.wait_for("receipt    data-locality");
    running.stop();
    // Also without the files: the bytes of the last good composition are the host's own.
    for (bad, code, delete) in [
        ("{ \"policy\": ", "active-file-syntax", false),
        ("{ \"policy\": \"nobody\" }", "unknown-policy", false),
        ("{ \"policy\": \"data-locality\", \"config\": { \"wait\": 1 } }", "invalid-config", false),
        ("{ \"policy\": \"data-locality\", \"deadline_ms\": 0 }", "active-file-value", false),
        (&good.to_string(), "unknown-policy", true),
    ] {
        sandbox.activate(bad);
        if delete {
            fs::remove_file(sandbox.path(&library("policy_data_locality"))).unwrap();
            fs::remove_file(sandbox.path(&library("policy_tenant_quota"))).unwrap();
        }
        let mut again = Running::start(&sandbox, &[]);
        again.wait_for(&format!("[{code}]"));
        again.wait_for("receipt    data-locality");
        let told = status(&sandbox);
        let active = &told["active"];
        assert_eq!(active["filters"][0]["policy"], "tenant-quota", "{told:#}");
        assert_eq!((&active["deadline_ms"], &active["cause"]), (&json!(40000), &json!("rollback")), "{told:#}");
        let message = told["last_change"]["message"].as_str().unwrap();
        assert!(message.contains("last good composition") && message.contains(code), "{message}");
        let (ended, summary) = again.stop();
        assert_eq!((ended, &summary["fallback_rounds"]), (0, &json!(0)));
    }
}

#[tokio::test]
async fn without_the_filters_that_are_asked_for_nothing_is_bound() {
    for bad in [
        r#"{ "policy": "bias", "filters": [{ "policy": "tenant-quota" }] }"#,
        r#"{ "policy": "nobody", "filters": [{ "policy": "hostile-filter" }] }"#,
        r#"{ "policy": "bias", "filters": [{ "policy": "tenant-quota" }"#,
    ] {
        let sandbox = Sandbox::new();
        sandbox.activate(bad);
        let mut hosted = Hosted::over(sandbox, HostOptions::default());
        let plan = hosted.bind(3).await;
        assert!(plan.bindings().is_empty(), "{bad}: from the first round on");
        hosted
            .wait_for("filters missing", |kind| match kind {
                policy_host::EventKind::Refused { code: "filters-missing", .. } => Some(()),
                _ => None,
            })
            .await;
        assert!(hosted.bind(3).await.bindings().is_empty());
        assert_eq!(hosted.host.receipt().empty_rounds, 2);
        // Mended: the filters are in force, or none is asked for.
        hosted.sandbox.activate(r#"{ "policy": "round-robin" }"#);
        hosted.receipted("round-robin").await;
        assert_eq!(hosted.bind(3).await.bindings().len(), 3);
    }
}

#[tokio::test]
async fn a_lost_filter_of_the_last_good_composition_closes_the_host_and_a_lost_policy_does_not() {
    let composition = r#"{ "policy": "data-locality", "filters": [{ "policy": "tenant-quota", "config": { "quotas": { "team-a": 1 } } }] }"#;
    for lost in ["policy_data_locality", "policy_tenant_quota"] {
        let mut hosted = Hosted::with(&["policy_data_locality", "policy_tenant_quota"]).await;
        hosted.sandbox.activate(composition);
        hosted.receipted("data-locality").await;
        let Hosted { sandbox, host, .. } = hosted;
        host.shutdown().await;
        let digest = sha256(&fs::read(artifact(lost)).unwrap());
        fs::remove_file(sandbox.path(&library(lost))).unwrap();
        let copy = format!(".policy-host/staged/{digest}{}", std::env::consts::DLL_SUFFIX);
        fs::remove_file(sandbox.path(&copy)).expect("the copy of a library in use is kept");
        let mut again = Hosted::over(sandbox, HostOptions::default());
        if lost == "policy_tenant_quota" {
            again
                .wait_for("filters missing", |kind| match kind {
                    policy_host::EventKind::Refused { code: "filters-missing", .. } => Some(()),
                    _ => None,
                })
                .await;
            assert!(again.bind(3).await.bindings().is_empty());
        } else {
            let to = again.wait_for("swap", |kind| match kind {
                policy_host::EventKind::Swapped { to, .. } => Some(to.clone()),
                _ => None,
            });
            assert_eq!(to.await, "round-robin");
            let active = again.host.active();
            assert_eq!(active.composition.filters.len(), 1, "the fallback stands behind the filter");
            let plan = again.host.bind(jobs_round(4, 2, &[("job", "team-a", 3)])).await;
            assert_eq!(plan.bindings().len(), 1, "which caps");
            // A third host finds what the second found: the composition is still the whole one.
            again.receipted("round-robin").await;
            let Hosted { sandbox, host, .. } = again;
            host.shutdown().await;
            let mut third = Hosted::over(sandbox, HostOptions::default());
            third.receipted("round-robin").await;
            third.heard("swap", |kind| matches!(kind, policy_host::EventKind::Swapped { .. }).then_some(())).await;
            assert_eq!(third.host.active().composition.filters.len(), 1);
        }
    }
}

#[test]
fn what_was_quarantined_comes_back_only_when_an_operator_says_so() {
    use std::os::unix::fs::PermissionsExt;
    let sandbox = Sandbox::new();
    for name in ["policy_bias", "fixture_hostile"] {
        sandbox.drop_in(name);
    }
    sandbox.activate(r#"{ "policy": "bias" }"#);
    let mut running = Running::start(&sandbox, &[]);
    running.wait_for("receipt    bias");
    let bad = r#"{ "policy": "hostile", "config": { "bind": "panic", "after": 50 } }"#;
    sandbox.activate(bad);
    running.wait_for("-> bias");
    let file = sandbox.path("active.json");
    // The file as such changes, what it says does not.
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    running.wait_for("[quarantined]");
    fs::hard_link(&file, sandbox.path("also.json")).unwrap();
    running.wait_for("[quarantined]");
    sandbox.activate(bad);
    running.wait_for("[quarantined]");
    sandbox.activate(&format!("{bad}\n"));
    running.wait_for("[quarantined]");
    assert_eq!(status(&sandbox)["active"]["policy"], "bias");

    let (code, out, _) = over(&sandbox, &["quarantine", "list", "--json"]);
    let listed: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &listed[0]["code"]), (0, &json!("policy-panicked")));
    let (code, _, err) = over(&sandbox, &["quarantine", "clear", "bias"]);
    assert!(code == 1 && err.contains("error[not-quarantined]") && err.contains("fixture_hostile"), "{err}");
    let (code, out, err) = over(&sandbox, &["quarantine", "clear", "hostile"]);
    assert!(code == 0 && out.contains("back in service"), "{out}{err}");
    assert_eq!(status(&sandbox)["quarantined"], json!([]));
    assert_eq!(status(&sandbox)["active"]["policy"], "bias", "cleared is not activated");

    // Named in a switch, it is tried again; out again, a switch with another config tries it again.
    sandbox.activate(bad);
    running.wait_for("-> bias");
    let (code, _, err) = over(&sandbox, &["switch", "hostile", "--config", r#"{ "bind": "ok" }"#]);
    assert_eq!(code, 0, "{err}");
    assert_eq!(status(&sandbox)["active"]["policy"], "hostile");
    assert_eq!(running.stop().0, 0);
}

#[test]
fn a_quarantine_can_be_cleared_without_a_host() {
    let sandbox = Sandbox::new();
    for name in ["policy_bias", "fixture_hostile"] {
        sandbox.drop_in(name);
    }
    sandbox.activate(r#"{ "policy": "bias" }"#);
    let mut running = Running::start(&sandbox, &[]);
    running.wait_for("receipt    bias");
    sandbox.activate(r#"{ "policy": "hostile", "config": { "bind": "panic", "after": 50 } }"#);
    running.wait_for("-> bias");
    running.stop();
    let list = sandbox.path(".policy-host/quarantine.json");
    let sha = read_json(&list)["entries"][0]["sha256"].as_str().unwrap().to_owned();
    let (code, _, err) = over(&sandbox, &["quarantine", "clear", &sha[..12]]);
    assert_eq!(code, 0, "{err}");
    assert_eq!(read_json(&list)["entries"], json!([]));
    let (code, out, _) = over(&sandbox, &["quarantine", "list"]);
    assert_eq!((code, out.trim()), (0, "nothing is out of service"));
}
