//! The child's side: takes one order, maps the libraries, runs their code on a small stack, and says what it found.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::artifact::judge::{JudgedPolicy, Order, OrderedLibrary, OrderedPart, Said, Saying, Verdict};
use crate::artifact::load::{self, Loaded};
use crate::artifact::vet;
use crate::control::admit::{AdmitError, Recipe};
use crate::control::tryout::{probe, try_recipe};
use crate::core::composition::Composition;
use crate::core::digest::Digest;
use crate::core::limits::{JUDGE_ADDRESS_SPACE_BYTES, JUDGE_STACK_BYTES, MAX_ORDER_BYTES};
use crate::core::text::{chain, shown};
use crate::core::threads;

/// The child's side: judges what the host that started this process ordered, and tells it the verdict. `file` is there for
/// people who look at the list of processes.
///
/// Call it where the program was started with the arguments given to [`Judge::new`](crate::artifact::judge::Judge::new), before anything
/// else reads standard input, and end the process when it returns. It ends the process itself when the host goes away.
pub fn child_main(file: &Path) {
    let Some(channel) = Channel::take() else { return by_hand(file) };
    follow_the_host();
    let mut reader = BufReader::new(channel.read);
    let mut line = String::new();
    let order = (&mut reader).take(MAX_ORDER_BYTES).read_line(&mut line).ok();
    let Some(order) = order.and_then(|_| serde_json::from_str::<Order>(&line).ok()) else { return by_hand(file) };
    let watching = thread::Builder::new().name("host-watch".into()).spawn(move || end_with_the_host(reader));
    limit_resources();
    let report = Arc::new(Report { nonce: order.nonce.clone(), write: Mutex::new(channel.write) });
    let heard = Arc::clone(&report);
    // Everything foreign runs on a smaller stack than any that it will meet in a host, initialisers included.
    let judging = thread::Builder::new().name("judge".into()).stack_size(JUDGE_STACK_BYTES);
    let verdict = judging
        .spawn(move || {
            threads::mark_disposable();
            judge(&order, &heard)
        })
        .and_then(|judging| {
            drop(watching?);
            judging.join().map_err(|_| std::io::Error::other("the judge itself panicked"))
        });
    match verdict {
        Ok(verdict) => report.say(Saying::Verdict(verdict)),
        // Said on standard error: the host takes the last line of it.
        Err(e) => {
            eprintln!("{}", chain(&e));
            std::process::exit(1);
        }
    }
}

/// Somebody started the child without a host.
fn by_hand(file: &Path) {
    eprintln!("{}: this is the child's side of `policy-host check`, which a host starts", file.display());
    std::process::exit(2);
}

/// The two directions of the channel to the host.
struct Channel {
    read: Box<dyn Read + Send>,
    write: Box<dyn Write + Send>,
}

impl Channel {
    /// Takes the channel, which the child finds as its standard input, and leaves nothing there for others.
    #[cfg(unix)]
    fn take() -> Option<Self> {
        use std::os::fd::AsFd;
        use std::os::unix::net::UnixStream;
        let stream = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned().ok()?);
        // Not a socket: nobody is at the other end.
        stream.peer_addr().ok()?;
        let nothing = std::fs::File::open("/dev/null").ok()?;
        rustix::stdio::dup2_stdin(&nothing).ok()?;
        Some(Self { read: Box::new(stream.try_clone().ok()?), write: Box::new(stream) })
    }

    /// Without descriptors to hand over, the order comes on standard input and the verdict goes to standard output, where
    /// the nonce tells it from what a plugin prints.
    #[cfg(not(unix))]
    fn take() -> Option<Self> {
        Some(Self { read: Box::new(std::io::stdin()), write: Box::new(std::io::stdout()) })
    }
}

/// Says things to the host.
struct Report {
    nonce: String,
    write: Mutex<Box<dyn Write + Send>>,
}

impl Report {
    fn say(&self, what: Saying) {
        let said = Said { nonce: self.nonce.clone(), what };
        let text = serde_json::to_string(&said).unwrap_or_default();
        let mut write = self.write.lock().unwrap_or_else(PoisonError::into_inner);
        // On a line of its own, whatever a plugin has written to descriptors that are not its own. A host that is gone
        // need not hear it.
        let _ = write.write_all(format!("\n{text}\n").as_bytes()).and_then(|()| write.flush());
    }

