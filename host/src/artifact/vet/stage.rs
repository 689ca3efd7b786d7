//! Reading a file once, and keeping private copies named by content.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::VetError;
use super::private::own_directory;
use crate::core::digest::Digest;

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

/// Where copies lie in the state directory.
pub(crate) const STAGED: &str = "staged";

/// Where the private copies lie: a directory that only the host's user may enter.
#[derive(Clone, Debug)]
pub struct StagingDir {
    path: PathBuf,
}

impl StagingDir {
    /// The staging directory under the host's state directory.
    #[must_use]
    pub fn under(state_dir: &Path) -> Self {
        Self { path: state_dir.join(STAGED) }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the copy of these bytes lies.
    pub(super) fn path_of(&self, digest: Digest) -> PathBuf {
        self.path.join(file_name(digest))
    }

    /// Writes the copy under its hash, whole or not at all. A copy that is already there is verified, not trusted.
    pub(super) fn put(&self, digest: Digest, bytes: &[u8]) -> io::Result<Staged> {
        own_directory(&self.path)?;
        let path = self.path.join(file_name(digest));
        if let Some(there) = Staged::of(&path, bytes) {
            return Ok(there);
        }
        let mut copy = tempfile::Builder::new();
        let mut copy = copy.prefix(UNFINISHED).rand_bytes(UNFINISHED_RANDOM).tempfile_in(&self.path)?;
        copy.write_all(bytes)?;
        #[cfg(unix)]
        copy.as_file().set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o500))?;
        // A rename: a copy of the same name that is mapped already keeps its own inode.
        copy.persist(&path)?;
        // Read again: from here on only the descriptor counts, and this is what it holds.
        Staged::of(&path, bytes).ok_or_else(|| io::Error::other(format!("{}: was changed at once", path.display())))
    }

    /// Removes the copies that an earlier host left, except those to keep: regular files with exactly the names that
    /// [`StagingDir`] gives. Anything else stays, and no link is followed. Call it only while holding the lock of the
    /// state directory: it also removes copies that are being written.
    pub fn sweep(&self, keep: &BTreeSet<Digest>) {
        let is_directory = fs::symlink_metadata(&self.path).is_ok_and(|m| m.is_dir());
        let Some(entries) = is_directory.then(|| fs::read_dir(&self.path).ok()).flatten() else { return };
        for entry in entries.flatten() {
            let is_file = entry.file_type().is_ok_and(|t| t.is_file());
            let is_left = entry.file_name().to_str().is_some_and(|name| match staged_digest(name) {
                Some(digest) => !keep.contains(&digest),
                None => is_unfinished(name),
            });
            // One that cannot be removed takes room, and does no other harm.
            if is_file
                && is_left
                && let Err(error) = fs::remove_file(entry.path())
            {
                tracing::warn!(file = %entry.path().display(), %error, "a copy of an earlier host cannot be removed");
            }
        }
    }
}

/// A private copy, held open: whatever becomes of its path, the descriptor has the bytes that were hashed.
#[derive(Clone, Debug)]
pub(crate) struct Staged {
    path: PathBuf,
    file: Arc<File>,
}

impl Staged {
    /// Opens a copy that has exactly these bytes.
    fn of(path: &Path, bytes: &[u8]) -> Option<Self> {
        let (staged, there) = Self::open(path, bytes.len() as u64).ok()?;
        (there == bytes).then_some(staged)
    }

