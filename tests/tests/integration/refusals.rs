//! Everything that a running host refuses: each with its stable code, a message with file and cause, and nothing changed.

use std::fs;

use serde_json::Value;

use crate::binary::{Running, over};
use crate::sandbox::{Sandbox, artifact, library};

/// Bytes of a good plugin for another machine: the ELF header says so.
pub(crate) fn for_another_machine() -> Vec<u8> {
    let mut bytes = fs::read(artifact("policy_bias")).unwrap();
    let machine = u16::from_le_bytes([bytes[18], bytes[19]]);
    // e_machine: AArch64 unless that is what this is, then x86-64.
    let other: u16 = if machine == 183 { 62 } else { 183 };
    bytes[18..20].copy_from_slice(&other.to_le_bytes());
    bytes
}

/// A file that a host refuses: how it is made, and the code.
type BadFile = (&'static str, fn(&Sandbox, &str), &'static str);

fn copy(sandbox: &Sandbox, from: &str, to: &str) {
    sandbox.rename_in(to, &fs::read(artifact(from)).unwrap());
}

/// Every kind of bad file.
pub(crate) const BAD_FILES: &[BadFile] = &[
    ("text", |s, f| drop(s.rename_in(f, b"#!/bin/sh\necho hello\n")), "not-a-library"),
    ("empty", |s, f| drop(s.rename_in(f, b"")), "empty-file"),
    (
        "truncated",
        |s, f| {
            let bytes = fs::read(artifact("policy_bias")).unwrap();
            s.rename_in(f, &bytes[..bytes.len() / 2]);
        },
        "truncated-library",
    ),
    ("wrong-architecture", |s, f| drop(s.rename_in(f, &for_another_machine())), "wrong-architecture"),
    ("no-root", |s, f| copy(s, "fixture_no_root", f), "no-root-module"),
    ("other-layout", |s, f| copy(s, "fixture_other_layout", f), "abi-mismatch"),
    ("unchecked-root", |s, f| copy(s, "fixture_unchecked_root", f), "abi-mismatch"),
    ("api-major", |s, f| copy(s, "fixture_api_major", f), "api-version-mismatch"),
    ("init-crash", |s, f| copy(s, "fixture_init_crash", f), "crashes"),
    ("directory", |s, f| fs::create_dir(s.path(f)).unwrap(), "not-a-regular-file"),
    #[cfg(unix)]
    ("symlink-loop", |s, f| std::os::unix::fs::symlink(f, s.path(f)).unwrap(), "symlink-loop"),
    #[cfg(unix)]
    (
        "fifo",
        |s, f| {
            use rustix::fs::{CWD, FileType, mknodat};
            mknodat(CWD, s.path(f), FileType::Fifo, 0o644.into(), 0).unwrap();
        },
        "not-a-regular-file",
    ),
    #[cfg(unix)]
    ("device", |s, f| std::os::unix::fs::symlink("/dev/zero", s.path(f)).unwrap(), "not-a-regular-file"),
    #[cfg(unix)]
    (
        "unreadable",
        |s, f| {
            use std::os::unix::fs::PermissionsExt;
            // Made unreadable before it comes: a host that runs as root could read it all the same.
            let beside = s.root().join(f);
            fs::copy(artifact("policy_bias"), &beside).unwrap();
            fs::set_permissions(&beside, fs::Permissions::from_mode(0o000)).unwrap();
            fs::rename(beside, s.path(f)).unwrap();
        },
        "unreadable",
    ),
    #[cfg(unix)]
    (
        "world-writable",
        |s, f| {
            use std::os::unix::fs::PermissionsExt;
            let beside = s.root().join(f);
            fs::copy(artifact("policy_bias"), &beside).unwrap();
            fs::set_permissions(&beside, fs::Permissions::from_mode(0o777)).unwrap();
            fs::rename(beside, s.path(f)).unwrap();
        },
        "world-writable",
    ),
];

fn active(sandbox: &Sandbox) -> Value {
    let (_, out, _) = over(sandbox, &["status", "--json"]);
    let status: Value = serde_json::from_str(&out).unwrap();
    status["active"].clone()
}

