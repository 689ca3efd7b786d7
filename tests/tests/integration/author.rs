//! What an author does first: `new`, then cargo, then `check`.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use crate::binary::{command, run};
use crate::hosted::Hosted;
use crate::sandbox::{Sandbox, workspace};

fn new_in(directory: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output = command().current_dir(directory).arg("new").args(arguments).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_crate_passes_its_tests_is_judged_good_and_swapped_in() {
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
    develop(&source, &target);
}

/// `dev --once` on the new crate: with nobody to swap it in, then under a host, then as what does not build.
fn develop(source: &Path, target: &Path) {
    let hosted = Hosted::start();
    let plugins = hosted.sandbox.plugins();
    let dev = |plugins: &Path| {
        let mut dev = command();
        dev.args(["dev", "--once", "--plugins"]).arg(plugins).arg(source).env("CARGO_TARGET_DIR", target);
        let output = dev.env("CARGO_NET_OFFLINE", "true").env_remove("RUSTFLAGS").output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let unwatched = Sandbox::new();
    let (code, out, err) = dev(&unwatched.plugins());
    assert!(code == Some(0) && out.contains("no host runs on it"), "{out}{err}");
    assert!(unwatched.plugins().join(crate::sandbox::library("fill_first")).is_file());
    let (code, out, err) = dev(&plugins);
    assert!(code == Some(0) && out.contains("answers    fill-first 0.1.0"), "{out}{err}");
    assert_eq!(hosted.host.active().policy(), "fill-first");
    let lib = source.join("src/lib.rs");
    let good = std::fs::read_to_string(&lib).unwrap();
    std::fs::write(&lib, format!("{good}\nthis does not compile")).unwrap();
    let (code, _, err) = dev(&plugins);
    assert!(code == Some(1) && err.contains("error[build-failed]"), "{err}");
    assert_eq!(hosted.host.active().policy(), "fill-first", "what was there stays");
    std::fs::write(&lib, &good).unwrap();
    on_every_save(source, target, &plugins);
}

/// `dev` without `--once`: a save that does not compile is told and waited out, the next one is built.
fn on_every_save(source: &Path, target: &Path, plugins: &Path) {
    let lib = source.join("src/lib.rs");
    let good = std::fs::read_to_string(&lib).unwrap();
    let mut dev = command();
    dev.args(["dev", "--plugins"]).arg(plugins).arg(source).env("CARGO_TARGET_DIR", target);
    dev.env("CARGO_NET_OFFLINE", "true").env_remove("RUSTFLAGS").stdout(Stdio::piped()).stderr(Stdio::null());
    let mut dev = Ended(dev.spawn().unwrap());
    let mut lines = BufReader::new(dev.0.stdout.take().unwrap()).lines();
    // Each pass ends with the wait for the next save. The test's own time limit is that of the whole run.
    let mut pass = || {
        let told: Vec<String> = lines.by_ref().map(Result::unwrap).take_while(|l| !l.starts_with("waiting")).collect();
        told.join("\n")
    };
    assert!(pass().contains("answers    fill-first"));
    std::fs::write(&lib, format!("{good}\nthis does not compile")).unwrap();
    assert_eq!(pass(), "", "nothing was built");
    std::fs::write(&lib, format!("{good}\n// saved")).unwrap();
    assert!(pass().contains("answers    fill-first"));
}

/// A child that does not outlive the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn dev_refuses_what_is_no_crate_and_no_directory() {
    let sandbox = Sandbox::new();
    let plugins = sandbox.plugins();
    let (root, plugins) = (sandbox.root().to_str().unwrap(), plugins.to_str().unwrap());
    let (code, _, err) = run(&["dev", "--once", root, "--plugins", plugins]);
    assert!(code == 1 && err.contains("error[no-crate]"), "{err}");
    let here = workspace().join("plugins/bias");
    let (code, _, err) = run(&["dev", "--once", here.to_str().unwrap(), "--plugins", "nowhere"]);
    assert!(code == 1 && err.contains("error[no-plugin-directory]"), "{err}");
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
