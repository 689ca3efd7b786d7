//! What foreign code does to the host while it is tried: the very recipe is judged in a child first, and a host that dies all
//! the same names what it was trying to its successor.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use crate::binary::{Running, command, over, read_json};
use crate::sandbox::{Sandbox, library, misdeed};

fn trying(sandbox: &Sandbox) -> PathBuf {
    sandbox.plugins().join(".policy-host").join("trying.json")
}

/// An `active.json` for `misdeed`.
fn plan(steps: &Value) -> String {
    json!({ "policy": "misdeed", "config": { "plan": steps } }).to_string()
}

/// Work for a few minutes.
const WORK: [&str; 2] = ["--workload", "synthetic:jobs=4000,rate=20,tasks=4,stages=1,duration=20ms,seed=1"];

/// Starts a host beside the test.
fn start(sandbox: &Sandbox, more: &[&str]) -> Running {
    Running::start(sandbox, &[&WORK, more].concat())
}

/// Runs a host over the sandbox for at most so many seconds: whether it ended by itself, and what it printed.
fn run_for(sandbox: &Sandbox, seconds: &str) -> (bool, String) {
    let mut host = command();
    host.args(["run", "--no-judge", "--duration-s", seconds, "--deadline-ms", "60000", "--plugins"])
        .arg(sandbox.plugins());
    host.args(WORK);
    let output = host.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

fn status(sandbox: &Sandbox) -> String {
    over(sandbox, &["status"]).1
}

#[test]
fn a_config_that_kills_its_process_is_refused_and_what_was_active_stays() {
    let sandbox = Sandbox::new();
    sandbox.drop_in("policy_bias");
    sandbox.drop_in("fixture_hostile");
    let mut running = start(&sandbox, &[]);
    running.wait_for_all(&["discovered policy bias", "hostile-filter"]);
    sandbox.activate(r#"{ "policy": "bias" }"#);
    running.wait_for("receipt    bias");
    for (active, part) in [
        (r#"{ "policy": "hostile", "config": { "construct": "segfault" } }"#, "hostile"),
        (r#"{ "policy": "hostile", "config": { "bind": "stack-overflow" } }"#, "overflows the stack"),
        (
            r#"{ "policy": "bias", "filters": [{ "policy": "hostile-filter", "config": { "construct": "exit" } }] }"#,
            "bias",
        ),
        (r#"{ "policy": "bias", "shadow": [{ "policy": "hostile", "config": { "bind": "abort" } }] }"#, "hostile"),
    ] {
        sandbox.activate(active);
        let line = running.wait_for("active.json [crashes]");
        assert!(line.contains(part), "{active}: {line}");
        assert!(status(&sandbox).contains("bias"), "{active}");
    }
    // A config that does well is judged, and served.
    sandbox.activate(r#"{ "policy": "hostile", "config": { "sleep_ms": 1 } }"#);
    running.wait_for("receipt    hostile");
    // One that is refused without a crash keeps its code.
    sandbox.activate(r#"{ "policy": "hostile", "config": { "construct": "error" } }"#);
    let line = running.wait_for("refused    active.json");
    assert!(!line.contains("[crashes]"), "{line}");
    sandbox.activate(r#"{ "policy": "hostile", "config": { "construct": "segfault" } }"#);
    running.wait_for("active.json [crashes]");
    assert_eq!(running.stop().0, 0);
    assert!(!trying(&sandbox).exists());
    // The same after a restart.
    let mut running = start(&sandbox, &[]);
    running.wait_for("active.json [crashes]");
    assert_eq!(running.stop().0, 0);
}

#[test]
fn what_kills_two_hosts_in_a_row_is_named_and_kills_no_third() {
    let sandbox = Sandbox::new();
    sandbox.rename_in(&library("fixture_misdeed"), &misdeed(&json!([])));
    sandbox.activate(&plan(&json!([{ "stage": "construct", "deeds": ["segfault"] }])));
    let (lives, out) = run_for(&sandbox, "120");
    assert!(!lives, "{out}");
    let left = read_json(&trying(&sandbox));
    let trial = &left["trials"][0];
    assert_eq!(
        (&left["version"], &trial["policy"], &trial["stage"]),
        (&1.into(), &"misdeed".into(), &"construct".into())
    );
    assert_eq!(trial["active"]["config"]["plan"][0]["stage"], "construct", "{trial}");
    let (lives, out) = run_for(&sandbox, "120");
    assert!(!lives && out.contains("suspect") && out.contains("trying misdeed"), "{out}");
    let (lives, out) = run_for(&sandbox, "1");
    assert!(lives && out.contains("[crashed-the-host]"), "{out}");
    assert!(status(&sandbox).contains("(crashed-the-host)"), "{}", status(&sandbox));
    assert!(!trying(&sandbox).exists());
    // Out of service is this use of the library, not the library.
    sandbox.activate(&plan(&json!([{ "stage": "drop", "deeds": [] }])));
    let mut running = start(&sandbox, &["--no-judge"]);
    running.wait_for("receipt    misdeed");
    // The same over a restart and a repetition.
    sandbox.activate(&plan(&json!([{ "stage": "construct", "deeds": ["segfault"] }])));
    let line = running.wait_for("refused    active.json");
    assert!(line.contains("[quarantined]") && line.contains("crashed-the-host"), "{line}");
    assert_eq!(running.stop().0, 0);
}

#[test]
fn a_library_that_kills_two_hosts_while_it_is_loaded_is_not_loaded_by_a_third() {
    let sandbox = Sandbox::new();
    sandbox.drop_in("policy_bias");
    sandbox.activate(r#"{ "policy": "bias" }"#);
    sandbox.rename_in(&library("fixture_misdeed"), &misdeed(&json!([{ "stage": "init", "deeds": ["abort"] }])));
    for _ in 0..2 {
        let (lives, out) = run_for(&sandbox, "120");
        assert!(!lives, "{out}");
    }
    let mut running = start(&sandbox, &["--no-judge"]);
    let part = format!("refused    {} [crashed-the-host]", library("fixture_misdeed"));
    running.wait_for_all(&[part.as_str(), "receipt    bias"]);
    assert_eq!(running.stop().0, 0);
}

#[test]
fn what_killed_a_host_is_judged_again_and_out_of_service_if_it_fails_there() {
    let sandbox = Sandbox::new();
    sandbox.rename_in(&library("fixture_misdeed"), &misdeed(&json!([])));
    sandbox.activate(&plan(&json!([{ "stage": "construct", "deeds": [{ "exit-now": 9 }] }])));
    let (lives, out) = run_for(&sandbox, "120");
    assert!(!lives, "{out}");
    let mut running = start(&sandbox, &[]);
    running.wait_for_all(&["suspect", "active.json [crashes]", "out        "]);
    assert_eq!(running.stop().0, 0);
    let (exit, out, _) = over(&sandbox, &["status", "--json"]);
    let receipt: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((exit, &receipt["quarantined"][0]["code"]), (0, &Value::from("crashes")), "{receipt}");
    assert!(receipt["ended_in_trial"][0].as_str().unwrap().contains("misdeed"), "{receipt}");
}

#[test]
fn a_power_loss_blames_nobody() {
    let sandbox = Sandbox::new();
    sandbox.rename_in(&library("fixture_misdeed"), &misdeed(&json!([])));
    let reached = sandbox.root().join("reached");
    let slow = json!([{ "stage": "construct", "deeds": [{ "touch": reached }, { "sleep": 2_000 }] }]);
    sandbox.activate(&plan(&slow));
    let mut host = command();
    host.args(["run", "--no-judge", "--quiet", "--duration-s", "600", "--plugins"]).arg(sandbox.plugins()).args(WORK);
    let mut host = host.stdout(std::process::Stdio::null()).spawn().unwrap();
    let end = std::time::Instant::now() + crate::hosted::PATIENCE;
    while !reached.exists() {
        assert!(std::time::Instant::now() < end, "the constructor is not reached");
        std::thread::sleep(Duration::from_millis(2));
    }
    host.kill().unwrap();
    host.wait().unwrap();
    assert!(trying(&sandbox).exists());
    let mut running = start(&sandbox, &["--admission-deadline-s", "60"]);
    running.wait_for("suspect");
    running.wait_for("receipt    misdeed");
    assert_eq!(running.stop().0, 0);
    assert!(!trying(&sandbox).exists());
    assert!(status(&sandbox).contains("ended while it was trying misdeed"), "{}", status(&sandbox));
    // A file that was cut off names nobody, and does no harm.
    fs::write(trying(&sandbox), "{\"version\":1,\"tri").unwrap();
    let mut running = start(&sandbox, &["--admission-deadline-s", "60"]);
    running.wait_for("receipt    misdeed");
    assert_eq!(running.stop().0, 0);
}

#[test]
fn a_host_that_is_told_to_end_blames_nobody() {
    let sandbox = Sandbox::new();
    sandbox.rename_in(&library("fixture_misdeed"), &misdeed(&json!([])));
    let reached = sandbox.root().join("reached");
    let mut running = start(&sandbox, &["--no-judge"]);
    sandbox.activate(&plan(&json!([{ "stage": "construct", "deeds": [{ "touch": reached }, "hang"] }])));
    let end = std::time::Instant::now() + crate::hosted::PATIENCE;
    while !reached.exists() {
        assert!(std::time::Instant::now() < end, "the constructor is not reached");
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(trying(&sandbox).exists());
    assert_eq!(running.stop().0, 0);
    assert!(!trying(&sandbox).exists());
}
