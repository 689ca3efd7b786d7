//! `new`: starts the crate of a policy, complete and tested, to be changed from there.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::failure::Failure;
use crate::say;

const MANIFEST: &str = include_str!("new/Cargo.toml.template");
const SOURCE: &str = include_str!("new/lib.rs.template");

/// Starts a policy crate: a complete policy with its config, a conformance test and a test of its own.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  policy-host new my-policy && cd my-policy && cargo test && cargo build --release")]
pub(crate) struct New {
    /// The policy's name, and the directory's: lower case letters, digits and `-`, beginning with a letter.
    name: String,
    /// The directory of the crate `policy-plugin-api`; without it, the first `plugin-api` beside or above this directory
    /// or this program.
    #[arg(long, value_name = "DIR")]
    plugin_api: Option<PathBuf>,
}

impl New {
    pub(crate) fn execute(&self) -> Result<(), Failure> {
        let name = self.name.as_str();
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let begins = name.starts_with(|c: char| c.is_ascii_lowercase());
        if !begins || name.len() > 63 || name.ends_with('-') || !name.chars().all(legal) {
            let rule = "1 to 63 lower case letters, digits and -, beginning with a letter and not ending with -";
            return Err(Failure::new("bad-name", format!("{name:?} is not a policy's name: {rule}")));
        }
        let plugin_api = self.plugin_api()?;
        let unusable = |path: &Path, e: std::io::Error| Failure::because("not-created", path.display(), &e);
        let target = PathBuf::from(name);
        // Fails when there is something of that name already: nothing is overwritten.
        fs::create_dir(&target).map_err(|e| unusable(&target, e))?;
        let fill = |template: &str| {
            let path = plugin_api.display().to_string().replace('\\', "/");
            template.replace("{name}", name).replace("{type}", &type_name(name)).replace("{plugin_api}", &path)
        };
        let source = target.join("src");
        fs::create_dir(&source).map_err(|e| unusable(&source, e))?;
        let files =
            [("Cargo.toml", fill(MANIFEST)), ("src/lib.rs", fill(SOURCE)), (".gitignore", "/target\n".to_owned())];
        for (file, text) in files {
            let path = target.join(file);
            fs::write(&path, text).map_err(|e| unusable(&path, e))?;
        }
        say!("{name}/ is a policy crate; next:");
        say!("  cd {name} && cargo test");
        say!("  policy-host dev . --plugins PLUGIN_DIRECTORY     # builds, judges and swaps it in on every save");
        say!("or by hand:");
        say!("  cargo build --release");
        say!("  policy-host check {}", library(name));
        say!("  cp {} PLUGIN_DIRECTORY/ && policy-host switch {name} --plugins PLUGIN_DIRECTORY", library(name));
        Ok(())
    }

    fn plugin_api(&self) -> Result<PathBuf, Failure> {
        let is_it = |dir: &Path| {
            let manifest = fs::read_to_string(dir.join("Cargo.toml")).unwrap_or_default();
            manifest.lines().any(|line| line.trim() == "name = \"policy-plugin-api\"")
        };
        let missing = |what: String| {
            let message = format!("{what}; name the directory of the crate policy-plugin-api with --plugin-api");
            Err(Failure::new("no-plugin-api", message))
        };
        if let Some(named) = &self.plugin_api {
            return match named.canonicalize() {
                Ok(dir) if is_it(&dir) => Ok(dir),
                _ => missing(format!("{}: is not that crate", named.display())),
            };
        }
        let places = [std::env::current_dir(), std::env::current_exe()].into_iter().flatten();
        let found = places
            .filter_map(|place| place.ancestors().map(|above| above.join("plugin-api")).find(|dir| is_it(dir)))
            .next();
        found.map_or_else(|| missing("there is no plugin-api beside or above this directory".to_owned()), Ok)
    }
}

/// `my-policy` as `MyPolicy`.
fn type_name(name: &str) -> String {
    let word = |word: &str| word[..1].to_uppercase() + &word[1..];
    name.split('-').filter(|part| !part.is_empty()).map(word).collect()
}

/// Where cargo puts the plugin.
fn library(name: &str) -> String {
    let (prefix, suffix) = (std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    format!("target/release/{prefix}{}{suffix}", name.replace('-', "_"))
}
