//! The judge: a throw-away child process that maps a file, makes its policies and puts them through canned rounds, so
//! that a library that crashes, hangs or eats memory does so there and not in a host. `policy-host check` is its face.
//!
//! The child gets its order (the staged copy, its digest, a nonce) over a channel of its own, runs foreign code on a stack
//! smaller than any that this code meets in a host, and answers over that channel. Its time is limited; when it is over, the
//! child and its process group are killed. When the host ends, however it does, the child ends too.

mod heard;
mod verdict;
#[cfg(unix)]
mod watch;
#[cfg(not(unix))]
#[path = "watch_portable.rs"]
mod watch;
mod wire;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::time::Duration;

pub use verdict::{JudgedPolicy, Verdict};
pub(crate) use wire::{Order, OrderedLibrary, OrderedPart, Said, Saying};

use crate::artifact::load::Loaded;
use crate::artifact::vet::{self, StagingDir, Vetted};
use crate::core::composition::Composition;
use crate::core::limits::{JUDGE_STACK_BYTES, JUDGE_TIME_LIMIT};
use crate::core::text::chain;
use heard::Heard;
use wire::nonce;

/// How to run the child: a program that calls [`child_main`](crate::judge::child_main) with the path it was given.
#[derive(Clone, Debug)]
pub struct Judge {
    program: PathBuf,
    arguments: Vec<OsString>,
    time_limit: Duration,
}

impl Judge {
    /// A judge that runs `program` with `arguments` and then the file's path.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>, arguments: impl IntoIterator<Item = OsString>) -> Self {
        Self { program: program.into(), arguments: arguments.into_iter().collect(), time_limit: JUDGE_TIME_LIMIT }
    }

    /// Another time limit.
    #[must_use]
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.time_limit = limit;
        self
    }

    /// Judges a file. Never crashes and never hangs, whatever the file is; waits for at most the time limit. The copy that
    /// is mapped lies in a temporary directory, which is gone when this returns.
    #[must_use]
    pub fn examine(&self, file: &Path) -> Verdict {
        let private = match tempfile::tempdir() {
            Ok(private) => private,
            Err(e) => return Verdict::refused(file, "staging-failed", &format!("no private directory: {}", chain(&e))),
        };
        match vet::vet(file, &StagingDir::under(private.path())) {
            Ok(vetted) => self.examine_staged(&vetted),
            Err(e) => Verdict::refused(file, e.code(), &chain(&e)),
        }
    }

    /// Judges a file that is staged already: the child maps that copy and no other.
    pub(crate) fn examine_staged(&self, vetted: &Vetted) -> Verdict {
        let (source, sha256) = (vetted.source(), vetted.digest().to_string());
        let library = OrderedLibrary::new(vetted.copy(), source.to_owned(), sha256.clone());
        let order = Order { nonce: nonce(), libraries: vec![library], recipe: None };
        let verdict = self.run(&order, source);
        // A child that fell over could not say which bytes it had.
        Verdict { sha256, ..verdict }
    }

    /// Judges a recipe with its shadows: exactly the libraries and configs that are to go into service. `title` names it.
    pub(crate) fn examine_recipe(
        &self,
        title: &Path,
        (libraries, recipe): (Vec<Arc<Loaded>>, Composition<OrderedPart>),
    ) -> Verdict {
        for loaded in &libraries {
            // Somebody may have emptied the state directory under the host.
            if let Err(e) = loaded.copy().put_back(loaded.digest()) {
                let message = format!("{}: its copy cannot be staged again: {}", loaded.file_name(), chain(&e));
                return Verdict::refused(title, "staging-failed", &message);
            }
        }
        let ordered = |l: &Arc<Loaded>| OrderedLibrary::new(l.copy(), l.file_name().into(), l.digest().to_string());
        let libraries = libraries.iter().map(ordered).collect();
        self.run(&Order { nonce: nonce(), libraries, recipe: Some(recipe) }, title)
    }

    fn run(&self, order: &Order, file: &Path) -> Verdict {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).arg(file);
        match watch::run(command, order, self.time_limit) {
            Ok(heard) => self.conclude(heard, order, file),
            Err(e) => {
                let message = format!("the judge {} cannot be run: {}", self.program.display(), chain(&e));
                Verdict::refused(file, "judge-failed", &message)
            }
        }
    }

    /// What comes of what the child said and of how it ended.
    fn conclude(&self, heard: Heard, order: &Order, file: &Path) -> Verdict {
        let name = file.display();
        let doing = match (&heard.verdict, heard.step.as_str()) {
            (Some(_), _) => String::from(", at the end of the process"),
            (None, "") => String::new(),
            (None, step) => format!(", while {step}"),
        };
        if heard.timed_out {
            let message = format!("{name}: hangs{doing}: no end within {:?}", self.time_limit);
            return Verdict::refused(file, "hangs", &message);
        }
        // A status that the system did not keep says nothing against the child.
        let ended_well = heard.status.is_none_or(|status| status.success());
        match heard.verdict {
            Some(verdict) if ended_well && fits(&verdict, order) => return verdict,
            Some(_) if ended_well => {
                let message = format!("{name}: the judge answered something else than it was asked");
                return Verdict::refused(file, "judge-failed", &message);
            }
            _ => {}
        }
        let stderr = String::from_utf8_lossy(&heard.stderr);
        if stderr.contains("has overflowed its stack") {
            let message = format!(
                "{name}: overflows the stack{doing}; policies have {} KiB of it in the judge, and should need less",
                JUDGE_STACK_BYTES / 1024
            );
            return Verdict::refused(file, "crashes", &message);
        }
        let message = format!("{name}: kills its process{doing}: {} ({})", describe(heard.status), last_words(&stderr));
        Verdict::refused(file, "crashes", &message)
    }
}

