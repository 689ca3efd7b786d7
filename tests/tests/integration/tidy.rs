//! The house rules, as tests: dependencies between crates, the unsafe rooms, file heads and sizes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::sandbox::workspace;

/// Every Rust source of the project, with its path from the workspace's root.
fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    walk(&workspace(), &mut found);
    assert!(found.len() > 50, "the sources are where they are expected");
    found
}

fn walk(directory: &Path, found: &mut Vec<(String, String)>) {
    let mut entries: Vec<PathBuf> = fs::read_dir(directory).unwrap().flatten().map(|e| e.path()).collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !name.starts_with('.') && name != "target" {
            walk(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let relative = path.strip_prefix(workspace()).unwrap().to_string_lossy().replace('\\', "/");
            found.push((relative, fs::read_to_string(&path).unwrap()));
        }
    }
}

#[test]
fn every_file_says_what_lives_in_it() {
    let headless: Vec<_> = sources().into_iter().filter(|(_, text)| !text.starts_with("//!")).map(|(p, _)| p).collect();
    assert!(headless.is_empty(), "these do not begin with //!: {headless:#?}");
}

#[test]
fn no_file_is_too_long() {
    let long: Vec<_> = sources().into_iter().filter(|(_, t)| t.lines().count() > 500).map(|(p, _)| p).collect();
    assert!(long.is_empty(), "over 500 lines: {long:#?}");
}

#[test]
fn unsafe_code_lives_in_its_rooms() {
    let rooms = |path: &str| {
        path.starts_with("plugin-api/src/abi/")
            || path == "host/src/artifact/load/dl.rs"
            || path == "host/cli/src/exit_guard.rs"
            || path.starts_with("tests/fixtures/")
            || path.contains("/benches/")
    };
    let marks = ["unsafe {", "unsafe fn", "unsafe impl", "allow(unsafe_code"];
    for (path, text) in sources() {
        let code = text.lines().filter(|l| !l.trim_start().starts_with("//"));
        let found: Vec<&str> = code.filter(|l| marks.iter().any(|m| l.contains(m))).collect();
        assert!(found.is_empty() || rooms(&path) || path.ends_with("/tidy.rs"), "{path}: {found:?}");
        if rooms(&path) && !path.starts_with("tests/") {
            let lines: Vec<&str> = text.lines().collect();
            for (i, line) in
                lines.iter().enumerate().filter(|(_, l)| l.contains("unsafe {") && !l.trim_start().starts_with("//"))
            {
                let before = &lines[i.saturating_sub(8)..i];
                assert!(before.iter().any(|l| l.contains("SAFETY:")), "{path}:{}: no SAFETY comment: {line}", i + 1);
            }
        }
    }
}

#[test]
fn the_abi_crate_is_named_in_two_places_only() {
    for (path, text) in sources() {
        let may = path.starts_with("plugin-api/src/abi/")
            || path == "plugin-api/tests/abi_lock/layout.rs"
            || path == "host/src/artifact/load/dl.rs"
            || path.starts_with("host/src/core/foreign/")
            || ["frozen-2.0", "other-layout", "raw-limits", "unchecked-root"]
                .iter()
                .any(|fixture| path.starts_with(&format!("tests/fixtures/{fixture}/")))
            || path.ends_with("/tidy.rs");
        let named = text.lines().filter(|l| !l.trim_start().starts_with("//")).any(|l| l.contains("abi_stable::"));
        assert!(!named || may, "{path} names abi_stable");
    }
}

#[test]
fn only_its_owner_uses_each_delicate_crate() {
    for (path, text) in sources() {
        let uses = |what: &str| text.lines().any(|l| l.contains(what) && !l.trim_start().starts_with("//"));
        if path.ends_with("/tidy.rs") {
            continue;
        }
        assert!(
            !uses("notify::")
                || path.starts_with("host/src/artifact/watch/")
                || path.contains("/benches/")
                || uses("sync::Notify"),
            "{path} uses notify"
        );
        assert!(
            !uses("libloading::") || path == "host/src/artifact/load/dl.rs" || path.contains("/benches/"),
            "{path} uses libloading"
        );
    }
}

