//! What the names of a request mean.

use std::sync::Arc;

use policy_kit::Composite;
use policy_plugin_api::FromConfig;

use super::{Arrival, Control};
use crate::artifact::load::Loaded;
use crate::control::activation::{ACTIVE_FILE, ActivationError};
use crate::control::admit::{LibraryPart, Origin, PolicyPart, Recipe};
use crate::control::machine::Found;
use crate::control::registry::Unresolved;
use crate::control::request::{Refusal, Request};
use crate::core::built_in::BuiltIn;
use crate::core::composition::{Composition, Kind, Role, Wanted};
use crate::core::event::Cause;
use crate::core::text::chain;
use crate::state::last_good::Pins;

/// Why a name means nothing now.
enum Obstacle {
    Refused(Refusal),
    /// A library that may give the name is under way.
    Wait,
    /// No library gives the name, yet.
    Unknown(Refusal),
}

impl Control {
    /// What a request comes to. An explicit one lifts the quarantine of what it names.
    pub(super) fn resolve(&mut self, request: &Request) -> Found<Recipe> {
        if request.explicit {
            self.lift_for(request);
        }
        match self.recipe(&request.activation.composition, request.pins.as_ref()) {
            Err(Obstacle::Wait) => Found::Wait,
            Err(Obstacle::Unknown(refusal)) => Found::Unknown(refusal),
            Err(Obstacle::Refused(refusal)) => Found::Refused(refusal),
            Ok(recipe) => match self.barred(&recipe) {
                Some(refusal) => Found::Refused(refusal),
                None if self.serves_already(request, &recipe) => Found::Serves,
                None => {
                    self.generation += 1;
                    Found::Ready { generation: self.generation, recipe }
                }
            },
        }
    }

    fn lift_for(&mut self, request: &Request) {
        let composition = &request.activation.composition;
        let recipe = self.recipe(composition, request.pins.as_ref());
        let mut lifted = recipe.is_ok_and(|recipe| self.registry.unbar(&recipe.key()));
        for (_, kind, wanted) in composition.all() {
            lifted |= self.registry.reinstate(kind, &wanted.name);
        }
        if lifted {
            self.files.touch();
        }
    }

    /// Why a recipe is out of service.
    fn barred(&self, recipe: &Recipe) -> Option<Refusal> {
        let entry = self.registry.barred(&recipe.key())?;
        let message = format!(
            "{ACTIVE_FILE}: {} of {} with this config is out of service ({}); change the config or the library, or lift it \
             with `policy-host quarantine clear`",
            recipe.policy.wanted.name, entry.file, entry.code
        );
        Some(Refusal::new("quarantined", message))
    }

    fn recipe(&self, asked: &Composition<Wanted>, pins: Option<&Pins>) -> Result<Recipe, Obstacle> {
        let policy = |of: &Composition<Wanted>| {
            let origin = if of.scores.is_empty() { self.origin(&of.policy, pins)? } else { Origin::Composite };
            Ok(PolicyPart { wanted: of.policy.clone(), origin })
        };
        let part = |kind, wanted: &Wanted| {
            let library = self.library(kind, wanted, pins).map_err(|why| self.obstacle(kind, wanted, why))?;
            Ok(LibraryPart { wanted: wanted.clone(), library })
        };
        asked.try_map(&policy, &part)
    }

    /// The library that a name means.
    fn library(&self, kind: Kind, wanted: &Wanted, pins: Option<&Pins>) -> Result<Arc<Loaded>, Unresolved> {
        let Some(pins) = pins else { return self.registry.resolve(kind, &wanted.name) };
        let pinned = pins.get(&(kind, wanted.name.clone()));
        pinned.and_then(|digest| self.registry.library(*digest)).ok_or(Unresolved::Unknown)
    }

