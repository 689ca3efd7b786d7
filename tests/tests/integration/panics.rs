//! A panic in a plugin is told as what it is, with file, line and column, whatever `RUST_BACKTRACE` says; and nothing else
//! is printed for it, because printing a backtrace takes longer than a round may.

use std::fs::{self, File};
use std::path::PathBuf;

use serde_json::Value;

use crate::binary::{Running, command};
use crate::sandbox::{Sandbox, artifact, workspace};

/// What `RUST_BACKTRACE` may say.
const BACKTRACES: [Option<&str>; 3] = [None, Some("1"), Some("full")];

fn run_with(sandbox: &Sandbox, backtrace: Option<&str>) -> (Running, PathBuf) {
    let log = sandbox.root().join("log");
    let file = File::create(&log).unwrap();
    let running = Running::start_as(sandbox, &[], |command| {
        command.env_remove("RUST_BACKTRACE").envs(backtrace.map(|value| ("RUST_BACKTRACE", value))).stderr(file);
    });
    (running, log)
}

/// The place that a message names: file, and the source line there.
fn place(message: &str) -> (String, String) {
    let (_, rest) = message.split_once("(at ").unwrap_or_else(|| panic!("no place in {message:?}"));
    let (place, _) = rest.split_once(')').unwrap();
    let mut parts = place.rsplitn(3, ':');
    let [column, line, file] = std::array::from_fn(|_| parts.next().expect("file, line and column"));
    assert!(column.parse::<usize>().unwrap() > 0);
    let line: usize = line.parse().unwrap();
    let text = fs::read_to_string(workspace().join(file)).unwrap_or_default();
    (file.to_owned(), text.lines().nth(line - 1).unwrap_or_default().to_owned())
}

fn assert_nothing_was_printed(log: &PathBuf) {
    let log = fs::read_to_string(log).unwrap();
    for printed in ["stack backtrace", "panicked at", "RUST_BACKTRACE"] {
        assert!(!log.contains(printed), "{printed}: {log}");
    }
}

#[test]
fn a_panic_in_a_round_has_its_code_and_its_place_with_and_without_backtraces() {
    for backtrace in BACKTRACES {
        for (active, code, part) in [
            (
                r#"{ "policy": "hostile", "config": { "bind": "panic", "job": "j1" } }"#,
                "policy-panicked",
                "panics in a round",
            ),
            (
                r#"{ "policy": "bias", "filters": [{ "policy": "hostile-filter", "config": { "filter": "panic", "job": "j1" } }] }"#,
                "filter-panicked",
                "panic!(",
            ),
            (
                r#"{ "policy": "composite", "scores": [{ "policy": "hostile-score", "config": { "score": "panic", "job": "j1" } }] }"#,
                "score-panicked",
                "panic!(",
            ),
        ] {
            let sandbox = Sandbox::new();
            sandbox.drop_in("fixture_hostile");
            sandbox.activate(active);
            let (mut running, log) = run_with(&sandbox, backtrace);
            let line = running.wait_for("fallback   [");
            assert!(line.contains(&format!("[{code}]")) && line.contains("panicked: hostile: "), "{line}");
            let (file, source) = place(&line);
            assert!(file.starts_with("tests/fixtures/hostile/src/") && source.contains(part), "{line}: {source}");
            assert_eq!(running.stop().0, 0);
            assert_nothing_was_printed(&log);
        }
    }
}

