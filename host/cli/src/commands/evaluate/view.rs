//! What the outputs of an evaluation read: the policies with their results, and what the workload is.

use policy_sim::evaluate::{Difference, Row, metric};
use policy_sim::workload::{ClusterDefaults, Workload, is_seeded, recorded, recording};
use serde_json::{Value, json};

use super::candidate::Candidate;
use super::grid::Results;
use crate::failure::Failure;

/// What a workload is, for both outputs; of a recording also what it lacks.
pub(crate) fn facts(source: &str, seeds: u32, workload: &Workload) -> Result<Value, Failure> {
    let mut tenants: Vec<&str> = workload.jobs.iter().map(|j| &*j.tenant).collect();
    tenants.sort_unstable();
    tenants.dedup();
    let mut facts = json!({
        "source": source,
        "regenerated_by_seed": is_seeded(source),
        "seeds": seeds,
        "jobs": workload.jobs.len(),
        "tasks": workload.task_count(),
        "tenants": tenants.len(),
        "executors": workload.header.executors.len(),
        "vcores": workload.vcores(),
        "work_vcore_us": policy_sim::evaluate::number(workload.work_vcore_us() as f64),
        "last_submit_us": workload.last_submit_us(),
        "outages": workload.header.faults.len(),
    });
    if let Some(path) = recording(source) {
        let (_, reconstruction) = recorded::read(path, &ClusterDefaults::default())?;
        facts["lacks"] = reconstruction.lacks().into();
        facts["reconstruction"] = serde_json::to_value(reconstruction).unwrap_or_default();
    }
    Ok(facts)
}

/// Everything that outputs read.
pub(crate) struct View<'a> {
    pub(crate) candidates: &'a [Candidate],
    /// How many of the candidates were asked for.
    pub(crate) compared: usize,
    pub(crate) baseline: usize,
    pub(crate) results: &'a Results,
}

impl View<'_> {
    pub(super) fn random(&self) -> Option<&Row> {
        let at = self.candidates.iter().position(Candidate::is_random)?;
        self.results.rows.get(at)
    }

    /// The differences of every pair of rows, the later one minus the earlier one.
    fn pairs(&self) -> impl Iterator<Item = Difference<'_>> {
        let rows = &self.results.rows;
        (0..rows.len())
            .flat_map(move |a| (a + 1..rows.len()).map(move |b| Difference { row: &rows[b], baseline: &rows[a] }))
    }

    pub(crate) fn json(&self, workload: Value, broken: &[String]) -> Value {
        let mut rows: Vec<Value> = (0..self.results.rows.len()).map(|at| self.row(at)).collect();
        let mut references = rows.split_off(self.compared);
        let mut bound = self.results.bound.json();
        bound["kind"] = "bound".into();
        references.push(bound);
        if let Some(recorded) = &self.results.recorded {
            let mut row = recorded.json();
            row["kind"] = "recorded".into();
            references.push(row);
        }
        json!({
            "workload": workload,
            "baseline": self.results.rows[self.baseline].label,
            "policies": rows,
            "references": references,
            "differences": self.pairs().map(|d| d.json()).collect::<Vec<_>>(),
            "broken_conditions": broken,
        })
    }

    fn row(&self, at: usize) -> Value {
        let (candidate, mut row) = (&self.candidates[at], self.results.rows[at].json());
        row["kind"] = "policy".into();
        row["version"] = candidate.version.as_str().into();
        row["library"] = candidate.library.as_str().into();
        row["sha256"] = candidate.sha256.as_str().into();
        row["spec"] = serde_json::from_str(&candidate.activation).unwrap_or(Value::Null);
        row["out_of_service"] = match &self.results.faults[at] {
            Some(fault) => {
                json!({ "seed": fault.seed, "round": fault.round, "code": fault.code, "message": fault.message })
            }
            None => Value::Null,
        };
        row
    }

    /// Why figures of a policy cannot be compared, as sentences.
    pub(super) fn worthless(&self) -> Vec<String> {
        let unfinished = |at: usize| value(&self.results.rows[at], "tasks_unfinished");
        let mut sentences = Vec::new();
        for (at, row) in self.results.rows[..self.compared].iter().enumerate() {
            let label = &row.label;
            if let Some(fault) = &self.results.faults[at] {
                let (seed, round, code) = (fault.seed, fault.round, fault.code);
                sentences.push(format!("{label} was taken out of service in round {round} of seed {seed} [{code}]: its figures are the fallback's from there on"));
            }
            if unfinished(at) > unfinished(self.baseline) {
                let (own, theirs) = (unfinished(at), unfinished(self.baseline));
                sentences.push(format!("{label} left {own} tasks unfinished, the baseline {theirs}: figures of jobs are of those that ended"));
            }
        }
        sentences
    }

    /// Tasks lost or run twice are a bug, whatever the policy.
    pub(crate) fn conserved(&self) -> Result<(), Failure> {
        for row in &self.results.rows {
            for name in ["tasks_lost", "tasks_duplicated"] {
                let count = policy_sim::evaluate::metric(name).map_or(0.0, |at| row.value(at));
                if count > 0.0 {
                    return Err(Failure::new("conservation", format!("{}: {name} is {count}", row.label)));
                }
            }
        }
        Ok(())
    }
}

/// A figure of a row by its name; no number if there is no such figure.
pub(super) fn value(row: &Row, name: &str) -> f64 {
    metric(name).map_or(f64::NAN, |at| row.value(at))
}
