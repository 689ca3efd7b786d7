//! `demo`: builds the bundled plugins if they are not there, and shows everything that the host promises, live.

mod build;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use policy_host::activation::ACTIVE_FILE;
use policy_host::receipt::write_atomically;
use policy_host::{HostOptions, PolicyHost, TaskDistributionPolicy};
use policy_sim::real_time::RealTimeOptions;
use policy_sim::workload::{ClusterDefaults, parse_source};
use std::sync::Arc;

use super::placement::{Placement, bars};
use super::progress::line;
use super::run::{Job, report, runtime};
use super::{judge, short};
use crate::failure::Failure;
use crate::output::OutputFile;
use crate::paths::absolute;
use build::library;

/// Runs the embedded cluster on a seeded workload and switches policies live through files. Ends by itself.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  policy-host demo --summary demo.json")]
pub(crate) struct Demo {
    /// Executors.
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    executors: u32,
    /// Vcores of each executor.
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    vcores: u32,
    /// Write the summary as JSON.
    #[arg(long, value_name = "FILE", value_parser = absolute())]
    summary: Option<PathBuf>,
    /// Keep the plugin directory here, for a look afterwards [default: a temporary one].
    #[arg(long, value_name = "DIR", value_parser = absolute())]
    plugins: Option<PathBuf>,
}

/// How long the cluster runs after each step of the demo.
const STEP: Duration = Duration::from_millis(2_200);
/// Two fifths of the cluster: where there is a choice, a policy can be seen to choose.
const WORKLOAD: &str =
    "synthetic:jobs=420,rate=22,seed=7,tenants=3,stages=2,tasks=uniform:4:10,duration=lognormal:35ms:0.6,input=0";

impl Demo {
    pub(crate) fn execute(&self) -> Result<(), Failure> {
        let summary_file = OutputFile::claim_any(self.summary.as_deref(), "summary-unwritable")?;
        let built = build::plugins()?;
        let temporary = tempfile::Builder::new().prefix("demo-").tempdir_in(&built.scratch);
        let temporary = temporary.map_err(|e| Failure::because("no-directory", built.scratch.display(), &e))?;
        // Others may write in the checkout, which is fine for plugins and not for the host's own files.
        let state = tempfile::tempdir().map_err(|e| Failure::because("no-directory", "a temporary directory", &e))?;
        let state_dir = self.plugins.is_none().then(|| state.path().to_owned());
        let plugins = self.plugins.clone().unwrap_or_else(|| from_here(temporary.path()).join("plugins.d"));
        std::fs::create_dir_all(&plugins).map_err(|e| Failure::because("no-directory", plugins.display(), &e))?;
        let workload = parse_source(WORKLOAD, &ClusterDefaults::uniform(self.executors, self.vcores))?;
        line(&format!(
            "cluster    {} executors x {} vcores; {} jobs, {} tasks, seed 7",
            self.executors,
            self.vcores,
            workload.jobs.len(),
            workload.task_count()
        ));
        let options = HostOptions {
            policy: TaskDistributionPolicy::RoundRobin,
            plugins: Some(plugins.clone()),
            state_dir,
            judge: Some(judge(10.0)?),
            ..HostOptions::default()
        };
        let placement = Placement::default();
        let job = Job {
            workload: Arc::new(workload),
            seed: 7,
            timing: RealTimeOptions::default(),
            quiet: false,
            placement: placement.clone(),
        };
        let directory = Directory { plugins, built, placement };
        let runtime = runtime()?;
        let (outcome, summary) = runtime.block_on(job.run(options, async |host| directory.play(host).await))?;
        report(&outcome, &summary, summary_file)
    }
}

/// The path as one would type it here: relative, where that is shorter.
fn from_here(path: &Path) -> PathBuf {
    let here = std::env::current_dir().ok();
    here.and_then(|here| path.strip_prefix(here).ok().map(Path::to_owned)).unwrap_or_else(|| path.to_owned())
}

/// The plugin directory and what is dropped into it.
struct Directory {
    plugins: PathBuf,
    built: build::Built,
    placement: Placement,
}

impl Directory {
    async fn play(&self, host: &PolicyHost) -> Result<(), Failure> {
        say("drop libpolicy_bias.so and libpolicy_round_robin.so into the plugin directory");
        self.drop_in(&self.built.bias, None)?;
        self.drop_in(&self.built.round_robin, None)?;
        self.drop_in(&self.built.tenant_quota, None)?;
        self.activate(r#"{ "policy": "bias" }"#)?;
        self.step(host).await;
        say("edit active.json: switch to round-robin");
        self.activate(r#"{ "policy": "round-robin" }"#)?;
        self.step(host).await;
        say("drop a policy that nobody knew: greedy, which fills e0 first; then switch to it");
        self.drop_in(&self.built.greedy, Some("greedy"))?;
        self.activate(r#"{ "policy": "greedy" }"#)?;
        self.step(host).await;
        say("drop a rebuilt greedy over it, which fills the last executor first: it is swapped in by itself");
        self.drop_in(&self.built.greedy_reversed, Some("greedy"))?;
        self.step(host).await;
        say("drop a broken file");
        write(&self.plugins.join(library("broken")), b"this is not a library\n")?;
        self.step(host).await;
        say("put a quota before it: tenant team-a gets 4 vcores at most, whatever the policy wants");
        self.activate(r#"{ "policy": "greedy", "filters": [{ "policy": "tenant-quota", "config": { "quotas": { "team-a": 4 } } }] }"#)?;
        self.step(host).await;
        say("an active.json with a mistake in it is refused; what is active stays active");
        self.activate("{ \"policy\": \"bias\",\n  \"lane\": \"fast\" }")?;
        self.step(host).await;
        say("and back to bias: the same bytes are mapped already");
        self.activate(r#"{ "policy": "bias" }"#)?;
        self.step(host).await;
        Ok(())
    }

    /// Copies beside and renames: how a library should be put into the directory.
    fn drop_in(&self, from: &Path, name: Option<&str>) -> Result<(), Failure> {
        let name = name
            .map_or_else(|| from.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default(), library);
        let bytes = std::fs::read(from).map_err(|e| Failure::because("plugin-unreadable", from.display(), &e))?;
        write(&self.plugins.join(name), &bytes)
    }

    fn activate(&self, json: &str) -> Result<(), Failure> {
        write(&self.plugins.join(ACTIVE_FILE), json.as_bytes())
    }

    /// Lets the cluster work for a while, then says where tasks went.
    async fn step(&self, host: &PolicyHost) {
        // Leaves out what the policy before has placed.
        tokio::time::sleep(STEP / 4).await;
        let _ = self.placement.take();
        tokio::time::sleep(STEP - STEP / 4).await;
        let active = host.active();
        let placed = bars(&self.placement.take());
        line(&format!(
            "           {} {} ({}) placed: {placed}",
            active.policy(),
            active.version(),
            short(active.sha256())
        ));
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    write_atomically(path, bytes).map_err(|e| Failure::because("no-directory", path.display(), &e))
}

fn say(text: &str) {
    line("");
    line(&format!(">          {text}"));
}
