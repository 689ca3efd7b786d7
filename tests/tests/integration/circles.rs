//! No circle of files: no file of a crate uses names of a file that uses its own, over any number of steps.

mod arrows;
mod modules;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::sandbox::workspace;
use arrows::Arrows;
use modules::Modules;

/// The crates without a circle, by the file at their root.
const CRATES: &[&str] = &[
    "plugin-api/wire/src/lib.rs",
    "plugin-api/src/lib.rs",
    "plugin-api/testkit/src/lib.rs",
    "plugins/kit/src/lib.rs",
    "plugins/adaptive/src/lib.rs",
    "plugins/tenant-fair/src/lib.rs",
    "host/src/lib.rs",
    "host/cli/src/lib.rs",
    "host/sim/src/lib.rs",
    "host/ballista/src/lib.rs",
];

#[test]
fn no_circle_of_files_is_left() {
    for root in CRATES {
        let circles = circles(root, &sources(root));
        assert!(circles.is_empty(), "{root}:\n{}", circles.join("\n"));
    }
}

/// The sources of the crate at `root`, by path from the workspace's root.
fn sources(root: &str) -> BTreeMap<String, String> {
    fn walk(directory: &Path, found: &mut BTreeMap<String, String>) {
        for path in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let name = path.strip_prefix(workspace()).unwrap().to_string_lossy().replace('\\', "/");
                found.insert(name, fs::read_to_string(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(workspace().join(root).parent().unwrap(), &mut found);
    found
}

/// Every circle of the crate, with the names that tie it.
fn circles(root: &str, sources: &BTreeMap<String, String>) -> Vec<String> {
    let modules = Modules::read(root, sources);
    let arrows = Arrows::of(&modules);
    arrows.circles().iter().map(|files| arrows.spelled(files)).collect()
}

/// A crate of these files, rooted at `lib.rs`.
fn made_up(files: &[(&str, &str)]) -> Vec<String> {
    circles("lib.rs", &files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect())
}

#[test]
fn a_circle_is_found_over_several_steps_and_spelled_out() {
    let found = made_up(&[
        ("lib.rs", "mod a; mod b; mod c;"),
        ("a.rs", "use crate::b::{inner::Deep, self}; fn a(_: Deep) { b::go() }"),
        ("b/mod.rs", "pub mod inner; fn go() { let _ = 0..super::c::LIMIT; }"),
        ("b/inner.rs", "pub struct Deep;"),
        ("c.rs", "use super::*; pub const LIMIT: u32 = 1; fn c() { println!(\"{:?}\", a::a as usize) }"),
    ]);
    let expected = "circle of 3 files\n  a.rs -> b/mod.rs: go\n  b/mod.rs -> c.rs: LIMIT\n  c.rs -> a.rs: a";
    assert_eq!(found, [expected]);
}

#[test]
fn a_facade_hands_names_on_and_is_in_no_circle() {
    let facade = ("lib.rs", "mod a; mod b; pub use a::A; pub(crate) use self::b::*;");
    let children = [("a.rs", "use crate::B; pub struct A(B);"), ("b.rs", "pub struct B;")];
    assert_eq!(made_up(&[facade, children[0], children[1]]), Vec::<String>::new());
    // Through the facade all the same.
    let found = made_up(&[facade, children[0], ("b.rs", "use super::A; pub struct B(Box<A>);")]);
    assert_eq!(found, ["circle of 2 files\n  a.rs -> b.rs: B\n  b.rs -> a.rs: A"]);
}

#[test]
fn a_child_that_uses_what_its_parent_defines_is_in_a_circle_with_it() {
    let child = ("m/child.rs", "use super::Limit; fn child(_: Limit) {}");
    let found = made_up(&[
        ("lib.rs", "mod m;"),
        ("m.rs", "mod child; pub struct Limit; fn parent() { child::child(Limit) }"),
        child,
    ]);
    assert_eq!(found, ["circle of 2 files\n  m.rs -> m/child.rs: child\n  m/child.rs -> m.rs: Limit"]);
    // Only handed on: the parent does not use it.
    let parent = "mod child; pub use child::child; pub struct Limit;";
    assert_eq!(made_up(&[("lib.rs", "mod m;"), ("m.rs", parent), child]), Vec::<String>::new());
    let parent = "mod child; pub use child::child; pub struct Limit; fn parent() { child(Limit) }";
    assert_eq!(made_up(&[("lib.rs", "mod m;"), ("m.rs", parent), child]).len(), 1);
}

#[test]
fn tests_strings_comments_and_other_crates_are_no_arrows() {
    let found = made_up(&[
        ("lib.rs", "pub mod a; pub mod b;"),
        ("a.rs", "use crate::b::B; pub struct A(B); impl A { #[cfg(test)] fn of(_: super::b::B) -> Self { todo() } }"),
        (
            "b.rs",
            "//! crate::a::A\npub struct B { a: std::a::A }\n#[cfg(test)]\nuse super::a::A;\n\
             fn b(x: X) { \"crate::a::A\"; x.a::<u8>(); $crate::a::A; }\n\
             #[cfg(test)]\nmod tests { use crate::a::A; }\n#[cfg(all(test, unix))] mod more;",
        ),
    ]);
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn macros_and_files_elsewhere_are_followed() {
    let found = made_up(&[
        ("lib.rs", "mod a; #[path = \"odd_name.rs\"] mod b; mod c { pub use crate::a::A as Renamed; }"),
        ("a.rs", "#[macro_export] macro_rules! say { ($x:expr) => { 1 } } pub struct A; fn a() { crate::b::b() }"),
        ("odd_name.rs", "use crate::say; fn b() { say!(1); fn f() { use crate::c::Renamed; } }"),
    ]);
    assert_eq!(found, ["circle of 2 files\n  a.rs -> odd_name.rs: b\n  odd_name.rs -> a.rs: A, say"]);
}
