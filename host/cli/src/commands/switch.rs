//! `switch`: writes `active.json` and waits for the receipt.

use std::path::Path;
use std::time::{Duration, Instant};

use clap::Args;
use policy_host::activation::ACTIVE_FILE;
use policy_host::receipt::{ClearRequest, Listed, Receipt, StateDir, write_atomically};
use policy_host::text::chain;
use policy_host::vet::{Digest, text_of};
use serde_json::{Map, Value};

use super::{quarantine, short};
use crate::facts::print_json;
use crate::failure::Failure;
use crate::paths::Place;
use crate::say;

/// Makes a running host switch to a policy, and waits until the new generation has answered a round (or has proved
/// itself in its admission probe, when no work flows). Filters, lane, deadline and fallback stay as active.json has
/// them. A policy that is a shadow there is promoted as it was tried: with the shadow's config and scores. One that was
/// taken out of service is tried again. When the host refuses, active.json is put back as it was.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  policy-host switch round-robin --plugins plugins.d --config '{}'")]
pub(crate) struct Switch {
    /// The policy's name.
    policy: String,
    /// The policy's config, as JSON [default: its config as a shadow, if it is one, else its defaults].
    #[arg(long, value_name = "JSON")]
    config: Option<String>,
    #[command(flatten)]
    place: Place,
    /// How long to wait for the receipt.
    #[arg(long, default_value_t = 10_000, value_name = "MS")]
    timeout_ms: u64,
    /// Print the receipt as JSON.
    #[arg(long)]
    json: bool,
}

impl Switch {
    /// To a policy as it is by default.
    pub(crate) fn to(policy: &str, place: &Place, timeout_ms: u64) -> Self {
        Self { policy: policy.to_owned(), config: None, place: place.clone(), timeout_ms, json: false }
    }

    pub(crate) fn execute(&self) -> Result<(), Failure> {
        let plugins = &self.place.plugins;
        let state = StateDir::of(plugins, self.place.state_dir.as_deref());
        if !state.host_is_running() {
            let message = format!("no host runs on {}; {ACTIVE_FILE} was left as it is", plugins.display());
            return Err(Failure::new("no-host", message));
        }
        let path = plugins.join(ACTIVE_FILE);
        let content = self.content(&path)?;
        let sha256 = Digest::of(content.as_bytes()).to_string();
        let before = state.receipt().ok().flatten().unwrap_or_default();
        let (content, sha256) = if is_news(&before, &sha256, &path, &content) {
            (content, sha256)
        } else {
            // The host compares bytes, and it has seen these: the activation that they asked for was undone since.
            let content = content + "\n";
            let sha256 = Digest::of(content.as_bytes()).to_string();
            (content, sha256)
        };
        self.put_back_in_service(&state)?;
        let old = std::fs::read(&path).ok();
        write_atomically(&path, content.as_bytes())
            .map_err(|e| Failure::because("active-file-unwritable", path.display(), &e))?;
        let receipt = match self.wait(&state, &before, &sha256)? {
            Answer::Done(receipt) => *receipt,
            Answer::Refused(refusal) => return Err(refused(&path, content.as_bytes(), old.as_deref(), refusal)),
        };
        if self.json {
            print_json(&receipt);
        } else if let Some(a) = &receipt.active {
            say!("{} {} answers: generation {}, {} {}", a.policy, a.version, a.generation, a.library, short(&a.sha256));
        }
        Ok(())
    }

    /// The file as it is, with another policy and config: the one that is given, or that it has as a shadow, with its
    /// scores. Without scores, unless the policy asks them.
    fn content(&self, path: &Path) -> Result<String, Failure> {
        let config = match &self.config {
            None => None,
            Some(text) => Some(
                serde_json::from_str::<Value>(text.strip_prefix('\u{feff}').unwrap_or(text))
                    .map_err(|e| Failure::because("invalid-config", "--config is not JSON", &e))?,
            ),
        };
        let mut file = there(path)?;
        if self.policy != "composite" {
            // They belong to that policy alone.
            file.remove("scores");
        }
        // A candidate that is promoted is no candidate any more.
        let mut tried = Vec::new();
        if let Some(shadow) = file.get_mut("shadow").and_then(Value::as_array_mut) {
            tried.extend(shadow.extract_if(.., |candidate| candidate["policy"] == self.policy.as_str()));
        }
        let is_meant = |candidate: &Value| candidate.get("config") == config.as_ref();
        // Among several, the config selects; where none has this config, the given one is used, unless scores would be lost.
        if config.is_some() && tried.len() > 1 {
            let has_scores = tried.iter().any(|candidate| candidate.get("scores").is_some());
            if tried.iter().any(is_meant) || !has_scores {
                tried.retain(is_meant);
            }
        }
        let config = match (config, tried.as_slice()) {
            (config, [one]) => {
                if let Some(scores) = one.get("scores") {
                    file.insert("scores".into(), scores.clone());
                }
                config.or_else(|| one.get("config").cloned())
            }
            (config, []) => config,
            (_, several) => {
                let (n, policy) = (several.len(), &self.policy);
                let message =
                    format!("{policy} is {n} of the shadows: say with --config which of them, or edit {ACTIVE_FILE}");
                return Err(Failure::new("ambiguous-shadow", message));
            }
        };
        file.insert("policy".into(), Value::String(self.policy.clone()));
        match config {
            Some(config) => file.insert("config".into(), config),
            None => file.remove("config"),
        };
        serde_json::to_string_pretty(&file)
            .map(|text| text + "\n")
            .map_err(|e| Failure::of("active-file-unwritable", &e))
    }

