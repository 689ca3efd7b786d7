//! What `adaptive` adds to the behaviour at work (round robin by itself, and as that behaviour), and what an observation
//! costs: `cargo bench -p policy-adaptive --bench choice`. Sides that are compared alternate (A B B A …); a ratio is the
//! median of the paired ratios. Absolute times are for sizing only.
#![allow(missing_docs, reason = "a program")]

#[path = "../../kit/benches/paired/mod.rs"]
mod paired;

use std::hint::black_box;
use std::time::{Duration, Instant};

use paired::{compare, median};
use policy_adaptive::policy::Adaptive;
use policy_kit::RoundRobin;
use policy_plugin_api::observe;
use policy_plugin_api::prelude::*;
use policy_testkit::TestRound;
use policy_testkit::spec::{executor, job, round, stage};

/// Least time of a block.
const BLOCK: Duration = Duration::from_millis(5);
const PAIRS: usize = 31;

fn main() {
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("nothing is measured without --bench");
        return;
    }
    let (plain, round) = (RoundRobin::default(), busy_cluster(1_000));
    let policy = Adaptive::from_config(<Adaptive as FromConfig>::Config::default()).expect("a config");
    let added = compare(PAIRS, BLOCK, || once(&plain, &round), || once(&policy, &round));
    println!(
        "adaptive: adds {:.1} us a round of 10,000 executors, 1,000 stages, 100 free slots; ratio {added}",
        added.difference / 1e3
    );
    let seen = Observation {
        duration_us: 1_000,
        remote_bytes: 1 << 20,
        ..Observation::new(ObservationKind::Finished, ExecutorUid(0), 1)
    };
    let block = observe::encode(&vec![seen; 10_000]);
    let batch = Observations::from_block(&block).expect("a batch");
    let mut tell = || {
        policy.observe(&batch);
        1
    };
    let seconds = median(&(0..PAIRS).map(|_| time(&mut tell)).collect::<Vec<_>>());
    println!("adaptive: {:.0} ns an observation, those of its behaviours with it", seconds * 1e9 / 1e4);
}

fn time(mut call: impl FnMut() -> usize) -> f64 {
    let start = Instant::now();
    black_box(call());
    start.elapsed().as_secs_f64()
}

/// Binds a round and forgets the answer.
fn once(policy: &impl DistributionPolicy, round: &TestRound) {
    black_box(round.ask(policy).expect("an answer"));
}

/// A full cluster in which 100 executors have one slot free, and each of 1,000 tenants has so many tasks pending.
fn busy_cluster(pending: usize) -> TestRound {
    let state = |i: usize| executor(format!("executor-{i:05}"), 100).free(u32::from(i.is_multiple_of(100)));
    let spec = (0..10_000).fold(round(), |spec, i| spec.executor(state(i)));
    let spec = (0..1_000).fold(spec, |spec, i| {
        let name = format!("tenant-{i}");
        spec.job(job(format!("job-{i}")).tenant(&name).stage(stage(pending))).tenant(name, 1_000 - i as u64 % 3, 0)
    });
    spec.build()
}
