//! Relative paths mean what they meant when the command started, and changes are seen by their events.

use crate::binary::{Running, within};
use crate::sandbox::{Sandbox, library};

/// The directory is read once at the start; everything after that is seen by events alone.
const EVENTS_ONLY: [&str; 2] = ["--rescan-s", "3600"];

#[test]
fn a_relative_directory_is_watched_however_it_is_spelled() {
    for spelled in ["plugins.d", "./plugins.d/", "plugins.d/../plugins.d/.", "../{root}/plugins.d"] {
        let sandbox = Sandbox::new();
        let root = sandbox.root().file_name().unwrap().to_str().unwrap();
        let spelled = spelled.replace("{root}", root);
        let mut running = Running::start_within(&sandbox, &spelled, &EVENTS_ONLY);
        sandbox.drop_in("policy_bias");
        running.wait_for("discovered policy bias");
        let (code, _, err) = within(&sandbox, &["switch", "bias", "--plugins", &spelled]);
        assert_eq!(code, 0, "{spelled}: {err}");
        // Written in place: seen when it is closed.
        sandbox.copy_over(&library("marker"), b"not a library");
        running.wait_for("refused    libmarker");
        std::fs::remove_file(sandbox.path(&library("policy_bias"))).unwrap();
        running.wait_for("plugin-file-deleted");
        let (code, summary) = running.stop();
        assert_eq!((code, &summary["fallback_rounds"]), (0, &0.into()), "{spelled}");
    }
}

#[cfg(unix)]
#[test]
fn a_directory_reached_through_a_link_is_watched() {
    let sandbox = Sandbox::new();
    std::os::unix::fs::symlink("plugins.d", sandbox.root().join("current")).unwrap();
    let mut running = Running::start_within(&sandbox, "current", &EVENTS_ONLY);
    sandbox.drop_in("policy_bias");
    running.wait_for("discovered policy bias");
    assert_eq!(running.stop().0, 0);
}

#[test]
fn a_policy_that_changes_the_working_directory_moves_nothing() {
    let sandbox = Sandbox::new();
    sandbox.drop_in("fixture_hostile");
    let more = ["--state-dir", "state", "--record", "run.rec", "--rescan-s", "0.05"];
    let mut running = Running::start_within(&sandbox, "plugins.d", &more);
    running.wait_for("discovered policy hostile");
    sandbox.activate(r#"{ "policy": "hostile", "config": { "construct": "chdir" } }"#);
    running.wait_for("receipt    hostile");
    // Events and rescans still look at the same place, and so do the host's files.
    sandbox.drop_in("policy_bias");
    running.wait_for("discovered policy bias");
    let switch = ["switch", "bias", "--plugins", "plugins.d", "--state-dir", "state"];
    let (code, out, err) = within(&sandbox, &switch);
    assert_eq!(code, 0, "{out}{err}");
    let (code, _) = running.stop();
    assert_eq!(code, 0, "the summary lies where it was asked for");
    assert!(sandbox.root().join("run.rec").is_file(), "and so does the recording");
    assert!(sandbox.root().join("state/receipt.json").is_file());
    assert!(!running.saw("directory-gone") && !running.saw("is gone"), "nothing seemed deleted");
}
