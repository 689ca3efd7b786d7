//! UNSAFE ROOM 2: opening a library and checking its layout. The only place that does either.
//!
//! The header API is used per file: `RootModule::load_from*` keeps one module per type and would return the first
//! library for every later one.
#![allow(unsafe_code, reason = "one of the two rooms where the boundary is made sound")]

use std::mem::ManuallyDrop;

use abi_stable::StableAbi;
use abi_stable::abi_stability::abi_checking::{
    AbiInstability, AbiInstabilityError, AbiInstabilityErrors, ExpectedFound, check_layout_compatibility,
};
use abi_stable::library::{AbiHeaderRef, LibHeader, LibraryError};
use abi_stable::type_layout::{TLField, TLFieldOrFunction, TypeLayout};
use libloading::Library;
use policy_plugin_api::abi::PluginModuleRef;
use policy_plugin_api::abi::manifest::ROOT_SYMBOL;

use super::error::LoadError;
use crate::artifact::vet::Vetted;
use crate::core::foreign::ForeignModule;
use crate::core::text::{self, chain};

/// A mapped library that is never unloaded.
type Mapped = ManuallyDrop<Library>;

/// Maps the staged copy and returns its root module, after checking every type that crosses.
pub(super) fn open(vetted: &Vetted) -> Result<ForeignModule, LoadError> {
    let path = vetted.copy().loader_path();
    // The loader speaks of the path that it was given; the user knows the file by another.
    let loader = |e: libloading::Error| {
        let words = chain(&e).replace(&text::path(&path), &text::path(vetted.source()));
        LoadError::Loader { file: vetted.source().to_owned(), source: words.into() }
    };
    // SAFETY: opening runs the library's initialisers: foreign code, trusted by the operator who put the file into the
    // plugin directory, and run on a thread that may be thrown away. The path leads to the very file that was hashed: to its
    // descriptor, which stays open as long as the code is mapped, or to a private copy named by its content. So it never
    // means other bytes, the loader cannot return an older library, and nobody can change it while it is mapped.
    let library = unsafe { Library::new(&path) }.map_err(loader)?;
    vetted.copy().keep_open();
    // Never unloaded: its code may be referred to by thread-local destructors, vtables and 'static references.
    let library = ManuallyDrop::new(library);
    let root = root(&library, vetted)?;
    Ok(ForeignModule::new(root))
}

/// The root module, after checking every type that crosses with it.
fn root(library: &Mapped, vetted: &Vetted) -> Result<PluginModuleRef, LoadError> {
    let header = header(library, vetted)?;
    // Without a layout in the header, `abi_stable` checks nothing and hands the module out.
    let Some(theirs) = header.layout() else {
        return Err(LoadError::Unchecked { file: vetted.source().to_owned(), symbol: ROOT_SYMBOL });
    };
    let ours = <PluginModuleRef as StableAbi>::LAYOUT;
    header.init_root_module::<PluginModuleRef>().map_err(|e| refused(vetted, &e, ours, theirs))
}

/// The header of the root module.
fn header(library: &Mapped, vetted: &Vetted) -> Result<&'static LibHeader, LoadError> {
    let file = || vetted.source().to_owned();
    let loader = |e: libloading::Error| LoadError::Loader { file: file(), source: e.into() };
    // SAFETY: the symbol is the address of a `LibHeader`, which begins with the `AbiHeader` that `upgrade` checks before
    // it reads further; vetting found a manifest of our major version beside it. The library is never unloaded, so the
    // reference is good for the life of the process.
    let header =
        unsafe { library.get::<AbiHeaderRef>(ROOT_SYMBOL.as_bytes()) }.map(|symbol| *symbol).map_err(loader)?;
    header.upgrade().map_err(|e| LoadError::Header { file: file(), message: chain(&e) })
}

