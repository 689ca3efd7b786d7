//! What is compared: SPECs read, resolved through a host, and the libraries that they need put aside.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use policy_host::activation::ACTIVE_FILE;
use policy_host::text::json_reason;
use policy_host::vet::text_of;
use policy_host::{ActiveInfo, HostOptions, LaneKind, PolicyHost, TaskDistributionPolicy, concerns_us};
use policy_sim::evaluate::Random;
use serde_json::{Map, Value};

use crate::commands::judge;
use crate::commands::run::runtime;
use crate::failure::Failure;

/// The name of the random policy.
const RANDOM: &str = "random";
/// The library of what is compiled into the host.
pub(crate) const BUILT_IN: &str = "(built-in)";

/// A policy with its config, filters and scores.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    /// The policy's name.
    pub(crate) policy: String,
    /// Its name in outputs, unique among the candidates.
    pub(crate) label: String,
    /// The `active.json` that puts it in service.
    pub(crate) activation: String,
    pub(crate) version: String,
    /// The file name of its library; `(built-in)` or `(simulator)` where it has none.
    pub(crate) library: String,
    /// The library's content; empty where there is none.
    pub(crate) sha256: String,
    /// The contents of its filters' and scores' libraries.
    pub(crate) parts: Vec<String>,
}

impl Candidate {
    pub(crate) fn random() -> Self {
        Self {
            policy: RANDOM.into(),
            label: RANDOM.into(),
            activation: format!(r#"{{"policy":"{RANDOM}"}}"#),
            version: env!("CARGO_PKG_VERSION").into(),
            library: "(simulator)".into(),
            sha256: String::new(),
            parts: Vec::new(),
        }
    }

    /// Takes the policy that is compiled into the host, whatever libraries there are.
    pub(crate) fn compile_in(&mut self) {
        (self.version, self.library) = (env!("CARGO_PKG_VERSION").into(), BUILT_IN.into());
    }

    /// Whether no library has a part in it.
    pub(crate) fn is_compiled_in(&self) -> bool {
        self.library == BUILT_IN && self.parts.is_empty()
    }

    /// Whether it is the simulator's own, which no host provides.
    pub(crate) fn is_random(&self) -> bool {
        self.policy == RANDOM && self.library == "(simulator)"
    }

    /// A host that serves it, fresh: no round has been asked, no state is left from anywhere.
    pub(crate) async fn host(&self, plugins: &Path, state_dir: &Path) -> Result<(PolicyHost, u64), Failure> {
        let options = HostOptions {
            plugins: Some(plugins.to_owned()),
            state_dir: Some(state_dir.to_owned()),
            lane: LaneKind::Inline,
            rescan: Duration::from_secs(3600),
            ..HostOptions::default()
        };
        if self.is_random() {
            let policy = TaskDistributionPolicy::Custom(std::sync::Arc::new(Random));
            let host = PolicyHost::start(HostOptions { policy, ..options })?;
            let generation = host.active().generation;
            return Ok((host, generation));
        }
        let host = PolicyHost::start(options)?;
        let info = put_in_service(&host, &self.activation).await?;
        Ok((host, info.generation))
    }
}

/// Switches, and waits no longer than until the next round will be answered by what was asked for: a receipt takes a
/// round, and the first round is the simulation's.
pub(crate) async fn put_in_service(host: &PolicyHost, activation: &str) -> Result<std::sync::Arc<ActiveInfo>, Failure> {
    let before = host.active().generation;
    let mut switch = std::pin::pin!(host.switch(activation));
    let mut tick = tokio::time::interval(Duration::from_micros(500));
    loop {
        tokio::select! {
            done = &mut switch => return done.map_err(|r| Failure::new(r.code, r.message)),
            _ = tick.tick() => {
                let active = host.active();
                if active.generation != before {
                    return Ok(active);
                }
            }
        }
    }
}

/// Reads the SPECs.
pub(crate) fn parse(specs: &[String]) -> Result<Vec<Candidate>, Failure> {
    let mut candidates = specs.iter().map(|s| read(s)).collect::<Result<Vec<_>, _>>()?;
    // Labels are unique: with the config where names are equal, with a number where configs are equal, too.
    for at in 0..candidates.len() {
        let same =
            |of: fn(&Candidate) -> &String| candidates.iter().filter(|c| of(c) == of(&candidates[at])).count() > 1;
        if same(|c| &c.policy) && !same(|c| &c.activation) {
            let spec: Map<String, Value> = serde_json::from_str(&candidates[at].activation).unwrap_or_default();
            let rest: Map<String, Value> =
                spec.into_iter().filter(|(key, _)| !["policy", "lane"].contains(&key.as_str())).collect();
            let rest = if rest.is_empty() { String::new() } else { format!(" {}", Value::from(rest)) };
            candidates[at].label = format!("{}{rest}", candidates[at].policy);
        }
    }
    for at in 1..candidates.len() {
        let earlier = candidates[..at].iter().filter(|c| c.activation == candidates[at].activation).count();
        if earlier > 0 {
            candidates[at].label = format!("{} #{}", candidates[at].label, earlier + 1);
        }
    }
    Ok(candidates)
}

fn read(spec: &str) -> Result<Candidate, Failure> {
    let (text, place) = match spec.trim_start() {
        inline if inline.starts_with('{') => (inline.to_owned(), "--policy".to_owned()),
        name if name.ends_with(".json") || name.contains(std::path::MAIN_SEPARATOR) => {
            let bytes = fs::read(name).map_err(|e| Failure::because("spec-unreadable", name, &e))?;
            let not_text = |what| Failure::new("active-file-syntax", format!("{name}: {what}"));
            (text_of(&bytes).map_err(not_text)?.to_owned(), name.to_owned())
        }
        name => (serde_json::json!({ "policy": name }).to_string(), "--policy".to_owned()),
    };
    let refused = |line: usize, column: usize, reason: &str| {
        Failure::new("active-file-syntax", format!("{place}:{line}:{column}: {reason}"))
    };
    let mut fields: Map<String, Value> =
        serde_json::from_str(&text).map_err(|e| refused(e.line(), e.column(), &json_reason(&e)))?;
    let Some(policy) = fields.get("policy").and_then(Value::as_str).map(str::to_owned) else {
        return Err(refused(1, 1, "there is no \"policy\", or it is not text"));
    };
    // What a lane or a shadow does, it does not do to placements.
    fields.remove("shadow");
    fields.insert("lane".into(), "inline".into());
    if policy == RANDOM {
        if fields.len() > 2 {
            let reason = "the simulator's random policy takes no config and no filters";
            return Err(Failure::new("active-file-value", format!("{place}: {reason}")));
        }
        return Ok(Candidate::random());
    }
    let activation = Value::from(fields).to_string();
    let (version, library, sha256) = (String::new(), String::new(), String::new());
    Ok(Candidate { label: policy.clone(), policy, activation, version, library, sha256, parts: Vec::new() })
}

/// A private directory with the libraries that the candidates need: what is evaluated cannot change meanwhile, and the
/// directory of a running host is not touched.
pub(crate) struct Plugins {
    directory: tempfile::TempDir,
}

impl Plugins {
    /// Resolves the candidates over the whole directory, each new file judged in a child process first, and keeps what
    /// they need.
    pub(crate) fn prepare(plugins: Option<&Path>, candidates: &mut [Candidate]) -> Result<Self, Failure> {
        let failed = |e: std::io::Error| Failure::because("no-directory", "cannot make a directory", &e);
        let this = Self { directory: tempfile::tempdir().map_err(failed)? };
        let seen = this.directory.path().join("seen");
        fs::create_dir(&seen).and_then(|()| fs::create_dir(this.path())).map_err(failed)?;
        if let Some(plugins) = plugins {
            copy_libraries(plugins, &seen)?;
        }
        let runtime = runtime()?;
        runtime.block_on(async {
            let options = HostOptions {
                plugins: Some(seen.clone()),
                state_dir: Some(this.directory.path().join("judged")),
                lane: LaneKind::Inline,
                judge: Some(judge(8.0)?),
                ..HostOptions::default()
            };
            let host = PolicyHost::start(options)?;
            for candidate in candidates.iter_mut().filter(|c| !c.is_random()) {
                let info = put_in_service(&host, &candidate.activation).await?;
                info.version().clone_into(&mut candidate.version);
                info.library().clone_into(&mut candidate.library);
                info.sha256().clone_into(&mut candidate.sha256);
                let parts = info.composition.parts();
                candidate.parts = parts.map(|(_, part)| part.sha256.clone()).collect();
                for (_, part) in info.composition.own() {
                    let library = &part.library;
                    let (from, to) = (seen.join(library), this.path().join(library));
                    if from.is_file() && !to.is_file() {
                        fs::rename(&from, &to).and_then(|()| fs::hard_link(&to, &from)).map_err(failed)?;
                    }
                }
            }
            host.shutdown().await;
            Ok(this)
        })
    }

    /// Where the libraries are.
    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("plugins.d")
    }

    /// A state directory for one run.
    pub(crate) fn state_dir(&self, number: usize) -> PathBuf {
        self.directory.path().join(format!("state-{number}"))
    }
}

fn copy_libraries(from: &Path, to: &Path) -> Result<(), Failure> {
    let unreadable = |path: &Path, e: std::io::Error| Failure::because("directory-unreadable", path.display(), &e);
    for entry in fs::read_dir(from).map_err(|e| unreadable(from, e))?.flatten() {
        let name = entry.file_name();
        let ours = concerns_us(&name.to_string_lossy()) && name != ACTIVE_FILE;
        if ours && entry.path().is_file() {
            fs::copy(entry.path(), to.join(&name)).map_err(|e| unreadable(&entry.path(), e))?;
        }
    }
    Ok(())
}
