//! `dev`: a policy crate built, judged and put into a plugin directory, again on every save.

mod sources;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use policy_host::judge::Verdict;
use policy_host::receipt::{Receipt, StateDir, write_atomically};

use super::cargo::{self, Verbosity};
use super::switch::Switch;
use super::{judge, short};
use crate::failure::Failure;
use crate::paths::Place;
use crate::say;
use sources::Sources;

/// How often the sources are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long the judge may take: a debug build is slow.
const JUDGE_LIMIT_S: f64 = 30.0;

/// Builds a policy crate, judges the library in a process of its own, and puts it into the plugin directory; then waits
/// for the next save. A running host swaps it in while work goes on, and this says when it has answered. What does not
/// build, or is refused, leaves the one before in service.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  policy-host run --plugins plugins.d &\n  policy-host dev my-policy --plugins plugins.d"
)]
pub(crate) struct Dev {
    /// The directory of the crate: its Cargo.toml and sources.
    #[arg(value_name = "CRATE_DIR")]
    source: PathBuf,
    #[command(flatten)]
    place: Place,
    /// Build with optimisation, as for service.
    #[arg(long)]
    release: bool,
    /// Leave active.json alone: what is not active there is put into the directory only.
    #[arg(long)]
    no_switch: bool,
    /// Do it once instead of on every save; fail if it cannot be done.
    #[arg(long)]
    once: bool,
    /// How long a running host may take to answer with the new library.
    #[arg(long, default_value_t = 30_000, value_name = "MS")]
    timeout_ms: u64,
}

impl Dev {
    pub(crate) fn execute(&self) -> Result<(), Failure> {
        let manifest = self.source.join("Cargo.toml").canonicalize().map_err(|e| {
            let what = format!("{}: no Cargo.toml (`policy-host new` starts a crate)", self.source.display());
            Failure::because("no-crate", what, &e)
        })?;
        if !self.place.plugins.is_dir() {
            let message = format!("{}: is no directory", self.place.plugins.display());
            return Err(Failure::new("no-plugin-directory", message));
        }
        let directory = manifest.parent().unwrap_or(Path::new("."));
        loop {
            // Taken before the build: what is saved meanwhile is built next.
            let seen = Sources::of(directory);
            match (self.pass(directory, &manifest), self.once) {
                (done, true) => return done,
                (Ok(()), false) => {}
                (Err(failure), false) => failure.print(),
            }
            say!("waiting for a save in {} (Ctrl-C ends)", self.source.display());
            while Sources::of(directory) == seen {
                std::thread::sleep(LOOK_EVERY);
            }
        }
    }

    fn pass(&self, directory: &Path, manifest: &Path) -> Result<(), Failure> {
        let begun = Instant::now();
        let profile: &[&str] = if self.release { &["--release"] } else { &[] };
        let built = cargo::build(directory, profile, Verbosity::Quiet, |path| path == manifest)?;
        let Some(library) = built.first() else {
            let message =
                format!("{}: no shared library; it needs [lib] crate-type = [\"cdylib\"]", manifest.display());
            return Err(Failure::new("no-shared-library", message));
        };
        say!("built      in {:.1} s", begun.elapsed().as_secs_f64());
        let verdict = judge(JUDGE_LIMIT_S)?.examine(library);
        if !verdict.ok {
            return Err(Failure::new(verdict.code, verdict.message));
        }
        for p in &verdict.policies {
            say!("judged     good: {} {} {}, sha256 {}", p.kind, p.name, p.version, short(&verdict.sha256));
        }
        let name = library.file_name().unwrap_or_default();
        let to = self.place.plugins.join(name);
        let state = StateDir::of(&self.place.plugins, self.place.state_dir.as_deref());
        let known = state.receipt().ok().flatten().unwrap_or_default().last_change.map_or(0, |change| change.number);
        std::fs::read(library)
            .and_then(|bytes| write_atomically(&to, &bytes))
            .map_err(|e| Failure::because("plugin-unwritable", to.display(), &e))?;
        self.put_into_service(&state, &verdict, &name.to_string_lossy(), known)
    }

    /// Waits until a running host answers with the library; `known` is its last change before.
    fn put_into_service(&self, state: &StateDir, verdict: &Verdict, file: &str, known: u64) -> Result<(), Failure> {
        let directory = self.place.plugins.display();
        if !state.host_is_running() {
            say!("dropped    into {directory}; no host runs on it");
            return Ok(());
        }
        let until = Instant::now() + Duration::from_millis(self.timeout_ms);
        loop {
            let receipt = state.receipt().ok().flatten().unwrap_or_default();
            if let Some(a) = receipt.active.as_ref().filter(|_| answers(&receipt, &verdict.sha256)) {
                say!("answers    {} {}, generation {}", a.policy, a.version, a.generation);
                return Ok(());
            }
            let mut news = receipt.recent_changes.iter().filter(|change| change.number > known);
            if let Some(change) = news.find(|change| !change.ok && change.file == file) {
                return Err(Failure::new(&change.code, &change.message));
            }
            let is_active = |name: &str| is_active(&receipt, name);
            if !verdict.policies.iter().any(|p| is_active(&p.name)) {
                let policy = verdict.policies.iter().find(|p| p.kind == "policy");
                let Some(policy) = policy.filter(|_| !self.no_switch) else {
                    say!("dropped    into {directory}; active.json does not name it");
                    return Ok(());
                };
                match Switch::to(&policy.name, &self.place, self.timeout_ms).execute() {
                    // The host has not taken up the file yet.
                    Err(refused) if refused.code() == "unknown-policy" => {}
                    Err(refused) => return Err(refused),
                    Ok(()) => {}
                }
            }
            if Instant::now() >= until {
                let message = format!("the host has not answered with {file} within {} ms", self.timeout_ms);
                return Err(Failure::new("timeout", message));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Whether these bytes have a part in what answers.
fn answers(receipt: &Receipt, sha256: &str) -> bool {
    receipt
        .active
        .as_ref()
        .is_some_and(|a| a.sha256 == sha256 || a.filters.iter().chain(&a.scores).any(|part| part.sha256 == sha256))
}

/// Whether what answers goes by this name, or has a part that does.
fn is_active(receipt: &Receipt, name: &str) -> bool {
    receipt
        .active
        .as_ref()
        .is_some_and(|a| a.policy == name || a.filters.iter().chain(&a.scores).any(|part| part.policy == name))
}
