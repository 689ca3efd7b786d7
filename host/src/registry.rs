//! What has been found, what it offers, and which of two files gives a name. Pure bookkeeping: no I/O, no plugin code.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use policy_plugin_api::abi::manifest::ManifestInfo;

use crate::load::Loaded;
use crate::receipt::{Listed, Quarantined};
use crate::vet::Digest;

/// What became of a file.
#[derive(Debug)]
enum FileState {
    /// On its way through the stages.
    Pending,
    /// Refused.
    Rejected { code: &'static str, message: String, sha256: String },
    /// Admitted.
    Admitted(Digest),
}

#[derive(Debug)]
struct FileEntry {
    arrival: u64,
    state: FileState,
}

#[derive(Debug)]
struct Library {
    loaded: Arc<Loaded>,
    manifest: ManifestInfo,
    /// The newest generation made from it.
    generation: u64,
    /// Exports that do not do well with their default config: (name, code).
    unfit: Vec<(String, &'static str)>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    files: BTreeMap<String, FileEntry>,
    libraries: HashMap<Digest, Library>,
    /// By SHA-256 as text: what an earlier run left need not be mapped here.
    quarantined: BTreeMap<String, Quarantined>,
    arrivals: u64,
}

/// Why a name does not resolve.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unresolved {
    /// No file gives it.
    Unknown,
    /// Only files out of service give it: (file, code).
    Quarantined(String, String),
}

impl Registry {
    /// Notes that a file arrived; returns its arrival number.
    pub(crate) fn arrived(&mut self, file: &str) -> u64 {
        self.arrivals += 1;
        self.files.insert(file.to_owned(), FileEntry { arrival: self.arrivals, state: FileState::Pending });
        self.arrivals
    }

    /// Whether an arrival has not been overtaken by a later one of the same file, or by its removal.
    pub(crate) fn is_current(&self, file: &str, arrival: u64) -> bool {
        self.files.get(file).is_some_and(|f| f.arrival == arrival)
    }

    pub(crate) fn rejected(&mut self, file: &str, code: &'static str, message: &str, sha256: String) {
        if let Some(entry) = self.files.get_mut(file) {
            entry.state = FileState::Rejected { code, message: message.to_owned(), sha256 };
        }
    }

    /// Notes an admitted library; returns the names it takes over: (name, file that gave it before).
    pub(crate) fn admitted(
        &mut self,
        file: &str,
        loaded: &Arc<Loaded>,
        manifest: &ManifestInfo,
        generation: u64,
    ) -> Vec<(String, String)> {
        let digest = loaded.digest();
        let taken = loaded.exports().iter().filter_map(|e| {
            let (other, _) = self.provider(&e.kind, &e.name, |d| *d != digest)?;
            (other != file).then(|| (e.name.clone(), other.to_owned()))
        });
        let taken = taken.collect();
        if let Some(entry) = self.files.get_mut(file) {
            entry.state = FileState::Admitted(digest);
        }
        let library = Library { loaded: Arc::clone(loaded), manifest: manifest.clone(), generation, unfit: Vec::new() };
        self.libraries.entry(digest).and_modify(|l| l.generation = generation).or_insert(library);
        taken
    }

    /// Notes an export that does not do well with its default config.
    pub(crate) fn unfit(&mut self, loaded: &Loaded, name: &str, code: &'static str) {
        if let Some(library) = self.libraries.get_mut(&loaded.digest()) {
            library.unfit.push((name.to_owned(), code));
        }
    }

    /// Forgets a file; returns the digest that it gave.
    pub(crate) fn gone(&mut self, file: &str) -> Option<Digest> {
        match self.files.remove(file)?.state {
            FileState::Admitted(digest) => Some(digest),
            _ => None,
        }
    }

    /// Whether any file in the directory still has this content.
    pub(crate) fn has_file(&self, sha256: &str) -> bool {
        self.files.values().any(|f| matches!(f.state, FileState::Admitted(d) if d.to_string() == sha256))
    }

    /// The newest admitted file that gives a name.
    fn provider(&self, kind: &str, name: &str, fits: impl Fn(&Digest) -> bool) -> Option<(&str, &Library)> {
        let admitted = self.files.iter().filter_map(|(file, entry)| match &entry.state {
            FileState::Admitted(digest) if fits(digest) => {
                Some((entry.arrival, file.as_str(), self.libraries.get(digest)?))
            }
            _ => None,
        });
        let giving = admitted.filter(|(_, _, l)| l.loaded.export(name).is_some_and(|e| e.kind == kind));
        giving.max_by_key(|(arrival, ..)| *arrival).map(|(_, file, library)| (file, library))
    }

