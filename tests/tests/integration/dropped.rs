//! A host that is dropped ends its policies, whatever else of it still hangs in plugin code.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::hosted::{Hosted, until};

fn lines(file: &Path) -> usize {
    fs::read_to_string(file).map_or(0, |text| text.lines().count())
}

/// Hosts a policy that writes a line when it ends, and drops the host; with `hang`, while another one hangs in its
/// constructor.
async fn its_policy_ends(lane: &str, hang: bool) {
    let directory = tempfile::tempdir().unwrap();
    let (ended, reached) = (directory.path().join("ended"), directory.path().join("reached"));
    let active = |plan| json!({ "policy": "misdeed", "lane": lane, "config": { "plan": [plan] } }).to_string();
    let says_so = active(json!({ "stage": "drop", "deeds": [{ "append": [ended, "ended"] }] }));
    let mut hosted = Hosted::start();
    hosted.bring_up("fixture_misdeed", &says_so, "misdeed").await;
    assert_eq!(hosted.bind(3).await.policy(), "misdeed");
    assert_eq!(lines(&ended), 1, "the instance of the rehearsal has ended");
    if hang {
        hosted.sandbox.activate(&active(json!({ "stage": "construct", "deeds": [{ "touch": reached }, "hang"] })));
        until("the constructor hangs", || reached.exists());
    }
    drop(hosted);
    until("the policy ends", || lines(&ended) == 2);
}

#[tokio::test]
async fn in_each_lane() {
    for lane in ["thread", "inline"] {
        its_policy_ends(lane, false).await;
    }
}

#[tokio::test]
async fn while_a_constructor_hangs() {
    for lane in ["thread", "inline"] {
        its_policy_ends(lane, true).await;
    }
}