fn refused(vetted: &Vetted, error: &LibraryError, ours: &'static TypeLayout, theirs: &'static TypeLayout) -> LoadError {
    let file = vetted.source().to_owned();
    let message = chain(error);
    match error {
        LibraryError::AbiInstability(_) => {
            let found = check_layout_compatibility(ours, theirs).err();
            LoadError::Layout { file, message: found.and_then(|e| difference(&e)).unwrap_or(message) }
        }
        LibraryError::RootModule { .. } => LoadError::RootModule { file, message },
        _ => LoadError::Header { file, message },
    }
}

/// So many characters of a type's name, or of a value, are told: the layouts themselves fill pages.
const MAX_NAME_CHARS: usize = 80;
/// So many steps of the way to a type are told, the last ones.
const MAX_STEPS: usize = 5;
/// So many differences of one type are told.
const MAX_DETAILS: usize = 2;

/// The first type that host and plugin lay out differently: which it is, where it is met, and both sides' values.
fn difference(found: &AbiInstabilityErrors) -> Option<String> {
    let is_telling = |e: &&AbiInstabilityError| !e.errs.is_empty();
    let mut first = found.errors.iter().find(is_telling)?;
    // A type is also told to differ because one inside it does: go on to that one.
    let is_inside = |e: &&AbiInstabilityError, outer: &AbiInstabilityError| {
        e.stack_trace.len() > outer.stack_trace.len() && e.stack_trace.starts_with(&outer.stack_trace)
    };
    while let Some(inner) = found.errors.iter().filter(is_telling).find(|e| is_inside(e, first)) {
        first = inner;
    }
    let (ours, theirs) = match first.stack_trace.last() {
        None => (named(found.interface), named(found.implementation)),
        Some(step) => (named_step(&step.expected), named_step(&step.found)),
    };
    let what = if ours == theirs { ours } else { format!("{ours} here, {theirs} in the plugin") };
    // Fields of tuples have numbers for names, parameters may have none, and a function is a field and a function.
    let mut steps: Vec<&str> = first.stack_trace.iter().map(|step| name_of(&step.expected)).collect();
    steps.retain(|name| name.starts_with(|c: char| c.is_alphabetic() || c == '_'));
    steps.dedup();
    let way = match &steps[steps.len().saturating_sub(MAX_STEPS)..] {
        [] => String::new(),
        steps => format!(" (met at {})", steps.join(" > ")),
    };
    // Size and alignment follow from what else differs.
    let mut details: Vec<&AbiInstability> =
        first.errs.iter().filter(|e| !matches!(e, AbiInstability::Name(_))).collect();
    details.sort_by_key(|e| matches!(e, AbiInstability::Size(_) | AbiInstability::Alignment(_)));
    let details: Vec<String> = details.into_iter().take(MAX_DETAILS).map(detail).collect();
    let details = if details.is_empty() { String::new() } else { format!(": {}", details.join("; ")) };
    Some(format!("{what}{way}{details}"))
}

/// A type with its package: `RawSlots of policy_plugin_api 1.1.0`.
fn named(layout: &TypeLayout) -> String {
    let (package, version) = layout.item_info().package_and_version();
    let name = short(&layout.full_type().to_string());
    // The layouts of the standard library's types carry no version of their own.
    if package == "std" { name } else { format!("{name} of {package} {version}") }
}

fn named_step(step: &TLFieldOrFunction) -> String {
    match step {
        TLFieldOrFunction::Field(field) => named(field.layout()),
        TLFieldOrFunction::Function(function) => format!("function {}", short(&function.name)),
    }
}

fn name_of(step: &TLFieldOrFunction) -> &'static str {
    match step {
        // So the derive macro names it.
        TLFieldOrFunction::Field(field) if field.name() == "__returns" => "the returned value",
        TLFieldOrFunction::Field(field) => field.name(),
        TLFieldOrFunction::Function(function) => function.name.as_str(),
    }
}

