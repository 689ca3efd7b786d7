//! `check`: judges files in a child process each, and says what a host would say.

use std::path::{Path, PathBuf};

use clap::Args;
use policy_host::judge::Verdict;
use policy_host::limits::QUIET_PERIOD;
use policy_host::text::chain;

use super::{judge, short};
use crate::facts::print_json;
use crate::failure::Failure;
use crate::say;

/// Judges plugin files: format, ABI, metadata, conformance on canned rounds. Nothing of a running host is touched; a
/// file that crashes or hangs does so in a child process.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  policy-host check target/release/libmy_policy.so")]
pub(crate) struct Check {
    /// The files.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Print an array of verdicts as JSON.
    #[arg(long)]
    json: bool,
    /// How long one file may take, in seconds.
    #[arg(long, default_value_t = 10.0, value_name = "S", value_parser = seconds)]
    time_limit_s: f64,
}

fn seconds(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|e: std::num::ParseFloatError| chain(&e))?;
    if (0.01..=3_600.0).contains(&value) { Ok(value) } else { Err("allowed are 0.01 to 3600".into()) }
}

/// Whether a file keeps still for as long as a host would wait. What is not there is still enough to be judged.
fn is_still(file: &Path) -> bool {
    let look = || std::fs::metadata(file).ok().filter(|m| m.is_file()).map(|m| (m.len(), m.modified().ok()));
    let before = look();
    if before.is_some() {
        std::thread::sleep(QUIET_PERIOD);
    }
    before == look()
}

fn changing(file: &Path) -> Verdict {
    Verdict {
        file: file.display().to_string(),
        code: "still-changing".into(),
        message: format!("{}: keeps changing; judge it when it is complete", file.display()),
        ..Verdict::default()
    }
}

impl Check {
    pub(crate) fn execute(&self) -> Result<(), Failure> {
        let judge = judge(self.time_limit_s)?;
        let mut verdicts = Vec::new();
        for file in &self.files {
            let verdict = if is_still(file) { judge.examine(file) } else { changing(file) };
            if !self.json {
                if verdict.ok {
                    say!("ok       {}  sha256 {}", file.display(), short(&verdict.sha256));
                    for p in &verdict.policies {
                        say!("         {} {} {} (plugin API {})", p.kind, p.name, p.version, p.api_version);
                    }
                } else {
                    say!("refused  {}  {}", file.display(), verdict.code);
                }
            }
            if !verdict.ok {
                Failure::new(&verdict.code, &verdict.message).print();
            }
            verdicts.push(verdict);
        }
        if self.json {
            print_json(&verdicts);
        }
        if verdicts.iter().all(|v| v.ok) { Ok(()) } else { Err(Failure::printed()) }
    }
}
