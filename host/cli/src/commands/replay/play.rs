//! Plays recorded rounds to real instances of policies, through the host that they would run in.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use policy_host::record::{Entry, Reader, RecordedGeneration, RecordedRound};
use policy_host::round::{BlockRef, Observations};
use policy_host::{HostOptions, LaneKind, PolicyHost};
use serde_json::{Map, Value, json};

use super::compare::{Differing, FaultPair, Tally, sorted};
use super::contents::Contents;
use crate::commands::evaluate::candidate::{Candidate, Plugins, put_in_service};
use crate::commands::evaluate::grid::is_violation;
use crate::commands::run::runtime;
use crate::failure::Failure;

/// How often a policy that was taken out of service is put back; after that it is asked no more.
const MAX_EJECTIONS: u32 = 16;
/// Faults that are listed; all are counted.
const LISTED_FAULTS: usize = 16;
/// Instances kept at one time.
const MAX_HOSTS: usize = 8;

/// Who is asked in place of whom.
pub(super) struct Cast {
    candidates: Vec<Candidate>,
    /// The candidate of each generation; `None` where the first stands for all.
    of: Option<BTreeMap<u64, usize>>,
}

impl Cast {
    /// The first for every generation.
    pub(super) fn one(candidates: Vec<Candidate>) -> Self {
        Self { candidates, of: None }
    }

    /// Every generation by the candidate that was made of it.
    pub(super) fn itself(candidates: Vec<Candidate>, contents: &Contents) -> Self {
        let find = |about: &RecordedGeneration| {
            let alike = |c: &&Candidate| lasting(&parse(&c.activation)) == lasting(&about.activation);
            let exactly = candidates.iter().position(|c| same(c, about));
            exactly.or_else(|| candidates.iter().position(|c| alike(&c)))
        };
        let made = contents.generations.values().filter(|made| made.is_replayable());
        let of = made.filter_map(|made| Some((made.about.generation, find(&made.about)?))).collect();
        Self { candidates, of: Some(of) }
    }

    fn of(&self, generation: &RecordedGeneration) -> Option<usize> {
        match &self.of {
            None => Some(0),
            Some(of) => of.get(&generation.generation).copied(),
        }
    }

    /// Generations whose library is another one today.
    pub(super) fn strangers(&self, contents: &Contents) -> Vec<String> {
        let mut notes = Vec::new();
        for made in contents.generations.values() {
            let about = &made.about;
            let (policy, generation) = (&about.policy, about.generation);
            match self.of(about) {
                None => notes.push(format!("{policy} (generation {generation}) is the embedder's own: not replayed")),
                Some(at) if !same(&self.candidates[at], about) => notes.push(format!(
                    "{policy} (generation {generation}): the plugin directory has another library than the one recorded"
                )),
                Some(_) => {}
            }
        }
        notes
    }

    /// Who is simulated: the policy that answered most rounds, then the given one.
    pub(super) fn simulated(&self, contents: &Contents) -> Option<Vec<Candidate>> {
        match (&self.of, self.candidates.as_slice()) {
            (None, [own, recorded]) if !contents.is_dump() => {
                match lasting(&parse(&own.activation)) == lasting(&parse(&recorded.activation)) {
                    true => Some(vec![own.clone()]),
                    false => Some(vec![recorded.clone(), own.clone()]),
                }
            }
            (None, [own]) if !contents.is_dump() => Some(vec![own.clone()]),
            _ => None,
        }
    }

    pub(super) fn about(&self, at: usize) -> Value {
        let c = &self.candidates[at];
        json!({
            "policy": c.policy, "label": c.label, "version": c.version, "library": c.library, "sha256": c.sha256,
            "spec": parse(&c.activation),
        })
    }
}

fn parse(activation: &str) -> Value {
    serde_json::from_str(activation).unwrap_or_default()
}

