//! Single functions of the hot path, for profiling: `cargo bench -p policy-host --bench kernels`. Figures to compare
//! stand in `ratios`.
#![allow(missing_docs, reason = "a program")]

use divan::Bencher;
use policy_plugin_api::DistributionPolicy;
use policy_wire::contract::Checker;

#[path = "ratios/rounds.rs"]
mod rounds;

fn main() {
    divan::main();
}

fn bind(policy: &dyn DistributionPolicy, round: &policy_wire::assemble::Round) -> Vec<policy_wire::BoundTask> {
    let stages = round.stage_refs();
    let view = round.view(&stages);
    let mut slots = Vec::new();
    view.available_slots(&mut slots);
    pollster::block_on(policy.bind_tasks(&mut slots, &view)).expect("it binds")
}

const SIZES: [u32; 3] = [1_000, 10_000, 1_000_000];

#[divan::bench(args = SIZES)]
fn bias(bencher: Bencher<'_, '_>, tasks: u32) {
    let round = rounds::round(tasks / 100, 100, tasks);
    bencher.counter(tasks).bench(|| bind(&policy_kit::Bias, &round));
}

#[divan::bench(args = SIZES)]
fn round_robin(bencher: Bencher<'_, '_>, tasks: u32) {
    let round = rounds::round(tasks / 100, 100, tasks);
    let policy = policy_kit::RoundRobin::default();
    bencher.counter(tasks).bench(|| bind(&policy, &round));
}

#[divan::bench(args = SIZES)]
fn validate(bencher: Bencher<'_, '_>, tasks: u32) {
    let round = rounds::round(tasks / 100, 100, tasks);
    let answer = bind(&policy_kit::Bias, &round);
    let stages = round.stage_refs();
    let view = round.view(&stages);
    let mut checker = Checker::new();
    bencher.counter(tasks).bench_local(|| checker.check(&view, &answer).expect("legal"));
}
