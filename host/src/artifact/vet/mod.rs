//! Vetting: is this file what it claims to be, judged by its bytes alone. Nothing here maps or runs foreign code.
//!
//! A file is opened once, without blocking on a FIFO, checked to be a regular file, and read once into a private copy
//! named by the SHA-256 of what was read. Everything after this stage works on that copy: nothing trusts the user's
//! path again, so a file that is overwritten, truncated or deleted later cannot hurt a running host.

mod format;
mod private;
mod sniff;
mod stage;

use std::path::{Path, PathBuf};

use policy_plugin_api::abi::API_MAJOR;
use policy_plugin_api::abi::manifest::ManifestInfo;

pub use private::Unsafe;
pub(crate) use private::{PrivateError, check_private, create_private, own_directory, take_directory};
pub use sniff::{binary, text_of, what_is};
pub use stage::{Digest, NotADigest, StagingDir};
pub(crate) use stage::{STAGED, Staged};

use crate::core::limits::MAX_LIBRARY_BYTES;

/// Why a file was refused before it was loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VetError {
    /// The file is not there any more.
    #[error("{path}: no such file")]
    Gone {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be opened or read.
    #[error("{path}: cannot be read")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// No permission bit lets anybody read the file.
    #[error("{path}: mode {mode:04o} lets nobody read it; make it readable for the host, 0644 for example")]
    NoReadPermission {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Anybody may write to the file, so anybody could run code in the host.
    #[error("{path}: mode {mode:04o} lets everybody write to it; remove the bit with chmod o-w")]
    WorldWritable {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A symbolic link that leads to itself.
    #[error("{path}: symbolic links lead in a circle")]
    SymlinkLoop {
        /// The file.
        path: PathBuf,
    },
    /// A directory, FIFO, socket or device.
    #[error("{path}: is a {kind}, not a regular file")]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// Nothing in it.
    #[error("{path}: is empty")]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// More than the limit.
    #[error("{path}: has {bytes} bytes, the limit is {limit}")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// The file changed while it was read, or keeps changing.
    #[error("{path}: keeps changing ({what}); it is looked at again once it is still")]
    StillChanging {
        /// The file.
        path: PathBuf,
        /// What was seen.
        what: String,
    },
    /// Not a library at all.
    #[error("{path}: is not a shared library: {reason}")]
    NotALibrary {
        /// The file.
        path: PathBuf,
        /// What it looks like.
        reason: String,
    },
    /// A library that ends too early.
    #[error("{path}: is cut off: {reason}")]
    Truncated {
        /// The file.
        path: PathBuf,
        /// What is missing.
        reason: String,
    },
    /// A library for another machine.
    #[error("{path}: is for {found}, this host runs on {expected}")]
    WrongArchitecture {
        /// The file.
        path: PathBuf,
        /// What the file is for.
        found: String,
        /// What this host is.
        expected: String,
    },
    /// A library, but not a policy plugin.
    #[error("{path}: exports no policy plugin ({reason}); a plugin uses policy_plugin_api::export_policy!")]
    NoRootModule {
        /// The file.
        path: PathBuf,
        /// What is missing.
        reason: String,
    },
    /// A plugin for another major version of the API.
    #[error(
        "{path}: {package} {version} was built for plugin API {found_major}.{found_minor}, and this host loads {API_MAJOR}.x only: set policy-plugin-api to version {API_MAJOR} in its Cargo.toml, build it again, and put the new file in its place"
    )]
    ApiVersion {
        /// The file.
        path: PathBuf,
        /// The plugin's package.
        package: String,
        /// The plugin's version.
        version: String,
        /// The plugin's API version.
        found_major: u32,
        /// The plugin's API version.
        found_minor: u32,
    },
    /// A private copy of an earlier host has other bytes than its name says.
    #[error("{path}: is not the copy that its name says; put the library into the plugin directory again")]
    CopyChanged {
        /// The copy.
        path: PathBuf,
    },
    /// A plugin whose panics end the process instead of unwinding.
    #[error(
        "{path}: is built with panic = \"abort\": its first panic would end the host; remove that from the profile in Cargo.toml (and -C panic=abort from RUSTFLAGS), and build it again"
    )]
    PanicAborts {
        /// The file.
        path: PathBuf,
    },
    /// The private copy cannot be written.
    #[error("{path}: cannot be staged in {staging}")]
    Staging {
        /// The file.
        path: PathBuf,
        /// The host's staging directory.
        staging: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
}

/// The code of [`VetError::ApiVersion`].
pub(crate) const OTHER_API: &str = "api-version-mismatch";