    /// The library that gives a name: the newest by arrival that is in service.
    pub(crate) fn resolve(&self, kind: &str, name: &str) -> Result<Arc<Loaded>, Unresolved> {
        let in_service = |d: &Digest| !self.quarantined.contains_key(&d.to_string());
        if let Some((_, library)) = self.provider(kind, name, in_service) {
            return Ok(Arc::clone(&library.loaded));
        }
        match self.provider(kind, name, |_| true) {
            None => Err(Unresolved::Unknown),
            Some((file, library)) => {
                let code = self.quarantined.get(&library.loaded.digest().to_string()).map(|q| q.code.clone());
                Err(Unresolved::Quarantined(file.to_owned(), code.unwrap_or_default()))
            }
        }
    }

    /// Every name of a kind that resolves, for messages.
    pub(crate) fn names(&self, kind: &str) -> Vec<String> {
        let exports = self.libraries.values().flat_map(|l| l.loaded.exports());
        let mut names: Vec<String> =
            exports.filter(|e| e.kind == kind && self.resolve(kind, &e.name).is_ok()).map(|e| e.name.clone()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Notes the newest generation made from a library.
    pub(crate) fn made(&mut self, digest: Digest, generation: u64) {
        if let Some(library) = self.libraries.get_mut(&digest) {
            library.generation = generation;
        }
    }

    pub(crate) fn quarantine(&mut self, entry: Quarantined) {
        self.quarantined.insert(entry.sha256.clone(), entry);
    }

    /// Puts whatever gives a name back in service: an operator named it again. Returns whether that changed anything.
    pub(crate) fn reinstate(&mut self, kind: &str, name: &str) -> bool {
        let Err(Unresolved::Quarantined(..)) = self.resolve(kind, name) else { return false };
        let sha256 = self.provider(kind, name, |_| true).map(|(_, l)| l.loaded.digest().to_string());
        sha256.is_some_and(|s| self.quarantined.remove(&s).is_some())
    }

    pub(crate) fn quarantined(&self) -> Vec<Quarantined> {
        self.quarantined.values().cloned().collect()
    }

    /// Everything found, as `list` prints it. `in_service(sha256, name)` says what answers now.
    pub(crate) fn list(&self, in_service: impl Fn(&str, &str) -> bool) -> Vec<Listed> {
        let mut listed = Vec::new();
        for (file, entry) in &self.files {
            match &entry.state {
                FileState::Pending => {}
                FileState::Rejected { code, message, sha256 } => listed.push(Listed {
                    file: file.clone(),
                    sha256: sha256.clone(),
                    state: "rejected".into(),
                    code: (*code).into(),
                    message: message.clone(),
                    ..Listed::default()
                }),
                FileState::Admitted(digest) => {
                    let Some(library) = self.libraries.get(digest) else { continue };
                    listed.extend(
                        library.loaded.exports().iter().map(|e| self.list_export(file, library, e, &in_service)),
                    );
                }
            }
        }
        listed
    }

    fn list_export(
        &self,
        file: &str,
        library: &Library,
        export: &policy_plugin_api::abi::foreign::Description,
        in_service: impl Fn(&str, &str) -> bool,
    ) -> Listed {
        let sha256 = library.loaded.digest().to_string();
        let newest = self.resolve(&export.kind, &export.name).is_ok_and(|l| l.digest() == library.loaded.digest());
        let quarantined = self.quarantined.get(&sha256);
        let unfit = library.unfit.iter().find(|(name, _)| *name == export.name).map(|(_, code)| *code);
        let state = match () {
            () if quarantined.is_some() => "quarantined",
            () if in_service(&sha256, &export.name) => "active",
            () if unfit.is_some() => "rejected",
            () if newest => "candidate",
            () => "retired",
        };
        Listed {
            name: export.name.clone(),
            kind: export.kind.clone(),
            version: export.version.clone(),
            api_version: format!("{}.{}", library.manifest.api_major, library.manifest.api_minor),
            file: file.to_owned(),
            sha256,
            generation: library.generation,
            state: state.into(),
            code: quarantined.map(|q| q.code.clone()).or(unfit.map(Into::into)).unwrap_or_default(),
            message: String::new(),
            config_schema: export.config_schema.clone(),
        }
    }
}
