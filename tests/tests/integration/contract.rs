//! The contract's checker against a slow one that is plainly right: no answer, however hostile, passes while it
//! overbooks, and no legal answer is refused.

use std::collections::{HashMap, HashSet};

use policy_plugin_api::contract::Checker;
use policy_plugin_api::prelude::*;
use policy_testkit::arbitrary;
use proptest::prelude::*;

/// The rules, one after the other, with a set and maps.
fn is_legal(jobs: &RunningJobs<'_>, answer: &[BoundTask]) -> bool {
    let limits = jobs.limits();
    let (mut bound, mut vcores, mut memory) = (HashSet::new(), HashMap::new(), HashMap::new());
    let mut groups: HashMap<u32, u64> = HashMap::new();
    answer.iter().all(|b| {
        let executors = jobs.executors();
        let Some((stage, index)) = jobs.locate(b.task) else { return false };
        if b.executor.index() >= executors.len() || !bound.insert(b.task) {
            return false;
        }
        let (stage, executor) = (jobs.stage(stage), executors.get(b.executor));
        if !stage.pending().any(|t| t.index() == index) {
            return false;
        }
        let task = stage.task(index);
        let taken: &mut u64 = vcores.entry(b.executor).or_default();
        *taken += u64::from(task.vcores());
        let used: &mut u64 = memory.entry(b.executor).or_default();
        *used += u64::from(task.memory_mib());
        let memory_fits = task.memory_mib() == 0 || *used <= executor.free_memory_mib();
        let caps_hold = limits.groups(stage.id()).iter().all(|&g| {
            let sum = groups.entry(g).or_default();
            *sum += u64::from(task.vcores());
            *sum <= u64::from(limits.group_caps()[g as usize])
        });
        *taken <= u64::from(executor.free_vcores()) && memory_fits && limits.allows(stage.id(), b.executor) && caps_hold
    })
}

/// Answers that are nearly right: stretches in step, with a mistake here and there.
fn answers() -> impl Strategy<Value = Vec<BoundTask>> {
    let stretch = (0..60u32, 0..8u32, 1..40u32, any::<bool>()).prop_map(|(task, executor, rows, deal)| {
        (0..rows).map(move |i| BoundTask::new(TaskId(task + i), ExecutorId(executor + if deal { i } else { 0 })))
    });
    let rows = prop::collection::vec(stretch, 0..4).prop_map(|s| s.into_iter().flatten().collect::<Vec<_>>());
    (rows, prop::collection::vec((any::<prop::sample::Index>(), any::<u32>(), any::<u32>()), 0..2)).prop_map(
        |(mut rows, mistakes)| {
            for (at, task, executor) in mistakes {
                if !rows.is_empty() {
                    let at = at.index(rows.len());
                    rows[at] = BoundTask::new(TaskId(task % 80), ExecutorId(executor % 10));
                }
            }
            rows
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn the_fast_checker_agrees_with_the_slow_one(round in arbitrary::rounds(), answer in answers()) {
        let mut checker = Checker::new();
        round.with(|_, jobs| {
            let fast = checker.check(jobs, &answer);
            prop_assert_eq!(fast.is_ok(), is_legal(jobs, &answer), "{:?}", fast);
            // It leaves no trace: asked again, it says the same.
            prop_assert_eq!(checker.check(jobs, &answer), fast);
            prop_assert!(checker.check(jobs, &[]).is_ok());
            Ok(())
        })?;
    }

    #[test]
    fn what_good_policies_answer_is_legal_and_stays_legal_in_any_order(
        round in arbitrary::rounds(),
        swaps in prop::collection::vec(any::<(prop::sample::Index, prop::sample::Index)>(), 0..20),
    ) {
        let mut checker = Checker::new();
        let mut answer = round.ask(&policy_kit::Bias).expect("bias answers");
        round.with(|_, jobs| {
            prop_assert_eq!(checker.check(jobs, &answer), Ok(()));
            for (a, b) in swaps {
                if !answer.is_empty() {
                    let (a, b) = (a.index(answer.len()), b.index(answer.len()));
                    answer.swap(a, b);
                }
            }
            prop_assert_eq!(checker.check(jobs, &answer), Ok(()));
            if let Some(&first) = answer.first() {
                answer.push(first);
                prop_assert!(checker.check(jobs, &answer).is_err(), "a task twice");
            }
            Ok(())
        })?;
    }
}
