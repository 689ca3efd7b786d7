//! A plugin from a workspace of its own, built with another optimisation level and other versions of dependencies.

use std::path::Path;
use std::process::Command;

use crate::binary::run;
use crate::hosted::Hosted;
use crate::sandbox::workspace;

/// Builds a workspace of its own into `target` below ours, and returns the shared library that it makes.
pub(crate) fn built(source: &Path, target: &str, arguments: &[&str]) -> String {
    // A target directory of its own, below ours: cargo's lock is not shared, and `cargo clean` takes it along.
    let exe = std::env::current_exe().unwrap();
    let target = exe.ancestors().find(|p| p.join("CACHEDIR.TAG").is_file()).unwrap_or(source).join(target);
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["build", "--locked", "--message-format=json-render-diagnostics"]).args(arguments).current_dir(source);
    build.env("CARGO_TARGET_DIR", &target).env_remove("RUSTFLAGS");
    let output = build.output().expect("cargo starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let messages = text.lines().filter_map(|l| serde_json::from_str::<serde_json::Value>(l).ok());
    let files = messages.flat_map(|m| m["filenames"].as_array().cloned().unwrap_or_default());
    let suffix = std::env::consts::DLL_SUFFIX;
    let own = |f: &String| f.ends_with(suffix) && !f.contains("/deps/");
    files.filter_map(|f| f.as_str().map(str::to_owned)).rfind(own).expect("a shared library")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_strangers_plugin_loads_and_answers() {
    let library = built(&workspace().join("examples/third-party"), "third-party", &["--release"]);
    let (exit, out, err) = run(&["check", "--json", &library]);
    assert_eq!(exit, 0, "{err}");
    let verdicts: serde_json::Value = serde_json::from_str(&out).unwrap();
    let name = verdicts[0]["policies"][0]["name"].as_str().unwrap().to_owned();

    let mut hosted = Hosted::start();
    hosted.sandbox.rename_in(&crate::sandbox::library("third_party"), &std::fs::read(&library).unwrap());
    hosted.admitted(&crate::sandbox::library("third_party")).await;
    hosted.sandbox.activate(&format!(r#"{{ "policy": "{name}" }}"#));
    hosted.receipted(&name).await;
    let plan = hosted.bind(5).await;
    assert_eq!((plan.policy(), plan.fallback(), plan.bindings().len()), (name.as_str(), None, 5));

    // Its filter and its score, with the host's composite policy.
    hosted.sandbox.activate(
        r#"{ "policy": "composite", "filters": [{ "policy": "no-drain" }], "scores": [{ "policy": "faster-first" }] }"#,
    );
    hosted.receipted("composite").await;
    let plan = hosted.bind(5).await;
    assert_eq!((plan.fallback(), plan.bindings().len()), (None, 5));
    let parts = hosted.host.receipt().active.map(|a| (a.filters[0].policy.clone(), a.scores[0].policy.clone()));
    assert_eq!(parts, Some(("no-drain".to_owned(), "faster-first".to_owned())));
}
