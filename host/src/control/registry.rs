//! What has been found, what it offers, and which of two files gives a name. Pure bookkeeping: no I/O, no plugin code.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use policy_plugin_api::abi::manifest::ManifestInfo;

use crate::artifact::load::Loaded;
use crate::artifact::vet::OTHER_API;
use crate::core::composition::Kind;
use crate::core::digest::Digest;
use crate::state::receipt::{ClearRequest, Listed, Quarantined, Rebuild};

/// What became of the bytes that a file has now.
#[derive(Debug)]
enum FileState {
    /// On its way through the stages.
    Pending,
    /// Refused.
    Rejected { code: &'static str, message: String, sha256: String },
    /// Admitted.
    Admitted,
}

/// A file of the plugin directory. It gives the names of the bytes that were admitted last, until better ones are
/// admitted or it is deleted: a refused file takes no name away.
#[derive(Debug)]
struct FileEntry {
    arrival: u64,
    state: FileState,
    admitted: Option<AdmittedBytes>,
}

#[derive(Clone, Copy, Debug)]
struct AdmittedBytes {
    /// When they arrived: a refused file after them changes nothing about which of two files gives a name.
    arrival: u64,
    digest: Digest,
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
    /// By SHA-256 as text, with the recipe where only that is out of service: what an earlier run left need not be mapped
    /// here.
    quarantined: BTreeMap<String, Quarantined>,
    arrivals: u64,
}

/// Why a name does not resolve.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unresolved {
    /// No file gives it.
    Unknown,
    /// The file that gives it has new bytes, which are being examined.
    Pending,
    /// Only files out of service give it: (file, code).
    Quarantined(String, String),
}

/// Bytes that answer although their file has others by now, which were refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) digest: Digest,
    /// The names that they give.
    pub(crate) names: Vec<String>,
}

