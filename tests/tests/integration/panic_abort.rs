//! A plugin built with `panic = "abort"` would end the host at its first panic: it does not compile, and a library that
//! was built so all the same is refused before it is mapped.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use crate::binary::{Running, command, run};
use crate::sandbox::{Sandbox, library, workspace};

/// A new policy crate, with what `cargo` needs to build it here.
struct Crate {
    _sandbox: Sandbox,
    source: PathBuf,
    target: PathBuf,
}

impl Crate {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        let mut new = command();
        new.args(["new", "ends-all", "--plugin-api"]).arg(workspace().join("plugin-api"));
        assert!(new.current_dir(sandbox.root()).output().unwrap().status.success());
        let source = sandbox.root().join("ends-all");
        // The versions that the host was built with are on this machine; nothing else may be.
        fs::copy(workspace().join("Cargo.lock"), source.join("Cargo.lock")).unwrap();
        let exe = std::env::current_exe().unwrap();
        let target = exe.ancestors().find(|p| p.join("CACHEDIR.TAG").is_file()).unwrap_or(&source).join("new-crate");
        Self { _sandbox: sandbox, source, target }
    }

    fn cargo(&self, arguments: &[&str]) -> (bool, String) {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(arguments).current_dir(&self.source).env("CARGO_TARGET_DIR", &self.target);
        cargo.env("CARGO_NET_OFFLINE", "true").env_remove("RUSTFLAGS");
        let Output { status, stderr, .. } = cargo.output().expect("cargo starts");
        (status.success(), String::from_utf8_lossy(&stderr).into_owned())
    }
}

#[test]
fn it_does_not_compile_and_says_what_to_remove() {
    let new = Crate::new();
    let manifest = new.source.join("Cargo.toml");
    let text = fs::read_to_string(&manifest).unwrap();
    // By a flag, and by the profile.
    let by_flag = new.cargo(&["rustc", "--quiet", "--lib", "--", "-C", "panic=abort"]);
    fs::write(&manifest, format!("{text}\n[profile.dev]\npanic = \"abort\"\n")).unwrap();
    let by_profile = new.cargo(&["check", "--quiet", "--lib"]);
    for (done, told) in [by_flag, by_profile] {
        assert!(!done, "it compiled");
        assert!(told.contains("Remove `panic = \"abort\"` from the profiles in Cargo.toml"), "{told}");
        assert_eq!(told.matches("error: ").count(), 2, "nothing but this and cargo's last word: {told}");
    }
    // Tests unwind whatever the profile says.
    let (done, told) = new.cargo(&["test", "--quiet", "--no-run"]);
    assert!(done, "{told}");
}

/// The outside of a plugin: manifest and root symbol, and some code that panics. What a kit made that does not look.
const OUTSIDE: &str = r#"
#[unsafe(export_name = "POLICY_PLUGIN_MANIFEST")]
static MANIFEST: [u8; 128] = {
    let mut bytes = [0; 128];
    let begin = *b"policy-plugin\0\0\x01\x01\0\0\0\x01\0\0\0ends-all";
    let mut i = 0;
    while i < begin.len() {
        bytes[i] = begin[i];
        i += 1;
    }
    bytes
};
#[unsafe(export_name = "POLICY_PLUGIN_ROOT")]
static ROOT: [u64; 64] = [0; 64];
#[unsafe(no_mangle)]
pub extern "C" fn nth(at: usize) -> usize {
    std::panic::catch_unwind(|| [1, 2, 3][at % 4]).unwrap_or(0)
}
"#;

/// Compiles [`OUTSIDE`]; `None`, saying so, where there is no compiler.
fn compiled(sandbox: &Sandbox, flags: &[&str], name: &str) -> Option<PathBuf> {
    let source = sandbox.root().join("outside.rs");
    fs::write(&source, OUTSIDE).unwrap();
    let to = sandbox.root().join(library(name));
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.args(["--edition", "2024", "--crate-type", "cdylib", "--crate-name", name, "-o"]).arg(&to).args(flags);
    match rustc.arg(&source).output() {
        Ok(output) => {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            Some(to)
        }
        Err(e) => {
            eprintln!("skipped: rustc cannot be started: {e}");
            None
        }
    }
}

#[cfg(unix)]
#[test]
fn a_library_that_was_built_so_is_refused_before_it_is_mapped() {
    let sandbox = Sandbox::new();
    let builds: [&[&str]; 3] = [
        &["-C", "panic=abort"],
        &["-C", "panic=abort", "-C", "opt-level=3", "-C", "lto=fat", "-C", "strip=symbols"],
        &["-C", "panic=unwind", "-C", "opt-level=3", "-C", "lto=fat", "-C", "strip=symbols"],
    ];
    for (i, flags) in builds.into_iter().enumerate() {
        let Some(file) = compiled(&sandbox, flags, &format!("outside{i}")) else { return };
        let (code, _, err) = run(&["check", file.to_str().unwrap()]);
        assert_eq!(code, 1, "{err}");
        let told = err.contains("error[panic-abort]") && err.contains("remove that from the profile in Cargo.toml");
        assert_eq!(told, flags[1] == "panic=abort", "{flags:?}: {err}");
    }
    let mut running = Running::start(&sandbox, &[]);
    sandbox.rename_in("outside.so", &fs::read(sandbox.root().join(library("outside0"))).unwrap());
    running.wait_for("refused    outside.so [panic-abort]");
    assert_eq!(running.stop().0, 0);
}
