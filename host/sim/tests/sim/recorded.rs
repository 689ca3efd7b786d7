//! Workloads made of recordings: a run that was recorded whole gives the workload back, one that was not says what is
//! missing.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use policy_host::record::RecordOptions;
use policy_host::round::{Observation, Round};
use policy_host::{HostOptions, Plan, PolicyHost};
use policy_sim::Binder;
use policy_sim::workload::recorded::{self, Reconstruction};
use policy_sim::workload::{ClusterDefaults, Workload, parse_source};

use crate::measure;

/// Answers with one host up to a round, and with a recording one from then on.
struct From {
    before: PolicyHost,
    recording: PolicyHost,
    round: u64,
    asked: AtomicU64,
}

impl From {
    fn host(&self) -> &PolicyHost {
        if self.asked.load(Ordering::Relaxed) < self.round { &self.before } else { &self.recording }
    }
}

impl Binder for From {
    type Answer = Plan;

    async fn bind(&self, round: Arc<Round>) -> Plan {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.host().bind(round).await
    }

    fn observe(&self, batch: Vec<Observation>) {
        self.host().observe(batch);
    }
}

/// The workload as a recording of a run from its `round`th round on gives it.
fn through_a_recording(workload: &Workload, round: u64) -> (Workload, Reconstruction) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("run.rec");
    let mut record = RecordOptions::new(&file);
    record.about.insert("network_mib_per_s".into(), workload.header.network_mib_per_s.into());
    if let Some(rack) = workload.header.rack_mib_per_s {
        record.about.insert("rack_mib_per_s".into(), rack.into());
    }
    let (before, recording) = (HostOptions::default(), HostOptions::default().record(record));
    let start = |options| PolicyHost::start(options).unwrap();
    let binder = From { before: start(before), recording: start(recording), round, asked: AtomicU64::new(0) };
    let outcome = measure(workload.clone(), &binder);
    assert_eq!(outcome.counts.completed, workload.task_count());
    let receipt = crate::wait(binder.recording.finish_recording()).unwrap();
    assert_eq!((receipt.rounds, receipt.rounds_missed), (outcome.rounds - round.saturating_sub(1), 0));
    recorded::read(&file, &ClusterDefaults::default()).unwrap()
}

fn example(name: &str) -> Workload {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/workloads").join(name);
    parse_source(path.to_str().unwrap(), &ClusterDefaults::default()).unwrap()
}

#[test]
fn a_run_that_was_recorded_whole_gives_its_workload_back() {
    let synthetic = parse_source("synthetic:jobs=60,seed=5", &ClusterDefaults::default()).unwrap();
    for original in [example("two-tenants.jsonl"), example("outage.jsonl"), synthetic] {
        let (again, told) = through_a_recording(&original, 1);
        let inferred = told.stages_with_inferred_dependencies;
        let whole = Reconstruction { rounds: told.rounds, tasks: original.task_count(), ..Reconstruction::default() };
        assert_eq!(told, Reconstruction { stages_with_inferred_dependencies: inferred, ..whole });
        assert_eq!(again.header.network_mib_per_s, original.header.network_mib_per_s);
        assert_eq!(again.header.faults, original.header.faults);
        let sorted = |w: &Workload| {
            let mut executors = w.header.executors.clone();
            executors.sort_by(|a, b| a.name.cmp(&b.name));
            executors
        };
        assert_eq!(sorted(&again), sorted(&original));
        assert_eq!(again.jobs.len(), original.jobs.len());
        let base_us = original.jobs[0].submit_us;
        let mut dependent = 0;
        for (a, b) in again.jobs.iter().zip(&original.jobs) {
            let facts = |job: &policy_sim::workload::Job| (job.id.clone(), job.tenant.clone(), job.priority);
            assert_eq!((facts(a), a.submit_us), (facts(b), b.submit_us - base_us));
            assert_eq!(a.stages.len(), b.stages.len());
            for (x, y) in a.stages.iter().zip(&b.stages) {
                assert_eq!(x.id, y.id);
                dependent += u64::from(!y.depends_on.is_empty());
                // Of several, those that ended last are seen.
                assert_eq!(x.depends_on.is_empty(), y.depends_on.is_empty());
                assert!(x.depends_on.iter().all(|d| y.depends_on.contains(d)), "{}: {x:?} {y:?}", a.id);
                for (mine, theirs) in x.tasks.iter().zip(&y.tasks) {
                    let inputs = |task: &policy_sim::workload::Task| {
                        let mut inputs = task.inputs.clone();
                        inputs.sort_by(|a, b| a.executor.cmp(&b.executor));
                        inputs
                    };
                    assert_eq!(inputs(mine), inputs(theirs));
                    let bare = |task: &policy_sim::workload::Task| policy_sim::workload::Task {
                        inputs: Vec::new(),
                        ..task.clone()
                    };
                    assert_eq!(bare(mine), bare(theirs), "{} stage {}", a.id, x.id);
                }
                assert_eq!(x.tasks.len(), y.tasks.len());
            }
        }
        assert!(dependent > 0 && dependent == inferred);
    }
}

#[test]
fn a_recording_that_began_in_mid_flight_says_what_it_did_not_see() {
    // Two vcores: stages take many rounds.
    let original = parse_source("synthetic:jobs=60,rate=200,seed=5", &ClusterDefaults::uniform(1, 2)).unwrap();
    let (again, told) = through_a_recording(&original, 120);
    assert!(told.jobs_in_flight_at_start > 0 && told.tasks_left_out_done > 0, "{told:?}");
    assert!(told.tasks < original.task_count() && told.tasks == again.task_count(), "{told:?}");
    assert_eq!(
        (told.tasks_with_median_duration, told.tasks_left_out_unknown),
        (0, 0),
        "the end was recorded: {told:?}"
    );
    assert!(told.network_assumed || again.header.network_mib_per_s == original.header.network_mib_per_s);
    // What was seen is what it was.
    let find = |id: &str| original.jobs.iter().find(|job| job.id == id).expect("a job of the run");
    let whole = |job: &&policy_sim::workload::Job| {
        let tasks = |job: &policy_sim::workload::Job| job.stages.iter().map(|s| s.tasks.len()).sum::<usize>();
        job.stages.len() == find(&job.id).stages.len() && tasks(job) == tasks(find(&job.id))
    };
    let durations = |job: &policy_sim::workload::Job| -> Vec<u64> {
        job.stages.iter().flat_map(|s| &s.tasks).map(|t| t.duration_us).collect()
    };
    assert!(again.jobs.iter().filter(whole).count() > 5);
    again.jobs.iter().filter(whole).for_each(|job| assert_eq!(durations(job), durations(find(&job.id)), "{}", job.id));
    let lacks = told.lacks().join("\n");
    assert!(lacks.contains("jobs were in flight when recording began"), "{lacks}");
    // And it runs.
    let tasks = again.task_count();
    let outcome = measure(again, &PolicyHost::start(HostOptions::default()).unwrap());
    assert_eq!(outcome.counts.completed, tasks);
}