#[test]
fn a_panic_in_a_constructor_or_a_destructor_has_its_place() {
    let sandbox = Sandbox::new();
    sandbox.drop_in("fixture_hostile");
    sandbox.drop_in("fixture_panicky");
    let (mut running, log) = run_with(&sandbox, Some("1"));
    running.wait_for_all(&["discovered policy hostile", "discovered policy panicky"]);
    sandbox.activate(r#"{ "policy": "hostile", "config": { "construct": "panic" } }"#);
    let line = running.wait_for("refused    active.json [");
    assert!(line.contains("[constructor-panic]") && place(&line).1.contains("panics in its constructor"), "{line}");
    sandbox.activate(r#"{ "policy": "panicky", "config": { "how": "when-dropped" } }"#);
    let line = running.wait_for("panicky: when dropped");
    assert!(place(&line).1.contains("panicky: when dropped"), "{line}");
    assert_eq!(running.stop().0, 0);
    assert_nothing_was_printed(&log);
}

#[test]
fn the_place_is_that_of_the_panic_that_was_caught() {
    for backtrace in BACKTRACES {
        let sandbox = Sandbox::new();
        sandbox.drop_in("fixture_panicky");
        let (mut running, log) = run_with(&sandbox, backtrace);
        running.wait_for("discovered policy panicky");
        let mut refused = |how: &str| {
            sandbox.activate(&format!(r#"{{ "policy": "panicky", "config": {{ "how": "{how}" }} }}"#));
            let line = running.wait_for("refused    active.json [");
            assert!(line.contains("[canned-round-failed]") && line.contains("panicked: "), "{how}: {line}");
            line
        };
        for (how, message, source) in [
            ("assertion", "assertion `left == right` failed: panicky: asserts", "How::Assertion => assert_eq!"),
            ("while-unwinding", "panicky: the one that counts", "panicky: the one that counts"),
            ("after-another", "panicky: after another", "panicky: after another"),
            ("raised-again", "panicky: raised again", "panicky: raised again"),
            ("no-text", "a panic whose payload is not text", "panic_any(7)"),
        ] {
            let line = refused(how);
            assert!(line.contains(message) && place(&line).1.contains(source), "{how}: {line}");
        }
        // Not where the author keeps the sources of others.
        let line = refused("dependency");
        let (file, _) = place(&line);
        assert!(file.starts_with("bytemuck-") && !line.contains("registry"), "{line}");
        // A hook of the author's own stays in force, with the place only if it calls ours.
        let line = refused("own-hook");
        assert!(place(&line).1.contains("panicky: under its own hook"), "{line}");
        let line = refused("only-own-hook");
        assert!(line.contains("panicky: under its own hook") && !line.contains("(at "), "{line}");
        sandbox.activate(r#"{ "policy": "panicky", "config": { "how": "own-hook", "job": "j1" } }"#);
        let line = running.wait_for("fallback   [policy-panicked]");
        assert!(place(&line).1.contains("panicky: under its own hook"), "{line}");
        assert_eq!(running.stop().0, 0);
        assert_nothing_was_printed(&log);
        let log = fs::read_to_string(&log).unwrap();
        assert!(log.contains("the author's hook"), "{log}");
    }
}

#[test]
fn a_panic_on_a_thread_of_the_plugins_own_is_logged() {
    let sandbox = Sandbox::new();
    sandbox.drop_in("fixture_panicky");
    sandbox.activate(r#"{ "policy": "panicky", "config": { "how": "on-a-thread" } }"#);
    let (mut running, log) = run_with(&sandbox, Some("1"));
    running.wait_for("receipt    panicky");
    assert_eq!(running.stop().0, 0);
    let log = fs::read_to_string(&log).unwrap();
    let line = log.lines().find(|line| line.contains("panicky: on a thread of its own")).expect(&log);
    assert!(line.contains("ERROR") && line.contains("panicky-own"), "{line}");
    assert!(place(line).1.contains("panicky: on a thread of its own"), "{line}");
    assert!(!log.contains("stack backtrace"), "{log}");
    // Where nobody listens to the log, standard error has it all the same.
    let sandbox = Sandbox::new();
    sandbox.drop_in("fixture_panicky");
    sandbox.activate(r#"{ "policy": "panicky", "config": { "how": "on-a-thread" } }"#);
    let path = sandbox.root().join("log");
    let file = File::create(&path).unwrap();
    let mut running = Running::start_as(&sandbox, &[], |command| {
        command.env("RUST_LOG", "off").stderr(file);
    });
    running.wait_for("receipt    panicky");
    assert_eq!(running.stop().0, 0);
    let log = fs::read_to_string(&path).unwrap();
    assert!(log.contains("panicky-own") && log.contains("panicky: on a thread of its own"), "{log}");
}

#[test]
fn a_panic_that_ends_the_process_is_printed_with_the_one_before_it() {
    let sandbox = Sandbox::new();
    sandbox.drop_in("fixture_panicky");
    // In a round that no judge tries, and in one that the judge tries.
    for (job, code) in [("j1", ""), ("", "error[crashes]")] {
        let policy = format!(r#"{{ "policy": "panicky", "config": {{ "how": "in-a-destructor", "job": "{job}" }} }}"#);
        let mut evaluate = command();
        evaluate.args(["evaluate", "--workload", "synthetic:jobs=20,rate=20", "--policy", &policy, "--plugins"]);
        let output = evaluate.arg(sandbox.plugins()).env_remove("RUST_BACKTRACE").output().unwrap();
        assert!(!output.status.success());
        let told = String::from_utf8_lossy(&output.stderr);
        for panic in ["panicky: the first panic", "panicky: the second panic"] {
            let line = told.lines().find(|line| line.contains(panic)).unwrap_or_else(|| panic!("no {panic}: {told}"));
            assert!(line.contains("the plugin panicked at tests/fixtures/panicky/src/lib.rs:"), "{line}");
            assert!(line.contains(code), "{told}");
        }
    }
}

#[test]
fn the_verdict_names_the_place() {
    for backtrace in BACKTRACES {
        let mut check = command();
        check.args(["check", "--json"]).arg(artifact("fixture_hostile"));
        check.env_remove("RUST_BACKTRACE").envs(backtrace.map(|value| ("RUST_BACKTRACE", value)));
        let output = check.output().unwrap();
        let verdicts: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(verdicts[0]["code"], "canned-round-failed", "{verdicts}");
        let message = verdicts[0]["message"].as_str().unwrap();
        assert!(message.contains("panicked: ") && place(message).1.contains("panic!("), "{message}");
    }
}
