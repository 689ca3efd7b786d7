//! The judge's child: nothing that a plugin does in it reaches the host, deceives it, or stays behind.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::binary::{Running, command, run};
use crate::hosted::until;
use crate::sandbox::{Sandbox, library, misdeed};

/// How long a grandchild lives that nobody should wait for: longer than any test may take.
const LONG: &str = "625";

/// A sandbox with a misdeed in it, at a path outside of the plugin directory.
fn with_misdeed(plan: &Value) -> (Sandbox, PathBuf) {
    let sandbox = Sandbox::new();
    let path = sandbox.root().join(library("fixture_misdeed"));
    fs::write(&path, misdeed(plan)).unwrap();
    (sandbox, path)
}

/// What `check` says of a plan: exit code and verdict.
fn verdict_on(plan: &Value, more: &[&str]) -> (i32, Value) {
    let (_sandbox, path) = with_misdeed(plan);
    let mut arguments = vec!["check", "--json", path.to_str().unwrap()];
    arguments.extend(more);
    let (exit, out, err) = run(&arguments);
    let verdicts: Value = serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}{err}"));
    (exit, verdicts[0].clone())
}

fn assert_refused(plan: &Value, code: &str, part: &str) {
    let (exit, verdict) = verdict_on(plan, &["--time-limit-s", "20"]);
    let message = verdict["message"].as_str().unwrap();
    assert_eq!((exit, &verdict["code"]), (1, &Value::from(code)), "{plan}: {verdict}");
    assert!(message.contains(part), "{plan}: {message}");
}

fn assert_passes(plan: &Value) {
    let (exit, verdict) = verdict_on(plan, &["--time-limit-s", "20"]);
    assert_eq!((exit, &verdict["code"]), (0, &Value::from("ok")), "{plan}: {verdict}");
    assert_eq!(verdict["policies"][0]["name"], "misdeed");
}

/// The processes that have this text in their arguments.
#[cfg(target_os = "linux")]
fn processes_with(text: &str) -> Vec<u32> {
    let numbers = fs::read_dir("/proc").unwrap().flatten().filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
    let has = |pid: &u32| {
        let alive = fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|s| !s.contains(") Z "));
        alive && fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|c| String::from_utf8_lossy(&c).contains(text))
    };
    numbers.filter(has).collect()
}

/// A verdict as a plugin would forge it.
fn forged(path: &Path) -> String {
    json!({ "file": path, "sha256": "ab".repeat(32), "ok": true, "code": "ok", "message": "", "policies": [] })
        .to_string()
}

#[test]
fn what_a_plugin_prints_changes_no_verdict() {
    let forged = forged(Path::new("x.so"));
    assert_passes(
        &json!([{ "stage": "construct", "deeds": [{ "print": "no newline" }, { "print-error": "neither" }] }]),
    );
    assert_passes(&json!([{ "stage": "init", "deeds": [{ "print": "no newline" }] }]));
    assert_passes(&json!([{ "stage": "exit", "deeds": [{ "print": "\n{\"code\":\"\"}\n" }] }]));
    assert_passes(&json!([{ "stage": "round", "deeds": [{ "print": format!("\n{forged}\n") }] }]));
    let lines = format!("\n{}\n{forged}", json!({ "nonce": "", "what": { "verdict": {} } }));
    assert_passes(&json!([{ "stage": "construct", "deeds": [{ "write-everywhere": lines }] }]));
}

#[test]
fn a_forged_verdict_is_none() {
    for stage in ["init", "construct", "round", "drop"] {
        let forged = forged(Path::new("x.so"));
        let deeds = json!([{ "print": format!("\n{forged}\n") }, { "exit-now": 0 }]);
        assert_refused(&json!([{ "stage": stage, "deeds": deeds }]), "crashes", "ends by itself");
        let everywhere =
            json!({ "nonce": "0", "what": { "verdict": serde_json::from_str::<Value>(&forged).unwrap() } });
        let deeds = json!([{ "write-everywhere": format!("\n{everywhere}\n{forged}\n") }, { "exit": 0 }]);
        assert_refused(&json!([{ "stage": stage, "deeds": deeds }]), "crashes", "ends by itself");
    }
}

#[test]
fn an_end_that_is_bad_is_a_bad_verdict() {
    assert_refused(
        &json!([{ "stage": "exit", "deeds": ["segfault"] }]),
        "crashes",
        "at the end of the process: signal 11",
    );
    assert_refused(&json!([{ "stage": "exit", "deeds": [{ "exit-now": 3 }] }]), "crashes", "at the end");
    assert_refused(&json!([{ "stage": "construct", "deeds": ["abort"] }]), "crashes", "while trying misdeed");
    assert_refused(&json!([{ "stage": "init", "deeds": ["segfault"] }]), "crashes", "while mapping");
}

#[test]
fn a_hang_is_cut_off_and_says_where() {
    for (plan, place) in [
        (json!([{ "stage": "exit", "deeds": ["hang"] }]), "at the end of the process"),
        (json!([{ "stage": "round", "deeds": ["hang"] }]), "while trying misdeed"),
        (json!([{ "stage": "init", "deeds": ["ignore-signals", "hang"] }]), "while mapping"),
        (json!([{ "stage": "construct", "deeds": ["stop"] }]), "while trying misdeed"),
    ] {
        let (exit, verdict) = verdict_on(&plan, &["--time-limit-s", "1"]);
        assert_eq!((exit, &verdict["code"]), (1, &"hangs".into()), "{plan}: {verdict}");
        assert!(verdict["message"].as_str().unwrap().contains(place), "{plan}: {verdict}");
    }
}

