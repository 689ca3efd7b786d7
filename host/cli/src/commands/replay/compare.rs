//! Two answers to one round: where they differ, and what that means for figures that follow from a round alone. Pure.

use std::sync::Arc;

use policy_host::placement::input_bytes;
use policy_host::record::RecordedGeneration;
use policy_host::round::{BoundTask, Round, RunningJobs};
use serde_json::{Value, json};

/// One side of a comparison, added up over rounds.
#[derive(Clone, Default)]
pub(super) struct Side {
    pub(super) bindings: u64,
    bytes: u64,
    local_bytes: u64,
    executors: u64,
    imbalance: f64,
    /// Rounds in which it bound something.
    binding_rounds: u64,
    pub(super) faults: u64,
    pub(super) invalid: u64,
}

/// A comparison, added up over rounds.
#[derive(Clone, Default)]
pub(super) struct Tally {
    pub(super) generation: Option<Arc<RecordedGeneration>>,
    /// Whether the replayed policy is the one recorded.
    pub(super) same_policy: bool,
    pub(super) rounds: u64,
    pub(super) rounds_equal: u64,
    pub(super) same: u64,
    pub(super) moved: u64,
    pub(super) only_recorded: u64,
    pub(super) only_replayed: u64,
    pub(super) recorded: Side,
    pub(super) replayed: Side,
}

/// One placement that differs.
pub(super) struct Differing {
    pub(super) round: u64,
    pub(super) now_us: u64,
    pub(super) job: String,
    pub(super) stage: u32,
    pub(super) task: u32,
    /// As recorded; `None` where the task was not bound.
    pub(super) from: Option<String>,
    /// As replayed.
    pub(super) to: Option<String>,
}

/// A round that one side or the other did not answer well.
pub(super) struct FaultPair {
    pub(super) round: u64,
    pub(super) recorded: Option<(String, String)>,
    pub(super) replayed: Option<(String, String)>,
}

/// Rows by task, the order that the functions below need.
pub(super) fn sorted(rows: &[BoundTask]) -> Vec<BoundTask> {
    let mut rows = rows.to_vec();
    rows.sort_unstable_by_key(|row| row.task);
    rows
}

impl Side {
    fn add(&mut self, jobs: &RunningJobs<'_>, rows: &[BoundTask]) {
        self.bindings += rows.len() as u64;
        if rows.is_empty() {
            return;
        }
        let (all, local) = input_bytes(jobs, rows);
        self.bytes = self.bytes.saturating_add(all);
        self.local_bytes = self.local_bytes.saturating_add(local);
        let executors = jobs.executors();
        let mut used: Vec<u64> = executors
            .vcores()
            .iter()
            .zip(executors.free_vcores())
            .map(|(all, free)| u64::from(all.saturating_sub(*free)))
            .collect();
        let mut hit = vec![false; used.len()];
        for row in rows {
            let vcores = jobs.locate(row.task).map_or(1, |(stage, task)| jobs.stage(stage).vcores_of(task));
            if let Some(used) = used.get_mut(row.executor.index()) {
                *used += u64::from(vcores);
                hit[row.executor.index()] = true;
            }
        }
        let loads = used.iter().zip(executors.vcores()).filter(|(_, all)| **all > 0);
        let loads: Vec<f64> = loads.map(|(used, all)| *used as f64 / f64::from(*all)).collect();
        let mean = loads.iter().sum::<f64>() / loads.len().max(1) as f64;
        self.imbalance += if mean > 0.0 { loads.iter().copied().fold(0.0, f64::max) / mean } else { 1.0 };
        self.executors += hit.iter().filter(|hit| **hit).count() as u64;
        self.binding_rounds += 1;
    }

