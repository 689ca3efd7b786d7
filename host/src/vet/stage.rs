//! Reading a file once, and keeping private copies named by content.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use super::VetError;

/// The SHA-256 of a library: its identity.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Hashes bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Reads a whole file through one handle, and refuses what is not a plain, readable, still file.
pub(super) fn read_once(path: &Path, limit: u64) -> Result<Vec<u8>, VetError> {
    let mut file = open(path)?;
    let before = file.metadata().map_err(|source| unreadable(path, source))?;
    check_kind(path, &before)?;
    check_mode(path, &before)?;
    if before.len() == 0 {
        return Err(VetError::Empty { path: path.to_owned() });
    }
    if before.len() > limit {
        return Err(VetError::TooLarge { path: path.to_owned(), bytes: before.len(), limit });
    }
    let mut bytes = Vec::with_capacity(usize::try_from(before.len()).unwrap_or(0));
    // One byte more than there should be: tells a file that grows while it is read, and bounds the read.
    (&mut file).take(before.len() + 1).read_to_end(&mut bytes).map_err(|source| unreadable(path, source))?;
    let after = file.metadata().map_err(|source| unreadable(path, source))?;
    let still = bytes.len() as u64 == before.len()
        && after.len() == before.len()
        && after.modified().ok() == before.modified().ok();
    if !still {
        let what = format!("{} bytes when opened, {} when read", before.len(), after.len());
        return Err(VetError::StillChanging { path: path.to_owned(), what });
    }
    Ok(bytes)
}

fn unreadable(path: &Path, source: io::Error) -> VetError {
    match source.kind() {
        io::ErrorKind::NotFound => VetError::Gone { path: path.to_owned() },
        _ if is_symlink_loop(&source) => VetError::SymlinkLoop { path: path.to_owned() },
        _ => VetError::Unreadable { path: path.to_owned(), source },
    }
}

#[cfg(unix)]
fn is_symlink_loop(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error())
}

#[cfg(not(unix))]
fn is_symlink_loop(_: &io::Error) -> bool {
    false
}

fn open(path: &Path) -> Result<File, VetError> {
    // Looked at first: opening a device can have effects of its own.
    let metadata = fs::metadata(path).map_err(|source| unreadable(path, source))?;
    check_kind(path, &metadata)?;
    check_mode(path, &metadata)?;
    let mut options = OpenOptions::new();
    options.read(true);
    // Should the path have become a FIFO in between: never wait for its other end.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, rustix::fs::OFlags::NONBLOCK.bits() as i32);
    options.open(path).map_err(|source| unreadable(path, source))
}

fn check_kind(path: &Path, metadata: &fs::Metadata) -> Result<(), VetError> {
    if metadata.is_file() {
        return Ok(());
    }
    Err(VetError::NotAFile { path: path.to_owned(), kind: kind_of(metadata) })
}

#[cfg(unix)]
fn kind_of(metadata: &fs::Metadata) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    let t = metadata.file_type();
    match () {
        () if t.is_dir() => "directory",
        () if t.is_fifo() => "FIFO",
        () if t.is_socket() => "socket",
        () if t.is_char_device() || t.is_block_device() => "device",
        () => "special file",
    }
}

#[cfg(not(unix))]
fn kind_of(metadata: &fs::Metadata) -> &'static str {
    if metadata.is_dir() { "directory" } else { "special file" }
}

#[cfg(unix)]
fn check_mode(path: &Path, metadata: &fs::Metadata) -> Result<(), VetError> {
    use std::os::unix::fs::PermissionsExt;
    let mode = metadata.permissions().mode() & 0o7777;
    // The superuser reads such a file all the same; the operator who set the mode did not mean that.
    if mode & 0o444 == 0 {
        return Err(VetError::NoReadPermission { path: path.to_owned(), mode });
    }
    if mode & 0o002 != 0 {
        return Err(VetError::WorldWritable { path: path.to_owned(), mode });
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_mode(_: &Path, _: &fs::Metadata) -> Result<(), VetError> {
    Ok(())
}

/// Where the private copies lie: a directory that only the host's user may enter.
#[derive(Clone, Debug)]
pub struct StagingDir {
    path: PathBuf,
}

impl StagingDir {
    /// The staging directory under the host's state directory.
    #[must_use]
    pub fn under(state_dir: &Path) -> Self {
        Self { path: state_dir.join("staged") }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the copy under its hash, whole or not at all. A copy that is already there is verified, not trusted.
    pub(super) fn put(&self, digest: Digest, bytes: &[u8]) -> io::Result<PathBuf> {
        create_private(&self.path)?;
        let target = self.path.join(format!("{digest}{}", std::env::consts::DLL_SUFFIX));
        if fs::read(&target).is_ok_and(|there| there == bytes) {
            return Ok(target);
        }
        let mut copy = tempfile::Builder::new().prefix(".staging-").tempfile_in(&self.path)?;
        copy.write_all(bytes)?;
        #[cfg(unix)]
        copy.as_file().set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o500))?;
        // A rename: a copy of the same name that is mapped already keeps its own inode.
        copy.persist(&target)?;
        Ok(target)
    }
}

/// Creates a directory for the host's user only; one that exists stays as it is.
pub(crate) fn create_private(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_whole_and_named_by_its_hash() {
        let dir = tempfile::tempdir().unwrap();
        let staging = StagingDir::under(dir.path());
        let digest = Digest::of(b"bytes");
        let staged = staging.put(digest, b"bytes").unwrap();
        assert!(staged.file_name().unwrap().to_str().unwrap().starts_with(&digest.to_string()));
        assert_eq!(fs::read(&staged).unwrap(), b"bytes");
        assert_eq!(staging.put(digest, b"bytes").unwrap(), staged);
        // Somebody tampered with the copy: it is replaced.
        fs::remove_file(&staged).unwrap();
        fs::write(&staged, b"other").unwrap();
        staging.put(digest, b"bytes").unwrap();
        assert_eq!(fs::read(&staged).unwrap(), b"bytes");
        assert_eq!(fs::read_dir(staging.path()).unwrap().count(), 1, "no leftovers");
    }

    #[cfg(unix)]
    #[test]
    fn what_is_not_a_plain_readable_file_is_refused_without_waiting() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let code = |name: &str| read_once(&at(name), 10).unwrap_err().code();
        rustix::fs::mknodat(rustix::fs::CWD, at("fifo"), rustix::fs::FileType::Fifo, 0o644.into(), 0).unwrap();
        symlink(at("loop"), at("loop")).unwrap();
        fs::create_dir(at("dir")).unwrap();
        fs::write(at("empty"), b"").unwrap();
        fs::write(at("large"), b"12345678901").unwrap();
        fs::write(at("closed"), b"x").unwrap();
        fs::set_permissions(at("closed"), fs::Permissions::from_mode(0o200)).unwrap();
        fs::write(at("open"), b"x").unwrap();
        fs::set_permissions(at("open"), fs::Permissions::from_mode(0o666)).unwrap();
        symlink("/dev/null", at("device")).unwrap();
        assert_eq!(code("fifo"), "not-a-regular-file");
        assert_eq!(code("device"), "not-a-regular-file");
        assert_eq!(code("dir"), "not-a-regular-file");
        assert_eq!(code("loop"), "symlink-loop");
        assert_eq!(code("empty"), "empty-file");
        assert_eq!(code("large"), "too-large");
        assert_eq!(code("closed"), "unreadable");
        assert_eq!(code("open"), "world-writable");
        assert_eq!(code("nothing"), "no-such-file");
    }
}
