//! Generators (proptest) of rounds that an embedder might send: none or a dozen executors, full or empty, with and
//! without memory accounting; jobs of mixed stages with pending tasks in fragments; limits that overlap.

use policy_plugin_api::prelude::*;
use policy_wire::assemble::UidTable;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::asked::TestRound;
use crate::spec::{ExecutorState, JobSpec, RoundSpec, StageSpec, TestTask, executor, job, round, tasks};

/// At most this many executors in a generated round.
pub const MAX_EXECUTORS: usize = 12;
/// At most this many tasks in a generated stage.
pub const MAX_TASKS: usize = 40;

/// Any round, with or without limits.
pub fn rounds() -> impl Strategy<Value = TestRound> {
    (specs(), option::weighted(0.4, restrictions())).prop_map(|(spec, limits)| restricted(spec.build(), limits))
}

/// Any round without limits.
pub fn unlimited_rounds() -> impl Strategy<Value = TestRound> {
    specs().prop_map(RoundSpec::build)
}

/// Up to `length` rounds for one policy, one after the other: executors come and go, and keep their lasting numbers.
pub fn sequences(length: usize) -> impl Strategy<Value = Vec<TestRound>> {
    vec((specs(), option::weighted(0.4, restrictions())), 1..=length).prop_map(|rounds| {
        let mut uids = UidTable::default();
        let build = |(number, (spec, limits)): (u64, (RoundSpec, _))| {
            restricted(spec.number(number).build_with(&mut uids), limits)
        };
        (1..).zip(rounds).map(build).collect()
    })
}

/// Rounds in which every task takes one vcore and no memory, without limits, pins or keys: whatever is free can be
/// bound.
pub fn unit_rounds() -> impl Strategy<Value = TestRound> {
    specs().prop_map(|mut spec| {
        let plain = |stage: StageSpec| stage.each(|_, _| TestTask::default());
        for job in &mut spec.jobs {
            job.stages = std::mem::take(&mut job.stages).into_iter().map(plain).collect();
        }
        spec.build()
    })
}

/// Any description of a round.
pub fn specs() -> impl Strategy<Value = RoundSpec> {
    (vec(executors(), 0..=MAX_EXECUTORS), vec(jobs(), 0..=4), any::<u64>(), any::<bool>()).prop_map(
        |(executors, jobs, seed, memory)| {
            let mut spec = round().seed(seed).tenant("team-0", 3, 0);
            for executor in executors {
                let known = spec.executors.iter().any(|e| e.spec.name == executor.spec.name);
                let executor = if memory { executor } else { executor.memory(0, 0) };
                if !known {
                    spec = spec.executor(executor);
                }
            }
            (0..).zip(jobs).fold(spec, |spec, (i, mut job): (u32, JobSpec)| {
                job.name = format!("{}-{i}", job.name);
                spec.job(job)
            })
        },
    )
}

/// A name out of twenty, so that rounds of a sequence share executors and pins name executors that exist or do not.
fn executor_names() -> impl Strategy<Value = String> {
    (0..20u32).prop_map(|i| format!("executor-{i}"))
}

fn executors() -> impl Strategy<Value = ExecutorState> {
    let shape = (executor_names(), 1..=16u32, 0..=16u32, 0..=4_096u64, 0..=4_096u64);
    (shape, option::of(0..3u32), any::<bool>(), 0..4u32).prop_map(
        |((name, vcores, free, memory, free_memory), rack, ssd, load)| {
            let state = executor(name, vcores).free(free.min(vcores)).memory(memory, free_memory.min(memory));
            let state = state.label("disk", if ssd { "ssd" } else { "hdd" }).load(load as f32 / 2.0);
            match rack {
                Some(rack) => state.rack(format!("rack-{rack}")),
                None => state,
            }
        },
    )
}

fn jobs() -> impl Strategy<Value = JobSpec> {
    (0..3u32, -1..=1i32, 0..3u64, vec(stages(), 0..=3)).prop_map(|(tenant, priority, submit, stages)| {
        let spec = job("job").tenant(format!("team-{tenant}")).priority(priority).submitted(submit);
        stages.into_iter().fold(spec, JobSpec::stage)
    })
}

fn stages() -> impl Strategy<Value = StageSpec> {
    let uniform = (1..=MAX_TASKS, 1..=3u32, prop_oneof![Just(0u32), 0..1_000u32])
        .prop_map(|(count, vcores, memory)| vec![TestTask::default().vcores(vcores).memory_mib(memory); count]);
    let mixed = vec(mixed_tasks(), 1..=MAX_TASKS);
    let unit = (1..=MAX_TASKS).prop_map(|count| vec![TestTask::default(); count]);
    (prop_oneof![2 => unit, 1 => uniform, 2 => mixed], vec(prop::bool::weighted(0.7), MAX_TASKS), any::<bool>())
        .prop_map(|(all, pending, fragmented)| {
            let stage = tasks(all);
            if fragmented {
                let runs = runs(&pending[..stage.tasks.len()]);
                stage.pending(runs)
            } else {
                stage
            }
        })
}

fn mixed_tasks() -> impl Strategy<Value = TestTask> {
    let plain = (1..=6u32, prop_oneof![2 => Just(0u32), 1 => 0..2_000u32]);
    let data = (option::of(0..8u32), option::weighted(0.2, executor_names()), vec((executor_names(), 1..9u64), 0..3));
    (plain, data).prop_map(|((vcores, memory_mib), (key, pin, holders))| TestTask {
        vcores,
        memory_mib,
        key: key.map_or_else(String::new, |key| format!("part-{key:05}")),
        pin,
        holders,
    })
}

fn runs(pending: &[bool]) -> Vec<(u32, u32)> {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for (index, _) in (0u32..).zip(pending).filter(|&(_, &pending)| pending) {
        match runs.last_mut() {
            Some((first, length)) if *first + *length == index => *length += 1,
            _ => runs.push((index, 1)),
        }
    }
    runs
}

/// One restriction, on whatever stages and executors the round has.
#[derive(Clone, Debug)]
enum Restriction {
    Forbid(usize, usize),
    AllowOnly(usize, Vec<usize>),
    Cap(Vec<usize>, u32),
}

fn restrictions() -> impl Strategy<Value = Vec<Restriction>> {
    let (stage, executor) = (0..12usize, 0..MAX_EXECUTORS);
    let one = prop_oneof![
        (stage.clone(), executor.clone()).prop_map(|(s, e)| Restriction::Forbid(s, e)),
        (stage.clone(), vec(executor, 0..4)).prop_map(|(s, e)| Restriction::AllowOnly(s, e)),
        (vec(stage, 0..6), 0..20u32).prop_map(|(s, cap)| Restriction::Cap(s, cap)),
    ];
    vec(one, 0..5)
}

fn restricted(round: TestRound, restrictions: Option<Vec<Restriction>>) -> TestRound {
    let Some(restrictions) = restrictions else { return round };
    round.limited(|_, limits| {
        for restriction in &restrictions {
            match restriction {
                Restriction::Forbid(s, e) => limits.forbid(StageId::from_index(*s), ExecutorId::from_index(*e)),
                Restriction::AllowOnly(s, e) => {
                    let executors = e.iter().map(|&e| ExecutorId::from_index(e));
                    limits.allow_only(StageId::from_index(*s), executors);
                }
                Restriction::Cap(s, cap) => limits.cap_vcores(s.iter().map(|&s| StageId::from_index(s)), *cap),
            }
        }
    })
}