    /// (name, value) of the figures that follow from rounds alone.
    pub(super) fn figures(&self, rounds: u64) -> [(&'static str, f64); 6] {
        let share = |part: f64, all: u64| if all == 0 { 0.0 } else { part / all as f64 };
        [
            ("bindings_per_round", share(self.bindings as f64, rounds)),
            ("locality_bytes_share", share(self.local_bytes as f64, self.bytes)),
            ("executors_per_round", share(self.executors as f64, self.binding_rounds)),
            ("load_imbalance", share(self.imbalance, self.binding_rounds)),
            ("invalid_answers", self.invalid as f64),
            ("fallback_rounds", self.faults as f64),
        ]
    }
}

impl Tally {
    /// Adds a round, rows by task on both sides; calls `differs` for each placement that differs, by task number.
    pub(super) fn add(
        &mut self,
        round: &Round,
        recorded: &[BoundTask],
        replayed: &[BoundTask],
        mut differs: impl FnMut(&RunningJobs<'_>, Option<BoundTask>, Option<BoundTask>),
    ) {
        let stages = round.stage_refs();
        let jobs = round.view(&stages);
        let (mut a, mut b, mut equal) = (0, 0, true);
        loop {
            let pair = match (recorded.get(a).copied(), replayed.get(b).copied()) {
                (None, None) => break,
                (Some(x), Some(y)) if x.task == y.task => (Some(x), Some(y)),
                (Some(x), Some(y)) if x.task < y.task => (Some(x), None),
                (Some(_), Some(y)) => (None, Some(y)),
                one => one,
            };
            a += usize::from(pair.0.is_some());
            b += usize::from(pair.1.is_some());
            match pair {
                (Some(x), Some(y)) if x == y => {
                    self.same += 1;
                    continue;
                }
                (Some(_), Some(_)) => self.moved += 1,
                (Some(_), None) => self.only_recorded += 1,
                _ => self.only_replayed += 1,
            }
            equal = false;
            differs(&jobs, pair.0, pair.1);
        }
        self.rounds += 1;
        self.rounds_equal += u64::from(equal);
        self.recorded.add(&jobs, recorded);
        self.replayed.add(&jobs, replayed);
    }

    /// Counts faults and invalid answers of both sides.
    pub(super) fn add_faults(
        &mut self,
        recorded: Option<&str>,
        replayed: Option<&str>,
        is_violation: fn(&str) -> bool,
    ) {
        for (side, code) in [(&mut self.recorded, recorded), (&mut self.replayed, replayed)] {
            side.faults += u64::from(code.is_some());
            side.invalid += u64::from(code.is_some_and(is_violation));
        }
    }

    /// Placements that are the same, as a share of all that either side made.
    pub(super) fn agreement(&self) -> f64 {
        let all = self.same + self.moved + self.only_recorded + self.only_replayed;
        if all == 0 { 1.0 } else { self.same as f64 / all as f64 }
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "rounds": self.rounds,
            "rounds_equal": self.rounds_equal,
            "recorded": self.recorded.bindings,
            "replayed": self.replayed.bindings,
            "same": self.same,
            "moved": self.moved,
            "only_recorded": self.only_recorded,
            "only_replayed": self.only_replayed,
            "agreement": policy_sim::evaluate::number(self.agreement()),
        })
    }

    pub(super) fn json_of_generation(&self) -> Value {
        let mut value = self.json();
        if let Some(about) = &self.generation {
            value["generation"] = about.generation.into();
            value["policy"] = about.policy.as_str().into();
            value["version"] = about.version.as_str().into();
            value["library"] = about.library.as_str().into();
            value["sha256"] = about.sha256.as_str().into();
            value["activation"] = about.activation.clone();
            value["rounds_before"] = about.rounds_before.into();
            value["same_policy"] = self.same_policy.into();
        }
        value
    }

    /// The figures that follow from rounds alone, of both sides.
    pub(super) fn figures(&self) -> Value {
        let of = |side: &Side| -> Value {
            let figures = side.figures(self.rounds).into_iter();
            figures
                .map(|(name, value)| (name.to_owned(), policy_sim::evaluate::number(value)))
                .collect::<serde_json::Map<_, _>>()
                .into()
        };
        json!({ "recorded": of(&self.recorded), "replayed": of(&self.replayed) })
    }
}

impl Differing {
    /// One placement, with the names of its round.
    pub(super) fn new(jobs: &RunningJobs<'_>, from: Option<BoundTask>, to: Option<BoundTask>) -> Option<Self> {
        let (stage, task) = jobs.locate(from.or(to)?.task)?;
        let stage = jobs.stage(stage);
        let name = |row: BoundTask| jobs.executors().get(row.executor).name().to_owned();
        Some(Self {
            round: jobs.number(),
            now_us: jobs.now_us(),
            job: stage.job().name().to_owned(),
            stage: stage.number(),
            task,
            from: from.map(name),
            to: to.map(name),
        })
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "round": self.round, "now_us": self.now_us, "job": self.job, "stage": self.stage, "task": self.task,
            "recorded_on": self.from, "replayed_on": self.to,
        })
    }
}

impl FaultPair {
    pub(super) fn json(&self) -> Value {
        let side = |fault: &Option<(String, String)>| {
            fault.as_ref().map_or(Value::Null, |(code, message)| json!({ "code": code, "message": message }))
        };
        json!({ "round": self.round, "recorded": side(&self.recorded), "replayed": side(&self.replayed) })
    }
}