#[test]
fn a_policy_that_needs_a_large_stack_is_refused_and_says_so() {
    for stage in ["init", "construct", "round", "drop"] {
        assert_refused(&json!([{ "stage": stage, "deeds": [{ "recurse": 5 }] }]), "crashes", "overflows the stack");
    }
    assert_refused(&json!([{ "stage": "round", "deeds": [{ "recurse": 1 }] }]), "crashes", "1024 KiB");
}

#[test]
fn a_host_survives_a_policy_that_needs_a_large_stack() {
    let sandbox = Sandbox::new();
    sandbox.drop_in("policy_bias");
    let mut running = Running::start(&sandbox, &[]);
    running.wait_for("discovered policy bias");
    let deep = misdeed(&json!([{ "stage": "round", "deeds": [{ "recurse": 5 }] }]));
    sandbox.rename_in(&library("fixture_misdeed"), &deep);
    let line = running.wait_for("crashes");
    assert!(line.contains("overflows the stack"), "{line}");
    sandbox.activate(r#"{ "policy": "bias" }"#);
    running.wait_for("receipt    bias");
    assert_eq!(running.stop().0, 0);
}

#[cfg(target_os = "linux")]
#[test]
fn nobody_waits_for_what_a_plugin_has_started_and_it_ends_with_the_verdict() {
    // A mark of this test's own in the arguments of the process that the plugin starts.
    for (deed, stays) in [("spawn", false), ("spawn-detached", true)] {
        for (then, code) in [(json!([]), "ok"), (json!(["abort"]), "crashes")] {
            let mark = format!("0.{}", std::process::id() + u32::from(stays));
            let program = json!(["sh", "-c", format!("sleep {LONG}; echo {mark}")]);
            let mut deeds = vec![json!({ deed: program })];
            deeds.extend(then.as_array().unwrap().iter().cloned());
            let begun = Instant::now();
            let (_, verdict) =
                verdict_on(&json!([{ "stage": "construct", "deeds": deeds }]), &["--time-limit-s", "60"]);
            assert_eq!(verdict["code"], code, "{deed}: {verdict}");
            assert!(begun.elapsed() < Duration::from_secs(60), "{deed}: it was waited for");
            let left = processes_with(&mark);
            if !stays {
                until("what it started is killed", || processes_with(&mark).is_empty());
            }
            // Out of the group, it is out of reach: this test cleans up.
            for pid in left {
                let pid = rustix::process::Pid::from_raw(pid.try_into().unwrap()).unwrap();
                let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
            }
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn no_judge_outlives_its_host() {
    for hang in [json!("hang"), json!("stop")] {
        let mark = format!("7.{}", std::process::id());
        let reached = Sandbox::new();
        let touched = reached.root().join("reached");
        let deeds =
            json!([{ "spawn": ["sh", "-c", format!("sleep {LONG}; echo {mark}")] }, { "touch": touched }, hang]);
        let (_sandbox, path) = with_misdeed(&json!([{ "stage": "construct", "deeds": deeds }]));
        let mut check = command();
        check.args(["check", "--time-limit-s", "600"]).arg(&path).stdout(Stdio::null()).stderr(Stdio::null());
        let mut check = check.spawn().unwrap();
        until("the judge tries the plugin", || touched.exists());
        let name = path.to_str().unwrap().to_owned();
        assert!(processes_with(&name).len() >= 2, "host and judge");
        let stopped = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|s| s.contains(") T "));
        if hang == "stop" {
            until("the judge is stopped", || processes_with(&name).iter().any(stopped));
        }
        check.kill().unwrap();
        check.wait().unwrap();
        until("the judge ends", || processes_with(&name).is_empty());
        until("what it started ends", || processes_with(&mark).is_empty());
    }
}

#[test]
fn nothing_stays_in_the_temporary_directory() {
    for (plan, code) in [
        (json!([]), "ok"),
        (json!([{ "stage": "construct", "deeds": ["segfault"] }]), "crashes"),
        (json!([{ "stage": "construct", "deeds": [{ "exit-now": 0 }] }]), "crashes"),
        (json!([{ "stage": "construct", "deeds": ["hang"] }]), "hangs"),
    ] {
        let (sandbox, path) = with_misdeed(&plan);
        let temporary = sandbox.root().join("tmp");
        fs::create_dir(&temporary).unwrap();
        let limit = if code == "hangs" { "1" } else { "60" };
        let mut check = command();
        check.env("TMPDIR", &temporary).args(["check", "--json", "--time-limit-s", limit]).arg(&path);
        let out = String::from_utf8(check.output().unwrap().stdout).unwrap();
        let verdicts: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(verdicts[0]["code"], code, "{verdicts}");
        let left: Vec<_> = fs::read_dir(&temporary).unwrap().flatten().map(|e| e.file_name()).collect();
        assert!(left.is_empty(), "{code}: {left:?}");
    }
}

#[test]
fn a_running_host_judges_without_a_temporary_directory() {
    let sandbox = Sandbox::new();
    sandbox.drop_in("policy_bias");
    let nowhere = sandbox.root().join("no such directory");
    let mut host = command();
    host.env("TMPDIR", &nowhere).args(["run", "--duration-s", "60", "--plugins"]).arg(sandbox.plugins());
    let mut host = host.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
    let lines = std::io::BufRead::lines(std::io::BufReader::new(host.stdout.take().unwrap()));
    let admitted = lines.map_while(Result::ok).find(|line| line.contains("discovered") || line.contains("refused"));
    host.kill().unwrap();
    host.wait().unwrap();
    assert!(admitted.as_ref().is_some_and(|line| line.contains("discovered policy bias")), "{admitted:?}");
}
