//! Vetting: is this file what it claims to be, judged by its bytes alone. Nothing here maps or runs foreign code.
//!
//! A file is opened once, without blocking on a FIFO, checked to be a regular file, and read once into a private copy
//! named by the SHA-256 of what was read. Everything after this stage works on that copy: nothing trusts the user's
//! path again, so a file that is overwritten, truncated or deleted later cannot hurt a running host.

mod error;
mod format;
mod private;
mod sniff;
mod stage;

use std::path::{Path, PathBuf};

use policy_plugin_api::abi::API_MAJOR;
use policy_plugin_api::abi::manifest::ManifestInfo;

pub(crate) use error::OTHER_API;
pub use error::VetError;
pub use private::Unsafe;
pub(crate) use private::{PrivateError, check_private, create_private, own_directory, take_directory};
pub use sniff::{binary, text_of, what_is};
pub use stage::StagingDir;
pub(crate) use stage::{STAGED, Staged};

pub use crate::core::digest::{Digest, NotADigest};
use crate::core::limits::MAX_LIBRARY_BYTES;

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
