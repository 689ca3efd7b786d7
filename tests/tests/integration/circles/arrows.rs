//! Which file takes which names from which other file, and the circles in that.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::modules::{Import, Module, Modules};

/// What a path leads to.
enum Target {
    Module(usize),
    /// A name that the module's file defines.
    Name(usize, String),
    OtherCrate,
}

/// How often a name may be handed on before it is given up: two `*` may import each other.
const MAX_STEPS: usize = 16;

/// From a file to a file, the names that the first one takes.
#[derive(Default)]
pub(super) struct Arrows<'a>(BTreeMap<&'a str, BTreeMap<&'a str, BTreeSet<String>>>);

impl<'a> Arrows<'a> {
    pub(super) fn of(modules: &'a Modules) -> Self {
        let mut arrows = Self::default();
        for (at, module) in modules.all.iter().enumerate() {
            // A public import hands a name on: it counts where the file's own code mentions the name.
            let private = module.imports.iter().filter(|i| !i.is_public && i.alias != "*");
            for path in private.map(|i| &i.path).chain(&module.mentions) {
                if let Some(Target::Name(owner, name)) = modules.resolve(at, path, 0) {
                    let twins = modules.all[owner].twins.iter().filter(|_| owner != at);
                    for owner in [owner].iter().chain(twins) {
                        arrows.add(&module.file, &modules.all[*owner].file, &name);
                    }
                }
            }
        }
        arrows
    }

    fn add(&mut self, from: &'a str, to: &'a str, name: &str) {
        if from != to {
            self.0.entry(from).or_default().entry(to).or_default().insert(name.to_owned());
        }
    }

    /// Files that are reached from this one by one arrow or more.
    fn reached(&self, from: &'a str) -> BTreeSet<&'a str> {
        let mut reached = BTreeSet::new();
        let mut open = vec![from];
        while let Some(file) = open.pop() {
            open.extend(self.0.get(file).into_iter().flat_map(BTreeMap::keys).filter(|to| reached.insert(**to)));
        }
        reached
    }

    /// Groups of files each of which reaches all of its group.
    pub(super) fn circles(&self) -> BTreeSet<BTreeSet<&'a str>> {
        let reached: BTreeMap<&str, BTreeSet<&str>> = self.0.keys().map(|file| (*file, self.reached(file))).collect();
        let reaches = |from: &str, to: &str| reached.get(from).is_some_and(|all| all.contains(to));
        let group = |file: &str| reached[file].iter().copied().filter(|to| reaches(to, file)).collect();
        reached.keys().filter(|file| reaches(file, file)).map(|file| group(file)).collect()
    }

    /// The circle with all its arrows and names.
    pub(super) fn spelled(&self, circle: &BTreeSet<&str>) -> String {
        let mut out = format!("circle of {} files", circle.len());
        for from in circle {
            for (to, names) in self.0[from].iter().filter(|(to, _)| circle.contains(*to)) {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                let _ = write!(out, "\n  {from} -> {to}: {}", names.join(", "));
            }
        }
        out
    }
}

impl Modules {
    /// What `path` means in `module`; nothing if the crate has no such name.
    fn resolve(&self, module: usize, path: &[String], steps: usize) -> Option<Target> {
        let (first, rest) = path.split_first()?;
        let is_last = rest.is_empty();
        let mut target = match first.as_str() {
            "crate" => Target::Module(0),
            "self" => Target::Module(module),
            "super" => Target::Module(self.all[module].parent?),
            name => self.lookup(module, name, is_last, steps)?,
        };
        for (at, name) in rest.iter().enumerate() {
            let Target::Module(inside) = target else { break };
            target = match name.as_str() {
                "super" => Target::Module(self.all[inside].parent?),
                // A name that is not seen there, of a macro's making or handed on from another crate: its module's own.
                name => self
                    .lookup(inside, name, at + 1 == rest.len(), steps)
                    .unwrap_or_else(|| Target::Name(inside, name.to_owned())),
            };
        }
        Some(target)
    }

    /// A name among those that the module defines or imports. At the end of a path an item goes before a module.
    fn lookup(&self, at: usize, name: &str, is_last: bool, steps: usize) -> Option<Target> {
        let module: &Module = &self.all[at];
        let child = module.children.get(name).map(|child| Target::Module(*child));
        if steps > MAX_STEPS {
            return None;
        }
        if module.defines.contains(name) && (is_last || child.is_none()) {
            return Some(Target::Name(at, name.to_owned()));
        }
        if child.is_some() && !is_last {
            return child;
        }
        // `use name::…` of another crate must not lead to itself.
        let named = |i: &&Import| i.alias == name && (i.path[0] != name || child.is_some());
        let mut named = module.imports.iter().filter(named).peekable();
        if named.peek().is_some() {
            let found = named.find_map(|i| self.resolve(at, &i.path, steps + 1));
            return found.or(child).or(Some(Target::OtherCrate));
        }
        let globs = module.imports.iter().filter(|i| i.alias == "*");
        let globs = globs.filter_map(|i| match self.resolve(at, &i.path, steps + 1) {
            Some(Target::Module(from)) if from != at => Some(from),
            _ => None,
        });
        let mut globbed = globs.filter_map(|from| self.lookup(from, name, is_last, steps + 1));
        let exported = self.exported_macros.get(name).filter(|_| at == 0);
        globbed.next().or(exported.map(|owner| Target::Name(*owner, name.to_owned()))).or(child)
    }
}
