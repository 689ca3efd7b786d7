//! Where a panic happened, on the plugin's side.
//!
//! The default panic hook prints each panic, with a backtrace if `RUST_BACKTRACE` asks for one. In a plugin that takes
//! hundreds of milliseconds the first time and tens of MiB for good: the round misses its deadline, and the host blames
//! the policy for being slow. A library has a standard library of its own, and so a panic hook of its own: the export
//! macro's `init` replaces the default one. The new hook prints nothing; it notes where the panic happened, and the guard
//! that catches the panic hands the place on.
//!
//! Every function here also works on a thread that is ending, and none panics: a panic inside a hook ends the process.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::io::Write;
use std::panic::{Location, PanicHookInfo};

/// So many panics of a thread are noted. More than one is of interest when a destructor raises and catches another one
/// while the first unwinds.
const KEPT: usize = 4;
/// So many characters of a message are noted, for a process that ends before anybody has caught its panics.
const KEPT_CHARS: usize = 200;

type Hook = dyn Fn(&PanicHookInfo<'_>) + Send + Sync;

thread_local! {
    /// In how many guarded calls this thread is.
    static WATCHED: Cell<u32> = const { Cell::new(0) };
    static SEEN: RefCell<Vec<Seen>> = const { RefCell::new(Vec::new()) };
}

/// Where a panic happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) file: String,
    pub(super) line: u32,
    pub(super) column: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// A panic that was caught: its message, and its place where the hook has seen it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Panic {
    pub(super) message: String,
    pub(super) place: Option<Place>,
}

impl Panic {
    /// What the guard knows of a payload.
    pub(super) fn of(payload: &(dyn Any + Send)) -> Self {
        let text = text_of(payload);
        Self { message: text.unwrap_or(NO_TEXT).to_owned(), place: take_place(text) }
    }
}

/// The message of a payload without one.
const NO_TEXT: &str = "a panic whose payload is not text";

/// A panic that the hook has seen.
struct Seen {
    /// Address and length of the message, which stay the same until the panic is caught; `None` for other payloads.
    text: Option<(usize, usize)>,
    /// The message's beginning.
    begins: String,
    place: Option<Place>,
}

/// As long as one lives, panics of this thread are caught by its owner.
pub(super) struct Watch(());

impl Watch {
    pub(super) fn begin() -> Self {
        let _ = WATCHED.try_with(|calls| calls.set(calls.get() + 1));
        Self(())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = WATCHED.try_with(|calls| calls.set(calls.get() - 1));
    }
}

/// Replaces the library's default panic hook, once a library. A hook that the author has set before is called for every
/// panic; one that the author sets later replaces this one.
pub(super) fn install() {
    let before = std::panic::take_hook();
    // Taken twice: what is there the second time is the default hook.
    let default = std::panic::take_hook();
    let authors = !is_same(&*before, &*default);
    std::panic::set_hook(Box::new(move |info| note(info, &*before, authors)));
}

/// Whether two hooks run the same code on the same data.
#[allow(ambiguous_wide_pointer_comparisons, reason = "both come from one function; taken for different, one is called")]
fn is_same(a: &Hook, b: &Hook) -> bool {
    std::ptr::eq(a, b)
}

/// The hook.
fn note(info: &PanicHookInfo<'_>, before: &Hook, authors: bool) {
    let text = text_of(info.payload());
    let place = info.location().map(place_of);
    let watched = WATCHED.try_with(Cell::get).unwrap_or_default() > 0;
    if ends_the_process(info) {
        // Nobody will catch this one, nor those that led to it.
        tell_those_before();
    } else if watched {
        remember(text, place);
        if !authors {
            return;
        }
    } else if !authors {
        tell_of_a_thread(text.unwrap_or(NO_TEXT), &shown(place.as_ref()));
        return;
    }
    before(info);
}

/// A panic in a destructor while another panic unwinds, or in a function that must not unwind. The standard library has no
/// stable way to ask; its `Debug` says it. Were it to stop, such a panic would print less.
fn ends_the_process(info: &PanicHookInfo<'_>) -> bool {
    format!("{info:?}").contains("can_unwind: false")
}

fn remember(text: Option<&str>, place: Option<Place>) {
    let seen =
        Seen { text: text.map(identity), begins: text.unwrap_or_default().chars().take(KEPT_CHARS).collect(), place };
    let _ = SEEN.try_with(|all| {
        // Borrowed already only if an allocation panicked below; then nothing is noted.
        if let Ok(mut all) = all.try_borrow_mut() {
            if all.len() >= KEPT {
                all.remove(0);
            }
            all.push(seen);
        }
    });
}

fn tell_those_before() {
    let _ = SEEN.try_with(|all| {
        for seen in all.try_borrow().iter().flat_map(|all| all.iter()) {
            let place = shown(seen.place.as_ref());
            let _ = writeln!(std::io::stderr(), "the plugin panicked at {place}: {}", seen.begins);
        }
    });
}

