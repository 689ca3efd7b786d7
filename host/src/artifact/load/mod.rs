//! Loading: from a vetted file to mapped code. Code is never unloaded; the same bytes are mapped once.

mod dl;
mod error;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, TryLockError};

pub use error::LoadError;

use crate::artifact::vet::{Digest, Staged, Vetted};
use crate::core::foreign::{Description, ForeignModule, PolicyFault};
use crate::core::limits::MAX_LIBRARIES;
use crate::core::text::chain;

/// A mapped library. Only [`load`] makes one; it lives as long as the process.
#[derive(Debug)]
pub struct Loaded {
    digest: Digest,
    file_name: String,
    copy: Staged,
    api_version: String,
    module: ForeignModule,
    exports: Vec<Description>,
}

impl Loaded {
    /// The SHA-256 of the mapped bytes.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The name of the file that it was first loaded from.
    #[must_use]
    pub fn file_name(&self) -> &str {
        &self.file_name
    }

    /// The private copy that is mapped.
    pub(crate) fn copy(&self) -> &Staged {
        &self.copy
    }

    /// The plugin API version that it was built against.
    pub(crate) fn api_version(&self) -> String {
        self.api_version.clone()
    }

    /// The plugin's entry points.
    #[must_use]
    pub fn module(&self) -> &ForeignModule {
        &self.module
    }

    /// What it exports.
    #[must_use]
    pub fn exports(&self) -> &[Description] {
        &self.exports
    }

    /// One of its exports.
    #[must_use]
    pub fn export(&self, name: &str) -> Option<&Description> {
        self.exports.iter().find(|e| e.name == name)
    }
}

/// Every library that this process has mapped, by content. One map a process: code outlives any host in it.
fn mapped() -> &'static Mutex<HashMap<Digest, Arc<Loaded>>> {
    static MAPPED: OnceLock<Mutex<HashMap<Digest, Arc<Loaded>>>> = OnceLock::new();
    MAPPED.get_or_init(Mutex::default)
}

/// The number of libraries that this process has mapped.
#[must_use]
pub fn mapped_libraries() -> usize {
    mapped().lock().unwrap_or_else(PoisonError::into_inner).len()
}

/// The files of the libraries that this process has mapped. Waits for nothing: `None` while another thread looks.
#[must_use]
pub fn try_mapped_files() -> Option<Vec<String>> {
    let mapped = match mapped().try_lock() {
        Ok(mapped) => mapped,
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        Err(TryLockError::WouldBlock) => return None,
    };
    let mut files: Vec<String> = mapped.values().map(|loaded| loaded.file_name.clone()).collect();
    files.sort_unstable();
    Some(files)
}

/// Whether these bytes are mapped already.
#[must_use]
pub fn is_mapped(digest: Digest) -> bool {
    mapped().lock().unwrap_or_else(PoisonError::into_inner).contains_key(&digest)
}

/// Maps a vetted library, or returns it if the same bytes are mapped already. Runs foreign initialisers: call it on a
/// thread that may be thrown away.
///
/// # Errors
/// The reason; the library may stay mapped (unloading is unsound), but nothing refers to it.
pub fn load(vetted: &Vetted) -> Result<Arc<Loaded>, LoadError> {
    let known = mapped().lock().unwrap_or_else(PoisonError::into_inner).get(&vetted.digest()).cloned();
    if let Some(known) = known {
        return Ok(known);
    }
    let file = || vetted.source().to_owned();
    if mapped_libraries() >= MAX_LIBRARIES {
        return Err(LoadError::TooMany { file: file() });
    }
    // No lock is held here: an initialiser that hangs takes nothing with it.
    let module = dl::open(vetted)?;
    let describe = |message: String| LoadError::Description { file: file(), message };
    let exports = module.describe().map_err(|fault: PolicyFault| describe(chain(&fault)))?;
    check_exports(&exports).map_err(describe)?;
    let file_name = vetted.source().file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let api_version = format!("{}.{}", vetted.manifest().api_major, vetted.manifest().api_minor);
    let copy = vetted.copy().clone();
    let loaded = Arc::new(Loaded { digest: vetted.digest(), file_name, copy, api_version, module, exports });
    let mut mapped = mapped().lock().unwrap_or_else(PoisonError::into_inner);
    Ok(Arc::clone(mapped.entry(vetted.digest()).or_insert(loaded)))
}

fn check_exports(exports: &[Description]) -> Result<(), String> {
    if exports.is_empty() {
        return Err("it exports nothing".into());
    }
    for (i, export) in exports.iter().enumerate() {
        let name = &export.name;
        let legal = (1..=63).contains(&name.len())
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        if !legal {
            return Err(format!("{name:?} is not a name: lower case letters, digits and '-', at most 63"));
        }
        if exports[..i].iter().any(|e| e.name == *name) {
            return Err(format!("it exports {name} twice"));
        }
    }
    Ok(())
}
