//! Replays recorded rounds with real instances of policies, through the host that they would run in.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use policy_host::record::{Entry, Reader, RecordedRound};
use policy_host::round::{BlockRef, Observations};
use policy_host::{HostOptions, LaneKind, PolicyHost};

use super::assignment::{Assignment, parse, same};
use super::compare::{Differing, FaultPair, Tally, sorted};
use super::contents::Contents;
use crate::commands::evaluate::candidate::{Candidate, Plugins, put_in_service};
use crate::commands::evaluate::grid::is_violation;
use crate::commands::run::runtime;
use crate::failure::Failure;

/// How often a policy that was taken out of service is put back; after that it gets no more rounds.
const MAX_EJECTIONS: u32 = 16;
/// Faults that are listed; all are counted.
const LISTED_FAULTS: usize = 16;
/// Instances kept at one time.
const MAX_HOSTS: usize = 8;

/// The comparison of recorded and replayed answers.
#[derive(Default)]
pub(super) struct Replayed {
    pub(super) all: Tally,
    pub(super) generations: BTreeMap<u64, Tally>,
    pub(super) differences: Vec<Differing>,
    pub(super) faults: Vec<FaultPair>,
    /// Rounds that were not replayed.
    pub(super) not_replayed: u64,
    /// The first round in which a deadline was missed.
    pub(super) hung: Option<u64>,
}

impl Replayed {
    /// What an operator must know to read the results.
    pub(super) fn notes(&self, contents: &Contents) -> Vec<String> {
        let mut notes = Vec::new();
        if self.not_replayed > 0 {
            notes.push(format!("{} rounds were not replayed", self.not_replayed));
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

/// Replays a recording with the candidates of an assignment.
pub(super) struct Replayer<'a> {
    assignment: &'a Assignment,
    plugins: &'a Plugins,
    deadline_ms: u64,
    show: usize,
    runtime: tokio::runtime::Runtime,
}

/// What an instance is for: a candidate, and the generation whose rounds it gets alone; without one, all other rounds.
type Role = (usize, Option<u64>);

/// Instances in service.
#[derive(Default)]
struct Instances {
    hosts: Vec<(Role, PolicyHost, u64)>,
    ejections: BTreeMap<usize, u32>,
    made: usize,
}

impl<'a> Replayer<'a> {
    pub(super) fn new(
        assignment: &'a Assignment,
        plugins: &'a Plugins,
        deadline_ms: u64,
        show: usize,
    ) -> Result<Self, Failure> {
        Ok(Self { assignment, plugins, deadline_ms, show, runtime: runtime()? })
    }

    /// Replays the whole recording.
    pub(super) fn replay(&self, file: &Path) -> Result<Replayed, Failure> {
        let mut reader = Reader::open(file)?;
        let (mut replayed, mut instances) = (Replayed::default(), Instances::default());
        self.runtime.block_on(async {
            while let Some(entry) = reader.read_next()? {
                if let Entry::Round(recorded) = entry {
                    self.round(&recorded, &mut instances, &mut replayed).await?;
                }
            }
            for (_, host, _) in instances.hosts {
                host.shutdown().await;
            }
            Ok(replayed)
        })
    }

    async fn round(
        &self,
        recorded: &RecordedRound,
        instances: &mut Instances,
        replayed: &mut Replayed,
    ) -> Result<(), Failure> {
        let about = &recorded.generation;
        let Some(at) =
            self.assignment.of(about).filter(|at| instances.ejections.get(at).is_none_or(|&n| n < MAX_EJECTIONS))
        else {
            replayed.not_replayed += 1;
            return Ok(());
        };
        let same = same(&self.assignment.candidates[at], about);
        let role = (at, same.then_some(about.generation));
        let place = self.host(role, instances).await?;
        let (_, host, generation) = &instances.hosts[place];
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
        self.compare(recorded, &now, same, fault.clone(), replayed);
        if ejected {
            *instances.ejections.entry(at).or_default() += 1;
            let (_, host, _) = instances.hosts.swap_remove(place);
            host.shutdown().await;
            if fault.is_some_and(|(code, _)| code == "deadline-exceeded") {
                replayed.hung.get_or_insert(number);
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
        replayed: &mut Replayed,
    ) {
        let then = sorted(&recorded.rows);
        let (show, differences) = (self.show, &mut replayed.differences);
        let list = |jobs: &policy_host::round::RunningJobs<'_>, from, to| {
            if differences.len() < show {
                differences.extend(Differing::new(jobs, from, to));
            }
        };
        replayed.all.add(&recorded.round, &then, now, list);
        let about = &recorded.generation;
        let tally = replayed.generations.entry(about.generation).or_default();
        tally.generation.get_or_insert_with(|| std::sync::Arc::clone(about));
        tally.same_policy = same;
        tally.add(&recorded.round, &then, now, |_, _, _| ());
        let before = recorded.fault.as_ref().map(|fault| (fault.code.clone(), fault.message.clone()));
        let code = |fault: &'_ Option<(String, String)>| fault.as_ref().map(|(code, _)| code.clone());
        replayed.all.add_faults(code(&before).as_deref(), code(&fault).as_deref(), is_violation);
        if (before.is_some() || fault.is_some()) && replayed.faults.len() < LISTED_FAULTS {
            let round = recorded.round.clock().number;
            replayed.faults.push(FaultPair { round, recorded: before, replayed: fault });
        }
    }

    /// The index of a role's host, which is made if there is none.
    async fn host(&self, role: Role, instances: &mut Instances) -> Result<usize, Failure> {
        if let Some(place) = instances.hosts.iter().position(|(of, ..)| *of == role) {
            return Ok(place);
        }
        if instances.hosts.len() >= MAX_HOSTS {
            let (_, oldest, _) = instances.hosts.remove(0);
            oldest.shutdown().await;
        }
        instances.made += 1;
        let state_dir = self.plugins.state_dir(instances.made);
        let (host, generation) = self.make(&self.assignment.candidates[role.0], &state_dir).await?;
        instances.hosts.push((role, host, generation));
        Ok(instances.hosts.len() - 1)
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
