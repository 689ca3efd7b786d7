//! Examining a library: vet, judge, load, probe. Runs foreign code, on a thread that may be thrown away.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::artifact::judge::Judge;
use crate::artifact::load;
use crate::artifact::vet::{self, StagingDir};
use crate::control::message::{Examined, RefusedFile};
use crate::control::tryout::probe;
use crate::core::digest::Digest;
use crate::core::limits::MAX_LIBRARIES;
use crate::core::text::chain;
use crate::state::trying::{CRASHED_THE_HOST, Trial, Trials};

/// Where the bytes of a library come from.
#[derive(Debug)]
pub(crate) enum Source {
    /// A file of the plugin directory.
    File(PathBuf),
    /// The staged copy of bytes that a file had when they were admitted last. `source` is where the file lies.
    Kept { source: PathBuf, digest: Digest },
}

/// What an examination needs, away from the control task.
#[derive(Debug)]
pub(crate) struct Examination {
    pub(crate) staging: StagingDir,
    pub(crate) judge: Option<Judge>,
    pub(crate) generation: u64,
    pub(crate) trials: Trials,
    /// Libraries under which hosts ended, by SHA-256: they are not mapped.
    pub(crate) barred: BTreeSet<String>,
}

/// Vet, judge, load, probe: in this order, none skipped.
pub(crate) fn examine(source: &Source, examination: &Examination) -> Result<Examined, RefusedFile> {
    let Examination { staging, judge, generation, trials, barred } = examination;
    let (path, vetted) = match source {
        Source::File(path) => (path, vet::vet(path, staging)),
        Source::Kept { source, digest } => (source, vet::vet_kept(source, *digest, staging)),
    };
    let vetted =
        vetted.map_err(|e| RefusedFile { code: e.code().into(), message: chain(&e), sha256: String::new() })?;
    let sha256 = vetted.digest().to_string();
    let refused = |code: &str, message: String| RefusedFile { code: code.into(), message, sha256: sha256.clone() };
    if barred.contains(&sha256) {
        let message = format!(
            "{}: hosts ended while they were loading it; put another library in its place, or lift it with `policy-host \
             quarantine clear` and write it again",
            path.display()
        );
        return Err(refused(CRASHED_THE_HOST, message));
    }
    let known = load::is_mapped(vetted.digest());
    if !known && load::mapped_libraries() >= MAX_LIBRARIES {
        let e = load::LoadError::TooMany { file: path.to_owned() };
        return Err(refused(e.code(), chain(&e)));
    }
    if let Some(judge) = judge.as_ref().filter(|_| !known) {
        let verdict = judge.examine_staged(&vetted);
        if !verdict.is_usable() {
            return Err(refused(&verdict.code, verdict.message));
        }
    }
    let trial = (!known).then(|| {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        trials.begin(Trial::of_library(&file, sha256.clone()))
    });
    let loaded = load::load(&vetted).map_err(|e| refused(e.code(), chain(&e)))?;
    // What passed before in these very bytes passes again.
    let unfit = if known { Vec::new() } else { probe(&loaded, *generation, |_| ()) };
    drop(trial);
    match unfit.first().filter(|_| unfit.len() == loaded.exports().len()) {
        Some(first) => Err(refused(first.code, format!("{}: {}", path.display(), first.message))),
        None => Ok(Examined { loaded, manifest: vetted.manifest().clone(), unfit }),
    }
}