/// What of an activation has a part in placements, with what is left out filled in.
fn lasting(activation: &Value) -> Value {
    let bare = |part: &Value| {
        let mut part = part.as_object().cloned().unwrap_or_default();
        if part.get("config").is_some_and(|c| c.is_null() || c.as_object().is_some_and(Map::is_empty)) {
            part.remove("config");
        }
        part
    };
    let mut all = bare(activation);
    ["lane", "deadline_ms", "shadow"].iter().for_each(|key| drop(all.remove(*key)));
    all.entry("fallback").or_insert_with(|| policy_host::BuiltIn::default().name().into());
    for (list, weight) in [("filters", false), ("scores", true)] {
        let parts = all.remove(list).and_then(|v| v.as_array().cloned()).unwrap_or_default();
        let parts: Vec<Value> = parts
            .iter()
            .map(|part| {
                let mut part = bare(part);
                if weight {
                    part.entry("weight").or_insert_with(|| 1.into());
                }
                part.into()
            })
            .collect();
        if !parts.is_empty() {
            all.insert(list.into(), parts.into());
        }
    }
    all.into()
}

/// Whether a candidate is what was recorded: the same libraries with the same configs.
fn same(candidate: &Candidate, recorded: &RecordedGeneration) -> bool {
    candidate.sha256 == recorded.sha256
        && candidate.parts.iter().eq(recorded.parts.iter().map(|part| &part.sha256))
        && lasting(&parse(&candidate.activation)) == lasting(&recorded.activation)
}

/// What came of it.
#[derive(Default)]
pub(super) struct Played {
    pub(super) all: Tally,
    pub(super) generations: BTreeMap<u64, Tally>,
    pub(super) differences: Vec<Differing>,
    pub(super) faults: Vec<FaultPair>,
    /// Rounds that nobody was asked.
    pub(super) not_asked: u64,
    /// The first round in which a deadline was missed.
    pub(super) hung: Option<u64>,
}

impl Played {
    /// What a reader of the results must know.
    pub(super) fn notes(&self, contents: &Contents) -> Vec<String> {
        let mut notes = Vec::new();
        if self.not_asked > 0 {
            notes.push(format!("{} rounds were not replayed", self.not_asked));
        }
        for tally in self.generations.values().filter(|t| t.same_policy && t.rounds_equal < t.rounds) {
            let Some(about) = &tally.generation else { continue };
            let (policy, generation, rounds) = (&about.policy, about.generation, tally.rounds - tally.rounds_equal);
            let before = contents.generations.range(..generation).next_back().map(|(_, made)| &made.about.policy);
            let why = match () {
                () if about.rounds_before > 0 => "state from before the recording is missing",
                () if before == Some(policy) => {
                    "it took over state of the generation before it, which a replay does not"
                }
                () if contents.missed > 0 => "rounds are missing in the recording",
                () => "it is not deterministic",
            };
            notes.push(format!(
                "{policy} (generation {generation}) answers {rounds} of its own rounds otherwise: {why}"
            ));
        }
        notes
    }
}

/// See the module.
pub(super) struct Player<'a> {
    cast: &'a Cast,
    plugins: &'a Plugins,
    deadline_ms: u64,
    show: usize,
    runtime: tokio::runtime::Runtime,
}

/// An instance: of a candidate, for the rounds of one generation that was the same as it, or for all others.
type Role = (usize, Option<u64>);

/// Instances in service.
#[derive(Default)]
struct Stage {
    hosts: Vec<(Role, PolicyHost, u64)>,
    ejections: BTreeMap<usize, u32>,
    made: usize,
}

impl<'a> Player<'a> {
    pub(super) fn new(cast: &'a Cast, plugins: &'a Plugins, deadline_ms: u64, show: usize) -> Result<Self, Failure> {
        Ok(Self { cast, plugins, deadline_ms, show, runtime: runtime()? })
    }

    /// Plays the whole recording.
    pub(super) fn play(&self, file: &Path) -> Result<Played, Failure> {
        let mut reader = Reader::open(file)?;
        let (mut played, mut stage) = (Played::default(), Stage::default());
        self.runtime.block_on(async {
            while let Some(entry) = reader.read_next()? {
                if let Entry::Round(recorded) = entry {
                    self.round(&recorded, &mut stage, &mut played).await?;
                }
            }
            for (_, host, _) in stage.hosts {
                host.shutdown().await;
            }
            Ok(played)
        })
    }

