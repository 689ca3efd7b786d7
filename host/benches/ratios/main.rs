//! Figures of the host, each a ratio of two sides measured in one run: `cargo bench -p policy-host --bench ratios`.
//! With a name (`-- swap`), only that section. Results and their meaning: `host/benches/README.md`.
//!
//! Machines differ and are busy with other things: sides alternate in blocks (A B B A …), the figure is the median of
//! the paired ratios, with a bootstrap confidence interval. Absolute times are printed for sizing only.
#![allow(missing_docs, reason = "a program")]

mod boundary;
mod composite;
mod limited;
#[path = "../../../plugins/kit/benches/paired/mod.rs"]
mod paired;
mod recording;
mod rounds;
mod swap;
mod validation;

use std::path::PathBuf;

fn main() {
    // `cargo bench` passes `--bench`; `cargo test --benches` would not, and must be quick.
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if !arguments.iter().any(|a| a == "--bench") {
        println!("nothing is measured without --bench");
        return;
    }
    let only = arguments.iter().find(|a| !a.starts_with('-')).cloned();
    let wanted = |name: &str| only.as_deref().is_none_or(|o| o == name);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let sections: [(&str, Section); 12] = [
        ("boundary", boundary::boundary),
        ("thread-lane", boundary::thread_lane),
        ("full-round", boundary::full_round),
        ("validation", validation::validation),
        ("differing", limited::differing),
        ("limited", limited::limited),
        ("composite", composite::composite),
        ("shadow", boundary::shadow),
        ("recording", recording::recording),
        ("swap", swap::latency),
        ("stall", swap::stall),
        ("memory", swap::memory),
    ];
    for (name, section) in sections {
        if wanted(name) {
            println!("\n## {name}");
            section(&runtime);
        }
    }
}

/// Measures and prints.
type Section = fn(&tokio::runtime::Runtime);

/// The shared library of a bundled plugin, as cargo built it for this bench.
fn artifact(name: &str) -> PathBuf {
    let file = format!("{}{name}{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let path = std::env::current_exe().expect("a path").with_file_name(file);
    assert!(path.is_file(), "{} is not built", path.display());
    path
}
