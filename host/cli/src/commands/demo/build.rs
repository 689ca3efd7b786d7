//! Building the bundled plugins with cargo, from the checkout that this program came from.

use std::path::{Path, PathBuf};

use super::super::cargo::{self, Verbosity};
use super::super::progress::line;
use crate::failure::Failure;

/// The built libraries.
pub(super) struct Built {
    pub(super) bias: PathBuf,
    pub(super) round_robin: PathBuf,
    pub(super) tenant_quota: PathBuf,
    pub(super) greedy: PathBuf,
    pub(super) greedy_reversed: PathBuf,
    /// Where the demo may put its files: beside what cargo built.
    pub(super) scratch: PathBuf,
    /// Keeps the two versions of one library in two files.
    _copies: tempfile::TempDir,
}

/// Builds what cargo has not built yet.
pub(super) fn plugins() -> Result<Built, Failure> {
    let workspace = workspace()?;
    let copies = tempfile::tempdir().map_err(|e| Failure::because("no-directory", "a temporary directory", &e))?;
    line("build      the bundled plugins (cargo builds what is not there yet)");
    let packages = ["policy-bias", "policy-round-robin", "policy-tenant-quota", "example-greedy"];
    let built = cargo_build(&workspace, &packages, &[])?;
    let find = |package: &str| -> Result<PathBuf, Failure> {
        let library = library(&package.replace('-', "_"));
        let found = built.iter().find(|p| p.file_name().is_some_and(|n| n.to_string_lossy() == library));
        found.cloned().ok_or_else(|| Failure::new("build-failed", format!("cargo built no {library}")))
    };
    // The second version takes the first one's place in the target directory.
    let keep = |from: &Path, name: &str| -> Result<PathBuf, Failure> {
        let to = copies.path().join(library(name));
        std::fs::copy(from, &to).map_err(|e| Failure::because("no-directory", to.display(), &e))?;
        Ok(to)
    };
    let (bias, round_robin, tenant_quota) =
        (find("policy-bias")?, find("policy-round-robin")?, find("policy-tenant-quota")?);
    let greedy = keep(&find("example-greedy")?, "greedy")?;
    let reversed = cargo_build(&workspace, &["example-greedy"], &["--features", "reverse"])?;
    let reversed = reversed.first().ok_or_else(|| Failure::new("build-failed", "cargo built no second greedy"))?;
    let greedy_reversed = keep(reversed, "greedy_reversed")?;
    let scratch = bias.parent().map_or_else(std::env::temp_dir, Path::to_owned);
    Ok(Built { scratch, bias, round_robin, tenant_quota, greedy, greedy_reversed, _copies: copies })
}

/// The file name of a library on this system.
pub(super) fn library(name: &str) -> String {
    format!("{}{name}{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX)
}

/// The checkout: above this program, or where cargo says it runs from.
fn workspace() -> Result<PathBuf, Failure> {
    let exe = std::env::current_exe().ok();
    let cargo = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let here = std::env::current_dir().ok();
    let is_it = |p: &&Path| p.join("plugins/bias/Cargo.toml").is_file() && p.join("Cargo.toml").is_file();
    let starts = [cargo, exe, here];
    let found = starts.iter().flatten().find_map(|start| start.ancestors().find(is_it));
    found.map(Path::to_owned).ok_or_else(|| {
        let message = "the demo builds the bundled plugins from their sources: run it in a checkout, with `cargo demo`";
        Failure::new("no-workspace", message)
    })
}

/// Builds these packages, as this program was built.
fn cargo_build(workspace: &Path, packages: &[&str], more: &[&str]) -> Result<Vec<PathBuf>, Failure> {
    let mut arguments: Vec<&str> =
        packages.iter().flat_map(|package| ["-p", package]).chain(more.iter().copied()).collect();
    if !cfg!(debug_assertions) {
        arguments.push("--release");
    }
    let directories: Vec<&str> =
        packages.iter().map(|p| p.trim_start_matches("policy-").trim_start_matches("example-")).collect();
    cargo::build(workspace, &arguments, Verbosity::Progress, |manifest| {
        let directory = manifest.parent().and_then(Path::file_name).and_then(|name| name.to_str());
        directory.is_some_and(|name| directories.contains(&name))
    })
}
