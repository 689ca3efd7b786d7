//! Trying out what a library exports, with its default config.

use std::sync::Arc;

use policy_kit::Composite;
use policy_plugin_api::FromConfig;

use crate::artifact::load::Loaded;
use crate::control::admit::{self, AdmitError, LibraryPart, Origin, PolicyPart, Recipe};
use crate::core::built_in::BuiltIn;
use crate::core::composition::{Composition, Wanted, Weighted};
use crate::core::foreign::Description;
use crate::core::text::chain;

/// An export that does not do well with its default config.
#[derive(Clone, Debug)]
pub(crate) struct Unfit {
    pub(crate) name: String,
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

/// Makes everything a library exports, with its default config, and puts it through the canned rounds; returns those
/// that failed. A policy that refuses its default config is not judged further: it is not at fault. `begins` hears the name
/// of each export before it is tried.
pub(crate) fn probe(loaded: &Arc<Loaded>, generation: u64, mut begins: impl FnMut(&str)) -> Vec<Unfit> {
    let mut failed = Vec::new();
    for export in loaded.exports() {
        begins(&export.name);
        if let Err(error) = try_out(loaded, export, generation) {
            failed.push(Unfit { name: export.name.clone(), code: error.code(), message: chain(&error) });
        }
    }
    failed
}

fn try_out(loaded: &Arc<Loaded>, export: &Description, generation: u64) -> Result<(), AdmitError> {
    let (wanted, library) = (Wanted::plain(&export.name), Arc::clone(loaded));
    let alone = |wanted, origin| Composition::of(PolicyPart { wanted, origin });
    let recipe: Recipe = match export.kind.as_str() {
        "policy" => alone(wanted, Origin::Library(library)),
        "filter" => {
            let behind = BuiltIn::default();
            let policy = alone(Wanted::plain(behind.name()), Origin::BuiltIn(behind));
            Composition { filters: vec![LibraryPart { wanted, library }], ..policy }
        }
        "score" => {
            let scores = vec![Weighted { weight: 1, part: LibraryPart { wanted, library } }];
            Composition { scores, ..alone(Wanted::plain(Composite::NAME), Origin::Composite) }
        }
        // A kind of a later API version: nothing here can use it.
        _ => return Ok(()),
    };
    match try_recipe(&recipe, generation, &export.name) {
        Err(AdmitError::Config(_)) => Ok(()),
        Ok(()) if export.kind == "policy" => {
            admit::remember(&recipe);
            Ok(())
        }
        tried => tried,
    }
}

/// Makes what a recipe says, puts it through the canned rounds, and drops it. Shadows are recipes of their own.
pub(crate) fn try_recipe(recipe: &Recipe, generation: u64, name: &str) -> Result<(), AdmitError> {
    let (complaints, complained) = std::sync::mpsc::channel();
    let pipeline = admit::construct(recipe, generation, move |message| drop(complaints.send(message)))?;
    admit::rehearse(name, &pipeline)?;
    drop(pipeline);
    match complained.try_recv() {
        Ok(message) => Err(AdmitError::Destructor { name: name.to_owned(), message }),
        Err(_) => Ok(()),
    }
}
