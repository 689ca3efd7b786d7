//! The judge: a throw-away child process that maps a file, makes its policies and puts them through canned rounds, so
//! that a library that crashes, hangs or eats memory does so there and not in a host. `policy-host check` is its face.

use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use policy_kit::Composite;
use policy_plugin_api::FromConfig;
use policy_plugin_api::abi::foreign::Description;
use serde::{Deserialize, Serialize};

use crate::activation::Wanted;
use crate::admit::{self, AdmitError, Origin, Recipe};
use crate::fallback::BuiltIn;
use crate::limits::{JUDGE_ADDRESS_SPACE_BYTES, JUDGE_TIME_LIMIT};
use crate::load::{self, Loaded};
use crate::text::{chain, shown};
use crate::vet::{self, StagingDir};

/// What the judge found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
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
#[serde(default)]
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

    /// Judges a file. Never crashes and never hangs, whatever the file is; waits for at most the time limit.
    #[must_use]
    pub fn examine(&self, file: &Path) -> Verdict {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).arg(file);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = match command.spawn() {
            Ok(child) => child,
            Err(e) => {
                let message = format!("the judge {} cannot be started: {}", self.program.display(), chain(&e));
                return Verdict::refused(file, "judge-failed", &message);
            }
        };
        self.wait(child, file)
    }

    fn wait(&self, mut child: Child, file: &Path) -> Verdict {
        // Drained on threads: a child that writes a lot must not block on a full pipe.
        let out = drain(child.stdout.take());
        let err = drain(child.stderr.take());
        let deadline = Instant::now() + self.time_limit;
        let mut nap = Duration::from_micros(200);
        let status = loop {
            match child.try_wait() {
                Ok(Some(status)) => break Some(status),
                Ok(None) if Instant::now() < deadline => std::thread::sleep(nap),
                _ => break None,
            }
            nap = (nap * 2).min(Duration::from_millis(10));
        };
        let Some(status) = status else {
            let _ = child.kill();
            let _ = child.wait();
            let message = format!("{}: hangs: no verdict within {:?}", file.display(), self.time_limit);
            return Verdict::refused(file, "hangs", &message);
        };
        let said = out.join().unwrap_or_default();
        let verdict = said.lines().rev().find_map(|line| serde_json::from_str::<Verdict>(line).ok());
        match verdict {
            Some(verdict) if status.success() => verdict,
            _ => {
                let stderr = err.join().unwrap_or_default();
                let last = stderr.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or("nothing on stderr");
                let message = format!("{}: kills its process: {} ({last})", file.display(), describe(status));
                Verdict::refused(file, "crashes", &message)
            }
        }
    }
}

fn drain(pipe: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(pipe) = pipe {
            // Bounded: a child that never stops writing is cut off by the time limit.
            let _ = pipe.take(4 * 1024 * 1024).read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

#[cfg(unix)]
fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match status.signal() {
        Some(signal) => format!("signal {signal}"),
        None => format!("it ends with {status} without a verdict"),
    }
}

#[cfg(not(unix))]
fn describe(status: ExitStatus) -> String {
    format!("it ends with {status} without a verdict")
}

/// The child's side: judges `file` and prints the verdict as one line of JSON on standard output.
pub fn child_main(file: &Path) {
    limit_resources();
    let verdict = judge_here(file);
    println!("{}", serde_json::to_string(&verdict).unwrap_or_default());
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

/// Judges a file in this process: maps it and runs its code.
fn judge_here(file: &Path) -> Verdict {
    let private = match tempfile::tempdir() {
        Ok(private) => private,
        Err(e) => return Verdict::refused(file, "staging-failed", &format!("no private directory: {}", chain(&e))),
    };
    let vetted = match vet::vet(file, &StagingDir::under(private.path())) {
        Ok(vetted) => vetted,
        Err(e) => return Verdict::refused(file, e.code(), &chain(&e)),
    };
    let refused = |code: &str, message: &str| Verdict {
        sha256: vetted.digest().to_string(),
        ..Verdict::refused(file, code, message)
    };
    let loaded = match load::load(&vetted) {
        Ok(loaded) => loaded,
        Err(e) => return refused(e.code(), &chain(&e)),
    };
    let unfit = probe(&loaded, 0);
    let api_version = format!("{}.{}", vetted.manifest().api_major, vetted.manifest().api_minor);
    let policies = loaded.exports().iter().map(|e| JudgedPolicy {
        name: e.name.clone(),
        kind: e.kind.clone(),
        version: e.version.clone(),
        api_version: api_version.clone(),
        config_schema: e.config_schema.clone(),
        code: unfit.iter().find(|u| u.name == e.name).map_or("ok", |u| u.code).into(),
    });
    let first = unfit.first();
    Verdict {
        file: file.display().to_string(),
        sha256: vetted.digest().to_string(),
        ok: first.is_none(),
        code: first.map_or("ok", |u| u.code).into(),
        message: first.map_or_else(String::new, |u| shown(format!("{}: {}", file.display(), u.message))),
        policies: policies.collect(),
    }
}

/// An export that does not do well with its default config.
#[derive(Clone, Debug)]
pub(crate) struct Unfit {
    pub(crate) name: String,
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

/// Makes everything a library exports, with its default config, and puts it through the canned rounds; returns those
/// that failed. A policy that refuses its default config is not judged further: it is not at fault.
pub(crate) fn probe(loaded: &Arc<Loaded>, generation: u64) -> Vec<Unfit> {
    let failed = loaded.exports().iter().filter_map(|export| {
        let error = try_out(loaded, export, generation).err()?;
        Some(Unfit { name: export.name.clone(), code: error.code(), message: chain(&error) })
    });
    failed.collect()
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
    let (complaints, complained) = std::sync::mpsc::channel();
    let pipeline = match admit::construct(&recipe, move |message| drop(complaints.send(message))) {
        Ok(pipeline) => pipeline,
        Err(AdmitError::Config(_)) => return Ok(()),
        Err(e) => return Err(e),
    };
    admit::rehearse(&export.name, &pipeline)?;
    drop(pipeline);
    match complained.try_recv() {
        Ok(message) => Err(AdmitError::Destructor { name: export.name.clone(), message }),
        Err(_) => {
            if export.kind == "policy" {
                admit::remember(&recipe);
            }
            Ok(())
        }
    }
}