/// One difference with both sides' values.
fn detail(difference: &AbiInstability) -> String {
    use AbiInstability as Of;
    let field = |f: &TLField| format!("{}: {}", f.name(), f.layout().full_type());
    match difference {
        Of::Package(v) => both("the package", v, ToString::to_string),
        Of::PackageVersion(v) => both("the package's version", v, ToString::to_string),
        Of::Size(v) => both("the size in bytes", v, ToString::to_string),
        Of::Alignment(v) => both("the alignment", v, ToString::to_string),
        Of::FieldCountMismatch(v) => both("the number of fields", v, ToString::to_string),
        Of::UnexpectedField(v) => both("a field", v, field),
        Of::FieldLifetimeMismatch(v) => both("lifetimes of a field", v, field),
        Of::MismatchedPrefixSize(v) => both("the fields that every version has", v, ToString::to_string),
        Of::GenericParamCount(v) => both("generic parameters", v, ToString::to_string),
        Of::TLDataDiscriminant(v) => both("the kind of type", v, |kind| format!("{kind:?}")),
        Of::MismatchedPrimitive(v) => both("the primitive", v, |primitive| format!("{primitive:?}")),
        Of::TooManyVariants(v) => both("the number of variants", v, ToString::to_string),
        Of::UnexpectedVariant(v) => both("a variant", v, ToString::to_string),
        Of::EnumDiscriminant(v) => both("the value of a variant", v, |value| format!("{value:?}")),
        Of::ReprAttr(v) => both("the representation", v, |repr| format!("{repr:?}")),
        Of::FnLifetimeMismatch(v) => both("lifetimes of a function", v, ToString::to_string),
        Of::FnQualifierMismatch(v) => both("qualifiers of a function", v, ToString::to_string),
        other => short(&format!("{other:?}")),
    }
}

fn both<T>(what: &str, values: &ExpectedFound<T>, show: impl Fn(&T) -> String) -> String {
    format!("{what}: {} here, {} in the plugin", short(&show(&values.expected)), short(&show(&values.found)))
}

/// On one line, and cut.
fn short(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MAX_NAME_CHARS) {
        None => line,
        Some((at, _)) => format!("{}…", &line[..at]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two versions of the same types: what a plugin built against another `policy-plugin-api` looks like.
    macro_rules! version {
        ($version:ident, $($field:ident: $type:ty),*; $answer:ty) => {
            mod $version {
                use abi_stable::StableAbi;

                #[repr(C)]
                #[derive(StableAbi)]
                pub(super) struct Slots {
                    $(pub(super) $field: $type),*
                }

                #[repr(C)]
                #[derive(StableAbi)]
                pub(super) struct Round {
                    pub(super) number: u64,
                    pub(super) slots: Slots,
                }

                #[repr(C)]
                #[derive(StableAbi)]
                pub(super) struct Root {
                    pub(super) bind: extern "C" fn(Round) -> $answer,
                }
            }
        };
    }
    version! { ours, executor: u32, slots: u32; u64 }
    version! { longer, executor: u32, slots: u32, memory_mib: u64; u64 }
    version! { renamed, executor: u32, vcores: u32; u64 }
    version! { other_answer, executor: u32, slots: u32; bool }
    version! { same, executor: u32, slots: u32; u64 }

    fn told(theirs: &'static TypeLayout) -> Option<String> {
        check_layout_compatibility(<ours::Root as StableAbi>::LAYOUT, theirs).err().and_then(|e| difference(&e))
    }

    #[test]
    fn the_type_that_differs_is_named_with_both_sides_values() {
        for (theirs, parts) in [
            (
                <longer::Root as StableAbi>::LAYOUT,
                ["Slots of policy-host", "the number of fields: 2 here, 3 in the plugin", "(met at bind > slots)"],
            ),
            (
                <renamed::Root as StableAbi>::LAYOUT,
                [
                    "Slots of policy-host",
                    "a field: slots: u32 here, vcores: u32 in the plugin",
                    "(met at bind > slots)",
                ],
            ),
            (
                <other_answer::Root as StableAbi>::LAYOUT,
                ["u64 here", "bool in the plugin", "(met at bind > the returned value)"],
            ),
        ] {
            let message = told(theirs).expect("they differ");
            for part in parts {
                assert!(message.contains(part), "{part}: {message}");
            }
            assert!(message.len() < 500 && !message.contains('\n'), "{message}");
        }
        assert_eq!(told(<same::Root as StableAbi>::LAYOUT), None);
    }
}
