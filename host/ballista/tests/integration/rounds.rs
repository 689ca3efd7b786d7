//! What a round shows and what becomes of a plan, on graphs without a cluster.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ballista_scheduler::cluster::BoundTask;
use policy_ballista::{Mode, PolicyAdapter};
use policy_host::policy::*;
use policy_host::{HostOptions, LaneKind, PolicyHost, TaskDistributionPolicy};
use tokio::sync::Notify;

use crate::graphs::{GROUP, TOTAL, adapter, bind, budgets, failed, finished, graph, jobs, named_graph, report};

/// What a policy saw of a stage: job, tenant, priority, stage, its pending tasks with the holders of each.
type Seen = (String, String, i32, u32, Vec<(u32, Vec<(String, u64)>)>);

/// Writes down what it sees; binds what `answer` says.
#[derive(Debug)]
struct Spy {
    seen: Mutex<Vec<Vec<Seen>>>,
    observed: Mutex<Vec<(ObservationKind, u64)>>,
    answer: fn(&mut [AvailableTaskSlots], &RunningJobs<'_>) -> Result<Vec<BoundTaskRow>>,
}

type BoundTaskRow = policy_host::round::BoundTask;

#[async_trait]
impl DistributionPolicy for Spy {
    async fn bind_tasks(&self, slots: &mut [AvailableTaskSlots], jobs: &RunningJobs<'_>) -> Result<Vec<BoundTaskRow>> {
        let name = |uid| jobs.executors().by_uid(uid).map_or("gone", |e| jobs.executors().get(e).name()).to_owned();
        let stages = jobs.stages().map(|stage| {
            let job = stage.job();
            let tasks = stage.pending().map(|task| {
                let holders = task.holders().map(|(uid, bytes)| (name(uid), bytes)).collect();
                (task.index(), holders)
            });
            (job.name().into(), job.tenant().name().into(), job.priority(), stage.number(), tasks.collect())
        });
        self.seen.lock().unwrap().push(stages.collect());
        (self.answer)(slots, jobs)
    }

