//! Building plugins with cargo, and finding what it built.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::failure::Failure;

/// How much cargo prints on standard error. The compiler's diagnostics are always printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verbosity {
    /// Each package that it compiles: for builds that take minutes.
    Progress,
    /// Nothing.
    Quiet,
}

/// Runs `cargo build` with these arguments; returns the dynamic libraries of the packages whose manifests are `wanted`. A
/// dependency may be a dynamic library, too.
pub(crate) fn build(
    directory: &Path,
    arguments: &[&str],
    verbosity: Verbosity,
    wanted: impl Fn(&Path) -> bool,
) -> Result<Vec<PathBuf>, Failure> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(directory).args(["build", "--message-format=json-render-diagnostics"]);
    if verbosity == Verbosity::Quiet {
        command.arg("--quiet");
    }
    command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let output = command.output().map_err(|e| Failure::because("build-failed", "cargo cannot be run", &e))?;
    if !output.status.success() {
        return Err(Failure::new("build-failed", format!("cargo ended with {}", output.status)));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let messages = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let ours = messages.filter(|m| {
        m["reason"] == "compiler-artifact" && m["manifest_path"].as_str().is_some_and(|path| wanted(Path::new(path)))
    });
    let files = ours.flat_map(|m| m["filenames"].as_array().cloned().unwrap_or_default());
    let paths = files.filter_map(|file| file.as_str().map(PathBuf::from));
    Ok(paths.filter(|path| path.extension().is_some_and(|e| e == std::env::consts::DLL_EXTENSION)).collect())
}