/// The dependencies that a crate names, without its dev-dependencies.
fn dependencies(manifest: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(workspace().join(manifest)).unwrap();
    let table = text.split("\n[").find(|t| t.starts_with("dependencies]")).unwrap_or("");
    let names = table.lines().skip(1).filter_map(|l| l.split(['=', '.']).next());
    names.map(|n| n.trim().to_owned()).filter(|n| !n.is_empty() && !n.starts_with('#')).collect()
}

#[test]
fn crates_depend_only_on_what_the_house_allows() {
    const OURS: &[&str] = &[
        "policy-wire",
        "policy-plugin-api",
        "policy-testkit",
        "policy-kit",
        "policy-host",
        "policy-sim",
        "policy-host-cli",
        "policy-adaptive",
        "policy-bias",
        "policy-binding",
        "policy-consistent-hash",
        "policy-data-locality",
        "policy-resource-aware",
        "policy-round-robin",
        "policy-scores",
        "policy-tenant-fair",
        "policy-tenant-quota",
    ];
    let mut table: Vec<(String, Vec<&str>)> = [
        ("plugin-api/wire", vec![]),
        ("plugin-api", vec!["policy-wire"]),
        ("plugin-api/testkit", vec!["policy-wire", "policy-plugin-api"]),
        ("plugins/kit", vec!["policy-plugin-api"]),
        ("host", vec!["policy-wire", "policy-plugin-api", "policy-kit"]),
        ("host/sim", vec!["policy-wire", "policy-host"]),
        ("host/ballista", vec!["policy-wire", "policy-host"]),
        ("host/cli", vec!["policy-host", "policy-sim", "policy-testkit"]),
        ("examples/embed", vec!["policy-host"]),
        ("examples/third-party", vec!["policy-plugin-api"]),
    ]
    .map(|(path, may)| (path.to_owned(), may))
    .into();
    for entry in fs::read_dir(workspace().join("plugins")).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name != "kit" && entry.path().is_dir() {
            table.push((format!("plugins/{name}"), vec!["policy-plugin-api", "policy-kit"]));
        }
    }
    for (path, may) in table {
        for dependency in dependencies(&format!("{path}/Cargo.toml")) {
            let ours = OURS.contains(&dependency.as_str());
            assert!(!ours || may.contains(&dependency.as_str()), "{path} must not use {dependency}");
        }
    }
}

#[test]
fn a_round_as_data_is_safe_code_and_knows_no_boundary() {
    let head = fs::read_to_string(workspace().join("plugin-api/wire/src/lib.rs")).unwrap();
    assert!(head.lines().any(|line| line == "#![forbid(unsafe_code)]"));
    let used = dependencies("plugin-api/wire/Cargo.toml");
    assert!(!used.contains("abi_stable") && !used.contains("async-ffi"), "{used:?}");
    let banned = ["std::fs", "std::net", "std::thread", "std::time", "std::env"];
    for (path, text) in sources().into_iter().filter(|(path, _)| path.starts_with("plugin-api/wire/src/")) {
        let found: Vec<_> = banned.iter().filter(|b| text.contains(**b)).collect();
        assert!(found.is_empty(), "{path} uses {found:?}");
    }
}

/// The rooms of the host, from the top: each may use those below it. `artifact` and `serving` use nothing of each other.
#[test]
fn rooms_of_the_host_import_downwards_only() {
    const ROOMS: &[&str] = &["facade", "control", "record", "state", "serving", "artifact", "core"];
    let place = |room: &str| ROOMS.iter().position(|r| *r == room);
    let room_of = |path: &str| path.strip_prefix("host/src/").and_then(|p| place(p.split(['/', '.']).next()?));
    let mut met = BTreeSet::new();
    for (path, text) in sources() {
        let Some(from) = room_of(&path) else { continue };
        for (number, line) in code(&text) {
            let used = line.split("crate::").skip(1).filter_map(|rest| place(rest.split([':', ';']).next()?));
            for to in used {
                met.insert((from, to));
                let sideways = (ROOMS[from], ROOMS[to]) == ("serving", "artifact");
                assert!(to >= from && !sideways, "{path}:{number}: {} uses {}: {line}", ROOMS[from], ROOMS[to]);
            }
        }
    }
    assert!(met.len() > ROOMS.len(), "imports are found where they are expected: {met:?}");
}

/// The part of a file before its unit tests, without comments: (line number, line).
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line));
    lines.take_while(|(_, line)| line.trim() != "#[cfg(test)]").filter(|(_, line)| !line.trim_start().starts_with("//"))
}

