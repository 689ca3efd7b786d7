//! `run`, `list`, `status`, `switch` against one directory, as an operator uses them.

use serde_json::Value;

use crate::binary::{Running, over, run};
use crate::sandbox::{Sandbox, artifact, library, variant, workspace};

#[test]
fn an_operator_swaps_policies_while_the_cluster_works() {
    let sandbox = Sandbox::new();
    let mut running = Running::start(&sandbox, &[]);
    sandbox.drop_in("policy_bias");
    running.wait_for("discovered policy bias");
    let (code, out, err) = over(&sandbox, &["switch", "bias"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("bias 0.1.0 answers"), "{out}");

    let (code, out, _) = over(&sandbox, &["status", "--json"]);
    let status: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &status["active"]["policy"]), (0, &Value::from("bias")));
    assert!(status["active"]["rounds_answered"].as_u64().unwrap() > 0, "the new generation has answered: {status}");
    assert_eq!(status["active"]["library"], Value::from(library("policy_bias")));

    // Replaced by rename, then by a plain copy over the mapped file, then deleted.
    sandbox.rename_in(&library("policy_bias"), &variant("policy_bias", 1));
    running.wait_for("cause new-library");
    running.wait_for("receipt    bias");
    sandbox.copy_over(&library("policy_bias"), &variant("policy_bias", 2));
    running.wait_for("cause new-library");
    running.wait_for("receipt    bias");
    std::fs::remove_file(sandbox.path(&library("policy_bias"))).unwrap();
    running.wait_for("plugin-file-deleted");
    let (_, out, _) = over(&sandbox, &["status"]);
    assert!(out.contains("its file is not in the directory any more"), "{out}");

    sandbox.drop_in("policy_round_robin");
    running.wait_for("discovered policy round-robin");
    let (code, out, _) = over(&sandbox, &["list", "--json"]);
    let listed: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, listed.as_array().unwrap().len()), (0, 1));
    for key in
        ["name", "kind", "version", "api_version", "file", "sha256", "generation", "state", "code", "config_schema"]
    {
        assert!(listed[0].get(key).is_some(), "{key}: {listed}");
    }
    assert_eq!((&listed[0]["name"], &listed[0]["state"]), (&"round-robin".into(), &"candidate".into()));
    assert_eq!(over(&sandbox, &["switch", "round-robin"]).0, 0);

    let (code, out, err) = over(&sandbox, &["switch", "nobody"]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("error[unknown-policy]") && err.contains("round-robin"), "{err}");

    let (code, summary) = running.stop();
    assert_eq!(code, 0);
    for nothing in ["tasks_lost", "tasks_duplicated", "fallback_rounds"] {
        assert_eq!(summary[nothing], 0, "{nothing}: {summary}");
    }
    assert_eq!(
        summary["tasks_submitted"].as_u64().unwrap(),
        summary["tasks_completed"].as_u64().unwrap() + summary["tasks_unfinished"].as_u64().unwrap()
    );
    let swaps = summary["swaps"].as_array().unwrap();
    let to: Vec<_> = swaps.iter().map(|s| (s["to"].as_str().unwrap(), s["cause"].as_str().unwrap())).collect();
    assert_eq!(
        to,
        [("bias", "active-file"), ("bias", "new-library"), ("bias", "new-library"), ("round-robin", "active-file")]
    );
    assert!(swaps.iter().all(|s| s["latency_us"].as_u64().unwrap() > 0 && s["sha256"].as_str().unwrap().len() == 64));
    assert!(summary["by_policy"]["bias"]["tasks"].as_u64().unwrap() > 0);
}