impl VetError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Gone { .. } => "no-such-file",
            Self::Unreadable { .. } | Self::NoReadPermission { .. } => "unreadable",
            Self::WorldWritable { .. } => "world-writable",
            Self::SymlinkLoop { .. } => "symlink-loop",
            Self::NotAFile { .. } => "not-a-regular-file",
            Self::Empty { .. } => "empty-file",
            Self::TooLarge { .. } => "too-large",
            Self::StillChanging { .. } => "still-changing",
            Self::NotALibrary { .. } => "not-a-library",
            Self::Truncated { .. } => "truncated-library",
            Self::WrongArchitecture { .. } => "wrong-architecture",
            Self::NoRootModule { .. } => "no-root-module",
            Self::PanicAborts { .. } => "panic-abort",
            Self::ApiVersion { .. } => OTHER_API,
            Self::CopyChanged { .. } => "copy-changed",
            Self::Staging { .. } => "staging-failed",
        }
    }
}

/// A file that passed: its private copy, its hash, and what its manifest says. Only [`vet`] makes one.
#[derive(Clone, Debug)]
pub struct Vetted {
    source: PathBuf,
    staged: Staged,
    digest: Digest,
    manifest: ManifestInfo,
}

impl Vetted {
    /// Where the user put the file. For messages only.
    #[must_use]
    pub fn source(&self) -> &Path {
        &self.source
    }

    /// The private copy.
    #[must_use]
    pub fn staged(&self) -> &Path {
        self.staged.path()
    }

    /// The private copy with its descriptor: what is mapped is what was hashed.
    pub(crate) fn copy(&self) -> &Staged {
        &self.staged
    }

    /// The SHA-256 of the copy.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// What the manifest says.
    #[must_use]
    pub fn manifest(&self) -> &ManifestInfo {
        &self.manifest
    }
}

/// Judges a file by its bytes and stages a private copy.
///
/// # Errors
/// The reason for the refusal; then nothing is left behind in the staging directory.
///
/// # Cost
/// One read of the file, one hash, one write: about 1 ms a MiB.
pub fn vet(path: &Path, staging: &StagingDir) -> Result<Vetted, VetError> {
    let bytes = stage::read_once(path, MAX_LIBRARY_BYTES)?;
    vet_bytes(path, &bytes, staging)
}

/// As [`vet`], of bytes that a file had when they were admitted last: their staged copy, if it is still what its name
/// says. `source` is where the file lies, for messages.
pub(crate) fn vet_kept(source: &Path, digest: Digest, staging: &StagingDir) -> Result<Vetted, VetError> {
    let copy = staging.path_of(digest);
    let bytes = stage::read_once(&copy, MAX_LIBRARY_BYTES)?;
    if Digest::of(&bytes) != digest {
        return Err(VetError::CopyChanged { path: copy });
    }
    vet_bytes(source, &bytes, staging)
}

fn vet_bytes(path: &Path, bytes: &[u8], staging: &StagingDir) -> Result<Vetted, VetError> {
    let manifest = format::examine(path, bytes)?;
    if manifest.api_major != API_MAJOR {
        return Err(VetError::ApiVersion {
            path: path.to_owned(),
            package: manifest.package,
            version: manifest.version,
            found_major: manifest.api_major,
            found_minor: manifest.api_minor,
        });
    }
    let digest = Digest::of(bytes);
    let staged = staging.put(digest, bytes).map_err(|source| VetError::Staging {
        path: path.to_owned(),
        staging: staging.path().to_owned(),
        source,
    })?;
    Ok(Vetted { source: path.to_owned(), staged, digest, manifest })
}

/// Takes a copy that a host staged, if it still has the bytes that were hashed. Nothing is copied again.
///
/// # Errors
/// As [`vet`]; where the copy has other bytes, or others may write to it, as for one that was changed.
pub(crate) fn vet_copy(path: &Path, source: &Path, digest: Digest) -> Result<Vetted, VetError> {
    let staging = |error| VetError::Staging {
        path: source.to_owned(),
        staging: path.parent().unwrap_or(path).to_owned(),
        source: error,
    };
    let (staged, bytes) = Staged::open(path, MAX_LIBRARY_BYTES).map_err(staging)?;
    if Digest::of(&bytes) != digest {
        return Err(VetError::CopyChanged { path: path.to_owned() });
    }
    let manifest = format::examine(source, &bytes)?;
    Ok(Vetted { source: source.to_owned(), staged, digest, manifest })
}

/// Reads a small text file under the same rules: regular, readable, not endless, not changing under the reader.
///
/// # Errors
/// As [`vet`], for the checks that apply to any file.
pub fn read_text(path: &Path, limit: u64) -> Result<Vec<u8>, VetError> {
    stage::read_once(path, limit)
}