#[test]
fn errors_become_text_with_all_their_causes() {
    let may = ["host/src/core/text.rs"];
    let ours = |path: &str| ["host/src/", "host/sim/src/", "host/cli/src/"].iter().any(|at| path.starts_with(at));
    let names = ["e", "err", "error", "source", "fault", "failure"];
    let alone = names.map(|name| format!("{{{name}}}"));
    let to_string = names.map(|name| format!("{name}.to_string()"));
    for (path, text) in sources().into_iter().filter(|(p, _)| ours(p) && !p.ends_with("tests.rs")) {
        for (number, line) in code(&text).filter(|_| !may.contains(&path.as_str())) {
            // The convention, in host/src/core/text.rs: Display without the cause, and text through `chain`.
            let shows = alone.iter().any(|word| line.contains(word.as_str()));
            let converts = to_string.iter().any(|word| {
                line.split(word.as_str())
                    .take(line.matches(word.as_str()).count())
                    .any(|before| !before.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '.'))
            });
            assert!(!shows && !converts, "{path}:{number}: an error becomes text without its causes: {line}");
        }
    }
}

/// What prints: facts go through `facts.rs`, reasons through `failure.rs`, log lines through `logs.rs`.
#[test]
fn commands_print_through_their_own_doors() {
    let doors = ["facts.rs", "failure.rs", "exit_guard.rs", "lib.rs", "commands/progress.rs"];
    let prints =
        [["print", "ln!("].concat(), ["print", "!("].concat(), ["stdout", "()"].concat(), ["stderr", "()"].concat()];
    for (path, text) in sources() {
        let is_ours = path.strip_prefix("host/cli/src/").is_some_and(|file| !doors.contains(&file));
        for (number, line) in code(&text).filter(|_| is_ours) {
            let found = prints.iter().any(|word| line.contains(word.as_str())) && !line.contains("is_terminal");
            assert!(!found, "{path}:{number} prints by itself: {line}");
        }
    }
}

#[test]
fn what_authors_build_says_one_rust_version_and_the_host_may_need_a_newer_one() {
    const AUTHORS: &str = "1.88";
    let mut theirs: Vec<String> =
        ["plugin-api/wire", "plugin-api", "plugin-api/testkit", "plugins/kit", "examples/greedy"]
            .into_iter()
            .chain(["examples/third-party"])
            .map(|path| format!("{path}/Cargo.toml"))
            .collect();
    theirs.push("host/cli/src/commands/new/Cargo.toml.template".to_owned());
    for entry in fs::read_dir(workspace().join("plugins")).unwrap().flatten().filter(|e| e.path().is_dir()) {
        theirs.push(format!("plugins/{}/Cargo.toml", entry.file_name().to_string_lossy()));
    }
    for manifest in theirs {
        let text = fs::read_to_string(workspace().join(&manifest)).unwrap();
        let line = format!("rust-version = \"{AUTHORS}\"");
        assert!(text.lines().any(|l| l == line), "{manifest} does not say {line}");
    }
    let readme = fs::read_to_string(workspace().join("examples/third-party/README.md")).unwrap();
    assert!(readme.contains(&format!("Rust {AUTHORS}")), "the README for authors says {AUTHORS}");
    // Without this lint nobody would notice a newer function of the standard library.
    let workspace = fs::read_to_string(workspace().join("Cargo.toml")).unwrap();
    assert!(workspace.contains("incompatible_msrv = \"deny\""));
}

#[test]
fn policies_read_no_clock_and_start_no_threads() {
    let banned = ["std::time::Instant", "SystemTime", "std::thread", "std::fs", "std::net", "std::env::var"];
    for (path, text) in sources()
        .into_iter()
        .filter(|(p, _)| p.starts_with("plugins/") && !p.contains("/tests/") && !p.contains("/benches/"))
    {
        let found: Vec<_> = banned.iter().filter(|b| text.contains(**b)).collect();
        assert!(found.is_empty(), "{path} uses {found:?}");
    }
}

#[test]
fn nothing_is_left_undone() {
    let marks = [["to", "do!("].concat(), ["unimplem", "ented!("].concat(), ["#[ig", "nore"].concat()];
    for (path, text) in sources() {
        for mark in &marks {
            assert!(!text.contains(mark.as_str()), "{path} has {mark}");
        }
    }
}