    fn step(&self, step: impl Into<String>) {
        self.say(Saying::Step(step.into()));
    }
}

/// A child that somebody has stopped goes on when its host ends, and then ends itself: a stopped process cannot look.
fn follow_the_host() {
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::CONT));
}

/// Ends this process, and what it has started, as soon as nobody holds the other end of the channel any more.
fn end_with_the_host(mut host: impl Read) {
    let mut byte = [0_u8; 1];
    while matches!(host.read(&mut byte), Ok(1)) {}
    #[cfg(unix)]
    if rustix::process::getpgrp() == rustix::process::getpid() {
        let _ = rustix::process::kill_current_process_group(rustix::process::Signal::KILL);
    }
    std::process::abort();
}

/// Memory is bounded and no core is dumped: what a bad file does here stays small.
fn limit_resources() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, setrlimit};
        let at_most = |n| Rlimit { current: Some(n), maximum: Some(n) };
        let _ = setrlimit(Resource::Core, at_most(0));
        let _ = setrlimit(Resource::As, at_most(JUDGE_ADDRESS_SPACE_BYTES));
    }
}

fn judge(order: &Order, report: &Report) -> Verdict {
    let mut libraries = Vec::new();
    for ordered in &order.libraries {
        match load_ordered(ordered, report) {
            Ok(loaded) => libraries.push(loaded),
            Err(verdict) => return *verdict,
        }
    }
    match (&order.recipe, &order.libraries[..], &libraries[..]) {
        (Some(recipe), ..) => judge_recipe(recipe, &libraries, report),
        (None, [ordered], [loaded]) => judge_exports(ordered, loaded, report),
        _ => Verdict::refused(Path::new(""), "judge-failed", "the order names neither a recipe nor one library"),
    }
}

/// Maps exactly the bytes that the host hashed.
fn load_ordered(ordered: &OrderedLibrary, report: &Report) -> Result<Arc<Loaded>, Box<Verdict>> {
    let source = &ordered.source;
    report.step(format!("mapping {}", source.display()));
    let refused = |code: &str, message: &str| {
        let verdict = Verdict::refused(source, code, message);
        Box::new(Verdict { sha256: ordered.sha256.clone(), ..verdict })
    };
    let digest: Digest = ordered.sha256.parse().map_err(|e| refused("judge-failed", &chain(&e)))?;
    let vetted = vet::vet_copy(&ordered.path, source, digest).map_err(|e| refused(e.code(), &chain(&e)))?;
    load::load(&vetted).map_err(|e| refused(e.code(), &chain(&e)))
}

fn judge_exports(ordered: &OrderedLibrary, loaded: &Arc<Loaded>, report: &Report) -> Verdict {
    let unfit = probe(loaded, 0, |name| report.step(format!("trying {name} with its default config")));
    let policies = loaded.exports().iter().map(|e| JudgedPolicy {
        name: e.name.clone(),
        kind: e.kind.clone(),
        version: e.version.clone(),
        api_version: loaded.api_version(),
        config_schema: e.config_schema.clone(),
        code: unfit.iter().find(|u| u.name == e.name).map_or("ok", |u| u.code).into(),
    });
    let (file, first) = (ordered.source.display().to_string(), unfit.first());
    Verdict {
        sha256: ordered.sha256.clone(),
        ok: first.is_none(),
        code: first.map_or("ok", |u| u.code).into(),
        message: first.map_or_else(String::new, |u| shown(format!("{file}: {}", u.message))),
        policies: policies.collect(),
        file,
    }
}

fn judge_recipe(ordered: &Composition<OrderedPart>, libraries: &[Arc<Loaded>], report: &Report) -> Verdict {
    let Some(recipe) = Recipe::over(ordered, libraries) else {
        return Verdict::refused(Path::new(""), "judge-failed", "the recipe does not fit its libraries");
    };
    let mut tried = Ok(());
    for part in std::iter::once(&recipe).chain(&recipe.shadows) {
        let name = &part.policy.wanted.name;
        report.step(format!("trying {name} with the config that it is to have"));
        tried = tried.and_then(|()| try_recipe(part, 0, name));
    }
    let result: Result<(), AdmitError> = tried;
    Verdict {
        ok: result.is_ok(),
        code: result.as_ref().map_or_else(|e| e.code(), |()| "ok").into(),
        message: result.map_or_else(|e| chain(&e), |()| String::new()),
        ..Verdict::default()
    }
}
