//! Directories that only the host's user may change.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Something in the state directory that could be changed by somebody else than the host's user.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {why}; {mend}")]
pub struct Unsafe {
    /// The directory or file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub why: String,
    /// How to mend it.
    pub mend: String,
}

/// Refuses a symbolic link: what it leads to is not the host's. What is not there is fine.
pub(crate) fn refuse_link(path: &Path) -> Result<(), Unsafe> {
    if !path.is_symlink() {
        return Ok(());
    }
    let target = fs::read_link(path).map_or_else(|_| String::from("elsewhere"), |t| format!("to {}", t.display()));
    Err(Unsafe {
        path: path.to_owned(),
        why: format!("is a symbolic link {target}, where the host keeps its own files"),
        mend: format!("remove the link (rm {}), or name another --state-dir", path.display()),
    })
}

/// Creates a directory for the host's user only; one that exists stays as it is.
pub(crate) fn create_private(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}