    /// Opens a copy that is of the host's user (or root) and that nobody else may write to, and reads it.
    pub(super) fn open(path: &Path, limit: u64) -> io::Result<(Self, Vec<u8>)> {
        let mut options = OpenOptions::new();
        options.read(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::custom_flags(
            &mut options,
            (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits() as i32,
        );
        let mut file = options.open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() || metadata.len() > limit || !is_private(&metadata) {
            return Err(io::Error::other("it is not a copy that this user staged"));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
        (&mut file).take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
        Ok((Self { path: path.to_owned(), file: Arc::new(file) }, bytes))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The path by which the system's loader opens exactly this file: through the descriptor, where the system has paths
    /// for descriptors; else the path of the copy, in a directory that only the host's user may change. The loader
    /// remembers libraries by the text of their path, so the descriptor must stay open as long as the code is mapped.
    pub(crate) fn loader_path(&self) -> PathBuf {
        #[cfg(target_os = "linux")]
        {
            use std::os::fd::AsRawFd;
            use std::os::unix::fs::MetadataExt;
            let by_descriptor = PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()));
            let place = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
            if fs::metadata(&by_descriptor)
                .ok()
                .map(place)
                .is_some_and(|it| self.file.metadata().ok().map(place) == Some(it))
            {
                return by_descriptor;
            }
        }
        self.path.clone()
    }

    /// Makes sure that the copy lies at its path, for another process to find: writes it again from the descriptor if not.
    pub(crate) fn put_back(&self, digest: Digest) -> io::Result<()> {
        if self.path.is_file() {
            return Ok(());
        }
        // Another open file: the offset of this descriptor is not touched. Where it cannot be had, the copy is lost.
        let bytes = fs::read(self.loader_path())?;
        let staging = StagingDir { path: self.path.parent().unwrap_or(Path::new(".")).to_owned() };
        if Digest::of(&bytes) != digest {
            return Err(io::Error::other("the copy has other bytes than were hashed"));
        }
        staging.put(digest, &bytes).map(drop)
    }

    /// Keeps the descriptor open for the life of the process.
    pub(crate) fn keep_open(&self) {
        std::mem::forget(Arc::clone(&self.file));
    }
}

#[cfg(unix)]
fn is_private(metadata: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    let me = rustix::process::geteuid().as_raw();
    [0, me].contains(&metadata.uid()) && metadata.mode() & 0o022 == 0
}

#[cfg(not(unix))]
fn is_private(_: &fs::Metadata) -> bool {
    true
}

/// What the names of copies begin with that are not whole yet.
const UNFINISHED: &str = ".staging-";
/// The random letters and digits after it.
const UNFINISHED_RANDOM: usize = 6;

/// The name of a copy.
fn file_name(digest: Digest) -> String {
    format!("{digest}{}", std::env::consts::DLL_SUFFIX)
}

/// The digest in the name of a copy; `None` for any other name.
fn staged_digest(name: &str) -> Option<Digest> {
    let digest: Digest = name.strip_suffix(std::env::consts::DLL_SUFFIX)?.parse().ok()?;
    (file_name(digest) == name).then_some(digest)
}

fn is_unfinished(name: &str) -> bool {
    let random = name.strip_prefix(UNFINISHED);
    random.is_some_and(|r| r.len() == UNFINISHED_RANDOM && r.bytes().all(|b| b.is_ascii_alphanumeric()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_whole_and_named_by_its_hash() {
        let dir = tempfile::tempdir().unwrap();
        let staging = StagingDir::under(dir.path());
        let digest = Digest::of(b"bytes");
        let put = || staging.put(digest, b"bytes").unwrap().path().to_owned();
        let staged = put();
        assert!(staged.file_name().unwrap().to_str().unwrap().starts_with(&digest.to_string()));
        assert_eq!(fs::read(&staged).unwrap(), b"bytes");
        assert_eq!(put(), staged);
        // Somebody tampered with the copy: it is replaced.
        fs::remove_file(&staged).unwrap();
        fs::write(&staged, b"other").unwrap();
        put();
        assert_eq!(fs::read(&staged).unwrap(), b"bytes");
        assert_eq!(fs::read_dir(staging.path()).unwrap().count(), 1, "no leftovers");
    }

    #[cfg(unix)]
    #[test]
    fn a_copy_that_somebody_could_change_is_not_trusted() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let dir = tempfile::tempdir().unwrap();
        let staging = StagingDir::under(dir.path());
        let digest = Digest::of(b"bytes");
        let path = staging.put(digest, b"bytes").unwrap().path().to_owned();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        let second = staging.put(digest, b"bytes").unwrap();
        assert_eq!(fs::metadata(second.path()).unwrap().permissions().mode() & 0o777, 0o500);
        // A link to the same bytes elsewhere is replaced by a copy.
        let elsewhere = dir.path().join("elsewhere");
        fs::rename(&path, &elsewhere).unwrap();
        symlink(&elsewhere, &path).unwrap();
        let third = staging.put(digest, b"bytes").unwrap();
        assert!(third.path().symlink_metadata().unwrap().is_file());
        // What the loader opens is what was hashed, whatever lies at the path by now.
        fs::remove_file(&path).unwrap();
        fs::write(&path, b"other").unwrap();
        if cfg!(target_os = "linux") {
            assert_eq!(fs::read(third.loader_path()).unwrap(), b"bytes");
        }
    }

    #[test]
    fn a_sweep_spares_what_is_kept_and_what_is_not_a_copy() {
        let dir = tempfile::tempdir().unwrap();
        let staging = StagingDir::under(dir.path());
        // Nothing to sweep is fine.
        staging.sweep(&BTreeSet::new());
        let (kept, left) = (Digest::of(b"kept"), Digest::of(b"left"));
        let put = |digest, bytes| staging.put(digest, bytes).unwrap().path().to_owned();
        let (kept_at, left_at) = (put(kept, b"kept"), put(left, b"left"));
        let unfinished = staging.path().join(".staging-a1B2c3");
        let others = [".staging-a1B2c", ".staging-a1B2-3", "notes"].map(|name| staging.path().join(name));
        others.iter().chain([&unfinished]).for_each(|path| fs::write(path, "x").unwrap());
        staging.sweep(&BTreeSet::from([kept]));
        assert!(kept_at.exists() && !left_at.exists() && !unfinished.exists());
        assert!(others.iter().all(|path| path.exists()));
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