    async fn round(&self, recorded: &RecordedRound, stage: &mut Stage, played: &mut Played) -> Result<(), Failure> {
        let about = &recorded.generation;
        let Some(at) = self.cast.of(about).filter(|at| stage.ejections.get(at).is_none_or(|&n| n < MAX_EJECTIONS))
        else {
            played.not_asked += 1;
            return Ok(());
        };
        let same = same(&self.cast.candidates[at], about);
        let role = (at, same.then_some(about.generation));
        let place = self.host(role, stage).await?;
        let (_, host, generation) = &stage.hosts[place];
        if let Some(batch) = &recorded.observations
            && let Ok(batch) = Observations::from_block(BlockRef::new(batch))
        {
            host.observe(batch.iter().collect());
        }
        let plan = host.bind(std::sync::Arc::clone(&recorded.round)).await;
        let fault = plan.fallback().map(|reason| (reason.code.to_owned(), reason.message.clone()));
        let ejected = fault.as_ref().is_some_and(|(code, _)| code != "declined");
        debug_assert_eq!(plan.answered_by().generation, *generation, "an instance out of service is not asked");
        let (number, now) = (recorded.round.clock().number, sorted(plan.bindings()));
        self.compare(recorded, &now, same, fault.clone(), played);
        if ejected {
            *stage.ejections.entry(at).or_default() += 1;
            let (_, host, _) = stage.hosts.swap_remove(place);
            host.shutdown().await;
            if fault.is_some_and(|(code, _)| code == "deadline-exceeded") {
                played.hung.get_or_insert(number);
            }
        }
        Ok(())
    }

    fn compare(
        &self,
        recorded: &RecordedRound,
        now: &[policy_host::round::BoundTask],
        same: bool,
        fault: Option<(String, String)>,
        played: &mut Played,
    ) {
        let then = sorted(&recorded.rows);
        let (show, differences) = (self.show, &mut played.differences);
        let list = |jobs: &policy_host::round::RunningJobs<'_>, from, to| {
            if differences.len() < show {
                differences.extend(Differing::new(jobs, from, to));
            }
        };
        played.all.add(&recorded.round, &then, now, list);
        let about = &recorded.generation;
        let tally = played.generations.entry(about.generation).or_default();
        tally.generation.get_or_insert_with(|| std::sync::Arc::clone(about));
        tally.same_policy = same;
        tally.add(&recorded.round, &then, now, |_, _, _| ());
        let before = recorded.fault.as_ref().map(|fault| (fault.code.clone(), fault.message.clone()));
        let code = |fault: &'_ Option<(String, String)>| fault.as_ref().map(|(code, _)| code.clone());
        played.all.add_faults(code(&before).as_deref(), code(&fault).as_deref(), is_violation);
        if (before.is_some() || fault.is_some()) && played.faults.len() < LISTED_FAULTS {
            let round = recorded.round.clock().number;
            played.faults.push(FaultPair { round, recorded: before, replayed: fault });
        }
    }

    /// The place of a role's host, made if there is none.
    async fn host(&self, role: Role, stage: &mut Stage) -> Result<usize, Failure> {
        if let Some(place) = stage.hosts.iter().position(|(of, ..)| *of == role) {
            return Ok(place);
        }
        if stage.hosts.len() >= MAX_HOSTS {
            let (_, oldest, _) = stage.hosts.remove(0);
            oldest.shutdown().await;
        }
        stage.made += 1;
        let state_dir = self.plugins.state_dir(stage.made);
        let (host, generation) = self.make(&self.cast.candidates[role.0], &state_dir).await?;
        stage.hosts.push((role, host, generation));
        Ok(stage.hosts.len() - 1)
    }

    /// A host in the thread lane: a policy that hangs costs a deadline, not the command.
    async fn make(&self, candidate: &Candidate, state_dir: &Path) -> Result<(PolicyHost, u64), Failure> {
        if candidate.is_random() {
            return candidate.host(&self.plugins.path(), state_dir).await;
        }
        let mut activation = parse(&candidate.activation);
        activation["lane"] = LaneKind::Thread.as_str().into();
        activation["deadline_ms"] = self.deadline_ms.into();
        let host = PolicyHost::start(HostOptions {
            plugins: (!candidate.is_compiled_in()).then(|| self.plugins.path()),
            state_dir: Some(state_dir.to_owned()),
            rescan: Duration::from_secs(3600),
            ..HostOptions::default()
        })?;
        let info = put_in_service(&host, &activation.to_string()).await?;
        Ok((host, info.generation))
    }
}
