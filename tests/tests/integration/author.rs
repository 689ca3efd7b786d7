//! What an author does first: `new`, then cargo, then `check`.

use std::path::Path;
use std::process::{Command, Output};

use crate::binary::{command, run};
use crate::sandbox::{Sandbox, workspace};

fn new_in(directory: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output = command().current_dir(directory).arg("new").args(arguments).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_new_crate_passes_its_tests_builds_and_is_judged_good() {
    let sandbox = Sandbox::new();
    let plugin_api = workspace().join("plugin-api");
    let plugin_api = plugin_api.to_str().unwrap();
    assert_eq!(new_in(sandbox.root(), &["fill-first", "--plugin-api", plugin_api]), (Some(0), String::new()));
    let source = sandbox.root().join("fill-first");
    // The versions that the host was built with are on this machine; nothing else may be.
    std::fs::copy(workspace().join("Cargo.lock"), source.join("Cargo.lock")).unwrap();
    let exe = std::env::current_exe().unwrap();
    let target = exe.ancestors().find(|p| p.join("CACHEDIR.TAG").is_file()).unwrap_or(&source).join("new-crate");
    let cargo = |arguments: &[&str]| -> Output {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(arguments).arg("--offline").current_dir(&source).env("CARGO_TARGET_DIR", &target);
        cargo.env_remove("RUSTFLAGS").output().expect("cargo starts")
    };
    for step in [["test", "--quiet"], ["build", "--quiet"]] {
        let output = cargo(&step);
        let told = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        assert!(output.status.success(), "{step:?}: {told:?}");
    }
    let library = target.join("debug").join(crate::sandbox::library("fill_first"));
    let (code, out, err) = run(&["check", library.to_str().unwrap()]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("policy fill-first 0.1.0"), "{out}");
}

#[test]
fn a_bad_name_a_missing_api_and_a_directory_that_is_there_are_refused() {
    let sandbox = Sandbox::new();
    for (arguments, code) in [
        (vec!["Fill"], "bad-name"),
        (vec!["9lives"], "bad-name"),
        (vec!["ends-"], "bad-name"),
        (vec!["good", "--plugin-api", "nowhere"], "no-plugin-api"),
    ] {
        let (exit, err) = new_in(sandbox.root(), &arguments);
        assert!(exit == Some(1) && err.contains(&format!("error[{code}]")), "{arguments:?}: {err}");
    }
    std::fs::create_dir(sandbox.path("there")).unwrap();
    let plugin_api = workspace().join("plugin-api");
    let (exit, err) = new_in(&sandbox.plugins(), &["there", "--plugin-api", plugin_api.to_str().unwrap()]);
    assert!(exit == Some(1) && err.contains("error[not-created]") && err.contains("there"), "{err}");
    assert_eq!(std::fs::read_dir(sandbox.path("there")).unwrap().count(), 0, "nothing is written into it");
}