    /// To name a policy is to try it again: lifts the quarantine of the library that gives it.
    fn put_back_in_service(&self, state: &StateDir) -> Result<(), Failure> {
        let listed: Vec<Listed> = state.listed().unwrap_or_default();
        let is_it = |l: &&Listed| l.kind == "policy" && l.name == self.policy && l.state == "quarantined";
        let sha256: Vec<String> = listed.iter().filter(is_it).map(|l| l.sha256.clone()).collect();
        if sha256.is_empty() {
            return Ok(());
        }
        quarantine::clear(state, ClearRequest { sha256, ..ClearRequest::default() }, self.timeout_ms)
    }

    fn wait(&self, state: &StateDir, before: &Receipt, sha256: &str) -> Result<Answer, Failure> {
        let until = Instant::now() + Duration::from_millis(self.timeout_ms);
        let seen = before.last_change.as_ref().map_or(0, |c| c.number);
        loop {
            // A receipt is replaced atomically: unreadable means a host that has just gone.
            if let Ok(Some(receipt)) = state.receipt() {
                let same_host = receipt.host.started_unix_ms == before.host.started_unix_ms;
                let news = receipt.recent_changes.iter().filter(|c| !same_host || c.number > seen);
                let ours = news.filter(|c| c.active_file_sha256 == sha256).max_by_key(|c| c.number);
                match ours {
                    Some(change) if !change.ok => {
                        return Ok(Answer::Refused(Failure::new(&change.code, &change.message)));
                    }
                    Some(_) => return Ok(Answer::Done(Box::new(receipt))),
                    None if !same_host && !state.host_is_running() => {
                        return Err(Failure::new("no-host", "the host ended before it answered"));
                    }
                    None => {}
                }
            }
            if Instant::now() >= until {
                let ms = self.timeout_ms;
                let message = format!(
                    "no receipt within {ms} ms; {ACTIVE_FILE} says {}, `status` says what answers",
                    self.policy
                );
                return Err(Failure::new("timeout", message));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// What the host says of the file that was written.
enum Answer {
    Done(Box<Receipt>),
    Refused(Failure),
}

/// Whether the host will see a change in this content: it is not what the file says already, or the file is served.
fn is_news(receipt: &Receipt, sha256: &str, path: &Path, content: &str) -> bool {
    let serves = receipt.active.as_ref().is_some_and(|active| active.active_file_sha256 == sha256);
    serves || std::fs::read(path).map_or(true, |there| there != content.as_bytes())
}

/// Puts the old file back, unless another process wrote meanwhile: a file that the host refuses would be in its way when it
/// starts again.
fn refused(path: &Path, written: &[u8], old: Option<&[u8]>, refusal: Failure) -> Failure {
    let is_ours = std::fs::read(path).is_ok_and(|there| there == written);
    let put_back = match old {
        _ if !is_ours => {
            return refusal.and(format!("{ACTIVE_FILE} was changed by another process meanwhile, and left so"));
        }
        Some(old) => write_atomically(path, old),
        None => std::fs::remove_file(path),
    };
    match (put_back, old) {
        (Ok(()), Some(_)) => refusal.and(format!("{ACTIVE_FILE} says again what it said before")),
        (Ok(()), None) => refusal.and(format!("{ACTIVE_FILE} is removed again: there was none before")),
        (Err(e), _) => refusal.and(format!("{ACTIVE_FILE} could not be put back as it was: {}", chain(&e))),
    }
}

/// What the file says now; nothing where there is none. One that cannot be read is left alone: filters that it may name
/// would be lost.
fn there(path: &Path) -> Result<Map<String, Value>, Failure> {
    let advice = "mend it, or remove it and switch again";
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Map::new()),
        Err(e) => return Err(Failure::because("active-file-unreadable", path.display(), &e).and(advice)),
    };
    let text = text_of(&bytes)
        .map_err(|what| Failure::new("active-file-syntax", format!("{}: {what}; {advice}", path.display())))?;
    serde_json::from_str(text).map_err(|e| Failure::because("active-file-syntax", path.display(), &e).and(advice))
}
