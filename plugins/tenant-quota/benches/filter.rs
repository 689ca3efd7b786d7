//! What the filter costs a round: `cargo bench -p policy-tenant-quota --bench filter`. For sizing only.
#![allow(missing_docs, reason = "a program")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use policy_plugin_api::prelude::*;
use policy_tenant_quota::policy::TenantQuota;
use policy_testkit::spec::{executor, job, round, stage};

const ROUNDS: usize = 301;

fn main() {
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("nothing is measured without --bench");
        return;
    }
    // 10,000 executors, 1,000 tenants, 10,000 stages, 1,000,000 pending tasks.
    let spec = (0..10_000).fold(round(), |spec, i| spec.executor(executor(format!("executor-{i:05}"), 10)));
    let spec = (0..1_000).fold(spec, |spec, i| {
        let job = job(format!("job-{i}")).tenant(format!("tenant-{i}"));
        spec.job((0..10).fold(job, |job, _| job.stage(stage(100))))
    });
    let round = spec.build();
    for config in
        [r#"{"default": 1000000}"#, r#"{"default": 50}"#, r#"{"default": {"vcores": 50, "burst_vcores": 99}}"#]
    {
        let config_of = policy_plugin_api::config::parse(config).expect("a config");
        let filter = TenantQuota::from_config(config_of).expect("a filter");
        let mut times: Vec<Duration> = round.with(|slots, jobs| {
            let once = || {
                let mut limits = Limits::unrestricted(jobs.stage_count(), jobs.executors().len());
                let start = Instant::now();
                filter.filter(slots, jobs, &mut limits).expect("limits");
                black_box(&limits);
                start.elapsed()
            };
            (0..ROUNDS).map(|_| once()).collect()
        });
        times.sort();
        println!("{config}: {} us a round", times[ROUNDS / 2].as_micros());
    }
}
