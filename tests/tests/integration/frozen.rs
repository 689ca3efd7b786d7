//! A plugin that was built against the sources of API 2.0, kept beside it and never edited: every host of API 2 loads it and
//! gets answers.

use crate::binary::run;
use crate::hosted::Hosted;
use crate::rounds::jobs_round;
use crate::sandbox::{library, workspace};
use crate::third_party::built;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_of_api_2_0_loads_and_answers() {
    let file = built(&workspace().join("tests/fixtures/frozen-2.0"), "frozen-2.0", &["--offline"]);
    let (exit, out, err) = run(&["check", "--json", &file]);
    assert_eq!(exit, 0, "{out}{err}");
    let verdicts: serde_json::Value = serde_json::from_str(&out).unwrap();
    let policies = verdicts[0]["policies"].as_array().unwrap();
    assert!(policies.iter().all(|policy| policy["api_version"] == "2.0") && policies.len() == 3, "{out}");

    let mut hosted = Hosted::start();
    hosted.sandbox.rename_in(&library("frozen"), &std::fs::read(&file).unwrap());
    hosted.admitted(&library("frozen")).await;
    hosted.sandbox.activate(r#"{ "policy": "frozen", "filters": [{ "policy": "frozen-filter" }] }"#);
    let first = hosted.receipted("frozen").await;
    let plan = hosted.bind(5).await;
    assert_eq!((plan.policy(), plan.fallback(), plan.bindings().len()), ("frozen", None, 5));
    let plan = hosted.host.bind(jobs_round(4, 2, &[("open", "team-a", 2), ("closed", "team-a", 2)])).await;
    assert_eq!((plan.fallback(), plan.bindings().len()), (None, 2), "what its filter closes stays closed");

    hosted.sandbox.activate(r#"{ "policy": "composite", "scores": [{ "policy": "frozen-score" }] }"#);
    hosted.receipted("composite").await;
    let plan = hosted.bind(5).await;
    assert_eq!((plan.policy(), plan.fallback(), plan.bindings().len()), ("composite", None, 5));

    // What it raises comes with its place.
    hosted.sandbox.activate(r#"{ "policy": "frozen", "config": { "panic_at": "trap" } }"#);
    assert!(hosted.receipted("frozen").await > first);
    assert_eq!(hosted.bind(5).await.bindings().len(), 5);
    let plan = hosted.host.bind(jobs_round(4, 2, &[("trap", "team-a", 2)])).await;
    let reason = plan.fallback().expect("it panics");
    assert_eq!(reason.code, "policy-panicked");
    assert!(
        reason.message.contains("panics in a round") && reason.message.contains("(at src/lib.rs:"),
        "{}",
        reason.message
    );
}
