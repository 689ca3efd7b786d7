//! A plugin directory of its own for every test, and the libraries that go into it.

use std::fs;
use std::path::{Path, PathBuf};

/// Where cargo put the shared libraries of this package's dev-dependencies: beside the test binary.
pub(crate) fn artifact(name: &str) -> PathBuf {
    let exe = std::env::current_exe().expect("the test binary has a path");
    let path = exe.with_file_name(library(name));
    assert!(path.is_file(), "{} is not built; `cargo test --workspace` builds it", path.display());
    path
}

/// The file name of a library on this system.
pub(crate) fn library(name: &str) -> String {
    format!("{}{name}{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX)
}

/// The workspace.
pub(crate) fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace").to_owned()
}

/// A plugin directory.
pub(crate) struct Sandbox {
    directory: tempfile::TempDir,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir(directory.path().join("plugins.d")).unwrap();
        Self { directory }
    }

    pub(crate) fn root(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn plugins(&self) -> PathBuf {
        self.root().join("plugins.d")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.plugins().join(name)
    }

    /// Puts a built library into the directory as one should: written beside, renamed.
    pub(crate) fn drop_in(&self, artifact_name: &str) -> PathBuf {
        self.drop_as(artifact_name, artifact_name)
    }

    /// As [`Sandbox::drop_in`], under another name.
    pub(crate) fn drop_as(&self, artifact_name: &str, name: &str) -> PathBuf {
        let bytes = fs::read(artifact(artifact_name)).unwrap();
        self.rename_in(&library(name), &bytes)
    }

    /// Writes beside and renames.
    pub(crate) fn rename_in(&self, file: &str, bytes: &[u8]) -> PathBuf {
        let target = self.path(file);
        policy_host::receipt::write_atomically(&target, bytes).unwrap();
        target
    }

    /// What `cp` does: truncates what is there and writes over it.
    pub(crate) fn copy_over(&self, file: &str, bytes: &[u8]) -> PathBuf {
        let target = self.path(file);
        fs::write(&target, bytes).unwrap();
        target
    }

    /// Writes `active.json`.
    pub(crate) fn activate(&self, json: &str) {
        self.rename_in("active.json", json.as_bytes());
    }
}

/// Other bytes that are the same library: what lies behind the end of an ELF file is nobody's business.
pub(crate) fn variant(artifact_name: &str, number: u64) -> Vec<u8> {
    let mut bytes = fs::read(artifact(artifact_name)).unwrap();
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes
}

/// The fixture `misdeed` with a plan in its file: a list of `{"stage", "from", "deeds"}`, see `fixtures/misdeed/src/plan.rs`.
/// Other plans are other libraries, with digests of their own.
pub(crate) fn misdeed(plan: &serde_json::Value) -> Vec<u8> {
    const MARK: &[u8] = b"MISDEED-PLAN:";
    let mut bytes = fs::read(artifact("fixture_misdeed")).unwrap();
    let places: Vec<usize> =
        bytes.windows(MARK.len()).enumerate().filter(|(_, w)| *w == MARK).map(|(i, _)| i).collect();
    let [place] = places[..] else { panic!("the mark stands at {places:?}, and should stand once") };
    let plan = plan.to_string();
    assert!(plan.len() + MARK.len() <= 2_048, "the plan is too long: {plan}");
    let at = place + MARK.len();
    bytes[at..at + 2].copy_from_slice(b"  ");
    bytes[at..at + plan.len()].copy_from_slice(plan.as_bytes());
    bytes
}
