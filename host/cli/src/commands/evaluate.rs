//! `evaluate`: what policies do to a workload, in virtual time, with the very files that will be deployed.

pub(crate) mod candidate;
pub(crate) mod grid;
mod report;
pub(crate) mod table;
pub(crate) mod view;

use std::path::PathBuf;

use clap::Args;
use policy_host::text;
use policy_sim::evaluate::{Condition, METRICS};
use policy_sim::workload::FaultPlan;

use crate::commands::cluster::{ClusterArgs, workloads_help};
use crate::facts::{self, print_json};
use crate::failure::Failure;
use crate::output::OutputFile;
use crate::paths::absolute;
use crate::say;
use candidate::{Candidate, Plugins};
use grid::{Grid, Results};
use report::Setting;
use view::View;

macro_rules! example {
    () => {
        "Example:\n  policy-host evaluate --plugins plugins.d --workload synthetic:jobs=500 --policy bias --policy data-locality \\\n      --seeds 10 --fail-if 'p99_jct_us > 1.05 * baseline' --out report.html"
    };
}

/// Runs policies over a workload in virtual time: the same plugin files through the same host as in service, one row a
/// policy, a random policy and a lower bound beside them.
///
/// WORKLOAD is a workload file (JSON lines), `swim:FILE`, `openb:PODS.csv,NODES.csv`, `recorded:FILE` (what `run
/// --record` wrote; the output lists what a recording lacks), or `synthetic:SPEC`. A seed regenerates a synthetic workload (from the seed of its SPEC on, counting up) and any `--faults random:…`; every other
/// workload stays what it is, and the seed goes into the rounds only. All policies see the same workloads and seeds, so
/// differences are paired. Figures depend on neither the number of threads nor the machine, but for `decision_us`.
///
/// Of a workload that was recorded from a real run, what was measured stands beside as `recorded`, and by how much each
/// simulation differs from it.
///
/// Policies run in the inline lane, whatever their `active.json` says: a deadline in wall time would make figures
/// depend on the machine. A policy that blocks for ever blocks this command.
#[derive(Debug, Args)]
#[command(
    after_help = concat!(example!(), "\n\n--help says more: workloads, figures."),
    after_long_help = concat!(
        example!(),
        "\n\n",
        workloads_help!(),
        "\n\nFigures, for --fail-if (means over seeds; a distribution has .mean, .p50, .p95, .p99, .max, and p99_jct_us is jct_us.p99):
  makespan_us         first submission to last end
  jct_us              a job's submission to its end
  queue_wait_us       a task's wait, from when its stage could run; oldest_wait_us: the longest, never started ones too
  bounded_slowdown    max(1, jct / max(run, 10 s)), run from a job's first start to its end
  utilisation         vcore time of finished tasks over vcore time that was there
  locality_bytes_share  of input bytes
  jain_tenants        Jain's index of vcore time by tenant; jain_contested: while two or more had pending tasks
  jobs_in_system, busy_vcore_us, wasted_vcore_us, rounds, decision_us (wall time of a round)
  invalid_bindings (rounds whose answer broke the contract), fallback_rounds, retries, jobs_completed, tasks_completed,
  tasks_unfinished, tasks_lost, tasks_duplicated, stalled_runs"
    )
)]
pub(crate) struct Evaluate {
    /// The plugin directory. Built-in policies need none.
    #[arg(long, value_name = "DIR", value_parser = absolute())]
    plugins: Option<PathBuf>,
    /// What to run.
    #[arg(long, value_name = "WORKLOAD")]
    workload: String,
    /// A policy's name, or a file or inline JSON of the shape of active.json, with filters if need be. Give it once for
    /// each policy; `random` is the random policy.
    #[arg(long = "policy", value_name = "SPEC", required = true, num_args = 1..)]
    policies: Vec<String>,
    /// How many seeds: as many runs of each policy.
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    seeds: u32,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Executors that go away: `e3@10s..20s,e4@5s` (lost, and back unless for good), or `random:MTBF:MTTR`. Added to
    /// the workload's own.
    #[arg(long, value_name = "FAULTS")]
    faults: Option<FaultPlan>,
    /// The policy that others are compared with, by name or label [default: the first].
    #[arg(long, value_name = "POLICY")]
    baseline: Option<String>,
    /// Fail (exit 1) when this holds for a policy: figures, numbers, `+ - * /`, comparisons, `&&`, `||`. `baseline` alone
    /// is the baseline's figure of the same name; `random.FIGURE` and `lower_bound.FIGURE` are the others'. It then fails
    /// as well when a policy is taken out of service, or leaves more tasks unfinished than the baseline.
    #[arg(long, value_name = "EXPR")]
    fail_if: Vec<Condition>,
    /// Write what happens as JSON lines: the first policy's first seed; further policies' beside it, as FILE-LABEL.
    #[arg(long, value_name = "FILE", value_parser = absolute())]
    events: Option<PathBuf>,
    /// Print the results as JSON.
    #[arg(long)]
    json: bool,
    /// Write one line a run (policy, seed, figures) as CSV.
    #[arg(long, value_name = "FILE", value_parser = absolute())]
    csv: Option<PathBuf>,
    /// Write a report for people: one HTML file that loads nothing, with drawings, readable on paper too. The same
    /// inputs give the same bytes, but for the section of decision times.
    #[arg(long, value_name = "FILE", value_parser = absolute())]
    out: Option<PathBuf>,
    /// Runs at one time [default: one a core].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

impl Evaluate {
    pub(crate) fn execute(&self) -> Result<(), Failure> {
        let mut candidates = candidate::parse(&self.policies)?;
        let compared = candidates.len();
        let baseline = self.baseline_of(&candidates)?;
        self.check_conditions(&candidates, baseline)?;
        if !candidates.iter().any(Candidate::is_random) {
            candidates.push(Candidate::random());
        }
        let defaults = self.cluster.defaults()?;
        let events = self.events.as_deref().map(facts::resolve);
        let grid = Grid {
            source: &self.workload,
            defaults: &defaults,
            faults: self.faults.as_ref(),
            seeds: u64::from(self.seeds),
            events: events.as_deref(),
            compared,
            threads: self.threads.map(usize::from),
            draw: self.out.is_some(),
        };
        OutputFile::claim_any(self.events.as_deref(), "event-log-unwritable")?;
        let csv = OutputFile::claim_any(self.csv.as_deref(), "csv-unwritable")?;
        let report = OutputFile::claim_any(self.out.as_deref(), "report-unwritable")?;
        // The workload first: it is read at once, and a typing error in it is the likeliest.
        let first = grid.workload(0)?;
        let plugins = Plugins::prepare(self.plugins.as_deref(), &mut candidates)?;
        let facts = view::facts(&self.workload, self.seeds, &first)?;
        let setting = Setting::new(self.command(), &first, grid.is_fixed());
        let recorded = grid.recorded(&first)?;
        let results = Results { recorded, ..grid.run(first, &candidates, &plugins)? };
        let view = View { candidates: &candidates, compared, baseline, results: &results };
        if let Some(csv) = csv {
            csv.write(&runs_as_csv(&results)?)?;
        }
        if let Some(report) = report {
            report.write(report::page(&view, &facts, &setting).as_bytes())?;
        }
        let broken = self.broken(&view);
        match self.json {
            true => print_json(&view.json(facts, &broken)),
            false => table::print(&view, &facts),
        }
        if let (Some(out), false) = (&self.out, self.json) {
            say!();
            say!("report: {}", out.display());
        }
        view.conserved()?;
        match broken.is_empty() {
            true => Ok(()),
            false => Err(Failure::lines("condition-holds", broken)),
        }
    }