#[test]
fn a_directory_deleted_and_recreated_is_watched_again() {
    let sandbox = Sandbox::new();
    sandbox.drop_in("policy_bias");
    sandbox.activate(r#"{ "policy": "bias" }"#);
    let mut running = Running::start(&sandbox, &[]);
    running.wait_for("receipt    bias");
    std::fs::remove_dir_all(sandbox.plugins()).unwrap();
    running.wait_for("directory-gone");
    std::fs::create_dir(sandbox.plugins()).unwrap();
    sandbox.drop_in("policy_round_robin");
    running.wait_for("discovered policy round-robin");
    assert_eq!(over(&sandbox, &["switch", "round-robin"]).0, 0);
    let (code, summary) = running.stop();
    assert_eq!((code, &summary["fallback_rounds"]), (0, &Value::from(0)));
    assert!(summary["by_policy"]["bias"]["tasks"].as_u64().unwrap() > 0, "it kept running: {summary}");
}

#[test]
fn a_file_that_keeps_growing_is_refused_until_it_is_still() {
    let sandbox = Sandbox::new();
    let mut running = Running::start(&sandbox, &[]);
    let growing = sandbox.path(&library("policy_bias"));
    let (still, stop) = std::sync::mpsc::channel::<()>();
    let writer = std::thread::spawn(move || {
        use std::io::Write;
        let mut file = std::fs::File::create(growing).unwrap();
        file.write_all(&std::fs::read(artifact("policy_bias")).unwrap()).unwrap();
        while stop.recv_timeout(std::time::Duration::from_millis(2)).is_err() {
            file.write_all(b"more").unwrap();
        }
    });
    running.wait_for("still-changing");
    still.send(()).unwrap();
    writer.join().unwrap();
    running.wait_for("discovered policy bias");
    assert_eq!(over(&sandbox, &["switch", "bias"]).0, 0, "what was appended is no part of the library");
    assert_eq!(running.stop().0, 0);
}

#[test]
fn a_switch_that_is_not_answered_by_anybody_fails_and_leaves_the_file_alone() {
    let sandbox = Sandbox::new();
    sandbox.activate(r#"{ "policy": "bias" }"#);
    let (code, _, err) = over(&sandbox, &["switch", "round-robin"]);
    assert_eq!(code, 1);
    assert!(err.contains("error[no-host]"), "{err}");
    assert_eq!(std::fs::read_to_string(sandbox.path("active.json")).unwrap(), r#"{ "policy": "bias" }"#);
    assert_eq!(over(&sandbox, &["status"]).0, 1, "no receipt");
}

#[test]
fn a_switch_keeps_the_filters_and_passes_the_config() {
    let sandbox = Sandbox::new();
    for artifact in ["policy_bias", "policy_tenant_quota", "fixture_hostile"] {
        sandbox.drop_in(artifact);
    }
    sandbox.activate(
        r#"{ "policy": "bias", "filters": [{ "policy": "tenant-quota", "config": { "quotas": { "team-a": 4 } } }] }"#,
    );
    let mut running = Running::start(&sandbox, &[]);
    running.wait_for("receipt    bias");
    let (code, _, err) = over(&sandbox, &["switch", "hostile", "--config", r#"{ "after": 3 }"#]);
    assert_eq!(code, 0, "{err}");
    let (_, out, _) = over(&sandbox, &["status", "--json"]);
    let status: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(status["active"]["filters"][0]["policy"], "tenant-quota");
    let (code, _, err) = over(&sandbox, &["switch", "hostile", "--config", r#"{ "nonsense": 3 }"#]);
    assert_eq!(code, 1);
    assert!(err.contains("error[invalid-config]") && err.contains("nonsense") && err.contains("active.json:"), "{err}");
    assert_eq!(over(&sandbox, &["switch", "bias", "--config", "{"]).0, 1);
    assert_eq!(running.stop().0, 0);
}

#[test]
fn a_list_without_a_host_judges_the_files() {
    let sandbox = Sandbox::new();
    sandbox.drop_in("policy_bias");
    sandbox.drop_in("policy_tenant_quota");
    sandbox.rename_in("broken.so", b"text");
    let (code, out, _) = over(&sandbox, &["list"]);
    assert_eq!(code, 0);
    for part in ["bias", "candidate", "filter", "tenant-quota", "rejected (not-a-library)"] {
        assert!(out.contains(part), "{part}: {out}");
    }
    let (code, _, err) = run(&["list", "--plugins", "/nonexistent"]);
    assert_eq!(code, 1);
    assert!(err.contains("error[directory-unreadable]"), "{err}");
}

#[test]
fn wrong_usage_is_exit_2_and_help_has_examples() {
    assert_eq!(run(&["run"]).0, 2);
    assert_eq!(run(&["switch", "bias", "--plugins"]).0, 2);
    assert_eq!(run(&["nonsense"]).0, 2);
    assert_eq!(run(&["run", "--plugins", "x", "--speed", "fast"]).0, 2);
    for command in ["demo", "run", "list", "check", "switch", "status", "schema", "replay"] {
        let (code, out, _) = run(&[command, "--help"]);
        assert_eq!(code, 0, "{command}");
        assert!(out.contains("Example:"), "{command}: {out}");
    }
}

#[test]
fn a_bad_workload_is_refused_with_its_place() {
    let sandbox = Sandbox::new();
    let file = sandbox.root().join("bad.jsonl");
    std::fs::write(&file, "{\"format\":\"policy-host-workload\",\"version\":1}\n{\"id\":7}\n").unwrap();
    let (code, _, err) = over(&sandbox, &["run", "--workload", file.to_str().unwrap()]);
    assert_eq!(code, 1);
    assert!(err.contains("bad.jsonl:2:"), "{err}");
}

#[test]
fn the_schemas_are_json() {
    for which in ["active", "receipt", "list"] {
        let (code, out, _) = run(&["schema", which]);
        assert_eq!(code, 0);
        let schema: Value = serde_json::from_str(&out).unwrap();
        assert!(schema["$schema"].is_string(), "{which}");
    }
}

#[test]
fn a_real_trace_runs_while_policies_are_swapped() {
    let trace = workspace().join("../shared/traces/swim-fb2009-sample0.tsv");
    if !trace.is_file() {
        eprintln!("skipped: the trace {} is not there", trace.display());
        return;
    }
    let sandbox = Sandbox::new();
    for artifact in ["policy_bias", "policy_round_robin"] {
        sandbox.drop_in(artifact);
    }
    let workload = format!("swim:{}", trace.display());
    let mut running = Running::start(&sandbox, &["--workload", &workload, "--speed", "2000", "--executors", "50"]);
    for policy in ["bias", "round-robin", "bias", "round-robin", "bias"] {
        let (code, _, err) = over(&sandbox, &["switch", policy]);
        assert_eq!(code, 0, "{policy}: {err}");
    }
    let (code, summary) = running.stop();
    assert_eq!((code, &summary["tasks_lost"], &summary["tasks_duplicated"]), (0, &0.into(), &0.into()));
    assert!(summary["tasks_completed"].as_u64().unwrap() > 0, "{summary}");
}
