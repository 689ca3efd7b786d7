//! Trying out what a library exports, with its default config.

use std::sync::Arc;

use policy_kit::Composite;
use policy_plugin_api::FromConfig;

use crate::artifact::load::Loaded;
use crate::control::activation::Wanted;
use crate::control::admit::{self, AdmitError, Origin, Recipe};
use crate::core::text::chain;
use crate::foreign::Description;
use crate::serving::built_in::BuiltIn;

/// An export that does not do well with its default config.
#[derive(Clone, Debug)]
pub(crate) struct Unfit {
    pub(crate) name: String,
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

/// Makes everything a library exports, with its default config, and puts it through the canned rounds; returns those
/// that failed. A policy that refuses its default config is not judged further: it is not at fault. `tell` hears the name
/// of each export before it is tried.
pub(crate) fn probe(loaded: &Arc<Loaded>, generation: u64, mut tell: impl FnMut(&str)) -> Vec<Unfit> {
    let mut failed = Vec::new();
    for export in loaded.exports() {
        tell(&export.name);
        if let Err(error) = try_out(loaded, export, generation) {
            failed.push(Unfit { name: export.name.clone(), code: error.code(), message: chain(&error) });
        }
    }
    failed
}

fn try_out(loaded: &Arc<Loaded>, export: &Description, generation: u64) -> Result<(), AdmitError> {
    let wanted = Wanted { name: export.name.clone(), config: String::new(), place: (1, 1) };
    let recipe = |policy, filters, scores| Recipe { policy, filters, scores, shadows: Vec::new(), generation };
    let recipe = match export.kind.as_str() {
        "policy" => recipe((wanted, Origin::Library(loaded.clone())), Vec::new(), Vec::new()),
        "filter" => {
            let behind = BuiltIn::default();
            let policy = Wanted { name: behind.name().into(), config: String::new(), place: (1, 1) };
            recipe((policy, Origin::BuiltIn(behind)), vec![(wanted, loaded.clone())], Vec::new())
        }
        "score" => {
            let asking = Wanted { name: Composite::NAME.into(), config: String::new(), place: (1, 1) };
            recipe((asking, Origin::Composite), Vec::new(), vec![(wanted, 1, loaded.clone())])
        }
        // A kind of a later API version: nothing here can use it.
        _ => return Ok(()),
    };
    match try_recipe(&recipe, &export.name) {
        Err(AdmitError::Config(_)) => Ok(()),
        Ok(()) if export.kind == "policy" => {
            admit::remember(&recipe);
            Ok(())
        }
        tried => tried,
    }
}

/// Makes what a recipe says, puts it through the canned rounds, and drops it. Shadows are recipes of their own.
pub(super) fn try_recipe(recipe: &Recipe, name: &str) -> Result<(), AdmitError> {
    let (complaints, complained) = std::sync::mpsc::channel();
    let pipeline = admit::construct(recipe, move |message| drop(complaints.send(message)))?;
    admit::rehearse(name, &pipeline)?;
    drop(pipeline);
    match complained.try_recv() {
        Ok(message) => Err(AdmitError::Destructor { name: name.to_owned(), message }),
        Err(_) => Ok(()),
    }
}
