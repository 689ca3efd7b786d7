//! The cluster against binders and queues that misbehave: the ledger must see it.

use std::sync::Arc;

use policy_host::round::{BoundTask, ExecutorId, Round, TaskId};

use super::*;
use crate::workload::{ClusterDefaults, Job, Stage, Task};

/// One job of one stage of `tasks` tasks of 10 us, on two executors of two vcores.
fn cluster(tasks: usize) -> Cluster {
    let stage = Stage { id: 0, depends_on: Vec::new(), tasks: vec![Task::new(10); tasks] };
    with_stages(vec![stage], Vec::new())
}

fn with_stages(stages: Vec<Stage>, faults: Vec<Fault>) -> Cluster {
    let defaults = ClusterDefaults::uniform(2, 2);
    let header = defaults.cluster;
    let job = Job { id: "j".to_owned(), tenant: "t".into(), submit_us: 0, priority: 0, stages };
    let workload = Workload { header, jobs: vec![job] };
    let options = ClusterOptions { seed: 1, faults, record_happenings: true, ..ClusterOptions::default() };
    Cluster::new(Arc::new(workload), options).unwrap()
}

fn row(task: u32, executor: u32) -> BoundTask {
    BoundTask::new(TaskId(task), ExecutorId(executor))
}

fn round(cluster: &mut Cluster) -> Arc<Round> {
    assert!(cluster.wants_round());
    cluster.begin_round()
}

#[test]
fn an_honest_run_balances() {
    let mut cluster = cluster(3);
    cluster.advance_to(0);
    round(&mut cluster);
    assert_eq!(cluster.apply(&[row(0, 0), row(1, 0), row(2, 1)]), Applied { started: 3, ..Applied::default() });
    assert_eq!((cluster.pending_tasks(), cluster.running_tasks(), cluster.free_vcores()), (0, 3, 1));
    assert_eq!(cluster.next_event_us(), Some(10));
    cluster.advance_to(10);
    assert!(cluster.is_done());
    let counts = TaskCounts { submitted: 3, completed: 3, ..TaskCounts::default() };
    assert_eq!(cluster.audit(), counts);
    assert_eq!(cluster.metrics().busy_vcore_us, 30);
}

#[test]
fn a_task_bound_twice_is_counted_and_not_started_twice() {
    let mut cluster = cluster(2);
    cluster.advance_to(0);
    round(&mut cluster);
    let applied = cluster.apply(&[row(0, 0), row(0, 1), row(0, 0)]);
    assert_eq!(applied, Applied { started: 1, duplicated: 2, refused: 0 });
    assert_eq!(cluster.audit().duplicated, 1);
    cluster.advance_to(10);
    round(&mut cluster);
    let applied = cluster.apply(&[row(0, 0), row(1, 0)]);
    assert_eq!(applied, Applied { started: 1, duplicated: 1, refused: 0 }, "bound again after its end");
    cluster.advance_to(20);
    assert_eq!(cluster.audit(), TaskCounts { submitted: 2, completed: 2, duplicated: 1, ..TaskCounts::default() });
}

#[test]
fn rows_from_nowhere_start_nothing() {
    let mut cluster = cluster(6);
    cluster.advance_to(0);
    round(&mut cluster);
    let rows = [row(6, 0), row(u32::MAX, 0), row(0, 2), row(0, u32::MAX), row(0, 0), row(1, 0), row(2, 0)];
    assert_eq!(cluster.apply(&rows), Applied { started: 2, duplicated: 0, refused: 5 });
    assert_eq!(cluster.metrics().refused_rows, 5);
    assert_eq!(cluster.audit(), TaskCounts { submitted: 6, unfinished: 6, ..TaskCounts::default() });
}

#[test]
fn a_queue_that_forgets_a_task_shows_as_lost() {
    let mut cluster = cluster(3);
    cluster.advance_to(0);
    cluster.jobs[0].as_deref_mut().unwrap().stage_mut(0).pending.remove(1);
    assert_eq!(cluster.audit(), TaskCounts { submitted: 3, unfinished: 2, lost: 1, ..TaskCounts::default() });
}

#[test]
fn a_run_that_vanishes_shows_as_lost() {
    let mut cluster = cluster(2);
    cluster.advance_to(0);
    round(&mut cluster);
    cluster.apply(&[row(0, 0), row(1, 1)]);
    cluster.running.remove(0, 1).unwrap();
    assert_eq!(cluster.audit(), TaskCounts { submitted: 2, unfinished: 1, lost: 1, ..TaskCounts::default() });
}

