//! Runs on the clock, on tokio's paused one: it moves on by itself when everything sleeps, so nothing here depends on
//! how fast the machine is.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use policy_sim::cluster::{Cluster, ClusterOptions};
use policy_sim::event_log::EventLog;
use policy_sim::outcome::End;
use policy_sim::progress::Progress;
use policy_sim::real_time::{self, RealTimeOptions, Speed};
use policy_sim::workload::{ClusterDefaults, Workload, parse_source};

use crate::binders::{FirstFit, Gate};
use crate::{Captured, one_stage, simulate};

fn cluster(workload: Workload) -> Cluster {
    let options = ClusterOptions { seed: 3, record_happenings: true, ..ClusterOptions::default() };
    Cluster::new(Arc::new(workload), options).unwrap()
}

fn at_speed(speed: f64) -> RealTimeOptions {
    RealTimeOptions { speed: Speed::new(speed).unwrap(), ..RealTimeOptions::default() }
}

fn demo() -> Workload {
    parse_source("synthetic:jobs=60", &ClusterDefaults::uniform(4, 2)).unwrap()
}

#[tokio::test(start_paused = true)]
async fn real_time_does_what_virtual_time_does() {
    let options = ClusterOptions { seed: 3, ..ClusterOptions::default() };
    let simulated = std::thread::spawn(move || simulate(demo(), options, &FirstFit::default()));
    let (expected, log) = simulated.join().unwrap();
    for speed in [1.0, 20.0] {
        let captured = Captured::default();
        let options = RealTimeOptions { events: Some(EventLog::new(captured.clone())), ..at_speed(speed) };
        let progress = Progress::new();
        let binder = FirstFit::default();
        let outcome = real_time::run(cluster(demo()), &binder, options, &progress, pending()).await.unwrap();
        assert_eq!(outcome.end, End::WorkloadDone);
        assert_eq!((outcome.counts, outcome.rounds), (expected.counts, expected.rounds));
        assert_eq!(captured.text(), log, "at speed {speed}");
        assert_eq!(progress.snapshot().completed, expected.counts.completed);
        assert_eq!(progress.snapshot().rounds, expected.rounds);
    }
}

#[tokio::test(start_paused = true)]
async fn speed_is_virtual_seconds_per_wall_second() {
    for (speed, wall) in [(1.0, Duration::from_secs(30)), (10.0, Duration::from_secs(3))] {
        let start = tokio::time::Instant::now();
        let workload = one_stage(1, [10_000_000; 3]);
        let binder = FirstFit::default();
        real_time::run(cluster(workload), &binder, at_speed(speed), &Progress::new(), pending()).await.unwrap();
        let took = start.elapsed();
        assert!(took >= wall && took < wall + Duration::from_millis(10), "{took:?} at speed {speed}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_ends_when_its_time_is_up() {
    let options = RealTimeOptions { duration: Some(Duration::from_millis(2500)), ..at_speed(1.0) };
    let binder = FirstFit::default();
    let (cluster, progress) = (cluster(one_stage(1, [1_000_000; 10])), Progress::new());
    let outcome = real_time::run(cluster, &binder, options, &progress, pending()).await.unwrap();
    assert_eq!(outcome.end, End::TimeUp);
    assert_eq!((outcome.counts.completed, outcome.counts.unfinished, outcome.counts.lost), (2, 8, 0));
}

#[tokio::test(start_paused = true)]
async fn a_run_ends_when_it_is_stopped() {
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let stopper = async move {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        stop.send(()).unwrap();
    };
    let binder = FirstFit::default();
    let progress = Progress::new();
    let run = real_time::run(cluster(one_stage(1, [1_000_000; 10])), &binder, at_speed(1.0), &progress, async {
        stopped.await.unwrap();
    });
    let (outcome, ()) = tokio::join!(run, stopper);
    let outcome = outcome.unwrap();
    assert_eq!(outcome.end, End::Stopped);
    assert_eq!((outcome.counts.completed, outcome.counts.unfinished), (1, 9));
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_binds_nothing_is_asked_seldom_and_at_once_after_a_nudge() {
    let gate = Gate::default();
    let progress = Progress::new();
    let opener = async {
        tokio::time::sleep(Duration::from_secs(60)).await;
        // The wait doubles up to a second: 60 s take some 65 rounds, not thousands.
        assert!(gate.rounds.load(Ordering::Relaxed) <= 70);
        gate.open.store(true, Ordering::Relaxed);
        progress.nudge();
    };
    let run = real_time::run(cluster(one_stage(3, [1000; 3])), &gate, at_speed(1.0), &progress, pending());
    let (outcome, ()) = tokio::join!(run, opener);
    let outcome = outcome.unwrap();
    assert_eq!(outcome.end, End::WorkloadDone);
    assert_eq!(outcome.by_policy["open"].tasks, 3);
    assert!((60_000_000..60_100_000).contains(&outcome.virtual_us), "{}", outcome.virtual_us);
}

/// Answers only after a second of the clock.
struct Slow;

impl policy_sim::Binder for Slow {
    type Answer = crate::binders::Rows;

    async fn bind(&self, round: Arc<policy_host::round::Round>) -> Self::Answer {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let rows = crate::binders::first_fit(&round);
        crate::binders::Rows { rows, policy: "slow", fallback: false }
    }

    fn observe(&self, _: Vec<policy_host::round::Observation>) {}
}

#[tokio::test(start_paused = true)]
async fn a_slow_binder_is_asked_about_everything_that_came_meanwhile() {
    let workload =
        parse_source("synthetic:jobs=1000,rate=100,tasks=1,stages=1,duration=1ms,keys=0", &ClusterDefaults::default());
    let (cluster, progress) = (cluster(workload.unwrap()), Progress::new());
    let outcome = real_time::run(cluster, &Slow, at_speed(1.0), &progress, pending()).await.unwrap();
    assert_eq!(outcome.counts.completed, 1000);
    // Ten seconds of arrivals, 32 vcores, one round a second: some 32 rounds, where one an arrival would be 1000.
    assert!(outcome.rounds < 80, "{} rounds", outcome.rounds);
}

#[tokio::test(start_paused = true)]
async fn a_cluster_without_executors_for_good_ends_as_stalled() {
    use policy_sim::cluster::{Fault, FaultKind};
    let lost = Fault { at_us: 500, executor: "e0".to_owned(), kind: FaultKind::Lost };
    let options = ClusterOptions { faults: vec![lost], ..ClusterOptions::default() };
    let cluster = Cluster::new(Arc::new(one_stage(1, [1000; 2])), options).unwrap();
    let binder = FirstFit::default();
    let outcome = real_time::run(cluster, &binder, at_speed(1.0), &Progress::new(), pending()).await.unwrap();
    assert_eq!(outcome.end, End::Stalled);
    assert_eq!((outcome.counts.submitted, outcome.counts.unfinished), (2, 2));
}

#[test]
fn a_run_can_be_spawned() {
    fn is_send<T: Send>(_: &T) {}
    let (binder, progress) = (FirstFit::default(), Progress::new());
    let run = real_time::run(cluster(demo()), &binder, at_speed(1.0), &progress, pending());
    is_send(&run);
}

#[test]
fn speeds_out_of_range_are_refused() {
    for text in ["0", "-1", "nan", "inf", "fast", "1e9"] {
        assert!(text.parse::<Speed>().is_err(), "{text}");
    }
    assert_eq!("2.5".parse::<Speed>().unwrap().get(), 2.5);
}
