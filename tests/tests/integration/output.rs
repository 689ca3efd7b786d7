//! What a command prints: lost output and an end that was not the command's own are failures, and what plugins print
//! stays out of it.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::binary::{Running, command, over, read_json, run};
use crate::sandbox::{Sandbox, artifact};

const SMALL: &str = "synthetic:jobs=3,rate=50,tasks=2,stages=1,duration=5ms,seed=1";

/// A command over a sandbox: `P` stands for its plugin directory, `D` for a directory to write to.
fn prepared(sandbox: &Sandbox, line: &str) -> Command {
    let (plugins, root) = (sandbox.plugins(), sandbox.root().to_owned());
    let mut command = command();
    for word in line.split_whitespace() {
        match word.strip_prefix("D/") {
            _ if word == "P" => command.arg(&plugins),
            Some(file) => command.arg(root.join(file)),
            None => command.arg(word),
        };
    }
    command
}

/// A host has been there, and has written a receipt.
fn visited() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.drop_in("policy_bias");
    sandbox.activate(r#"{ "policy": "bias" }"#);
    let line = format!("run --plugins P --quiet --record D/recorded.rec --workload {SMALL}");
    assert!(prepared(&sandbox, &line).output().unwrap().status.success());
    sandbox
}

/// Every command that prints facts.
fn printing() -> Vec<String> {
    let bias = artifact("policy_bias");
    let mut lines: Vec<String> = [
        "--help",
        "run --help",
        "--version",
        "schema",
        "schema active",
        "list --plugins P",
        "list --plugins P --json",
        "status --plugins P",
        "status --plugins P --json",
        "status --plugins P --metrics",
        "evaluate --policy bias --seeds 1 --json --workload",
        "evaluate --policy bias --seeds 1 --workload",
        "run --plugins P --summary D/summary.json --workload",
        "replay D/recorded.rec --plugins P --no-simulation",
        "replay D/recorded.rec --plugins P --no-simulation --json",
    ]
    .map(|line| if line.ends_with("--workload") { format!("{line} {SMALL}") } else { line.to_owned() })
    .into();
    lines.push(format!("check {}", bias.display()));
    lines.push(format!("check --json {}", bias.display()));
    lines
}

#[cfg(target_os = "linux")]
#[test]
fn lost_output_is_never_a_success() {
    let sandbox = visited();
    for line in printing() {
        let _ = std::fs::remove_file(sandbox.root().join("summary.json"));
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = prepared(&sandbox, &line).stdout(full).output().unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{line}: {err}");
        assert!(err.contains("error[output-lost]") && err.contains("No space left on device"), "{line}: {err}");
        assert_eq!(err.matches("error[").count(), 1, "told once: {line}: {err}");
        if line.contains("--summary") {
            // The work was done all the same.
            assert_eq!(read_json(&sandbox.root().join("summary.json"))["tasks_completed"], 6);
        }
    }
}

#[test]
fn a_reader_that_has_gone_is_no_failure() {
    let sandbox = visited();
    for line in printing() {
        let _ = std::fs::remove_file(sandbox.root().join("summary.json"));
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = prepared(&sandbox, &line).stdout(writer).output().unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), err.as_str()), (Some(0), ""), "{line}");
        if line.contains("--summary") {
            assert_eq!(read_json(&sandbox.root().join("summary.json"))["tasks_completed"], 6);
        }
    }
}

#[test]
fn a_reader_that_goes_after_the_first_line_leaves_the_run_and_its_summary_alone() {
    let sandbox = Sandbox::new();
    let line = format!("run --plugins P --summary D/summary.json --workload {SMALL}");
    let mut child = prepared(&sandbox, &line).stdout(Stdio::piped()).spawn().unwrap();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    let mut first = String::new();
    reader.read_line(&mut first).unwrap();
    drop(reader);
    assert!(child.wait().unwrap().success(), "{first}");
    assert_eq!(read_json(&sandbox.root().join("summary.json"))["tasks_completed"], 6);
}