#[test]
fn a_stage_that_is_never_opened_shows_as_lost() {
    let stage = |id, depends_on| Stage { id, depends_on, tasks: vec![Task::new(10)] };
    let mut cluster = with_stages(vec![stage(0, vec![]), stage(1, vec![0])], Vec::new());
    cluster.advance_to(0);
    cluster.jobs[0].as_deref_mut().unwrap().stage_mut(0).dependents.clear();
    round(&mut cluster);
    cluster.apply(&[row(0, 0)]);
    assert_eq!(cluster.audit().lost, 0);
    cluster.advance_to(10);
    assert_eq!(cluster.audit(), TaskCounts { submitted: 2, completed: 1, lost: 1, ..TaskCounts::default() });
}

#[test]
fn a_queue_that_offers_a_running_task_shows_as_duplicated() {
    let mut cluster = cluster(2);
    cluster.advance_to(0);
    round(&mut cluster);
    cluster.apply(&[row(0, 0)]);
    cluster.jobs[0].as_deref_mut().unwrap().stage_mut(0).pending.insert(0);
    cluster.pending += 1;
    cluster.ask_again();
    round(&mut cluster);
    assert_eq!(cluster.apply(&[row(0, 1)]), Applied { started: 0, duplicated: 1, refused: 0 });
    assert_eq!((cluster.running_tasks(), cluster.free_vcores()), (1, 3));
    assert_eq!(cluster.audit(), TaskCounts { submitted: 2, unfinished: 2, duplicated: 1, ..TaskCounts::default() });
}

#[test]
fn a_lost_executor_gives_its_tasks_back() {
    let at = |at_us, kind| Fault { at_us, executor: "e0".to_owned(), kind };
    let stage = Stage { id: 0, depends_on: Vec::new(), tasks: vec![Task::new(10); 3] };
    let mut cluster = with_stages(vec![stage], vec![at(4, FaultKind::Lost), at(6, FaultKind::Joined)]);
    cluster.advance_to(0);
    round(&mut cluster);
    cluster.apply(&[row(0, 0), row(1, 0), row(2, 1)]);
    cluster.advance_to(4);
    assert_eq!((cluster.pending_tasks(), cluster.free_vcores(), cluster.alive_vcores()), (2, 1, 2));
    let round_of_one = round(&mut cluster);
    assert_eq!(round_of_one.roster().len(), 1);
    assert_eq!(cluster.apply(&[row(0, 1)]).refused, 1, "there is no second executor now");
    assert_eq!(cluster.apply(&[row(0, 0)]).started, 1);
    cluster.advance_to(6);
    assert_eq!((cluster.free_vcores(), cluster.alive_vcores()), (2, 4));
    round(&mut cluster);
    assert_eq!(cluster.apply(&[row(1, 0)]).started, 1);
    cluster.advance_to(100);
    assert!(cluster.is_done());
    assert_eq!(cluster.audit(), TaskCounts { submitted: 3, completed: 3, ..TaskCounts::default() });
    let metrics = cluster.metrics();
    assert_eq!((metrics.busy_vcore_us, metrics.wasted_vcore_us), (30, 8));
    // Four vcores to 4 us, two to 6 us, four to 16 us.
    assert_eq!(metrics.capacity_vcore_us, 16 + 4 + 40);
}

#[test]
fn stages_without_tasks_are_passed_through() {
    let stage = |id, depends_on, tasks| Stage { id, depends_on, tasks: vec![Task::new(10); tasks] };
    let stages = vec![stage(5, vec![3, 4], 1), stage(4, vec![1], 0), stage(3, vec![1], 0), stage(1, vec![], 0)];
    let mut cluster = with_stages(stages, Vec::new());
    cluster.advance_to(0);
    let round = round(&mut cluster);
    let stages = round.stage_refs();
    let numbers: Vec<u32> = round.view(&stages).stages().map(|s| s.number()).collect();
    assert_eq!(numbers, [5]);
    cluster.apply(&[row(0, 0)]);
    cluster.advance_to(10);
    assert!(cluster.is_done());
    assert_eq!(cluster.audit().completed, 1);
}
