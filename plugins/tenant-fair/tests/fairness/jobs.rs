//! `tenant-fair` between jobs.

use policy_plugin_api::prelude::*;
use policy_tenant_fair::policy::{Between, TenantFair, TenantFairConfig};
use policy_testkit::spec::{RoundSpec, executor, job, round, stage};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::{counts, plain, pool};

fn between_jobs(weights: &[(&str, f64)]) -> TenantFair {
    let weights = weights.iter().map(|&(name, weight)| (name.to_owned(), weight)).collect();
    TenantFair::from_config(TenantFairConfig { weights, between: Between::Jobs, ..TenantFairConfig::default() })
        .unwrap()
}

#[test]
fn a_short_job_does_not_wait_behind_a_long_one_of_its_tenant() {
    let spec = || {
        let long = job("long").tenant("a").stage(stage(600));
        let short = job("short").tenant("a").stage(stage(10));
        pool(60, 0).job(long).job(short)
    };
    assert_eq!(counts(&spec().build(), &plain(), &["long", "short"]), [60, 0], "in order within a tenant");
    assert_eq!(counts(&spec().build(), &between_jobs(&[]), &["long", "short"]), [50, 10]);
    let third = spec().job(job("other").tenant("b").stage(stage(600))).build();
    assert_eq!(counts(&third, &between_jobs(&[]), &["long", "short", "other"]), [25, 10, 25]);
    assert_eq!(counts(&third, &between_jobs(&[("b", 4.0)]), &["long", "short", "other"]), [10, 10, 40]);
}

#[test]
fn what_a_job_holds_counts_between_jobs() {
    let spec = round().executor(executor("e", 30).free(10));
    let holding = |name: &str, vcores| {
        let mut job = job(name).stage(stage(99).running(vcores));
        job.vcores_in_use = vcores;
        job
    };
    let round = spec.job(holding("a", 15)).job(holding("b", 5)).build();
    assert_eq!(counts(&round, &between_jobs(&[]), &["a", "b"]), [0, 10]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, rng_seed: RngSeed::Fixed(11), ..ProptestConfig::default() })]

    #[test]
    fn jobs_of_unit_tasks_get_the_max_min_share(pending in vec(1usize..60, 1..12), vcores in 1u32..120) {
        let names: Vec<String> = (0..pending.len()).map(|i| format!("j{i:02}")).collect();
        let jobs = names.iter().zip(&pending).map(|(name, &n)| job(name).tenant("all").stage(stage(n)));
        let round = jobs.fold(pool(vcores, 0), RoundSpec::job).build();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let got = counts(&round, &between_jobs(&[]), &names);
        let total: usize = pending.iter().sum();
        prop_assert_eq!(got.iter().sum::<usize>(), total.min(vcores as usize));
        let most = got.iter().copied().max().unwrap_or(0);
        for (got, pending) in got.iter().zip(&pending) {
            prop_assert!(*got == *pending || *got + 1 >= most, "{got} of {pending}, while another has {most}");
        }
    }
}