/// Runs a shell line that limits what may be written to a file, if there is a shell that can.
#[cfg(unix)]
fn with_file_limit(blocks: u32, command: &Command) -> Option<(i32, String)> {
    let mut shell = Command::new("sh");
    // Without the trap, the signal ends the process before the error is seen.
    shell.args(["-c", &format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"")]);
    shell.arg(command.get_program()).args(command.get_args()).env_remove("RUST_LOG").stdout(Stdio::null());
    let Ok(output) = shell.output() else {
        eprintln!("skipped: no shell");
        return None;
    };
    Some((output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stderr).into_owned()))
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_that_could_not_be_written_is_a_failure() {
    let sandbox = visited();
    for (line, code) in [
        ("run --plugins P --summary /dev/full --workload W", "summary-unwritable"),
        ("evaluate --policy bias --seeds 1 --csv /dev/full --workload W", "csv-unwritable"),
        ("evaluate --policy bias --seeds 1 --out /dev/full --workload W", "report-unwritable"),
        ("evaluate --policy bias --seeds 1 --events /dev/full --workload W", "event-log-unwritable"),
    ] {
        let output = prepared(&sandbox, &line.replace('W', SMALL)).output().unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{line}: {err}");
        assert!(err.contains(&format!("error[{code}]")) && err.contains("No space left on device"), "{line}: {err}");
    }
    // A disk that fills up on the way.
    let long = "synthetic:jobs=400,rate=2000,tasks=8,stages=1,duration=5ms,seed=1";
    for (line, code) in [
        ("evaluate --policy bias --seeds 1 --events D/e.jsonl --workload W", "event-log-unwritable"),
        ("evaluate --policy bias --seeds 1 --out D/r.html --workload W", "report-unwritable"),
        ("run --plugins P --state-dir D/st --no-judge --quiet --record D/r.rec --workload W", "recording-unwritable"),
    ] {
        let command = prepared(&sandbox, &line.replace('W', long));
        let Some((exit, err)) = with_file_limit(8, &command) else { return };
        assert_eq!(exit, 1, "{line}: {err}");
        assert!(err.contains(&format!("error[{code}]")) && err.contains("File too large"), "{line}: {err}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn results_can_be_written_to_standard_output() {
    let sandbox = Sandbox::new();
    std::os::unix::fs::symlink("/dev/stdout", sandbox.root().join("link")).unwrap();
    for path in ["/dev/stdout", "/proc/self/fd/1", "/dev/fd/1", "D/link"] {
        let line = format!("evaluate --policy bias --seeds 1 --csv {path} --workload {SMALL}");
        let output = prepared(&sandbox, &line).output().unwrap();
        let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert!(output.status.success(), "{path}: {err}");
        assert!(out.contains("policy,seed,makespan_us") && err.is_empty(), "{path}: {out} {err}");
    }
}

#[test]
fn what_plugins_print_stays_out_of_the_facts() {
    let sandbox = Sandbox::new();
    sandbox.drop_in("fixture_hostile");
    let spec = r#"{"policy":"hostile-speech","config":{"says":"stdout"}}"#;
    let (code, out, err) =
        over(&sandbox, &["evaluate", "--json", "--seeds", "1", "--workload", SMALL, "--policy", spec]);
    assert_eq!(code, 0, "{err}");
    serde_json::from_str::<Value>(&out).unwrap_or_else(|e| panic!("{e}: {out}"));
    for part in ["printed by a plugin", "printed by C in a constructor", "printed by C in a round"] {
        assert!(err.contains(part), "{part} went to standard error: {err}");
    }

    sandbox.activate(spec);
    let recording = sandbox.root().join("r.rec");
    let mut running = Running::start(&sandbox, &["--record", recording.to_str().unwrap()]);
    running.wait_for("receipt    hostile-speech");
    assert_eq!(running.stop().0, 0);
    assert!(!running.lines().iter().any(|line| line.contains("printed")), "{:#?}", running.lines());

    let (code, out, err) = over(&sandbox, &["replay", recording.to_str().unwrap(), "--json", "--no-simulation"]);
    assert_eq!(code, 0, "{err}");
    serde_json::from_str::<Value>(&out).unwrap_or_else(|e| panic!("{e}: {out}"));
    let (_, out, _) = over(&sandbox, &["list", "--json"]);
    serde_json::from_str::<Value>(&out).unwrap_or_else(|e| panic!("{e}: {out}"));
}

fn is_told(err: &str) -> bool {
    err.lines().any(|line| line.starts_with("error[ended-by-plugin]") && line.contains("fixture_hostile"))
}

#[test]
fn a_plugin_that_ends_the_process_makes_no_success_of_it() {
    let sandbox = Sandbox::new();
    sandbox.drop_in("fixture_hostile");
    // The judge's child finds out first, unless it happens later than the rounds with which it tries a policy.
    for (says, after, judged) in [("construct-exit", 0, true), ("bind-exit", 0, true), ("bind-exit", 40, false)] {
        let spec = format!(r#"{{"policy":"hostile-speech","config":{{"says":"{says}","after":{after}}}}}"#);
        let csv = sandbox.root().join("out.csv");
        let (code, out, err) = over(
            &sandbox,
            &[
                "evaluate",
                "--fail-if",
                "jct_us.mean < 0",
                "--csv",
                csv.to_str().unwrap(),
                "--seeds",
                "1",
                "--workload",
                "synthetic:jobs=60,rate=50,tasks=2,stages=1,duration=5ms,seed=1",
                "--policy",
                &spec,
            ],
        );
        assert_eq!((code, out.as_str()), (1, ""), "{says}: {err}");
        let refused = err.contains("error[crashes]") && err.contains("fixture_hostile");
        assert!(if judged { refused } else { is_told(&err) }, "{says}: {err}");
        assert!(!csv.exists(), "{says}: {err}");
    }

    // Later than the rounds with which the judge's child tries it.
    sandbox.activate(r#"{"policy":"hostile-speech","config":{"says":"bind-exit","after":50}}"#);
    let endless = "synthetic:jobs=200000,rate=20,tasks=4,stages=1,duration=20ms,seed=1";
    let summary = sandbox.root().join("summary.json");
    let (code, _, err) = over(
        &sandbox,
        &["run", "--workload", endless, "--summary", summary.to_str().unwrap(), "--deadline-ms", "60000"],
    );
    assert_eq!(code, 1, "{err}");
    assert!(is_told(&err) && err.contains("policy-") && !summary.exists(), "{err}");
}

#[test]
fn ends_of_the_commands_own_stay_as_they_are() {
    let sandbox = Sandbox::new();
    sandbox.drop_in("fixture_hostile");
    assert_eq!(run(&["--help"]).0, 0);
    assert_eq!(run(&["--version"]).0, 0);
    assert_eq!(run(&["frobnicate"]).0, 2);
    assert_eq!(run(&["run"]).0, 2);
    let spec = "bias";
    let evaluate = ["evaluate", "--seeds", "1", "--workload", SMALL, "--policy", spec];
    let (code, _, err) = run(&[evaluate.as_slice(), &["--baseline", "nobody"]].concat());
    assert_eq!(code, 2, "{err}");
    assert!(err.starts_with("error: --baseline nobody is none of the policies: bias"), "{err}");
    let (code, _, err) = run(&[evaluate.as_slice(), &["--fail-if", "jct_us.mean > 0"]].concat());
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("error[condition-holds]") && !err.contains("ended-by-plugin"), "{err}");
    // In a child of the judge, it is the file's own affair.
    sandbox.activate(r#"{ "policy": "hostile" }"#);
    let mut running = Running::start(&sandbox, &[]);
    running.wait_for("receipt    hostile");
    assert_eq!(running.stop().0, 0);
}
