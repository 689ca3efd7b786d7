//! `list`: every policy found in a directory. Files are judged as `check` does; a running host adds what it knows.

use std::path::Path;

use clap::Args;
use policy_host::activation::ACTIVE_FILE;
use policy_host::concerns_us;
use policy_host::judge::Verdict;
use policy_host::receipt::{Listed, StateDir};

use super::{judge, short};
use crate::facts::print_json;
use crate::failure::Failure;
use crate::paths::Place;
use crate::say;

/// Lists every policy found: name, version, kind, file, hash, state, config schema.
///
/// States with a running host: rejected, candidate, active, retired, quarantined. Without one: rejected, candidate.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  policy-host list --plugins plugins.d --json")]
pub(crate) struct List {
    #[command(flatten)]
    place: Place,
    /// Print an array as JSON, with the config schemas.
    #[arg(long)]
    json: bool,
}

impl List {
    pub(crate) fn execute(&self) -> Result<(), Failure> {
        let listed = collect(&self.place.plugins, self.place.state_dir.as_deref())?;
        if self.json {
            print_json(&listed);
            return Ok(());
        }
        if listed.is_empty() {
            say!("no policies in {}", self.place.plugins.display());
        }
        let width = |of: fn(&Listed) -> usize| listed.iter().map(of).max().unwrap_or(0).max(4);
        let (names, files) = (width(|l| l.name.len()), width(|l| l.file.len()));
        for l in &listed {
            let name = if l.name.is_empty() { "-" } else { &l.name };
            let hash = if l.sha256.is_empty() { "-" } else { short(&l.sha256) };
            let kind = if l.kind.is_empty() { "-" } else { &l.kind };
            let version = if l.version.is_empty() { "-" } else { &l.version };
            let mut code = if l.code.is_empty() { String::new() } else { format!(" ({})", l.code) };
            if l.kept {
                code.push_str(", admitted before the file was changed");
            }
            say!("{name:names$}  {kind:6}  {version:8}  {:files$}  {hash:12}  {}{code}", l.file, l.state);
        }
        Ok(())
    }
}

fn collect(plugins: &Path, state_dir: Option<&Path>) -> Result<Vec<Listed>, Failure> {
    let entries =
        std::fs::read_dir(plugins).map_err(|e| Failure::because("directory-unreadable", plugins.display(), &e))?;
    let mut files: Vec<_> = entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    files.retain(|name| concerns_us(name) && name != ACTIVE_FILE);
    files.sort_unstable();
    let state = StateDir::of(plugins, state_dir);
    let known: Vec<Listed> = match state.host_is_running() {
        true => state.listed().unwrap_or_default(),
        false => Vec::new(),
    };
    let judge = judge(10.0)?;
    let mut listed = Vec::new();
    for file in files {
        let verdict = judge.examine(&plugins.join(&file));
        let of_file = known.iter().filter(|k| k.file == file && !k.sha256.is_empty());
        let by_host: Vec<Listed> = of_file.clone().filter(|k| k.sha256 == verdict.sha256).cloned().collect();
        // A running host answers with bytes that the file had before the ones that it refused.
        listed.extend(of_file.filter(|k| k.kept && k.sha256 != verdict.sha256).cloned());
        if by_host.is_empty() { listed.extend(as_listed(&file, verdict)) } else { listed.extend(by_host) }
    }
    Ok(listed)
}

fn as_listed(file: &str, verdict: Verdict) -> Vec<Listed> {
    if !verdict.is_usable() {
        return vec![Listed {
            file: file.to_owned(),
            sha256: verdict.sha256,
            state: "rejected".into(),
            code: verdict.code,
            message: verdict.message,
            ..Listed::default()
        }];
    }
    let sha256 = verdict.sha256;
    let policies = verdict.policies.into_iter().map(|p| Listed {
        name: p.name,
        kind: p.kind,
        version: p.version,
        api_version: p.api_version,
        file: file.to_owned(),
        sha256: sha256.clone(),
        state: if p.code == "ok" { "candidate".into() } else { "rejected".into() },
        code: if p.code == "ok" { String::new() } else { p.code },
        config_schema: p.config_schema,
        ..Listed::default()
    });
    policies.collect()
}