/// What a child that ended without a verdict said of it: the panics that the plugin's hook printed because nobody could
/// catch them, or else the last line.
fn last_words(stderr: &str) -> String {
    let panics: Vec<&str> = stderr.lines().filter(|line| line.starts_with("the plugin panicked at ")).collect();
    if !panics.is_empty() {
        return panics.join("; ");
    }
    stderr.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("nothing on stderr").to_owned()
}

/// Whether a verdict says what one on `order` must say.
fn fits(verdict: &Verdict, order: &Order) -> bool {
    let right_bytes = match (&order.recipe, &order.libraries[..]) {
        (None, [library]) => verdict.sha256 == library.sha256,
        _ => true,
    };
    let something_exported = order.recipe.is_some() || !verdict.policies.is_empty();
    right_bytes
        && !verdict.code.is_empty()
        && verdict.ok == (verdict.code == "ok")
        && (!verdict.ok || something_exported)
}

#[cfg(unix)]
fn describe(status: Option<ExitStatus>) -> String {
    use std::os::unix::process::ExitStatusExt;
    match status.and_then(|s| s.signal()) {
        Some(signal) => format!("signal {signal}"),
        None => describe_exit(status),
    }
}

#[cfg(not(unix))]
fn describe(status: Option<ExitStatus>) -> String {
    describe_exit(status)
}

fn describe_exit(status: Option<ExitStatus>) -> String {
    let status = status.map_or_else(|| String::from("an unknown status"), |s| s.to_string());
    format!("it ends by itself with {status}")
}

/// Codes come from a child process as text; there are few of them.
pub(crate) fn intern(code: &str) -> &'static str {
    use std::sync::{Mutex, PoisonError};
    static CODES: Mutex<Vec<&'static str>> = Mutex::new(Vec::new());
    let mut codes = CODES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = codes.iter().find(|c| **c == code) {
        return known;
    }
    // Bounded: a judge that made codes up would not fill the memory.
    if codes.len() >= 256 {
        return "refused";
    }
    let code: &'static str = String::leak(code.to_owned());
    codes.push(code);
    code
}
