//! `abi.lock` pins what crosses the boundary of a shared library; `ABI.md` tells its history. This test ties the two to
//! the code. On a change that is meant: read `ABI.md`, then
//! `UPDATE_ABI_LOCK=1 cargo test -p policy-plugin-api --test abi_lock`.
#![cfg(all(target_pointer_width = "64", target_endian = "little"))]

mod layout;

use std::fmt::Write;
use std::path::{Path, PathBuf};

use policy_plugin_api::ExecutorUid;
use policy_plugin_api::abi::manifest::{MANIFEST_SYMBOL, Manifest, ROOT_SYMBOL};
use policy_plugin_api::abi::{API_MAJOR, API_MINOR};
use policy_plugin_api::observe::{self, Observation, ObservationKind};
use policy_wire::block::{BlockKind, BlockView, BlockWriter};
use sha2::{Digest, Sha256};

fn in_package(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file)
}

/// As on every platform: line ends may have been changed by whoever checked the file out.
fn read(file: &str) -> String {
    std::fs::read_to_string(in_package(file)).unwrap_or_default().replace("\r\n", "\n")
}

/// Everything that a host and a plugin must agree on.
fn crossing() -> String {
    let mut text = String::from(
        "What crosses the boundary of a shared library, on 64-bit little-endian machines. Written by a test: see \
         ABI.md.\n",
    );
    let _ = writeln!(text, "\nAPI {API_MAJOR}.{API_MINOR}\nsymbols {ROOT_SYMBOL} {MANIFEST_SYMBOL}");
    let _ =
        write!(text, "manifest of package \"p\" 1.2.3 for API 4.5\n{}", hex(&Manifest::with_api("p", "1.2.3", 4, 5).0));
    text += "\nNumbers\n";
    numbers(&mut text, "abi/raw.rs", include_str!("../../src/abi/raw.rs"), ": u32 = ");
    text += "\nBlocks\n";
    blocks(&mut text);
    text += "\nColumns\n";
    numbers(&mut text, "columns.rs", include_str!("../../wire/src/columns.rs"), ": u16 = ");
    text += "\nTypes\n\n";
    text + &layout::layout()
}

fn hex(bytes: &[u8]) -> String {
    bytes.chunks(32).fold(String::new(), |mut text, line| {
        text += "   ";
        for four in line.chunks(4) {
            text.push(' ');
            for byte in four {
                let _ = write!(text, "{byte:02x}");
            }
        }
        text.push('\n');
        text
    })
}

/// The form of blocks, shown by samples.
fn blocks(text: &mut String) {
    let kinds = [BlockKind::Roster, BlockKind::Stage, BlockKind::Round, BlockKind::Limits, BlockKind::Observations];
    for kind in kinds {
        let _ = writeln!(text, "    {} {kind:?}", kind as u16);
    }
    let mut sample = BlockWriter::new(BlockKind::Stage, 7);
    sample.put(0, &[1u8, 2, 3]);
    sample.put(1, &[1u32, 2, 3]);
    sample.put(2, &[-1i32]);
    sample.put(3, &[u64::MAX - 1]);
    sample.put(4, &[0.5f32]);
    sample.put_strings(5, 6, ["a", "", "b"]);
    let _ = writeln!(text, "a block with u8, u32, i32, u64, f32, and strings, word by word");
    put_words(text, sample.finish().words());
    let kinds = [
        ObservationKind::Started,
        ObservationKind::Finished,
        ObservationKind::Failed,
        ObservationKind::ExecutorLost,
        ObservationKind::ExecutorJoined,
    ];
    let batch = observe::encode(&kinds.map(|kind| Observation::new(kind, ExecutorUid(0), 0)));
    let numbers = BlockView::parse(batch.words(), BlockKind::Observations).expect("a batch").column::<u32>(0);
    for (number, kind) in numbers.iter().zip(kinds) {
        let _ = writeln!(text, "    observation {number} {kind:?}");
    }
}

fn put_words(text: &mut String, words: &[u64]) {
    for line in words.chunks(4) {
        let words: Vec<String> = line.iter().map(|word| format!("{word:016x}")).collect();
        let _ = writeln!(text, "    {}", words.join(" "));
    }
}

/// The numbers that have a meaning, out of their source: no list to forget one in.
fn numbers(text: &mut String, file: &str, source: &str, kind: &str) {
    let mut group = file;
    for line in source.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("pub mod ").or_else(|| line.strip_prefix("impl ")) {
            group = name.trim_end_matches(" {");
        } else if let Some((name, number)) = line.strip_prefix("pub const ").and_then(|l| l.split_once(kind))
            && name != "COUNT"
        {
            let _ = writeln!(text, "    {group} {} {name}", number.trim_end_matches(';'));
        }
    }
}

/// The last row of the history: version and hash.
fn last_row() -> (String, String) {
    let history = read("ABI.md");
    let mut rows = history.lines().filter(|line| line.starts_with('|'));
    let cells: Vec<&str> = rows.next_back().unwrap_or_default().split('|').map(str::trim).collect();
    let cell = |i: usize| cells.get(i).copied().unwrap_or_default().trim_matches('`').to_owned();
    (cell(1), cell(3))
}

#[test]
fn what_crosses_is_what_is_locked_and_the_history_says_so() {
    let now = crossing();
    if std::env::var_os("UPDATE_ABI_LOCK").is_some() {
        std::fs::write(in_package("abi.lock"), &now).expect("abi.lock can be written");
    }
    let locked = read("abi.lock");
    if locked != now {
        let differing = locked.lines().zip(now.lines()).position(|(a, b)| a != b);
        let at = differing.unwrap_or_else(|| locked.lines().count().min(now.lines().count()));
        let line = |text: &str| text.lines().nth(at).unwrap_or("(nothing)").to_owned();
        panic!(
            "what crosses the boundary is not what abi.lock says, from line {} on:\n  locked {}\n  now    {}\nIf that is \
             meant, read plugin-api/ABI.md, then\n  UPDATE_ABI_LOCK=1 cargo test -p policy-plugin-api --test abi_lock",
            at + 1,
            line(&locked),
            line(&now)
        );
    }
    // The layout check compares the package's version, too: a package ahead of its API would cut plugins off.
    let package = format!("{}.{}", env!("CARGO_PKG_VERSION_MAJOR"), env!("CARGO_PKG_VERSION_MINOR"));
    assert_eq!(package, format!("{API_MAJOR}.{API_MINOR}"), "the package has the version of the API");
    let wire = read("wire/Cargo.toml");
    assert!(wire.contains(&format!("\nversion = \"{package}.")), "so has policy-wire, whose blocks cross: {wire}");
    let sha256: String = Sha256::digest(now.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    let version = format!("{API_MAJOR}.{API_MINOR}");
    assert_eq!(
        last_row(),
        (version.clone(), sha256.clone()),
        "the history in plugin-api/ABI.md must end with this row:\n| {version} | what changed | `{sha256}` |\n"
    );
}

#[test]
fn nothing_of_this_build_or_machine_is_in_it() {
    let now = crossing();
    for own in [env!("CARGO_MANIFEST_DIR"), "/src/", ".rs:", "0x"] {
        assert!(!now.contains(own), "{own}");
    }
    assert_eq!(now, crossing(), "the same each time");
    for part in [
        "fault 4 PANICKED",
        "RawLimits 1 UNRESTRICTED",
        "round 25 ",
        "raw::RawRound",
        "raw::PluginModule",
        "table::TableHead",
        "RawPolicy_trait::VTable",
        "FfiFuture",
    ] {
        assert!(now.contains(part), "{part} is pinned");
    }
}
