//! The judge: a throw-away child process that maps a file, makes its policies and puts them through canned rounds, so
//! that a library that crashes, hangs or eats memory does so there and not in a host. `policy-host check` is its face.
//!
//! The child gets its order (the staged copy, its digest, a nonce) over a channel of its own, runs foreign code on a stack
//! smaller than any that this code meets in a host, and answers over that channel. Its time is limited; when it is over, the
//! child and its process group are killed. When the host ends, however it does, the child ends too.

mod child;
mod probe;
#[cfg(unix)]
mod watch;
#[cfg(not(unix))]
#[path = "watch_portable.rs"]
mod watch;
mod wire;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use child::child_main;
pub(crate) use probe::{Unfit, probe};

use crate::artifact::vet::{self, StagingDir, Vetted};
use crate::control::activation::ACTIVE_FILE;
use crate::control::admit::Recipe;
use crate::core::limits::{JUDGE_STACK_BYTES, JUDGE_TIME_LIMIT};
use crate::core::text::{chain, shown};
use wire::{Order, OrderedLibrary, Said, Saying, nonce};

/// What the judge found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verdict {
    /// The file.
    pub file: String,
    /// Its SHA-256; empty when it could not be read.
    pub sha256: String,
    /// Whether everything in it does well.
    pub ok: bool,
    /// The stable code of the first thing that does not; `ok` otherwise.
    pub code: String,
    /// Why it was refused.
    pub message: String,
    /// What it exports.
    pub policies: Vec<JudgedPolicy>,
}

/// One export of a judged file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JudgedPolicy {
    /// Its name.
    pub name: String,
    /// `policy`, `filter` or `score`.
    pub kind: String,
    /// Its version.
    pub version: String,
    /// The plugin API version that it was built against.
    pub api_version: String,
    /// The JSON Schema of its config.
    pub config_schema: serde_json::Value,
    /// `ok`, or the stable code of what it did with its default config.
    pub code: String,
}

impl Verdict {
    /// Whether a host would map the file: at least one of its policies does well with its default config.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.ok || self.policies.iter().any(|p| p.code == "ok")
    }

    fn refused(file: &Path, code: &str, message: &str) -> Self {
        let file = file.display().to_string();
        Self { file, code: code.into(), message: shown(message), ..Self::default() }
    }

    /// Whether it says what a verdict on `order` must say.
    fn fits(&self, order: &Order) -> bool {
        let right_bytes = match (&order.recipe, &order.libraries[..]) {
            (None, [library]) => self.sha256 == library.sha256,
            _ => true,
        };
        let something_exported = order.recipe.is_some() || !self.policies.is_empty();
        right_bytes && !self.code.is_empty() && self.ok == (self.code == "ok") && (!self.ok || something_exported)
    }
}

/// How to run the child: a program that calls [`child_main`] with the path it was given.
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

    /// Judges a recipe with its shadows: exactly the libraries and configs that are to go into service.
    pub(crate) fn examine_recipe(&self, recipe: &Recipe) -> Verdict {
        let from = recipe.libraries().next().map_or("", |library| library.file_name());
        let name = PathBuf::from(format!("{ACTIVE_FILE}: {} of {from}", recipe.policy.0.name));
        for loaded in recipe.libraries() {
            // Somebody may have emptied the state directory under the host.
            if let Err(e) = loaded.copy().put_back(loaded.digest()) {
                let message = format!("{}: its copy cannot be staged again: {}", loaded.file_name(), chain(&e));
                return Verdict::refused(&name, "staging-failed", &message);
            }
        }
        self.run(&Order::of_recipe(recipe), &name)
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
            Some(verdict) if ended_well && verdict.fits(order) => return verdict,
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

/// What was heard of a child.
#[derive(Debug, Default)]
struct Heard {
    /// What came over the channel and is not a whole line yet.
    unread: Vec<u8>,
    /// How much came over it.
    bytes: usize,
    /// The last step that it said it begins.
    step: String,
    verdict: Option<Verdict>,
    /// The end of what came on its standard error.
    stderr: Vec<u8>,
    /// Its time was up before it ended.
    timed_out: bool,
    status: Option<ExitStatus>,
}

impl Heard {
    /// Takes what came over the channel. Lines without the nonce are not the judge's, and nothing.
    fn take(&mut self, bytes: &[u8], nonce: &str) {
        self.bytes += bytes.len();
        self.unread.extend_from_slice(bytes);
        while let Some(end) = self.unread.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = self.unread.drain(..=end).collect();
            match serde_json::from_slice::<Said>(&line) {
                Ok(Said { nonce: said, what: Saying::Step(step) }) if said == nonce => self.step = shown(step),
                Ok(Said { nonce: said, what: Saying::Verdict(verdict) }) if said == nonce => {
                    let message = shown(&verdict.message);
                    self.verdict.get_or_insert(Verdict { message, ..verdict });
                }
                _ => {}
            }
        }
    }
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