    fn observe(&self, happened: &Observations<'_>) {
        self.observed.lock().unwrap().extend(happened.iter().map(|o| (o.kind, o.duration_us)));
    }
}

fn spying(
    answer: fn(&mut [AvailableTaskSlots], &RunningJobs<'_>) -> Result<Vec<BoundTaskRow>>,
    mode: Mode,
) -> (Arc<Spy>, PolicyAdapter) {
    let spy = Arc::new(Spy { seen: Mutex::default(), observed: Mutex::default(), answer });
    let mut options = HostOptions::with_policy(TaskDistributionPolicy::Custom(spy.clone()));
    options.lane = LaneKind::Inline;
    (spy, PolicyAdapter::new(Arc::new(PolicyHost::start(options).unwrap()), mode))
}

/// Binds every pending task, in order, to the first executor with room.
fn first_fit(slots: &mut [AvailableTaskSlots], jobs: &RunningJobs<'_>) -> Result<Vec<BoundTaskRow>> {
    let mut rows = Vec::new();
    for task in jobs.stages().flat_map(|s| s.pending().map(|t| t.id()).collect::<Vec<_>>()) {
        if let Some(slot) = slots.iter_mut().find(|s| s.slots > 0) {
            slot.slots -= 1;
            rows.push(BoundTaskRow::new(task, slot.executor));
        }
    }
    Ok(rows)
}

fn partitions(bound: &[BoundTask]) -> Vec<usize> {
    let mut all: Vec<usize> = bound.iter().flat_map(|(_, t)| t.global_input_partition_ids.clone()).collect();
    all.sort_unstable();
    all
}

fn free(rows: &[(&str, u32)]) -> Vec<(String, u32)> {
    rows.iter().map(|(id, vcores)| ((*id).to_owned(), *vcores)).collect()
}

#[tokio::test]
async fn a_round_shows_jobs_in_order_with_tenants_and_the_holders_of_inputs() {
    let (spy, policy) = spying(first_fit, Mode::Push);
    let jobs = jobs(vec![
        named_graph("low", "[tenant=a] x", GROUP, 2, 0).await,
        named_graph("high", "[tenant=b priority=7] y", GROUP, 2, 0).await,
    ]);
    let bound = bind(&policy, &mut budgets(&free(&[("e0", 3), ("e1", 1)])), &jobs).await;
    assert_eq!(bound.len(), 3, "per stage and executor one task: {:?}", crate::graphs::placements(&bound));
    report(&jobs, &bound, |id, task| finished(task, id, if id == "e0" { 100 } else { 7 })).await;
    bind(&policy, &mut budgets(&free(&[("e0", 1), ("e1", 1)])), &jobs).await;

    let seen = spy.seen.lock().unwrap().clone();
    let heads: Vec<_> = seen[0].iter().map(|s| (s.0.as_str(), s.1.as_str(), s.2, s.4.len())).collect();
    assert_eq!(heads, [("high", "b", 7, 2), ("low", "a", 0, 2)]);
    let second: BTreeMap<&str, &_> = seen[1].iter().map(|s| (s.0.as_str(), &s.4)).collect();
    // "high" went to e0 as one task; "low" went to both.
    assert_eq!(second["high"][0].1, [("e0".to_owned(), 100)]);
    assert_eq!(second["low"][1].1, [("e0".to_owned(), 100), ("e1".to_owned(), 7)]);
    let observed = spy.observed.lock().unwrap().clone();
    let finished = observed.iter().filter(|o| **o == (ObservationKind::Finished, 500_000)).count();
    assert_eq!(finished, 4, "one a partition: {observed:?}");
}

#[tokio::test]
async fn what_must_be_repeated_goes_first_when_not_everything_fits() {
    let policy = adapter(r#"{"policy":"bias","lane":"inline"}"#, Mode::Push).await;
    let jobs = jobs(vec![graph("job", GROUP, 8, 1).await]);
    let bound = bind(&policy, &mut budgets(&free(&[("e0", 6)])), &jobs).await;
    assert_eq!(partitions(&bound), [0, 1, 2, 3, 4, 5]);
    // 0 and 4 fail: they go before 6 and 7, which were never started.
    let some: Vec<BoundTask> = bound.into_iter().filter(|(_, t)| t.global_input_partition_ids[0] % 4 == 0).collect();
    report(&jobs, &some, |_, task| failed(task)).await;
    let again = bind(&policy, &mut budgets(&free(&[("e0", 3)])), &jobs).await;
    assert_eq!(partitions(&again), [0, 4, 6]);
    let attempts: Vec<_> = again.iter().map(|(_, t)| (t.global_input_partition_ids[0], t.task_attempt)).collect();
    assert!(attempts.contains(&(0, 1)) && attempts.contains(&(4, 1)) && attempts.contains(&(6, 0)), "{attempts:?}");
    let last = bind(&policy, &mut budgets(&free(&[("e0", 9)])), &jobs).await;
    assert_eq!(partitions(&last), [7]);
}

/// Also when the queue does not show it: what failed stands in front in the order in which it first came.
#[tokio::test]
async fn what_must_be_repeated_goes_first_whatever_the_policy_prefers() {
    let policy = adapter(r#"{"policy":"bias","lane":"inline"}"#, Mode::Push).await;
    let jobs = jobs(vec![graph("job", GROUP, 8, 0).await]);
    let bound = bind(&policy, &mut budgets(&free(&[("e0", 4)])), &jobs).await;
    assert_eq!(partitions(&bound), [0, 1, 2, 3]);
    report(&jobs, &bound, |_, task| failed(task)).await;
    let (spy, last_first) = spying(
        |slots, jobs| {
            let mut tasks: Vec<_> =
                jobs.stages().flat_map(|s| s.pending().map(|t| t.id()).collect::<Vec<_>>()).collect();
            tasks.reverse();
            let rows = tasks.into_iter().map(|task| BoundTaskRow::new(task, slots[0].executor));
            Ok(rows.take(slots[0].slots as usize).collect())
        },
        Mode::Push,
    );
    let again = bind(&last_first, &mut budgets(&free(&[("e0", 4)])), &jobs).await;
    assert_eq!(partitions(&again), [0, 1, 2, 3]);
    assert!(again.iter().all(|(_, task)| task.task_attempt == 1));
    let observed = spy.observed.lock().unwrap().clone();
    assert!(
        observed.iter().all(|o| o.0 == ObservationKind::ExecutorJoined),
        "what ended before is no news: {observed:?}"
    );
    let rest = bind(&last_first, &mut budgets(&free(&[("e0", 3)])), &jobs).await;
    assert_eq!(partitions(&rest), [5, 6, 7], "what was never started goes as the policy likes");
}

/// Deals tasks out; while its flag is set, it has no answer.
#[derive(Debug, Default)]
struct Balking(AtomicBool);

#[async_trait]
impl DistributionPolicy for Balking {
    async fn bind_tasks(&self, slots: &mut [AvailableTaskSlots], jobs: &RunningJobs<'_>) -> Result<Vec<BoundTaskRow>> {
        if self.0.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        let seats = slots.iter().flat_map(|slot| std::iter::repeat_n(slot.executor, slot.slots as usize));
        let tasks = jobs.stages().flat_map(|s| s.pending().map(|t| t.id()).collect::<Vec<_>>());
        Ok(tasks.zip(seats).map(|(task, executor)| BoundTaskRow::new(task, executor)).collect())
    }
}

fn balking(deadline: Duration, mode: Mode) -> (Arc<Balking>, PolicyAdapter) {
    let policy = Arc::new(Balking::default());
    let mut options = HostOptions::with_policy(TaskDistributionPolicy::Custom(policy.clone()));
    options.deadline = deadline;
    (policy, PolicyAdapter::new(Arc::new(PolicyHost::start(options).unwrap()), mode))
}

#[tokio::test]
async fn a_policy_that_never_answers_costs_a_deadline_and_strands_nothing() {
    for mode in [Mode::Push, Mode::Pull] {
        let (balking, policy) = balking(Duration::from_millis(20), mode);
        balking.0.store(true, Ordering::SeqCst);
        let jobs = jobs(vec![graph("job", GROUP, 5, 0).await]);
        let bound = bind(&policy, &mut budgets(&free(&[("e0", 9)])), &jobs).await;
        assert_eq!(partitions(&bound), [0, 1, 2, 3, 4], "{mode:?}: the fallback binds");
        assert_eq!(policy.counts().fallback_rounds, 1, "{mode:?}");
    }
}

/// A poll that is dropped while the policy thinks, as when an executor's connection breaks, leaves no task bound: neither
/// what is decided now nor what was reserved.
#[tokio::test]
async fn in_pull_mode_a_poll_that_is_given_up_strands_nothing() {
    let (balking, keeping) = balking(Duration::from_secs(60), Mode::Pull);
    let idle = jobs(Vec::new());
    for id in ["e0", "e1"] {
        bind(&keeping, &mut budgets(&free(&[(id, 2)])), &idle).await;
    }
    let jobs = jobs(vec![graph("job", GROUP, 12, 0).await]);
    let first = bind(&keeping, &mut budgets(&free(&[("e0", 2)])), &jobs).await;
    assert_eq!(partitions(&first), [0, 1], "2 and 3 are kept for e1");
    // e1 comes with room for more than was kept for it, so that the policy is asked, and gives up meanwhile.
    balking.0.store(true, Ordering::SeqCst);
    let (mut rows, patience) = (budgets(&free(&[("e1", 4)])), Duration::from_millis(50));
    assert!(tokio::time::timeout(patience, bind(&keeping, &mut rows, &jobs)).await.is_err());
    balking.0.store(false, Ordering::SeqCst);
    let graph = &jobs.values().next().unwrap().execution_graph;
    assert_eq!(graph.read().await.available_tasks(), 10, "nothing more is bound");
    let second = bind(&keeping, &mut budgets(&free(&[("e1", 4)])), &jobs).await;
    assert_eq!(partitions(&second), [2, 3, 4, 5], "what was kept, and as much again");
}

/// Binds all that fits on the first executor. From its second round on it has no answer until it is released; says so, with
/// what is free and what runs in that round.
#[derive(Debug, Default)]
struct SecondRound {
    rounds: AtomicU32,
    released: AtomicBool,
    reached: Notify,
    seen: Mutex<Option<(u32, u32)>>,
}

#[async_trait]
impl DistributionPolicy for SecondRound {
    async fn bind_tasks(&self, slots: &mut [AvailableTaskSlots], jobs: &RunningJobs<'_>) -> Result<Vec<BoundTaskRow>> {
        if self.rounds.fetch_add(1, Ordering::SeqCst) > 0 && !self.released.load(Ordering::SeqCst) {
            let running = jobs.stages().map(|s| s.running_count()).sum();
            *self.seen.lock().unwrap() = Some((slots[0].slots, running));
            self.reached.notify_one();
            std::future::pending::<()>().await;
        }
        let tasks = jobs.stages().flat_map(|s| s.pending().map(|t| t.id()).collect::<Vec<_>>());
        let rows = tasks.map(|task| BoundTaskRow::new(task, slots[0].executor));
        Ok(rows.take(slots[0].slots as usize).collect())
    }
}

/// Partitions to be repeated have a round of their own before the rest. Nothing is bound before the second round is
/// answered, too: an offer that is dropped meanwhile leaves no task bound.
#[tokio::test]
async fn in_push_mode_an_offer_that_is_dropped_between_its_rounds_strands_nothing() {
    let before = adapter(r#"{"policy":"bias","lane":"inline"}"#, Mode::Push).await;
    let jobs = jobs(vec![graph("job", GROUP, 8, 1).await]);
    let bound = bind(&before, &mut budgets(&free(&[("e0", 4)])), &jobs).await;
    report(&jobs, &bound, |_, task| failed(task)).await;

    let second = Arc::new(SecondRound::default());
    let mut options = HostOptions::with_policy(TaskDistributionPolicy::Custom(second.clone()));
    options.deadline = Duration::from_secs(60);
    let policy = PolicyAdapter::new(Arc::new(PolicyHost::start(options).unwrap()), Mode::Push);
    let mut rows = budgets(&free(&[("e0", 6)]));
    tokio::select! {
        bound = bind(&policy, &mut rows, &jobs) => panic!("the second round has no answer: {bound:?}"),
        () = second.reached.notified() => {}
    }
    assert_eq!(*second.seen.lock().unwrap(), Some((2, 4)), "as if the first plan were applied");
    let graph = &jobs.values().next().unwrap().execution_graph;
    assert_eq!(graph.read().await.available_tasks(), 8, "nothing is bound");
    assert_eq!(rows[0].vcores, 6, "nothing is taken");

    let fresh = Arc::new(SecondRound { released: AtomicBool::new(true), ..SecondRound::default() });
    let options = HostOptions::with_policy(TaskDistributionPolicy::Custom(fresh.clone()));
    let policy = PolicyAdapter::new(Arc::new(PolicyHost::start(options).unwrap()), Mode::Push);
    let bound = bind(&policy, &mut rows, &jobs).await;
    assert_eq!((partitions(&bound), policy.counts().rounds), (vec![0, 1, 2, 3, 4, 5], 2));
}

#[tokio::test]
async fn a_policy_that_fails_or_lies_strands_nothing() {
    type Answer = fn(&mut [AvailableTaskSlots], &RunningJobs<'_>) -> Result<Vec<BoundTaskRow>>;
    let answers: [Answer; 4] = [
        |_, _| Err(PolicyError::declined("no")),
        |_, _| Ok(vec![BoundTaskRow::new(TaskId(0), ExecutorId(0)); 2]),
        |_, _| Ok(vec![BoundTaskRow::new(TaskId(9_999), ExecutorId(77))]),
        |_, _| panic!("at the wrong moment"),
    ];
    for (i, answer) in answers.into_iter().enumerate() {
        let (_, policy) = spying(answer, Mode::Push);
        let jobs = jobs(vec![graph("job", GROUP, 5, 0).await]);
        let bound = bind(&policy, &mut budgets(&free(&[("e0", 2), ("e1", 9)])), &jobs).await;
        assert_eq!(partitions(&bound), [0, 1, 2, 3, 4], "answer {i}: the fallback binds");
        assert_eq!(policy.counts().fallback_rounds, 1, "answer {i}");
    }
}

#[tokio::test]
async fn a_policy_that_waits_leaves_everything_pending_and_an_offer_comes_again() {
    let (_, policy) = spying(|_, _| Ok(Vec::new()), Mode::Push);
    let jobs = jobs(vec![graph("job", TOTAL, 5, 0).await]);
    let bound = bind(&policy, &mut budgets(&free(&[("e0", 2)])), &jobs).await;
    assert!(bound.is_empty());
    assert_eq!(policy.reoffers().due().await, "e0");
    assert_eq!(jobs.values().next().unwrap().execution_graph.read().await.available_tasks(), 5);
}

#[tokio::test]
async fn in_pull_mode_one_plan_serves_all_executors() {
    let (spy, policy) = spying(
        |slots, jobs| {
            // Even partitions to the first executor, odd ones to the last, whoever asks.
            let last = slots.len() - 1;
            let tasks = jobs.stages().flat_map(|s| s.pending().map(|t| (t.index(), t.id())).collect::<Vec<_>>());
            let place = |index: u32| slots[if index.is_multiple_of(2) { 0 } else { last }].executor;
            Ok(tasks.map(|(index, id)| BoundTaskRow::new(id, place(index))).collect())
        },
        Mode::Pull,
    );
    let idle = jobs(Vec::new());
    for id in ["e0", "e1"] {
        bind(&policy, &mut budgets(&free(&[(id, 8)])), &idle).await;
    }
    let jobs = jobs(vec![graph("job", GROUP, 6, 0).await]);
    let first = bind(&policy, &mut budgets(&free(&[("e1", 8)])), &jobs).await;
    assert_eq!((partitions(&first), first[0].0.as_str()), (vec![1, 3, 5], "e1"));
    let second = bind(&policy, &mut budgets(&free(&[("e0", 8)])), &jobs).await;
    assert_eq!((partitions(&second), second[0].0.as_str()), (vec![0, 2, 4], "e0"));
    let rounds = spy.seen.lock().unwrap().iter().filter(|r| !r.is_empty()).count();
    assert_eq!(rounds, 1, "what was kept for e0 was not asked about again");
}

#[tokio::test]
async fn in_pull_mode_what_is_not_fetched_is_pending_again() {
    let policy = adapter(r#"{"policy":"round-robin","lane":"inline"}"#, Mode::Pull).await;
    let idle = jobs(Vec::new());
    bind(&policy, &mut budgets(&free(&[("gone", 8)])), &idle).await;
    let jobs = jobs(vec![graph("job", GROUP, 6, 0).await]);
    let mut all = Vec::new();
    // Event with a deadline: the executor that stays asks as idle executors do, until it has everything.
    let done = async {
        while partitions(&all).len() < 6 {
            all.extend(bind(&policy, &mut budgets(&free(&[("here", 8)])), &jobs).await);
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), done).await.expect("nothing waits for the dead");
    assert_eq!(partitions(&all), [0, 1, 2, 3, 4, 5]);
    assert!(all.iter().all(|(id, _)| id == "here"));
}

#[tokio::test]
async fn a_job_without_anything_to_run_is_idle_and_one_that_waits_or_runs_is_not() {
    let policy = adapter(r#"{"policy":"bias","lane":"inline"}"#, Mode::Push).await;
    let jobs = jobs(vec![graph("job", GROUP, 4, 0).await]);
    let job = jobs.keys().next().unwrap();
    let bound = bind(&policy, &mut budgets(&free(&[("e0", 2)])), &jobs).await;
    assert!(policy.idle_jobs().await.is_empty(), "some run, some are pending");
    let rest = bind(&policy, &mut budgets(&free(&[("e0", 2)])), &jobs).await;
    assert!(policy.idle_jobs().await.is_empty(), "all run");
    report(&jobs, &bound, |id, task| finished(task, id, 1)).await;
    report(&jobs, &rest, |id, task| finished(task, id, 1)).await;
    assert!(policy.idle_jobs().await.is_empty(), "the next stage can begin");
    bind(&policy, &mut budgets(&free(&[("e0", 1)])), &jobs).await;
    // As if Ballista had forgotten what runs and what is pending.
    let mut graph = jobs[job].execution_graph.write().await;
    let stage = graph.fetch_running_stage(&[]).unwrap();
    stage.task_infos.clear();
    assert!(!stage.pending.next_slice(usize::MAX).is_empty());
    drop(graph);
    assert_eq!(policy.idle_jobs().await, std::slice::from_ref(job));
}
