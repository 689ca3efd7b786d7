//! No task is lost or run twice, whatever is swapped while work flows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use policy_host::{EventKind, HostOptions, PolicyHost};
use policy_sim::cluster::{Cluster, ClusterOptions};
use policy_sim::outcome::End;
use policy_sim::progress::Progress;
use policy_sim::real_time::{self, RealTimeOptions, Speed};
use policy_sim::workload::{ClusterDefaults, parse_source};

use crate::hosted::Hosted;
use crate::sandbox::library;

const SWITCHES: u32 = 1_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_switches_at_full_load_lose_nothing_and_bind_nothing_twice() {
    let mut hosted = Hosted::start();
    for artifact in ["policy_bias", "policy_round_robin"] {
        hosted.sandbox.drop_in(artifact);
        hosted.admitted(&library(artifact)).await;
    }
    // Full load: every slot is busy for longer than the switches can outlast; ended by hand. Few jobs of many tasks: a
    // slow machine falls behind, but its rounds do not grow.
    let spec = "synthetic:jobs=40,rate=100000,tasks=20000,stages=1,duration=20ms,input=0,keys=0,seed=3";
    let workload = Arc::new(parse_source(spec, &ClusterDefaults::uniform(8, 4)).unwrap());
    let cluster = Cluster::new(workload, ClusterOptions::default()).unwrap();
    let progress = Progress::new();
    let timing = RealTimeOptions { speed: Speed::new(1.0).unwrap(), ..RealTimeOptions::default() };
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let stopped = async {
        let _ = stopped.await;
    };
    let host = &hosted.host;
    let switches = async {
        for number in 0..SWITCHES {
            let policy = if number % 2 == 0 { "bias" } else { "round-robin" };
            let active = host.switch(&format!(r#"{{ "policy": "{policy}", "deadline_ms": 10000 }}"#)).await.unwrap();
            assert_eq!(active.policy(), policy);
        }
        let _ = stop.send(());
    };
    let (outcome, ()) = tokio::join!(real_time::run(cluster, host, timing, &progress, stopped), switches);
    let outcome = outcome.unwrap();
    assert_eq!(outcome.end, End::Stopped);
    assert_eq!((outcome.counts.lost, outcome.counts.duplicated, outcome.fallback_rounds), (0, 0, 0));
    assert!(outcome.counts.completed > 0 && outcome.by_policy["bias"].rounds > 0);
    assert!(outcome.by_policy["round-robin"].rounds > 0);
    let receipt = hosted.host.receipt();
    assert_eq!(receipt.dropped_messages, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_binders_see_one_generation_each_round() {
    let mut hosted = Hosted::start();
    for artifact in ["policy_bias", "policy_round_robin"] {
        hosted.sandbox.drop_in(artifact);
        hosted.admitted(&library(artifact)).await;
    }
    let Hosted { host, .. } = hosted;
    let host = Arc::new(host);
    let over = Arc::new(AtomicBool::new(false));
    let binders: Vec<_> = (0..3)
        .map(|_| {
            let (host, over): (Arc<PolicyHost>, _) = (Arc::clone(&host), Arc::clone(&over));
            tokio::spawn(async move {
                let mut rounds = 0u64;
                while !over.load(Ordering::Relaxed) {
                    let plan = host.bind(crate::rounds::round(4, 2, 3)).await;
                    assert!(plan.fallback().is_none(), "{:?}", plan.fallback());
                    let executors: Vec<u32> = plan.bindings().iter().map(|b| b.executor.0).collect();
                    match plan.policy() {
                        "bias" => assert_eq!(executors, [0, 0, 1]),
                        _ => assert_eq!(executors.len(), 3),
                    }
                    rounds += 1;
                }
                rounds
            })
        })
        .collect();
    for number in 0..200 {
        let policy = if number % 2 == 0 { "bias" } else { "round-robin" };
        host.switch(&format!(r#"{{ "policy": "{policy}", "deadline_ms": 10000 }}"#)).await.unwrap();
    }
    over.store(true, Ordering::Relaxed);
    for binder in binders {
        assert!(binder.await.unwrap() > 0);
    }
}

#[tokio::test]
async fn retired_generations_are_dropped_and_counted() {
    let mut hosted = Hosted::over(crate::sandbox::Sandbox::new(), HostOptions::default());
    hosted.bring_up("fixture_hostile", r#"{ "policy": "hostile", "config": { "drop": "panic" } }"#, "hostile").await;
    hosted.bind(1).await;
    hosted.bring_up("policy_bias", r#"{ "policy": "bias" }"#, "bias").await;
    hosted.bind(1).await;
    hosted.bring_up("policy_round_robin", r#"{ "policy": "round-robin" }"#, "round-robin").await;
    // Neither active nor standby any more: its destructor runs, on a thread of its own, and is heard.
    hosted
        .heard("destructor", |kind| match kind {
            EventKind::Note { policy, .. } if policy == "hostile" => Some(()),
            _ => None,
        })
        .await;
    assert!(hosted.host.receipt().retired_libraries >= 1);
}
