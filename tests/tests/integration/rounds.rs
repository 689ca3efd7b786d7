//! Rounds for tests that bind by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use policy_host::round::{Clock, ExecutorSpec, JobRow, Roster, Round, RoundBuilder, StageRow, StageTasks, UidTable};

/// A round of `executors` executors with `vcores` free each, and one job of `tasks` pending one-vcore tasks.
pub(crate) fn round(executors: u32, vcores: u32, tasks: u32) -> Arc<Round> {
    jobs_round(executors, vcores, &[("job", "team-a", tasks)])
}

/// As [`round`], with these jobs: (name, tenant, tasks).
pub(crate) fn jobs_round(executors: u32, vcores: u32, jobs: &[(&str, &str, u32)]) -> Arc<Round> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let specs: Vec<_> = (0..executors).map(|i| ExecutorSpec::new(format!("e{i:05}"), vcores)).collect();
    let roster = Roster::new(&specs, &mut UidTable::default());
    let mut builder = RoundBuilder::new();
    builder.free_vcores(&vec![vcores; executors as usize]);
    let mut tenants: Vec<(&str, policy_host::round::TenantId)> = Vec::new();
    for (key, &(id, tenant, tasks)) in jobs.iter().enumerate() {
        let known = tenants.iter().find(|t| t.0 == tenant).map(|t| t.1);
        let tenant_id = known.unwrap_or_else(|| {
            let new = builder.tenant(tenant, 0, 0);
            tenants.push((tenant, new));
            new
        });
        let submit_us = key as u64;
        builder.job(JobRow { key: key as u64, id, tenant: tenant_id, priority: 0, submit_us, vcores_in_use: 0 });
        let stage = StageTasks::uniform(tasks, 1);
        builder.stage(
            StageRow { number: 0, tasks: stage, pending: tasks, running: 0, runnable_since_us: 0 },
            [(0, tasks)],
        );
    }
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    builder.finish(&roster, Clock { now_us: number, seed: number, number })
}
