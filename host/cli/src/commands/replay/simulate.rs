//! The closed loop: a workload made of the recording, run from beginning to end under each policy.

use std::path::Path;

use policy_sim::workload::ClusterDefaults;
use serde_json::Value;

use crate::commands::evaluate::candidate::{Candidate, Plugins};
use crate::commands::evaluate::grid::{Grid, Results};
use crate::commands::evaluate::table;
use crate::commands::evaluate::view::{View, facts};
use crate::failure::Failure;
use crate::say;

/// The candidates with their simulated results.
pub(super) struct Simulated {
    candidates: Vec<Candidate>,
    results: Results,
    facts: Value,
}

pub(super) fn run(file: &Path, candidates: &[Candidate], plugins: &Plugins) -> Result<Simulated, Failure> {
    let source = format!("recorded:{}", file.display());
    // The recording has its own cluster; its network may be the default one; the facts say so.
    let defaults = ClusterDefaults::default();
    let compared = candidates.len();
    let grid = Grid {
        source: &source,
        defaults: &defaults,
        faults: None,
        seeds: 1,
        events: None,
        compared,
        threads: None,
        draw: false,
    };
    let workload = grid.workload(0)?;
    if workload.task_count() == 0 {
        return Err(Failure::new("recording-empty", "no task of the recording has a duration that is known"));
    }
    let facts = facts(&source, 1, &workload)?;
    let results = grid.run(workload, candidates, plugins)?;
    let simulated = Simulated { candidates: candidates.to_vec(), results, facts };
    simulated.view().conserved()?;
    Ok(simulated)
}

impl Simulated {
    fn view(&self) -> View<'_> {
        View { candidates: &self.candidates, compared: self.candidates.len(), baseline: 0, results: &self.results }
    }

    pub(super) fn json(&self) -> Value {
        self.view().json(self.facts.clone(), &[])
    }

    pub(super) fn print(&self) {
        say!();
        say!("Simulated from beginning to end:");
        table::print(&self.view(), &self.facts);
    }
}
