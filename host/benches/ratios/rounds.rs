//! Rounds of a given size.

use std::sync::Arc;

use policy_plugin_api::assemble::{
    Clock, ExecutorSpec, JobRow, Roster, Round, RoundBuilder, StageRow, StageTasks, UidTable,
};

/// `tasks` pending one-vcore tasks in stages of at most 10,000, over `executors` executors of `vcores`.
pub(crate) fn round(executors: u32, vcores: u32, tasks: u32) -> Arc<Round> {
    let specs: Vec<_> = (0..executors).map(|i| ExecutorSpec::new(format!("e{i:06}"), vcores)).collect();
    let roster = Roster::new(&specs, &mut UidTable::default());
    let mut builder = RoundBuilder::new();
    builder.free_vcores(&vec![vcores; executors as usize]);
    let tenant = builder.tenant("team-a", 0, 0);
    let mut left = tasks;
    let mut key = 0;
    while left > 0 {
        let n = left.min(10_000);
        let id = format!("j{key:06}");
        builder.job(JobRow { key, id: &id, tenant, priority: 0, submit_us: key, vcores_in_use: 0 });
        let stage = StageTasks::uniform(n, 1);
        builder.stage(StageRow { number: 0, tasks: stage, pending: n, running: 0, runnable_since_us: 0 }, [(0, n)]);
        left -= n;
        key += 1;
    }
    builder.finish(&roster, Clock::default())
}
