//! Text from outside (names of files, errors, panics and log lines of plugins, what workloads name): no terminal, log or
//! file of the host's gets anything from it that acts on a terminal, forges a line or has no end.

use std::fs;
use std::path::Path;
use std::process::Output;

use policy_host::text::is_unsafe;
use serde_json::Value;

use crate::binary::{Running, command, over};
use crate::sandbox::Sandbox;

const SMALL: &str = "synthetic:jobs=3,rate=50,tasks=2,stages=1,duration=5ms,seed=1";
/// What a file may be called on most systems.
const NAME: &str = "lib\u{1b}[2J\u{1b}]0;title\u{7}\nerror[forged]: a line\u{9b}31m\u{202e}.so";

/// No character that a terminal acts on but the ends of lines, and no line that the text began by itself.
fn assert_clean(what: &str, text: &[u8]) {
    let text = std::str::from_utf8(text).unwrap_or_else(|e| panic!("{what}: {e}"));
    for line in text.lines() {
        assert!(!line.contains(is_unsafe), "{what}: {line:?}");
        assert!(!line.starts_with("error[forged]"), "{what}: {text}");
    }
}

fn output(what: &str, arguments: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command().args(arguments).output().unwrap();
    assert_clean(what, &stdout);
    assert_clean(what, &stderr);
    (status.code().unwrap(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

fn assert_files_are_clean(directory: &Path) {
    for entry in fs::read_dir(directory).unwrap().flatten().filter(|e| e.path().is_file()) {
        if entry.path().extension().is_some_and(|e| e == "json" || e == "jsonl") {
            assert_clean(&entry.path().display().to_string(), &fs::read(entry.path()).unwrap());
        }
    }
}

#[cfg(unix)]
#[test]
fn names_of_files_are_escaped_wherever_they_are_shown() {
    use std::os::unix::ffi::OsStrExt;
    let sandbox = Sandbox::new();
    let odd = sandbox.root().join("dir\u{1b}[31m\nerror[forged]: x");
    fs::create_dir(&odd).unwrap();
    let plugins = odd.to_str().unwrap();
    fs::write(odd.join(NAME), "no library\n").unwrap();
    fs::write(odd.join(std::ffi::OsStr::from_bytes(b"lib\xff\x1b.so")), "no library\n").unwrap();
    let file = odd.join(NAME);
    let file = file.to_str().unwrap();

    let run =
        ["--log", "info", "run", "--plugins", plugins, "--duration-s", "2", "--workload", "synthetic:jobs=60,rate=20"];
    let (code, out, err) = output("run", &run);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("not-a-library") && out.contains("\\u{1b}[2J"), "{out}");
    assert!(out.contains("lib\\xff\\u{1b}.so") || out.contains("lib\u{fffd}\\u{1b}.so"), "{out}");
    assert_files_are_clean(&odd.join(".policy-host"));
    for arguments in [
        &["status", "--plugins", plugins][..],
        &["status", "--json", "--plugins", plugins],
        &["status", "--metrics", "--plugins", plugins],
        &["list", "--plugins", plugins],
        &["list", "--json", "--plugins", plugins],
        &["check", file],
        &["check", "--json", file],
        &["replay", file],
        &["evaluate", "--policy", "bias", "--workload", file],
        &["evaluate", "--policy", file, "--workload", SMALL],
        &["evaluate", "--policy", "bias", "--workload", SMALL, "--csv", &format!("{file}/c")],
        &["evaluate", "--policy", "bias", "--seeds", "1", "--workload", SMALL, "--out", &format!("{plugins}/r.html")],
        &["evaluate", "--policy", "bias", "--workload", "synthetic:jobs=1", "--baseline", file],
        &["evaluate", "--policy", "bias", "--workload", &format!("synthetic:{NAME}=1")],
        &["run", "--plugins", file, "--workload", SMALL],
        &["run", "--plugins", plugins, "--workload", SMALL, "--record", file],
        &["dev", plugins, "--plugins", plugins],
        &["new", NAME],
        &["switch", NAME, "--plugins", plugins],
        &[file],
        &["run", &format!("--{NAME}")],
        &["run", "--plugins", plugins, "--speed", NAME],
        &["run", "--plugins", plugins, "--lane", NAME],
        &["evaluate", "--policy", "bias", "--workload", SMALL, "--faults", NAME],
        &["evaluate", "--policy", "bias", "--workload", SMALL, "--fail-if", NAME],
        &["check", file, "--time-limit-s", NAME],
    ] {
        output(&format!("{arguments:?}"), arguments);
    }
}

#[test]
fn what_workloads_name_is_escaped() {
    let sandbox = Sandbox::new();
    let workload = sandbox.root().join("w.jsonl");
    let job = |id: &str, pin: &str| {
        serde_json::json!({ "id": id, "submit_us": 0, "tenant": NAME,
            "stages": [{ "id": 0, "tasks": [{ "duration_us": 1000, "pin": pin }] }] })
    };
    let header = serde_json::json!({ "format": "policy-host-workload", "version": 1,
        "executors": [{ "id": NAME, "vcores": 4 }] });
    let write = |jobs: &[Value]| {
        let lines: Vec<String> = std::iter::once(&header).chain(jobs).map(Value::to_string).collect();
        fs::write(&workload, lines.join("\n") + "\n").unwrap();
    };
    let file = workload.to_str().unwrap();
    let events = sandbox.root().join("events.jsonl");
    let evaluate =
        ["evaluate", "--policy", "bias", "--seeds", "1", "--workload", file, "--events", events.to_str().unwrap()];

    write(&[job(NAME, NAME)]);
    let (csv, report) = (sandbox.root().join("runs.csv"), sandbox.root().join("report.html"));
    let files = ["--csv", csv.to_str().unwrap(), "--out", report.to_str().unwrap()];
    let (code, _, err) = output("a good one", &[evaluate.as_slice(), &files].concat());
    assert_eq!(code, 0, "{err}");
    for file in [&events, &csv, &report] {
        let text = fs::read_to_string(file).unwrap();
        assert!(!text.contains(|c| is_unsafe(c) && c != '\n'), "{}", file.display());
    }
    write(&[job(NAME, NAME), job(NAME, NAME)]);
    let (code, _, err) = output("a job twice", &evaluate);
    assert!(code == 1 && err.contains("error[duplicate-job]"), "{err}");
    write(&[job("j", &format!("{NAME}x"))]);
    let (code, _, err) = output("an unknown executor", &evaluate);
    assert!(code == 1 && err.contains("error[unknown-executor]"), "{err}");
    write(&[job(&"x\u{1b}".repeat(1 << 20), &"y".repeat(1 << 20))]);
    let (code, _, err) = output("long names", &evaluate);
    assert!(code == 1 && err.len() < 10_000, "{}", err.len());
}

fn speech(says: &str, mib: usize, after: u64) -> String {
    format!(r#"{{"policy":"hostile-speech","config":{{"says":"{says}","mib":{mib},"after":{after}}}}}"#)
}

#[test]
fn what_plugins_say_is_escaped_and_cut() {
    let sandbox = Sandbox::new();
    sandbox.drop_in("fixture_hostile");
    let plugins = sandbox.plugins();
    let plugins = plugins.to_str().unwrap();
    // Past the canned rounds, where it says so.
    let workload = "synthetic:jobs=60,rate=50,tasks=2,stages=1,duration=5ms,seed=1";
    for (says, mib, after, fails) in [
        ("construct-error", 0, 0, true),
        ("construct-error", 64, 0, true),
        ("construct-failure", 64, 0, true),
        ("bind-error", 8, 0, true),
        ("bind-error", 8, 30, false),
        ("bind-decline", 1, 0, false),
        ("log", 0, 30, false),
        ("log", 1, 30, false),
    ] {
        for more in [&["--json"][..], &[]] {
            let what = format!("{says}, {mib} MiB, {more:?}");
            let spec = speech(says, mib, after);
            let mut arguments =
                vec!["evaluate", "--plugins", plugins, "--seeds", "1", "--workload", workload, "--policy", &spec];
            arguments.extend(more);
            // What the plugin's own panic hook prints while it is tried is none of this.
            let (code, out, err) = output(&what, &arguments);
            assert_eq!(code, i32::from(fails), "{what}: {err}");
            assert!(out.len() + err.len() < 400_000, "{what}: {} and {}", out.len(), err.len());
            if fails || says == "log" {
                assert!(err.contains("speech\\u{1b}[2J"), "{what}: {err}");
            }
        }
    }
}

#[test]
fn what_plugins_say_is_escaped_in_a_running_host_and_in_its_files() {
    let sandbox = Sandbox::new();
    sandbox.drop_in("fixture_hostile");
    let mut running = Running::start(&sandbox, &[]);
    running.wait_for("discovered policy hostile");
    for (says, mib, after, code) in [
        ("construct-error", 4, 0, "[invalid-config]"),
        ("construct-failure", 4, 0, "[constructor-error]"),
        ("construct-panic", 0, 0, "[constructor-panic]"),
        ("bind-error", 4, 0, "[canned-round-failed]"),
        ("bind-decline", 4, 0, "[declined]"),
        ("bind-error", 4, 30, "[policy-error]"),
    ] {
        sandbox.activate(&speech(says, mib, after));
        let line = running.wait_for(code);
        assert!(line.len() < 10_000 && line.contains("speech\\u{1b}[2J"), "{says}: {line}");
        assert_clean(says, line.as_bytes());
        for arguments in [&["status"][..], &["status", "--json"], &["list"], &["list", "--json"]] {
            let (_, out, err) = over(&sandbox, arguments);
            assert_clean(says, out.as_bytes());
            assert_clean(says, err.as_bytes());
        }
        assert_files_are_clean(&sandbox.plugins().join(".policy-host"));
    }
    let (code, summary) = running.stop();
    assert_eq!(code, 0);
    assert!(running.lines().iter().all(|line| !line.contains(is_unsafe)), "{:#?}", running.lines());
    assert!(summary.to_string().len() < 1_000_000);
}