    /// The candidate that others are compared with.
    fn baseline_of(&self, candidates: &[Candidate]) -> Result<usize, Failure> {
        let Some(name) = &self.baseline else { return Ok(0) };
        let found = candidates.iter().position(|c| c.label == *name);
        found.or_else(|| candidates.iter().position(|c| c.policy == *name)).ok_or_else(|| {
            let labels: Vec<&str> = candidates.iter().map(|c| c.label.as_str()).collect();
            Failure::usage(format!("--baseline {name} is none of the policies: {}", labels.join(", ")))
        })
    }

    fn check_conditions(&self, candidates: &[Candidate], baseline: usize) -> Result<(), Failure> {
        if candidates.len() < 2
            && let Some(condition) = self.fail_if.iter().find(|c| c.needs_baseline())
        {
            let label = &candidates[baseline].label;
            let message = format!("--fail-if '{condition}' compares with the baseline, and {label} is the only policy");
            return Err(Failure::usage(message));
        }
        Ok(())
    }

    /// The conditions that hold, as sentences. With a condition, what makes a policy's figures worth nothing is one, too:
    /// that it was taken out of service, or left more undone than the baseline.
    fn broken(&self, view: &View<'_>) -> Vec<String> {
        let rows = &view.results.rows;
        let random = view.random();
        let mut sentences = Vec::new();
        if !self.fail_if.is_empty() {
            sentences.extend(view.worthless());
        }
        for condition in &self.fail_if {
            for (at, row) in rows[..view.compared].iter().enumerate() {
                if at == view.baseline && condition.needs_baseline() {
                    continue;
                }
                let broken = condition.judge(row, &rows[view.baseline], random, &view.results.bound);
                sentences.extend(broken.map(|b| b.to_string()));
            }
        }
        sentences
    }

    /// The command line that gives the same figures, with what was left to defaults.
    fn command(&self) -> String {
        let mut words: Vec<String> = vec!["policy-host".into(), "evaluate".into()];
        let mut option = |name: &str, values: &[String]| {
            words.push(format!("--{name}"));
            words.extend(values.iter().map(|v| report::shell_word(v)));
        };
        if let Some(plugins) = &self.plugins {
            option("plugins", &[plugins.display().to_string()]);
        }
        option("workload", std::slice::from_ref(&self.workload));
        option("policy", &self.policies);
        option("seeds", &[self.seeds.to_string()]);
        for (name, value) in self.cluster.words() {
            option(name, &[value]);
        }
        if let Some(faults) = &self.faults {
            option("faults", &[faults.to_string()]);
        }
        if let Some(baseline) = &self.baseline {
            option("baseline", std::slice::from_ref(baseline));
        }
        for condition in &self.fail_if {
            option("fail-if", &[condition.to_string()]);
        }
        option("out", &["report.html".to_owned()]);
        words.join(" ")
    }
}

fn runs_as_csv(results: &Results) -> Result<Vec<u8>, Failure> {
    let mut to = csv::Writer::from_writer(Vec::new());
    let names = METRICS.iter().map(|m| m.name);
    let mut written = to.write_record(["policy", "seed"].into_iter().chain(names));
    for row in results.rows.iter().chain([&results.bound]).chain(&results.recorded) {
        for (run, seed) in row.runs.iter().zip(&results.seeds) {
            let values = run.values.iter().map(|v| if v.is_finite() { v.to_string() } else { String::new() });
            let record = [text::shown(&row.label), seed.to_string()].into_iter().chain(values);
            written = written.and_then(|()| to.write_record(record));
        }
    }
    let failed = |e: &dyn std::error::Error| Failure::of("csv-unwritable", e);
    written.map_err(|e| failed(&e))?;
    to.into_inner().map_err(|e| failed(&e))
}
