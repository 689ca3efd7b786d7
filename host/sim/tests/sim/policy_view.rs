//! What a policy sees of the cluster: order, usage, locality, feedback.

use std::sync::{Arc, Mutex};

use policy_host::round::{Observation, ObservationKind, Round};
use policy_sim::Binder;
use policy_sim::cluster::ClusterOptions;
use policy_sim::workload::{ClusterDefaults, Input, Job, Stage, Task};

use crate::binders::{FirstFit, Rows, first_fit};
use crate::{simulate, workload};

/// First fit that keeps its rounds.
#[derive(Default)]
struct Watching {
    rounds: Mutex<Vec<Arc<Round>>>,
}

impl Binder for Watching {
    type Answer = Rows;

    async fn bind(&self, round: Arc<Round>) -> Rows {
        let rows = first_fit(&round);
        self.rounds.lock().unwrap().push(round);
        Rows { rows, policy: "watching", fallback: false }
    }

    fn observe(&self, _: Vec<Observation>) {}
}

fn job(id: &str, submit_us: u64, priority: i32, stages: Vec<Stage>) -> Job {
    Job { id: id.to_owned(), tenant: format!("of-{id}").into(), submit_us, priority, stages }
}

fn stage(id: u32, depends_on: &[u32], tasks: Vec<Task>) -> Stage {
    Stage { id, depends_on: depends_on.to_vec(), tasks }
}

#[test]
fn jobs_come_by_priority_submission_and_id_and_stages_by_number() {
    let tasks = || vec![Task::new(100)];
    let jobs = vec![
        job("b", 0, 0, vec![stage(9, &[], tasks()), stage(2, &[], tasks())]),
        job("a", 0, 0, vec![stage(0, &[], tasks())]),
        job("late", 50, 5, vec![stage(0, &[], tasks())]),
    ];
    let binder = Watching::default();
    // One vcore: nearly everything waits.
    simulate(workload(ClusterDefaults::uniform(1, 1), jobs), ClusterOptions::default(), &binder);
    let rounds = binder.rounds.into_inner().unwrap();
    let names = |round: &Arc<Round>| {
        let stages = round.stage_refs();
        let stages = round.view(&stages).stages().map(|s| format!("{}/{}", s.job().name(), s.number()));
        stages.collect::<Vec<_>>()
    };
    assert_eq!(names(&rounds[0]), ["a/0", "b/2", "b/9"]);
    assert_eq!(names(&rounds[1]), ["late/0", "b/2", "b/9"]);
    assert_eq!(rounds.iter().map(|r| r.clock().now_us).collect::<Vec<_>>(), [0, 100, 200, 300]);
    assert_eq!(rounds.iter().map(|r| r.clock().number).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_ne!(rounds[0].clock().seed, rounds[1].clock().seed);
}

#[test]
fn all_events_of_one_instant_are_taken_in_before_a_round() {
    let jobs = vec![
        job("a", 0, 0, vec![stage(0, &[], vec![Task::new(100); 4])]),
        job("b", 100, 0, vec![stage(0, &[], vec![Task::new(100); 4])]),
        job("c", 100, 0, vec![stage(0, &[], vec![Task::new(100); 4])]),
    ];
    let binder = Watching::default();
    simulate(workload(ClusterDefaults::uniform(1, 4), jobs), ClusterOptions::default(), &binder);
    let rounds = binder.rounds.into_inner().unwrap();
    let seen = |r: &Arc<Round>| (r.clock().now_us, r.view(&r.stage_refs()).pending_tasks());
    assert_eq!(rounds.iter().map(seen).collect::<Vec<_>>(), [(0, 4), (100, 8), (200, 4)]);
}

#[test]
fn usage_keys_pins_and_holders_are_those_of_the_cluster() {
    let input = |executor: &str, bytes| Input { executor: executor.into(), bytes };
    let special = Task {
        vcores: 2,
        key: Some("part-1".into()),
        pin: Some("e1".into()),
        inputs: vec![input("e0", 10), input("e1", 20), input("e0", 15)],
        ..Task::new(100)
    };
    let jobs = vec![
        job("a", 0, 1, vec![stage(0, &[], vec![Task::new(500), Task::new(500)])]),
        job("b", 10, 0, vec![stage(0, &[], vec![special, Task::new(5)])]),
    ];
    let binder = Watching::default();
    simulate(workload(ClusterDefaults::uniform(2, 2), jobs), ClusterOptions::default(), &binder);
    let rounds = binder.rounds.into_inner().unwrap();
    let refs = rounds[1].stage_refs();
    let view = rounds[1].view(&refs);
    assert_eq!(view.executors().free_vcores(), [0, 2]);
    assert_eq!(view.executors().running_tasks(), [2, 0]);
    let stage = view.stages().next().unwrap();
    assert_eq!((stage.job().name(), stage.job().key(), stage.runnable_since_us()), ("b", 1, 10));
    assert_eq!(view.tenants().map(|t| (t.name(), t.vcores_in_use())).collect::<Vec<_>>(), [("of-b", 0)]);
    let task = stage.task(0);
    let uid = |name| view.executors().get(view.executors().by_name(name).unwrap()).uid();
    assert_eq!((task.vcores(), task.key(), task.pin()), (2, "part-1", Some(uid("e1"))));
    assert_eq!(task.holders().collect::<Vec<_>>(), [(uid("e0"), 25), (uid("e1"), 20)]);
}

#[test]
fn feedback_tells_waits_bytes_and_times() {
    let input = |executor: &str, bytes| Input { executor: executor.into(), bytes };
    let task = Task { inputs: vec![input("e0", 10), input("gone", 1)], ..Task::new(100) };
    let jobs = vec![job("a", 0, 0, vec![stage(3, &[], vec![task.clone(), task])])];
    let binder = FirstFit::default();
    simulate(workload(ClusterDefaults::uniform(1, 1), jobs), ClusterOptions::default(), &binder);
    let observed = binder.observed.into_inner().unwrap();
    let kinds: Vec<_> = observed.iter().map(|o| (o.kind, o.task, o.at_us)).collect();
    // One byte of a thousand MiB a second takes a microsecond, rounded up.
    assert_eq!(
        kinds,
        [
            (ObservationKind::Started, 0, 0),
            (ObservationKind::Finished, 0, 101),
            (ObservationKind::Started, 1, 101),
            (ObservationKind::Finished, 1, 202),
        ]
    );
    let last = observed[3];
    assert_eq!((last.job_key, last.stage_number, last.duration_us, last.queue_wait_us), (0, 3, 101, 101));
    assert_eq!((last.local_bytes, last.remote_bytes), (10, 1));
}