    fn origin(&self, policy: &Wanted, pins: Option<&Pins>) -> Result<Origin, Obstacle> {
        match (self.library(Kind::Policy, policy, pins), policy.name.parse::<BuiltIn>()) {
            (Ok(loaded), _) => Ok(Origin::Library(loaded)),
            (Err(Unresolved::Unknown), Ok(built_in)) if pins.is_some() => Ok(Origin::BuiltIn(built_in)),
            // While a library of that name may be under way, the built-in is not what the operator means.
            (Err(Unresolved::Unknown), Ok(built_in)) if self.knows_all_names() => Ok(Origin::BuiltIn(built_in)),
            (Err(unresolved), _) => Err(self.obstacle(Kind::Policy, policy, unresolved)),
        }
    }

    /// Whether every file of the directory has been examined.
    fn knows_all_names(&self) -> bool {
        self.scanned && self.admitting.is_empty()
    }

    fn obstacle(&self, kind: Kind, wanted: &Wanted, unresolved: Unresolved) -> Obstacle {
        if !self.knows_all_names() {
            return Obstacle::Wait;
        }
        match unresolved {
            Unresolved::Pending => Obstacle::Wait,
            Unresolved::Unknown => {
                let mut known = self.registry.names(kind);
                if kind == Kind::Policy {
                    known.extend(BuiltIn::ALL.iter().map(|b| b.name().to_owned()));
                    known.push(Composite::NAME.to_owned());
                    known.sort_unstable();
                    known.dedup();
                }
                let known = if known.is_empty() { "none".into() } else { known.join(", ") };
                let error = ActivationError::Unknown { kind, name: wanted.name.clone(), known };
                Obstacle::Unknown(Refusal::new(error.code(), chain(&error)))
            }
            Unresolved::Quarantined(file, code) => {
                let name = &wanted.name;
                let message = format!(
                    "{ACTIVE_FILE}: {kind} {name} of {file} is out of service ({code}); put a mended library in its \
                     place, or run `policy-host quarantine clear {name}` to try this one once more"
                );
                Obstacle::Refused(Refusal::new("quarantined", message))
            }
        }
    }

    /// Whether what is active is already exactly what is asked for.
    fn serves_already(&self, request: &Request, recipe: &Recipe) -> bool {
        let lineup = self.service.slot.load();
        let info = &lineup.active.info;
        let is_its_file =
            !request.active_file_sha256.is_empty() && request.active_file_sha256 == info.active_file_sha256;
        let same = is_its_file || self.machine.intent().is_some_and(|before| before.activation == request.activation);
        // What is built in has no digest, on either side.
        let serves = info.composition.all().map(|(.., part)| part.sha256.as_str()).filter(|sha256| !sha256.is_empty());
        let same_libraries = serves.eq(recipe.libraries().map(|loaded| loaded.digest().to_string()));
        let same_name = info.policy() == request.activation.composition.policy.name;
        same && same_name && same_libraries && !lineup.active.is_suspended()
    }

    /// The request to swap a library in, if it gives a part of what is asked for anew.
    pub(super) fn renewal(&self, arrival: &Arrival) -> Option<Request> {
        let intent = self.machine.intent()?;
        let loaded = &arrival.loaded;
        let lineup = self.service.slot.load();
        let serves = &lineup.active.info.composition;
        let digest = loaded.digest().to_string();
        let renews = |(role, kind, wanted): (Role, Kind, &Wanted)| {
            let gives = loaded.export(&wanted.name).is_some_and(|e| e.kind == kind.as_str());
            let newest = || self.registry.resolve(kind, &wanted.name).is_ok_and(|l| l.digest() == loaded.digest());
            let is_it = |(r, k, part): (Role, Kind, &crate::core::info::PartInfo)| {
                (r, k) == (role, kind) && part.name == wanted.name && part.sha256 == digest
            };
            gives && newest() && !serves.all().any(is_it)
        };
        intent.activation.composition.all().any(renews).then(|| Request {
            active_file_sha256: intent.active_file_sha256.clone(),
            ..Request::new(intent.activation.clone(), Cause::NewLibrary, loaded.file_name(), arrival.seen_at)
        })
    }
}
