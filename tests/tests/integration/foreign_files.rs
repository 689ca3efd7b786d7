//! Files that are something else than they should be: the command says what they are and what to do, and takes text with
//! a byte order mark as text.

use std::fs;

use serde_json::{Value, json};

use crate::binary::{Running, over, run};
use crate::sandbox::{Sandbox, artifact, library};

const SMALL: &str = "synthetic:jobs=3,rate=50,tasks=2,stages=1,duration=5ms,seed=1";
const MARK: &str = "\u{feff}";

fn utf16(text: &str, little: bool) -> Vec<u8> {
    let mark = [0xfeff];
    let units = mark.into_iter().chain(text.encode_utf16());
    units.flat_map(|unit| if little { unit.to_le_bytes() } else { unit.to_be_bytes() }).collect()
}

fn gzip() -> Vec<u8> {
    [b"\x1f\x8b\x08\0\0\0\0\0\0\x03".as_slice(), &[0x5a; 64]].concat()
}

fn archive(magic: &str, members: &[&str]) -> Vec<u8> {
    let mut bytes = magic.as_bytes().to_vec();
    for name in members {
        bytes.extend(format!("{name:<16}{:<32}{:<10}`\nmember", 0, 6).bytes());
    }
    bytes
}

/// A good plugin whose header says that it is a file of another type (`e_type`).
fn of_type(kind: u8) -> Vec<u8> {
    let mut bytes = fs::read(artifact("policy_bias")).unwrap();
    bytes[16] = kind;
    bytes
}

/// The smallest library for Windows: headers without a section.
fn dll() -> Vec<u8> {
    let mut bytes = vec![0; 64];
    bytes[..2].copy_from_slice(b"MZ");
    bytes[60] = 64;
    bytes.extend(b"PE\0\0");
    // Machine, no section, no symbols, an optional header of 240 bytes, executable and a library.
    bytes.extend([0x64, 0x86, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 240, 0, 0x22, 0x20]);
    let mut optional = vec![0; 240];
    optional[..2].copy_from_slice(&[0x0b, 0x02]);
    optional[108] = 16;
    bytes.extend(optional);
    bytes
}

/// What is given for a library: its bytes, the code, and what the message says of it.
fn given() -> Vec<(&'static str, Vec<u8>, &'static str, &'static [&'static str])> {
    let build: &[&str] = &["crate-type = [\"cdylib\"]", "target/release/"];
    let program = fs::read(std::env::current_exe().unwrap()).unwrap();
    let mut given = vec![
        ("rlib", archive("!<arch>\n", &["/", "lib.rmeta/", "a.o/"]), "not-a-library", ".rlib"),
        ("static", archive("!<arch>\n", &["/", "a.o/"]), "not-a-library", "static library (an ar archive)"),
        ("thin", archive("!<thin>\n", &["/", "a.o/"]), "not-a-library", "thin static library"),
        ("gzip", gzip(), "not-a-library", "gzip data; unpack it first"),
        ("zip", b"PK\x03\x04\x14\0\0\0".to_vec(), "not-a-library", "zip archive; unpack it first"),
        ("wasm", b"\0asm\x01\0\0\0".to_vec(), "not-a-library", "WebAssembly module"),
        ("script", b"#!/bin/sh\n".to_vec(), "not-a-library", "a script"),
        ("ld", b"/* GNU ld script */\nGROUP ( /lib/libc.so.6 )\n".to_vec(), "not-a-library", "a linker script"),
        ("lfs", b"version https://git-lfs.github.com/spec/v1\n".to_vec(), "not-a-library", "git lfs pull"),
        ("html", b"<!DOCTYPE html>\n<html>".to_vec(), "not-a-library", "an HTML page"),
        ("utf16", utf16("text", true), "not-a-library", "UTF-16 text (little-endian)"),
    ];
    if cfg!(target_os = "linux") {
        given.push(("object", of_type(1), "not-a-library", "an object file (.o)"));
        given.push(("fixed", of_type(2), "not-a-library", "a program"));
        given.push(("core", of_type(4), "not-a-library", "a core dump"));
        given.push(("program", program, "not-a-library", "a program"));
        given.push(("dll", dll(), "wrong-architecture", "Windows (PE)"));
    }
    let builds = ["rlib", "static", "thin", "object", "fixed", "program"];
    let with = |(name, bytes, code, what)| {
        let mut parts = vec![what];
        if builds.contains(&name) {
            parts.extend(build);
        }
        (name, bytes, code, &*parts.leak())
    };
    given.into_iter().map(with).collect()
}

#[test]
fn what_is_given_for_a_library_is_named() {
    let sandbox = Sandbox::new();
    let mut running = Running::start(&sandbox, &[]);
    for (name, bytes, code, parts) in given() {
        let path = sandbox.root().join(name);
        fs::write(&path, &bytes).unwrap();
        let (exit, out, err) = run(&["check", "--json", path.to_str().unwrap()]);
        let verdicts: Value = serde_json::from_str(&out).unwrap();
        assert_eq!((exit, &verdicts[0]["code"]), (1, &code.into()), "{name}: {err}");
        let message = verdicts[0]["message"].as_str().unwrap();
        assert!(parts.iter().all(|part| message.contains(part)), "{name}: {message}");
        sandbox.rename_in(&library(name), &bytes);
        let line = running.wait_for(code);
        assert!(parts.iter().all(|part| line.contains(part)), "{name}: {line}");
    }
    assert_eq!(running.stop().0, 0);
    // What cargo really makes.
    let deps = std::env::current_exe().unwrap();
    let rlib = fs::read_dir(deps.parent().unwrap()).unwrap().flatten().map(|e| e.path());
    let Some(rlib) = rlib.into_iter().find(|path| path.extension().is_some_and(|e| e == "rlib")) else {
        eprintln!("skipped: no .rlib beside the test");
        return;
    };
    let (exit, _, err) = run(&["check", rlib.to_str().unwrap()]);
    assert!(exit == 1 && err.contains("(.rlib)") && err.contains("cdylib"), "{err}");
}