#[test]
fn bad_files_are_refused_with_their_code_and_change_nothing() {
    let sandbox = Sandbox::new();
    sandbox.drop_in("policy_round_robin");
    sandbox.activate(r#"{ "policy": "round-robin" }"#);
    let mut running = Running::start(&sandbox, &[]);
    running.wait_for("-> round-robin");
    running.wait_for("receipt    round-robin");
    let before = active(&sandbox);
    for (name, make, code) in BAD_FILES {
        let file = format!("{name}.so");
        make(&sandbox, &file);
        let line = running.wait_for(&format!("refused    {file} ["));
        assert!(line.contains(&format!("[{code}]")), "{name}: {line}");
    }
    let after = active(&sandbox);
    for same in ["policy", "generation", "sha256"] {
        assert_eq!(after[same], before[same]);
    }
    let (code, summary) = running.stop();
    assert_eq!((code, &summary["tasks_lost"], &summary["fallback_rounds"]), (0, &0.into(), &0.into()));
    let refusals = summary["refusals"].as_array().unwrap();
    for (name, _, code) in BAD_FILES {
        let file = format!("{name}.so");
        let told = refusals.iter().find(|r| r["file"] == file.as_str()).unwrap_or_else(|| panic!("{file}"));
        assert_eq!(told["code"], *code);
        assert!(told["message"].as_str().unwrap().contains(&file), "the message names the file: {told}");
    }
    assert_eq!(summary["swaps"].as_array().unwrap().len(), 1);
}

/// Who upgrades a host finds in the status which plugins to build again, how, and who answers until then.
#[test]
fn plugins_of_an_older_api_are_told_to_be_rebuilt() {
    for (filters, json, text) in [
        ("", "round-robin (built-in)", "meanwhile round-robin (built-in) answers"),
        (r#", "filters": [{ "policy": "old-filter" }]"#, "", "meanwhile nothing is bound"),
    ] {
        let sandbox = Sandbox::new();
        for file in ["libold.so", "liboldest.so"] {
            copy(&sandbox, "fixture_api_major", file);
        }
        sandbox.activate(&format!(r#"{{ "policy": "old"{filters} }}"#));
        let mut running = Running::start(&sandbox, &[]);
        running.wait_for_all(&["refused    libold.so [", "refused    liboldest.so [", "refused    active.json ["]);
        let (_, out, _) = over(&sandbox, &["status", "--json"]);
        let status: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(status["answers"], json, "{status}");
        let rebuild = status["rebuild"].as_array().unwrap();
        assert_eq!(rebuild.iter().map(|r| &r["file"]).collect::<Vec<_>>(), ["libold.so", "liboldest.so"]);
        let (_, out, _) = over(&sandbox, &["status"]);
        for (told, file) in rebuild.iter().zip(["libold.so", "liboldest.so"]) {
            let told = told["message"].as_str().unwrap();
            let says = "was built for plugin API 1.1, and this host loads 2.x only: set policy-plugin-api to version 2";
            assert!(told.contains(file) && told.contains(says), "{told}");
            assert!(out.contains(&format!("rebuild   {told}")), "{out}");
        }
        assert!(out.contains(text), "{out}");
        // Built again, it is no longer listed.
        sandbox.drop_as("policy_bias", "old");
        running.wait_for("discovered policy bias");
        sandbox.activate(r#"{ "policy": "bias" }"#);
        running.wait_for("receipt    bias");
        let (_, out, _) = over(&sandbox, &["status", "--json"]);
        let status: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(
            (&status["rebuild"][0]["file"], status["rebuild"].as_array().map(Vec::len)),
            (&"liboldest.so".into(), Some(1))
        );
        assert_eq!(status["answers"], "bias libold.so");
        assert_eq!(running.stop().0, 0);
    }
}

#[test]
fn bad_active_files_are_refused_with_line_and_column_and_change_nothing() {
    let sandbox = Sandbox::new();
    for artifact in ["policy_round_robin", "policy_tenant_quota", "fixture_hostile"] {
        sandbox.drop_in(artifact);
    }
    sandbox.activate(r#"{ "policy": "round-robin" }"#);
    let mut running = Running::start(&sandbox, &[]);
    running.wait_for_all(&["-> round-robin", "filter tenant-quota", "policy hostile"]);
    assert_eq!(over(&sandbox, &["switch", "round-robin"]).0, 0, "it has answered");
    let before = active(&sandbox);
    for (json, code, part) in [
        ("", "empty-file", "active.json"),
        ("{ \"policy\": ", "active-file-syntax", "active.json:1:"),
        (
            "{\n  \"policy\": \"round-robin\",\n  \"speed\": 3\n}",
            "active-file-syntax",
            "active.json:3:9: unknown field `speed`",
        ),
        ("{\n  \"policy\": 7\n}", "active-file-syntax", "active.json:2:13: invalid type"),
        ("{ \"policy\": \"nobody\" }", "unknown-policy", "no policy is called nobody"),
        ("{ \"policy\": \"tenant-quota\" }", "unknown-policy", "no policy is called tenant-quota"),
        (
            "{ \"policy\": \"hostile\",\n  \"config\": { \"bind\": \"ok\",\n \"wrong\": 1 } }",
            "invalid-config",
            "active.json:3:8: config of hostile: unknown field `wrong`",
        ),
        (
            "{ \"policy\": \"hostile\", \"config\": { \"sleep_ms\": \"long\" } }",
            "invalid-config",
            "active.json:1:53: config of hostile: invalid type",
        ),
        (
            "{ \"policy\": \"hostile\", \"config\": { \"construct\": \"error\" } }",
            "invalid-config",
            "active.json:1:34: config of hostile: hostile: refuses this config",
        ),
        (
            "{ \"policy\": \"hostile\", \"config\": { \"construct\": \"fail\" } }",
            "constructor-error",
            "constructing hostile",
        ),
        ("{ \"policy\": \"hostile\", \"config\": { \"construct\": \"panic\" } }", "constructor-panic", "panicked"),
        ("{ \"policy\": \"hostile\", \"config\": { \"bind\": \"panic\" } }", "canned-round-failed", "panicked"),
        ("{ \"policy\": \"round-robin\", \"deadline_ms\": 0 }", "active-file-value", "allowed are"),
    ] {
        sandbox.activate(json);
        let line = running.wait_for("refused    active.json [");
        assert!(line.contains(&format!("[{code}]")) && line.contains(part), "{json}: {line}");
    }
    fs::remove_file(sandbox.path("active.json")).unwrap();
    running.wait_for("[active-file-deleted]");
    let after = active(&sandbox);
    for same in ["policy", "generation", "sha256"] {
        assert_eq!(after[same], before[same]);
    }
    assert_eq!(running.stop().0, 0);
}

#[test]
fn a_constructor_that_hangs_is_given_up_and_the_host_goes_on() {
    let sandbox = Sandbox::new();
    for artifact in ["policy_round_robin", "fixture_hostile"] {
        sandbox.drop_in(artifact);
    }
    // It hangs in the judge's child, or, where there is none, on a thread of the host's.
    for (judged, code) in [(&["--admission-deadline-s", "10"][..], "[hangs]"), (&["--no-judge"], "[admission-timeout]")]
    {
        sandbox.activate(r#"{ "policy": "round-robin" }"#);
        let mut running = Running::start(&sandbox, judged);
        running.wait_for_all(&["-> round-robin", "discovered policy hostile"]);
        sandbox.activate(r#"{ "policy": "hostile", "config": { "construct": "hang" } }"#);
        running.wait_for(code);
        assert_eq!(over(&sandbox, &["switch", "round-robin"]).0, 0);
        assert_eq!(running.stop().0, 0);
    }
}

#[test]
fn an_initialiser_that_hangs_hangs_in_the_judge_and_not_in_the_host() {
    let sandbox = Sandbox::new();
    let mut running = Running::start(&sandbox, &["--admission-deadline-s", "10"]);
    sandbox.drop_in("fixture_init_hang");
    running.wait_for("[hangs]");
    // Were it mapped here, the loader's lock would be held and nothing could be loaded any more.
    sandbox.drop_in("policy_bias");
    running.wait_for(&format!("in {}", library("policy_bias")));
    assert_eq!(over(&sandbox, &["switch", "bias"]).0, 0);
    assert_eq!(running.stop().0, 0);
}