impl Registry {
    /// Notes that a file arrived; returns its arrival number.
    pub(crate) fn arrived(&mut self, file: &str) -> u64 {
        self.arrivals += 1;
        let admitted = self.files.get(file).and_then(|before| before.admitted);
        let entry = FileEntry { arrival: self.arrivals, state: FileState::Pending, admitted };
        self.files.insert(file.to_owned(), entry);
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
            entry.state = FileState::Admitted;
            entry.admitted = Some(AdmittedBytes { arrival: entry.arrival, digest });
        }
        self.add(loaded, manifest, generation);
        taken
    }

    /// Notes a library, whether or not a file of the directory has these bytes.
    pub(crate) fn add(&mut self, loaded: &Arc<Loaded>, manifest: &ManifestInfo, generation: u64) {
        let library = Library { loaded: Arc::clone(loaded), manifest: manifest.clone(), generation, unfit: Vec::new() };
        self.libraries.entry(loaded.digest()).and_modify(|l| l.generation = generation).or_insert(library);
    }

    /// Notes the bytes that a refused file had when they were admitted last, by an earlier host.
    pub(crate) fn admitted_before(
        &mut self,
        file: &str,
        loaded: &Arc<Loaded>,
        manifest: &ManifestInfo,
        generation: u64,
    ) {
        if let Some(entry) = self.files.get_mut(file).filter(|entry| entry.admitted.is_none()) {
            entry.admitted = Some(AdmittedBytes { arrival: entry.arrival, digest: loaded.digest() });
        }
        self.add(loaded, manifest, generation);
    }

    /// What a refused file still gives.
    pub(crate) fn kept(&self, file: &str) -> Option<Kept> {
        let entry = self.files.get(file).filter(|entry| matches!(entry.state, FileState::Rejected { .. }))?;
        let digest = entry.admitted?.digest;
        let exports = self.libraries.get(&digest)?.loaded.exports();
        Some(Kept { digest, names: exports.iter().map(|export| export.name.clone()).collect() })
    }

    /// The code for which the file of these bytes was refused since: it has others by now.
    pub(crate) fn refused_since(&self, sha256: &str) -> Option<&'static str> {
        self.files.values().find_map(|file| match (&file.state, file.admitted) {
            (FileState::Rejected { code, .. }, Some(bytes)) if bytes.digest.to_string() == sha256 => Some(*code),
            _ => None,
        })
    }

    /// The files that were refused because they were built for another major version of the API.
    pub(crate) fn to_rebuild(&self) -> Vec<Rebuild> {
        let of = |(file, entry): (&String, &FileEntry)| match &entry.state {
            FileState::Rejected { code: OTHER_API, message, .. } => {
                Some(Rebuild { file: file.clone(), message: message.clone() })
            }
            _ => None,
        };
        self.files.iter().filter_map(of).collect()
    }

    /// A library by its content, unless it is out of service.
    pub(crate) fn library(&self, digest: Digest) -> Option<Arc<Loaded>> {
        let library = self.libraries.get(&digest)?;
        (!self.quarantined.contains_key(&digest.to_string())).then(|| Arc::clone(&library.loaded))
    }

    /// Notes an export that does not do well with its default config.
    pub(crate) fn unfit(&mut self, loaded: &Loaded, name: &str, code: &'static str) {
        if let Some(library) = self.libraries.get_mut(&loaded.digest()) {
            library.unfit.push((name.to_owned(), code));
        }
    }

    /// Forgets a file; returns the digest that it gave.
    pub(crate) fn gone(&mut self, file: &str) -> Option<Digest> {
        self.files.remove(file)?.admitted.map(|bytes| bytes.digest)
    }

    /// Whether any file in the directory gives these bytes: it has them, or had them before others were refused.
    pub(crate) fn has_file(&self, sha256: &str) -> bool {
        self.files.values().any(|file| file.admitted.is_some_and(|bytes| bytes.digest.to_string() == sha256))
    }

    /// The newest admitted file that gives a name.
    fn provider(&self, kind: &str, name: &str, fits: impl Fn(&Digest) -> bool) -> Option<(&str, &Library)> {
        let admitted = self.files.iter().filter_map(|(file, entry)| {
            let bytes = entry.admitted.filter(|bytes| fits(&bytes.digest))?;
            Some((bytes.arrival, file.as_str(), self.libraries.get(&bytes.digest)?))
        });
        let giving = admitted.filter(|(_, _, l)| l.loaded.export(name).is_some_and(|e| e.kind == kind));
        giving.max_by_key(|(arrival, ..)| *arrival).map(|(_, file, library)| (file, library))
    }

    fn is_pending(&self, file: &str) -> bool {
        self.files.get(file).is_some_and(|entry| matches!(entry.state, FileState::Pending))
    }

    /// The library that gives a name: the newest by arrival that is in service.
    pub(crate) fn resolve(&self, kind: Kind, name: &str) -> Result<Arc<Loaded>, Unresolved> {
        let in_service = |d: &Digest| !self.quarantined.contains_key(&d.to_string());
        match self.provider(kind.as_str(), name, in_service) {
            // What is on its way may be meant.
            Some((file, _)) if self.is_pending(file) => return Err(Unresolved::Pending),
            Some((_, library)) => return Ok(Arc::clone(&library.loaded)),
            None => {}
        }
        match self.provider(kind.as_str(), name, |_| true) {
            None => Err(Unresolved::Unknown),
            Some((file, _)) if self.is_pending(file) => Err(Unresolved::Pending),
            Some((file, library)) => {
                let code = self.quarantined.get(&library.loaded.digest().to_string()).map(|q| q.code.clone());
                Err(Unresolved::Quarantined(file.to_owned(), code.unwrap_or_default()))
            }
        }
    }

    /// Every name of a kind that resolves, for messages.
    pub(crate) fn names(&self, kind: Kind) -> Vec<String> {
        let exports = self.libraries.values().flat_map(|l| l.loaded.exports());
        let mut names: Vec<String> = exports
            .filter(|e| e.kind == kind.as_str() && self.resolve(kind, &e.name).is_ok())
            .map(|e| e.name.clone())
            .collect();
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
        let key = match entry.recipe.as_str() {
            "" => entry.sha256.clone(),
            recipe => format!("{} {recipe}", entry.sha256),
        };
        self.quarantined.insert(key, entry);
    }

    /// The entry that puts a recipe out of service.
    pub(crate) fn barred(&self, recipe: &str) -> Option<&Quarantined> {
        self.quarantined.values().find(|entry| entry.recipe == recipe)
    }

    /// Puts a recipe back in service. Returns whether that changed anything.
    pub(crate) fn unbar(&mut self, recipe: &str) -> bool {
        let before = self.quarantined.len();
        self.quarantined.retain(|_, entry| entry.recipe != recipe);
        self.quarantined.len() < before
    }

    /// The libraries out of service for a code.
    pub(crate) fn out_for(&self, code: &str) -> BTreeSet<String> {
        let entries = self.quarantined.values().filter(|entry| entry.recipe.is_empty() && entry.code == code);
        entries.map(|entry| entry.sha256.clone()).collect()
    }

    /// Puts whatever gives a name back in service: an operator named it again. Returns whether that changed anything.
    pub(crate) fn reinstate(&mut self, kind: Kind, name: &str) -> bool {
        let Err(Unresolved::Quarantined(..)) = self.resolve(kind, name) else { return false };
        let sha256 = self.provider(kind.as_str(), name, |_| true).map(|(_, l)| l.loaded.digest().to_string());
        sha256.is_some_and(|s| self.quarantined.remove(&s).is_some())
    }

    /// Puts back in service what an operator asks for; returns what was out of it.
    pub(crate) fn clear(&mut self, request: &ClearRequest) -> Vec<Quarantined> {
        let is_named = |sha256: &str| {
            request.names.iter().any(|name| {
                let libraries = self.libraries.values().filter(|l| l.loaded.digest().to_string() == sha256);
                libraries.into_iter().any(|l| l.loaded.export(name).is_some())
            })
        };
        let is_asked = |sha256: &String| request.all || request.sha256.contains(sha256) || is_named(sha256);
        let asked = self.quarantined.iter().filter(|(_, entry)| is_asked(&entry.sha256));
        let asked: Vec<String> = asked.map(|(key, _)| key.clone()).collect();
        asked.iter().filter_map(|sha256| self.quarantined.remove(sha256)).collect()
    }

    pub(crate) fn quarantined(&self) -> Vec<Quarantined> {
        self.quarantined.values().cloned().collect()
    }

    /// Everything found, as `list` prints it. `in_service(sha256, name)` says what answers now.
    pub(crate) fn list(&self, in_service: impl Fn(&str, &str) -> bool) -> Vec<Listed> {
        let mut listed = Vec::new();
        for (file, entry) in &self.files {
            let library = entry.admitted.and_then(|bytes| self.libraries.get(&bytes.digest));
            let exports = library.into_iter().flat_map(|l| l.loaded.exports().iter().map(move |e| (l, e)));
            let kept = !matches!(entry.state, FileState::Admitted);
            listed.extend(exports.map(|(l, e)| Listed { kept, ..self.list_export(file, l, e, &in_service) }));
            if let FileState::Rejected { code, message, sha256 } = &entry.state {
                listed.push(Listed {
                    file: file.clone(),
                    sha256: sha256.clone(),
                    state: "rejected".into(),
                    code: (*code).into(),
                    message: message.clone(),
                    ..Listed::default()
                });
            }
        }
        listed
    }

    fn list_export(
        &self,
        file: &str,
        library: &Library,
        export: &crate::core::foreign::Description,
        in_service: impl Fn(&str, &str) -> bool,
    ) -> Listed {
        let sha256 = library.loaded.digest().to_string();
        let in_line = |d: &Digest| !self.quarantined.contains_key(&d.to_string());
        let newest = self.provider(&export.kind, &export.name, in_line);
        let newest = newest.is_some_and(|(_, l)| l.loaded.digest() == library.loaded.digest());
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
            kept: false,
            config_schema: export.config_schema.clone(),
        }
    }
}