/// A panic of a thread that the plugin started: no call of the host returns it.
fn tell_of_a_thread(message: &str, place: &str) {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("(unnamed)");
    if !super::log::thread_panicked(name, message, place) {
        let _ = writeln!(std::io::stderr(), "thread {name} of a policy plugin panicked at {place}: {message}");
    }
}

/// The message in a payload.
fn text_of(payload: &(dyn Any + Send)) -> Option<&str> {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
}

fn identity(text: &str) -> (usize, usize) {
    (text.as_ptr().addr(), text.len())
}

/// The place of the panic with this message, once.
fn take_place(text: Option<&str>) -> Option<Place> {
    let key = text.map(identity);
    let place = SEEN.try_with(|all| {
        let mut all = all.try_borrow_mut().ok()?;
        let at = all.iter().rposition(|seen| seen.text == key)?;
        all.remove(at).place
    });
    place.unwrap_or_default()
}

fn shown(place: Option<&Place>) -> String {
    place.map_or_else(String::new, Place::to_string)
}

fn place_of(location: &Location<'_>) -> Place {
    Place { file: short(location.file()).to_owned(), line: location.line(), column: location.column() }
}

/// What tells a source file apart. Of an absolute path, only the part from the package on: the rest says where somebody
/// builds.
fn short(file: &str) -> &str {
    let is_separator = |c| c == '/' || c == '\\';
    let is_absolute = file.starts_with(is_separator) || file.get(1..2) == Some(":");
    if !is_absolute {
        return file;
    }
    let mut parts: Vec<(usize, &str)> = Vec::new();
    for part in file.split(is_separator) {
        parts.push((parts.last().map_or(0, |(at, before)| at + before.len() + 1), part));
    }
    let after = |mark: &[&str], skipped: usize| {
        let is_it = |window: &[(usize, &str)]| window.iter().map(|part| part.1).eq(mark.iter().copied());
        parts.windows(mark.len()).rposition(is_it).map(|at| at + mark.len() + skipped)
    };
    // A package of a registry or a repository, or the standard library.
    let from = after(&["registry", "src"], 1)
        .or_else(|| after(&["git", "checkouts"], 0))
        .or_else(|| after(&["rustc"], 1))
        // The directory above `src`.
        .or_else(|| after(&["src"], 0).map(|at| at.saturating_sub(2)))
        .unwrap_or_else(|| parts.len().saturating_sub(3));
    parts.get(from).map_or(file, |(at, _)| &file[*at..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_path_only_what_tells_the_file_apart_is_shown() {
        for (file, shown) in [
            ("src/lib.rs", "src/lib.rs"),
            ("plugins/bias/src/policy.rs", "plugins/bias/src/policy.rs"),
            (r"src\deep\lib.rs", r"src\deep\lib.rs"),
            (
                "/build/ann/.cargo/registry/src/registry.example-1949cf8c6b5b557f/serde-1.0.1/src/de/mod.rs",
                "serde-1.0.1/src/de/mod.rs",
            ),
            ("/build/ann/.cargo/registry/src/index-1/flat-0.1.0/lib.rs", "flat-0.1.0/lib.rs"),
            ("/build/ann/.cargo/git/checkouts/tool-1a2b/9f8e7d6/src/run.rs", "tool-1a2b/9f8e7d6/src/run.rs"),
            ("/rustc/0123abc/library/core/src/option.rs", "library/core/src/option.rs"),
            ("/build/ann/src/work/my-policy/src/inner/place.rs", "my-policy/src/inner/place.rs"),
            ("/srv/build/out/generated.rs", "build/out/generated.rs"),
            ("/lib.rs", "/lib.rs"),
            ("/", "/"),
            ("/src/lib.rs", "/src/lib.rs"),
            ("", ""),
            (r"C:\Users\Ann\.cargo\registry\src\index-1\serde-1.0.1\src\de.rs", r"serde-1.0.1\src\de.rs"),
            (r"C:\work\my-policy\src\lib.rs", r"my-policy\src\lib.rs"),
            ("/build/größe/ärger/src/lib.rs", "ärger/src/lib.rs"),
        ] {
            assert_eq!(short(file), shown, "{file}");
        }
    }

    #[test]
    fn each_panic_has_its_own_place_once() {
        let place = |file: &str, line| Some(Place { file: file.to_owned(), line, column: 9 });
        let text = String::from("left is not right\n  left: 1");
        remember(Some("another"), place("src/other.rs", 1));
        remember(Some(&text), place("src/lib.rs", 7));
        remember(None, place("src/payload.rs", 3));
        assert_eq!(take_place(Some(&text)), place("src/lib.rs", 7));
        assert_eq!(take_place(Some(&text)), None);
        assert_eq!(Panic::of(&7_u8), Panic { message: NO_TEXT.to_owned(), place: place("src/payload.rs", 3) });
        assert_eq!(shown(place("src/lib.rs", 7).as_ref()), "src/lib.rs:7:9");
    }
}
