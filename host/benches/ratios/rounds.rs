//! Rounds of a given size.

use std::sync::Arc;

use policy_plugin_api::assemble::{
    Clock, ExecutorSpec, JobRow, Roster, Round, RoundBuilder, StageRow, StageTasks, TaskSpec, UidTable,
};

/// `tasks` pending one-vcore tasks in stages of at most 10,000, over `executors` executors of `vcores`.
pub(crate) fn round(executors: u32, vcores: u32, tasks: u32) -> Arc<Round> {
    built(&roster(executors, vcores, &mut UidTable::default()), vcores, tasks, |range| {
        StageTasks::uniform(range.end - range.start, 1)
    })
}

/// As [`round`], every other executor with a label, and each task with so many holders.
#[allow(dead_code, reason = "not of every bench")]
pub(crate) fn scored(executors: u32, vcores: u32, tasks: u32, holders: u32) -> Arc<Round> {
    let mut uids = UidTable::default();
    let roster = roster(executors, vcores, &mut uids);
    let mut state = 1u64;
    let mut draw = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        uids.uid(&name((state >> 33) as u32 % executors))
    };
    let mut task = |_| {
        let holders = (0..holders).map(|n| (draw(), 1_000_000 >> n)).collect();
        TaskSpec { holders, ..TaskSpec::default() }
    };
    built(&roster, vcores, tasks, |range| StageTasks::new(&range.map(&mut task).collect::<Vec<_>>()))
}

fn name(executor: u32) -> String {
    format!("e{executor:06}")
}

fn roster(executors: u32, vcores: u32, uids: &mut UidTable) -> Arc<Roster> {
    let spec = |i: u32| {
        let mut spec = ExecutorSpec::new(name(i), vcores);
        spec.labels = vec![("disk".to_owned(), if i.is_multiple_of(2) { "ssd" } else { "hdd" }.to_owned())];
        spec
    };
    Roster::new(&(0..executors).map(spec).collect::<Vec<_>>(), uids)
}

fn built(
    roster: &Arc<Roster>,
    vcores: u32,
    tasks: u32,
    mut stage: impl FnMut(std::ops::Range<u32>) -> Arc<StageTasks>,
) -> Arc<Round> {
    let mut builder = RoundBuilder::new();
    builder.free_vcores(&vec![vcores; roster.len()]);
    let tenant = builder.tenant("team-a", 0, 0);
    for (key, from) in (0..).zip((0..tasks).step_by(10_000)) {
        let (id, to) = (format!("j{key:06}"), tasks.min(from + 10_000));
        builder.job(JobRow { key, id: &id, tenant, priority: 0, submit_us: key, vcores_in_use: 0 });
        let (tasks, pending) = (stage(from..to), to - from);
        builder.stage(StageRow { number: 0, tasks, pending, running: 0, runnable_since_us: 0 }, [(0, pending)]);
    }
    builder.finish(roster, Clock::default())
}
