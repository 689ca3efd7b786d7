//! UNSAFE ROOM 2: opening a library and checking its layout. The only place that does either.
//!
//! The header API is used per file: `RootModule::load_from*` keeps one module per type and would return the first
//! library for every later one.
#![allow(unsafe_code, reason = "one of the two rooms where the boundary is made sound")]

use std::mem::ManuallyDrop;

use abi_stable::library::{AbiHeaderRef, LibHeader, LibraryError};
use libloading::Library;
use policy_plugin_api::abi::manifest::{ROOT_SYMBOL, SCORES_SYMBOL};
use policy_plugin_api::abi::{ForeignModule, PluginModuleRef, ScoreModuleRef};

use super::LoadError;
use crate::text::chain;
use crate::vet::Vetted;

/// A mapped library that is never unloaded.
pub(super) type Mapped = ManuallyDrop<Library>;

/// Maps the staged copy and returns its root module, after checking every type that crosses.
pub(super) fn open(vetted: &Vetted) -> Result<(ForeignModule, Mapped), LoadError> {
    let file = || vetted.source().to_owned();
    let loader = |e: libloading::Error| LoadError::Loader { file: file(), source: e.into() };
    // SAFETY: opening runs the library's initialisers: foreign code, trusted by the operator who put the file into the
    // plugin directory, and run on a thread that may be thrown away. The path is a private copy named by its content,
    // never reused for other bytes, so the loader cannot return an older library, and nobody can change it while mapped.
    let library = unsafe { Library::new(vetted.staged()) }.map_err(loader)?;
    // Never unloaded: its code may be referred to by thread-local destructors, vtables and 'static references.
    let library = ManuallyDrop::new(library);
    let root = header(&library, vetted, ROOT_SYMBOL)?;
    let root = root.init_root_module::<PluginModuleRef>().map_err(|e| refused(vetted, &e))?;
    Ok((ForeignModule::new(root), library))
}

/// Adds the module of scores of a library, after checking every type that crosses with it.
pub(super) fn open_scores(
    module: ForeignModule,
    library: &Mapped,
    vetted: &Vetted,
) -> Result<ForeignModule, LoadError> {
    let scores = header(library, vetted, SCORES_SYMBOL)?;
    let scores = scores.init_root_module::<ScoreModuleRef>().map_err(|e| refused(vetted, &e))?;
    Ok(module.with_scores(scores))
}

/// The header of one of the library's modules.
fn header(library: &Mapped, vetted: &Vetted, symbol: &str) -> Result<&'static LibHeader, LoadError> {
    let loader = |e: libloading::Error| LoadError::Loader { file: vetted.source().to_owned(), source: e.into() };
    // SAFETY: the symbol is the address of a `LibHeader`, which begins with the `AbiHeader` that `upgrade` checks before
    // it reads further; vetting found a manifest of our major version beside it. The library is never unloaded, so the
    // reference is good for the life of the process.
    let header = unsafe { library.get::<AbiHeaderRef>(symbol.as_bytes()) }.map(|symbol| *symbol).map_err(loader)?;
    header.upgrade().map_err(|e| refused(vetted, &e))
}

fn refused(vetted: &Vetted, error: &LibraryError) -> LoadError {
    let file = vetted.source().to_owned();
    let message = chain(error);
    match error {
        LibraryError::AbiInstability(_) => LoadError::Layout { file, message },
        LibraryError::RootModule { .. } => LoadError::RootModule { file, message },
        _ => LoadError::Header { file, message },
    }
}
