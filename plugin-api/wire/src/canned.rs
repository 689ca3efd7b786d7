//! A small fixed set of rounds that every policy must answer legally: what admission asks a candidate before it may
//! bind anything real, and the first part of the test kit's conformance suite. Rounds with limits come with them.

use std::sync::Arc;

use crate::assemble::{
    Clock, ExecutorSpec, JobRow, Roster, Round, RoundBuilder, StageRow, StageTasks, TaskSpec, UidTable,
};
use crate::ids::{ExecutorId, StageId, TenantId};
use crate::limits::Limits;

/// A round with a name, and the limits it is to be asked under.
pub type CannedRound = (&'static str, Arc<Round>, Option<Limits>);

/// The rounds, always the same, in the order in which they are to be asked. Some hundred tasks in all.
#[must_use]
pub fn rounds() -> Vec<CannedRound> {
    let uids = &mut UidTable::default();
    // Uids in another order than names: who takes one for the other must notice.
    for i in (0..5).rev() {
        uids.uid(&name(i));
    }
    vec![
        ("empty", empty(uids), None),
        ("nothing-free", nothing_free(uids), None),
        ("one-executor", one_executor(uids), None),
        ("fragmented", fragmented(uids), None),
        ("tight-memory", tight_memory(uids), None),
        ("pins-keys-holders", pins_keys_holders(uids), None),
        ("many-stages", many_stages(uids), None),
        ("limits", under_limits(uids, 8), Some(limits())),
        ("closed", under_limits(uids, 9), Some(closed())),
    ]
}

fn name(executor: usize) -> String {
    format!("executor-{executor}")
}

/// A round under construction.
struct Cluster {
    roster: Arc<Roster>,
    builder: RoundBuilder,
}

impl Cluster {
    fn new(executors: &[ExecutorSpec], uids: &mut UidTable) -> Self {
        Self { roster: Roster::new(executors, uids), builder: RoundBuilder::new() }
    }

    fn of(count: usize, vcores: u32, uids: &mut UidTable) -> Self {
        let executors: Vec<_> = (0..count).map(|i| ExecutorSpec::new(name(i), vcores)).collect();
        Self::new(&executors, uids)
    }

    fn free(mut self, vcores: &[u32]) -> Self {
        self.builder.free_vcores(vcores);
        self
    }

    fn tenant(&mut self, name: &str) -> TenantId {
        self.builder.tenant(name, 2, 0)
    }

    fn job(mut self, id: &str, tenant: &str, priority: i32) -> Self {
        let tenant = self.tenant(tenant);
        self.job_of(id, tenant, priority)
    }

    fn job_of(mut self, id: &str, tenant: TenantId, priority: i32) -> Self {
        let key = crate::key_hash(id);
        self.builder.job(JobRow { key, id, tenant, priority, submit_us: 1_000, vcores_in_use: 0 });
        self
    }

    fn stage(mut self, number: u32, tasks: Arc<StageTasks>, pending: &[(u32, u32)]) -> Self {
        let count = pending.iter().map(|&(_, length)| length).sum();
        let row = StageRow { number, tasks, pending: count, running: 0, runnable_since_us: 2_000 };
        self.builder.stage(row, pending.iter().copied());
        self
    }

    fn close(mut self, number: u64) -> Arc<Round> {
        let clock = Clock { now_us: 1_000_000 + number * 10_000, seed: 0x5eed ^ number, number };
        self.builder.finish(&self.roster, clock)
    }
}

fn empty(uids: &mut UidTable) -> Arc<Round> {
    Cluster::of(0, 0, uids).free(&[]).close(1)
}

fn nothing_free(uids: &mut UidTable) -> Arc<Round> {
    Cluster::of(2, 4, uids)
        .free(&[0, 0])
        .job("job-nothing-free", "tenant", 0)
        .stage(1, StageTasks::uniform(8, 1), &[(0, 8)])
        .close(2)
}

fn one_executor(uids: &mut UidTable) -> Arc<Round> {
    Cluster::of(1, 4, uids)
        .free(&[3])
        .job("job-one-executor", "tenant", 0)
        .stage(1, StageTasks::uniform(10, 1), &[(2, 8)])
        .close(3)
}

/// Pending tasks in many runs, mixed vcores, an executor that is full.
fn fragmented(uids: &mut UidTable) -> Arc<Round> {
    let tasks: Vec<_> = (0..64).map(|i| TaskSpec { vcores: 1 + i % 3, ..TaskSpec::default() }).collect();
    let runs: Vec<_> = (0..16).map(|i| (i * 4 + i % 2, if i % 2 == 1 { 2 } else { 1 + i / 2 % 3 })).collect();
    Cluster::of(4, 8, uids)
        .free(&[5, 0, 1, 8])
        .job("job-fragmented", "tenant", 0)
        .stage(1, StageTasks::new(&tasks), &runs)
        .stage(2, StageTasks::uniform(5, 2), &[(0, 1), (3, 2)])
        .close(4)
}

/// Memory runs out before vcores do; one task fits nowhere.
fn tight_memory(uids: &mut UidTable) -> Arc<Round> {
    let executors: Vec<_> =
        (0..3).map(|i| ExecutorSpec { memory_mib: 4_096, ..ExecutorSpec::new(name(i), 8) }).collect();
    let mut cluster = Cluster::new(&executors, uids).free(&[8, 8, 2]);
    cluster.builder.free_memory_mib(&[1_000, 0, 4_096]);
    let mixed: Vec<_> =
        [8_192, 400, 700, 0, 300].map(|memory_mib| TaskSpec { memory_mib, ..TaskSpec::default() }).into();
    let equal = vec![TaskSpec { memory_mib: 450, ..TaskSpec::default() }; 6];
    cluster
        .job("job-tight-memory", "tenant", 0)
        .stage(1, StageTasks::new(&mixed), &[(0, 5)])
        .stage(2, StageTasks::new(&equal), &[(0, 6)])
        .close(5)
}

/// Racks, labels, speeds; tasks with pins (one to an executor that is gone), keys and holders.
fn pins_keys_holders(uids: &mut UidTable) -> Arc<Round> {
    let mut executors: Vec<_> = (0..4).map(|i| ExecutorSpec::new(name(i), 4)).collect();
    for (i, executor) in executors.iter_mut().enumerate() {
        executor.rack = Some(format!("rack-{}", i % 2));
        executor.labels = vec![("disk".to_owned(), if i < 2 { "ssd" } else { "hdd" }.to_owned())];
        executor.speed = if i == 3 { 0.5 } else { 1.0 };
    }
    let gone = uids.uid("executor-gone");
    let here = [0, 1, 2, 3].map(|i| uids.uid(&name(i)));
    let tasks: Vec<_> = (0..12u32)
        .map(|i| TaskSpec {
            key: if i % 4 == 3 { String::new() } else { format!("part-{:05}", i % 5) },
            pin: match i {
                5 => Some(gone),
                6 | 7 => Some(here[1]),
                _ => None,
            },
            holders: vec![(here[i as usize % 4], 1 << 20), (here[(i as usize + 1) % 4], 3 << 20), (gone, 9 << 20)],
            ..TaskSpec::default()
        })
        .collect();
    let mut cluster = Cluster::new(&executors, uids).free(&[2, 1, 4, 3]);
    cluster.builder.running_tasks(&[2, 3, 0, 1]).load(&[1.5, 3.0, 0.0, 0.5]);
    cluster.job("job-pins-keys-holders", "tenant", 0).stage(1, StageTasks::new(&tasks), &[(0, 12)]).close(6)
}

/// More stages than fit, of jobs with priorities and tenants.
fn many_stages(uids: &mut UidTable) -> Arc<Round> {
    let mut cluster = Cluster::of(5, 16, uids).free(&[16, 16, 3, 1, 7]);
    let tenants = ["tenant-0", "tenant-1", "tenant-2"].map(|name| cluster.tenant(name));
    for job in 0..8 {
        cluster = cluster.job_of(&format!("job-many-{job}"), tenants[job % 3], job as i32 % 3);
        for stage in 0..6 {
            cluster = cluster.stage(stage as u32, StageTasks::uniform(4, 1 + stage as u32 % 2), &[(0, 2), (3, 1)]);
        }
    }
    cluster.close(7)
}

fn under_limits(uids: &mut UidTable, number: u64) -> Arc<Round> {
    Cluster::of(4, 8, uids)
        .free(&[8, 8, 8, 8])
        .job("job-a", "tenant-a", 1)
        .stage(1, StageTasks::uniform(20, 1), &[(0, 20)])
        .stage(2, StageTasks::uniform(10, 3), &[(0, 10)])
        .job("job-b", "tenant-b", 0)
        .stage(1, StageTasks::uniform(30, 1), &[(0, 10), (15, 15)])
        .close(number)
}

/// Filters: one executor forbidden to a stage, one stage kept to two executors, caps that overlap.
fn limits() -> Limits {
    let mut limits = Limits::unrestricted(3, 4);
    limits.forbid(StageId(0), ExecutorId(0));
    limits.allow_only(StageId(1), [ExecutorId(0), ExecutorId(3)]);
    limits.cap_vcores([StageId(0), StageId(1)], 11);
    limits.cap_vcores([StageId(1)], 4);
    limits.cap_vcores([StageId(2)], 9);
    limits
}

/// Filters that leave nothing to bind.
fn closed() -> Limits {
    let mut limits = Limits::unrestricted(3, 4);
    limits.cap_vcores([StageId(0), StageId(1)], 0);
    limits.allow_only(StageId(2), []);
    limits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_set_is_always_the_same_and_well_formed() {
        let (a, b) = (rounds(), rounds());
        assert_eq!(a.len(), b.len());
        for ((name, round, limits), (_, again, _)) in a.iter().zip(&b) {
            assert_eq!(round.body(), again.body(), "{name}");
            let stages = round.stage_refs();
            let jobs = round.view(&stages);
            if let Some(limits) = limits {
                let block = limits.encode();
                let raw = crate::block::BlockRef::new(&block);
                let body = crate::block::BlockRef::new(round.body());
                let roster = crate::block::BlockRef::new(round.roster().block());
                crate::round::RunningJobs::from_blocks(body, roster, &stages, Some(raw)).unwrap();
            }
            assert_eq!(jobs.pending_tasks() > 0, *name != "empty");
            for stage in jobs.stages() {
                assert!(stage.pending_runs().all(|(first, length)| length > 0 && first + length <= stage.task_count()));
                let runs: Vec<_> = stage.pending_runs().collect();
                assert!(runs.windows(2).all(|w| w[0].0 + w[0].1 < w[1].0), "{name}: runs ascending and apart");
            }
        }
    }
}
