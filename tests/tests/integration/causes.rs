//! Failures as an operator meets them: the code, what failed, and every cause once, in the system's or the loader's own
//! words.

use std::fs;

use serde_json::Value;

use crate::binary::{Running, command, over, run};
use crate::sandbox::{Sandbox, artifact, library};

/// Where a failure is looked for: `D` is a directory with a file `file`, `P` a plugin directory.
struct Case(&'static str, &'static str, &'static str);

const CASES: &[Case] = &[
    Case("run --plugins P --workload D/nothing.jsonl", "workload-unreadable", "No such file or directory"),
    Case("run --plugins P --workload D", "workload-unreadable", "Is a directory"),
    Case("evaluate --policy bias --workload D/file/x", "workload-unreadable", "Not a directory"),
    Case("evaluate --policy bias --workload swim:D/nothing.tsv", "workload-unreadable", "No such file or directory"),
    Case("evaluate --policy bias --workload openb:D/a.csv,D/b.csv", "workload-unreadable", "No such file or directory"),
    Case("evaluate --policy bias --workload recorded:D/nothing", "recording-unreadable", "No such file or directory"),
    Case("evaluate --policy bias --workload S --cluster D/nothing", "workload-unreadable", "No such file or directory"),
    Case("evaluate --policy bias --workload S --events D/no/e", "event-log-unwritable", "No such file or directory"),
    Case("evaluate --policy bias --workload S --events D", "event-log-unwritable", "it is a directory"),
    Case("evaluate --policy bias --workload S --csv D/no/c", "csv-unwritable", "No such file or directory"),
    Case("evaluate --policy bias --workload S --out D/no/r", "report-unwritable", "No such file or directory"),
    Case("evaluate --policy D/nothing.json --workload S", "spec-unreadable", "No such file or directory"),
    Case(
        "evaluate --policy bias --workload S --plugins D/nothing",
        "directory-unreadable",
        "No such file or directory",
    ),
    Case("run --plugins P --workload S --summary D/no/s.json", "summary-unwritable", "No such file or directory"),
    Case("run --plugins P --workload S --record D/no/r.rec", "recording-unwritable", "No such file or directory"),
    Case("run --plugins P --workload S --record D/file", "recording-unwritable", "File exists"),
    Case("run --plugins P --workload S --state-dir D/file/st", "state-dir-unusable", "Not a directory"),
    Case("replay D/nothing.rec", "recording-unreadable", "No such file or directory"),
    Case("replay D/file", "not-a-recording", "is not a recording"),
    Case("list --plugins D/nothing", "directory-unreadable", "No such file or directory"),
    Case("list --plugins D/file", "directory-unreadable", "Not a directory"),
    Case("status --plugins P --state-dir D", "receipt-unreadable", "expected ident"),
    Case("dev D/nothing --plugins P", "no-crate", "No such file or directory"),
    Case("check D/nothing.so", "no-such-file", "no such file"),
];

#[cfg(target_os = "linux")]
#[test]
fn failures_say_why() {
    let sandbox = Sandbox::new();
    let directory = sandbox.root().join("files");
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("file"), "text\n").unwrap();
    fs::write(directory.join("receipt.json"), "nonsense\n").unwrap();
    let (d, p) = (directory.to_str().unwrap(), sandbox.plugins());
    for Case(line, code, cause) in CASES {
        let words = line.split_whitespace().map(|word| match word {
            "P" => p.to_str().unwrap().to_owned(),
            "S" => "synthetic:jobs=1".to_owned(),
            "D" => d.to_owned(),
            word => word.replace("D/", &format!("{d}/")),
        });
        let words: Vec<String> = words.collect();
        let output = command().args(&words).output().unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{line}: {err}");
        assert!(err.contains(&format!("error[{code}]: ")), "{line}: {err}");
        let told: Vec<&str> = err.lines().filter(|line| line.starts_with("error[")).collect();
        assert_eq!(told.len(), 1, "{line}: {err}");
        assert_eq!(told[0].matches(cause).count(), 1, "{line}: the cause, once: {err}");
    }
}

/// A plugin that needs a library that is not there: its name in the table of needed ones is another.
fn needs_a_missing_library() -> Vec<u8> {
    patched(b"\0libc.so.6\0", b"\0libx.so.6\0")
}

/// A plugin that needs a function that nobody has.
fn needs_a_missing_function() -> Vec<u8> {
    patched(b"\0memcpy\0", b"\0memcpx\0")
}

fn patched(from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut bytes = fs::read(artifact("policy_bias")).unwrap();
    let at: Vec<usize> = bytes.windows(from.len()).enumerate().filter(|(_, w)| *w == from).map(|(at, _)| at).collect();
    assert!(!at.is_empty(), "{:?} is in the library", String::from_utf8_lossy(from));
    for at in at {
        bytes[at..at + to.len()].copy_from_slice(to);
    }
    bytes
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[test]
fn the_loaders_own_words_are_told() {
    let cases = [
        (
            "missing_library",
            needs_a_missing_library(),
            "libx.so.6: cannot open shared object file: No such file or directory",
        ),
        ("missing_function", needs_a_missing_function(), "undefined symbol: memcpx"),
    ];
    for (name, bytes, words) in &cases {
        let sandbox = Sandbox::new();
        let file = sandbox.rename_in(&library(name), bytes);
        let (code, out, err) = run(&["check", "--json", file.to_str().unwrap()]);
        assert_eq!(code, 1, "{err}");
        assert!(err.contains("error[loader-refused]") && err.matches(words).count() == 1, "{err}");
        let verdicts: Value = serde_json::from_str(&out).unwrap();
        assert!(verdicts[0]["message"].as_str().unwrap().contains(words), "{out}");
    }
    // What a running host says, with and without a judge, in its lines and in its receipt.
    for more in [&[][..], &["--no-judge"]] {
        let sandbox = Sandbox::new();
        let mut running = Running::start(&sandbox, more);
        for (name, bytes, words) in &cases {
            sandbox.rename_in(&library(name), bytes);
            let line = running.wait_for("loader-refused");
            assert_eq!(line.matches(words).count(), 1, "{line}");
            let (_, out, _) = over(&sandbox, &["status"]);
            assert!(out.contains(words), "{out}");
        }
        let (code, summary) = running.stop();
        assert_eq!(code, 0);
        let messages = summary["refusals"].as_array().unwrap().iter().map(|r| r["message"].as_str().unwrap());
        assert!(messages.zip(&cases).all(|(message, (.., words))| message.contains(words)), "{summary}");
    }
}
