//! `replay`: the rounds of a recording put to a policy again, and what would have been different.

mod assignment;
mod compare;
mod contents;
mod print;
mod replayer;
mod simulate;

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::evaluate::candidate::{self, Candidate, Plugins};
use crate::facts::print_json;
use crate::failure::Failure;
use crate::paths::absolute;
use assignment::Assignment;
use contents::{Contents, Made};
use replayer::Replayer;

/// Puts the rounds of a recording (`run --record`), or of a dump of the guard, to a policy: which placements would
/// differ, and what changes in the figures.
///
/// First, round by round: every recorded round goes to the policy as it was, with what was observed before it, whatever
/// the policy answered the time before. A policy that keeps state sees the rounds of the generation that was the same as
/// it (same library, same config) with an instance of their own, so replaying the policy that was recorded agrees in
/// every placement, if it is deterministic and its state does not go back to before the recording. Without `--policy`,
/// every recorded generation is replayed with itself.
///
/// The loop is open: what a policy puts off to a later round counts as not bound. Its filters decide anew.
///
/// Then, in the simulator: a workload is made of the recording (`evaluate --workload recorded:FILE` does the same), and
/// the policy that answered most rounds and the given one run it from beginning to end. What the recording lacks for
/// that is listed.
///
/// Policies run in the thread lane with a deadline of their own. One that is taken out of service is put back, a few
/// times.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  policy-host run --plugins plugins.d --record run.rec\n  policy-host replay run.rec --plugins plugins.d --policy data-locality\n  policy-host replay plugins.d/.policy-host/dumps/1767225600000-mine-3-policy-panicked.rec --plugins fixed.d"
)]
pub(crate) struct Replay {
    /// The recording, or the dump.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// A policy's name, or a file or inline JSON of the shape of active.json [default: what was recorded].
    #[arg(long, value_name = "SPEC")]
    policy: Option<String>,
    /// The plugin directory. Built-in policies need none.
    #[arg(long, value_name = "DIR", value_parser = absolute())]
    plugins: Option<PathBuf>,
    /// How many of the placements that differ are listed.
    #[arg(long, default_value_t = 10, value_name = "N")]
    show: usize,
    /// The deadline of a round, in milliseconds.
    #[arg(long, default_value_t = 5_000, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=60_000))]
    deadline_ms: u64,
    /// Only round by round: do not simulate.
    #[arg(long)]
    no_simulation: bool,
    /// Print the results as JSON.
    #[arg(long)]
    json: bool,
}

impl Replay {
    pub(crate) fn execute(&self) -> Result<(), Failure> {
        let contents = Contents::read(&self.file)?;
        let mut notes = contents.notes();
        let (assignment, plugins) = match &self.policy {
            Some(spec) => self.one(spec, &contents, &mut notes)?,
            None => self.itself(&contents, &mut notes)?,
        };
        let replayer = Replayer::new(&assignment, &plugins, self.deadline_ms, self.show)?;
        let replayed = replayer.replay(&self.file)?;
        notes.extend(replayed.notes(&contents));
        let simulation = match assignment.simulated(&contents) {
            Some(candidates) if !self.no_simulation && replayed.hung.is_none() => {
                let simulated = simulate::run(&self.file, &candidates, &plugins);
                simulated.map_err(|why| notes.push(format!("not simulated: [{}] {}", why.code(), why.message()))).ok()
            }
            Some(_) if !self.no_simulation => {
                notes.push("not simulated: the policy missed a deadline, and might block for ever".into());
                None
            }
            _ => None,
        };
        let policy = self.policy.as_ref().map(|_| assignment.about(0));
        match self.json {
            true => print_json(&json!({
                "recording": contents.json(&self.file),
                "policy": policy.unwrap_or(Value::Null),
                "placements": replayed.all.json(),
                "generations": replayed.generations.values().map(compare::Tally::json_of_generation).collect::<Vec<_>>(),
                "differences": replayed.differences.iter().map(compare::Differing::json).collect::<Vec<_>>(),
                "figures": replayed.all.figures(),
                "faults": replayed.faults.iter().map(compare::FaultPair::json).collect::<Vec<_>>(),
                "notes": notes,
                "simulation": simulation.as_ref().map_or(Value::Null, simulate::Simulated::json),
            })),
            false => {
                print::results(&self.file, &contents, &replayed, policy.as_ref(), &notes);
                if let Some(simulation) = &simulation {
                    simulation.print();
                }
            }
        }
        Ok(())
    }

    /// One policy for all rounds; beside it, for the simulation, the one that answered most of them.
    fn one(&self, spec: &str, contents: &Contents, notes: &mut Vec<String>) -> Result<(Assignment, Plugins), Failure> {
        let baseline = contents.most_rounds().filter(|made| made.is_replayable());
        let specs = |baseline: Option<&Made>| {
            [spec.to_owned()].into_iter().chain(baseline.map(|made| made.about.activation.to_string()))
        };
        if let Some(made) = baseline {
            let mut candidates = candidate::parse(&specs(Some(made)).collect::<Vec<_>>())?;
            if let Ok(plugins) = Plugins::prepare(self.plugins.as_deref(), &mut candidates) {
                if candidates[1].sha256 != made.about.sha256 {
                    let policy = &made.about.policy;
                    notes.push(format!("{policy} in the plugin directory is another library than the one recorded"));
                }
                return Ok((Assignment::one(candidates), plugins));
            }
            // Whichever of the two it was: if the wanted one is there, the other is not.
            let name = format!("{} (generation {})", made.about.policy, made.about.generation);
            notes
                .push(format!("no simulation of {name}, which answered most rounds: it cannot be made from --plugins"));
        }
        let mut candidates = candidate::parse(&specs(None).collect::<Vec<_>>())?;
        let plugins = Plugins::prepare(self.plugins.as_deref(), &mut candidates)?;
        Ok((Assignment::one(candidates), plugins))
    }

    /// Every generation with itself.
    fn itself(&self, contents: &Contents, notes: &mut Vec<String>) -> Result<(Assignment, Plugins), Failure> {
        let mut made: Vec<&Made> = contents.generations.values().filter(|made| made.is_replayable()).collect();
        // What is compiled in comes last: no library of the same name may take its place.
        let key = |made: &&Made| (made.is_compiled_in(), made.about.activation.to_string(), made.about.sha256.clone());
        made.sort_by_key(key);
        made.dedup_by_key(|made| key(made));
        if made.is_empty() {
            let message = "no generation of it was made from a library or a built-in; name a --policy";
            return Err(Failure::new("nothing-to-replay", format!("{}: {message}", self.file.display())));
        }
        let specs: Vec<String> = made.iter().map(|made| made.about.activation.to_string()).collect();
        let mut candidates: Vec<Candidate> = candidate::parse(&specs)?;
        let (loaded, compiled_in) = candidates.split_at_mut(made.partition_point(|made| !made.is_compiled_in()));
        compiled_in.iter_mut().for_each(Candidate::compile_in);
        let plugins = Plugins::prepare(self.plugins.as_deref(), loaded)?;
        let assignment = Assignment::itself(candidates, contents);
        notes.extend(assignment.differing_libraries(contents));
        Ok((assignment, plugins))
    }
}