const ACTIVE: &str = r#"{ "policy": "bias", "filters": [{ "policy": "tenant-quota" }] }"#;

#[test]
fn an_active_file_is_text_or_is_named() {
    let sandbox = Sandbox::new();
    sandbox.drop_in("policy_bias");
    sandbox.drop_in("policy_tenant_quota");
    let mut running = Running::start(&sandbox, &[]);
    running.wait_for_all(&["discovered policy bias", "discovered filter tenant-quota"]);
    for (bytes, what) in [
        (utf16(ACTIVE, true), "UTF-16 text (little-endian)"),
        (utf16(ACTIVE, false), "UTF-16 text (big-endian)"),
        (utf16(ACTIVE, true)[2..].to_vec(), "UTF-16 text (little-endian)"),
        (gzip(), "gzip data"),
        (fs::read(artifact("policy_bias")).unwrap()[..4096].to_vec(), "ELF"),
        (b"{ \"policy\": \"bi\xffas\" }".to_vec(), "byte 15"),
    ] {
        sandbox.rename_in("active.json", &bytes);
        let line = running.wait_for("active-file-syntax");
        assert!(line.contains(what) && line.contains("UTF-8"), "{what}: {line}");
    }
    sandbox.rename_in("active.json", format!("{MARK}{ACTIVE}").as_bytes());
    running.wait_for("receipt    bias");
    // A place in the text is the same with the mark.
    sandbox.rename_in("active.json", format!("{MARK}{{ \"polcy\": 1 }}").as_bytes());
    let line = running.wait_for("active-file-syntax");
    assert!(line.contains("active.json:1:9: unknown field `polcy`"), "{line}");
    // Neither does `switch` lose what stands behind a mark, nor mind one in its config.
    sandbox.rename_in("active.json", format!("{MARK}{ACTIVE}").as_bytes());
    let (code, _, err) = over(&sandbox, &["switch", "round-robin", "--config", &format!("{MARK}{{}}")]);
    assert_eq!(code, 0, "{err}");
    let file: Value = serde_json::from_slice(&fs::read(sandbox.path("active.json")).unwrap()).unwrap();
    assert_eq!(file["filters"], json!([{ "policy": "tenant-quota" }]));
    let (code, _, err) = over(&sandbox, &["switch", "bias", "--config", "{"]);
    assert!(code == 1 && err.contains("error[invalid-config]") && err.contains("--config is not JSON"), "{err}");
    assert_eq!(running.stop().0, 0);
}

#[test]
fn workloads_and_specs_are_text_or_are_named() {
    let sandbox = Sandbox::new();
    let job = json!({ "id": "j", "submit_us": 0, "stages": [{ "id": 0, "tasks": [{ "duration_us": 10 }] }] });
    let header = json!({ "format": "policy-host-workload", "version": 1, "executors": [{ "id": "e0", "vcores": 4 }] });
    let text = format!("{header}\n{job}\n");
    let swim = "job0\t0\t0\t67108864\t0\t0\n";
    let spec = r#"{ "policy": "bias" }"#;
    let path = |name: &str| sandbox.root().join(name);
    let evaluate = |workload: &str, more: &[&str]| {
        let policy: &[&str] = if more.contains(&"--policy") { &[] } else { &["--policy", "bias"] };
        run(&[&["evaluate", "--seeds", "1", "--workload", workload], policy, more].concat())
    };
    let file = |name: &str, bytes: &[u8]| {
        fs::write(path(name), bytes).unwrap();
        path(name).to_str().unwrap().to_owned()
    };
    let marked = |text: &str| format!("{MARK}{text}").into_bytes();

    let good = file("marked.jsonl", &marked(&text));
    let cluster = file("cluster.json", &marked(&header.to_string()));
    let trace = format!("swim:{}", file("marked.tsv", &marked(swim)));
    let policy = file("spec.json", &marked(spec));
    for (workload, more) in
        [(good.as_str(), &[][..]), (SMALL, &["--cluster", &cluster]), (&trace, &[]), (SMALL, &["--policy", &policy])]
    {
        let (code, _, err) = evaluate(workload, more);
        assert_eq!(code, 0, "{workload} {more:?}: {err}");
    }

    for (bytes, what) in [
        (gzip(), "gzip data"),
        (utf16(&text, true), "UTF-16 text (little-endian)"),
        (utf16(&text, false), "UTF-16 text (big-endian)"),
        (utf16(&text, true)[2..].to_vec(), "UTF-16 text (little-endian)"),
        (b"PAR1\0\0\0\0".to_vec(), "a Parquet file"),
    ] {
        let bad = file("bad.json", &bytes);
        for (workload, more) in [
            (bad.as_str(), &[][..]),
            (&format!("swim:{bad}"), &[]),
            (&format!("openb:{bad},{bad}"), &[]),
            (SMALL, &["--cluster", &bad]),
            (SMALL, &["--policy", &bad]),
        ] {
            let (code, _, err) = evaluate(workload, more);
            assert_eq!(code, 1, "{workload} {more:?}: {err}");
            assert!(err.contains(&format!("is {what}, not text in UTF-8")), "{workload} {more:?}: {err}");
        }
    }
}
