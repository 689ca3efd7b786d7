//! The state directory: the host deletes only what it made there.

use std::fs;
use std::path::{Path, PathBuf};

use crate::binary::run;
use crate::sandbox::Sandbox;

/// Runs a host over the sandbox for a moment, with its state directory at `state`.
fn run_over(sandbox: &Sandbox, state: &Path) -> (i32, String, String) {
    let (plugins, state) = (sandbox.plugins(), state.to_str().unwrap().to_owned());
    run(&["run", "--plugins", plugins.to_str().unwrap(), "--state-dir", &state, "--duration-s", "0.1"])
}

/// A state directory with a `staged` in it.
fn state_with_staged(sandbox: &Sandbox) -> (PathBuf, PathBuf) {
    let state = sandbox.root().join("state");
    let staged = state.join("staged");
    fs::create_dir_all(&staged).unwrap();
    (state, staged)
}

fn staged_name() -> String {
    format!("{}{}", "5a".repeat(32), std::env::consts::DLL_SUFFIX)
}

#[test]
fn only_copies_that_the_host_made_are_deleted() {
    let sandbox = Sandbox::new();
    let (state, staged) = state_with_staged(&sandbox);
    let outside = sandbox.root().join("outside.txt");
    fs::write(&outside, "not the host's").unwrap();
    let hex = "5a".repeat(32);
    let upper = format!("{}{}", "5A".repeat(32), std::env::consts::DLL_SUFFIX);
    let long = format!("{hex}0{}", std::env::consts::DLL_SUFFIX);
    let kept =
        ["notes.txt", "policy.so", hex.as_str(), upper.as_str(), long.as_str(), ".staging-", ".staging-notes.txt"];
    kept.iter().for_each(|name| fs::write(staged.join(name), "not the host's").unwrap());
    fs::create_dir(staged.join(format!("{}{}", "6b".repeat(32), std::env::consts::DLL_SUFFIX))).unwrap();
    let gone = [staged_name(), ".staging-aB3dE6".to_owned()];
    gone.iter().for_each(|name| fs::write(staged.join(name), "an earlier host's copy").unwrap());
    let (code, _, err) = run_over(&sandbox, &state);
    assert_eq!(code, 0, "{err}");
    for name in kept {
        assert!(staged.join(name).is_file(), "{name} is not the host's, and was deleted");
    }
    assert!(staged.join(format!("{}{}", "6b".repeat(32), std::env::consts::DLL_SUFFIX)).is_dir());
    for name in gone {
        assert!(!staged.join(&name).exists(), "{name} of an earlier host is left behind");
    }
    assert!(outside.exists());
}

#[cfg(unix)]
#[test]
fn links_in_staged_are_not_followed() {
    let sandbox = Sandbox::new();
    let (state, staged) = state_with_staged(&sandbox);
    let outside = sandbox.root().join("outside");
    fs::write(&outside, "not the host's").unwrap();
    std::os::unix::fs::symlink(&outside, staged.join(staged_name())).unwrap();
    let (code, _, err) = run_over(&sandbox, &state);
    assert_eq!(code, 0, "{err}");
    assert!(outside.is_file(), "the host followed a link and deleted what it leads to");
    assert!(staged.join(staged_name()).is_symlink(), "a link is not a copy that the host made");
}

#[cfg(unix)]
#[test]
fn a_link_in_place_of_staged_is_refused_and_nothing_behind_it_deleted() {
    let sandbox = Sandbox::new();
    let (state, staged) = state_with_staged(&sandbox);
    let elsewhere = sandbox.root().join("elsewhere");
    fs::rename(&staged, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &staged).unwrap();
    fs::write(elsewhere.join(staged_name()), "not the host's").unwrap();
    let (code, _, err) = run_over(&sandbox, &state);
    assert!(elsewhere.join(staged_name()).is_file(), "the host followed a link");
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("error[state-dir-unsafe]") && err.contains("staged"), "{err}");
}
