//! What each policy decides, on rounds small enough to check by hand.

use policy_kit::binding::{BindingConfig, Rule, WhenGone};
use policy_kit::{Bias, Binding, RoundRobin};
use policy_plugin_api::prelude::*;
use policy_testkit::spec::{RoundSpec, executor, job, round, stage, task, tasks};

fn counts(round: &policy_testkit::TestRound, policy: &impl DistributionPolicy) -> Vec<usize> {
    round.counts(policy).into_iter().map(|(_, count)| count).collect()
}

/// Executors `executor-0` and so on with so many vcores free.
fn cluster(free: &[u32]) -> RoundSpec {
    (0..).zip(free).fold(round(), |round, (i, &free)| round.executor(executor(format!("executor-{i}"), 100).free(free)))
}

#[test]
fn bias_fills_the_largest_first_and_takes_equals_by_name() {
    for (free, pending, expected) in [
        (&[3, 5, 7][..], 9, &[0, 2, 7][..]),
        (&[5, 5, 5], 7, &[5, 2, 0]),
        (&[1, 0, 2], 9, &[1, 0, 2]),
        (&[4, 4], 0, &[0, 0]),
        (&[], 3, &[]),
    ] {
        let round = cluster(free).job(job("j").stage(stage(pending))).build();
        assert_eq!(counts(&round, &Bias), expected, "{free:?} {pending}");
    }
}

#[test]
fn bias_serves_jobs_by_priority_and_passes_over_what_does_not_fit() {
    let round = cluster(&[4, 3])
        .job(job("low").stage(stage(9)))
        .job(job("high").priority(1).stage(tasks([task().vcores(5), task().vcores(3), task().vcores(3)])))
        .build();
    let at = |job: &str, index, executor: usize| (job.to_owned(), 0, index, format!("executor-{executor}"));
    assert_eq!(round.answer(&Bias), [at("high", 1, 0), at("high", 2, 1), at("low", 0, 0)]);
}

#[test]
fn memory_and_limits_are_respected() {
    let spec = round()
        .executor(executor("a", 8).memory(1_000, 500))
        .executor(executor("b", 6).memory(1_000, 900))
        .job(job("j").stage(stage(9).memory_mib(300)));
    assert_eq!(counts(&spec.clone().build(), &Bias), [1, 3]);
    let capped = spec.clone().build().limited(|_, limits| limits.cap_vcores([StageId(0)], 2));
    assert_eq!(counts(&capped, &Bias), [1, 1]);
    let masked = spec.build().limited(|_, limits| limits.forbid(StageId(0), ExecutorId(1)));
    assert_eq!((counts(&masked, &Bias), counts(&masked, &RoundRobin::default())), (vec![1, 0], vec![1, 0]));
}

#[test]
fn round_robin_takes_turns_and_goes_on_where_it_stopped() {
    let policy = RoundRobin::default();
    let ask = |free: &[u32], pending| counts(&cluster(free).job(job("j").stage(stage(pending))).build(), &policy);
    assert_eq!(ask(&[9, 9, 9], 4), [2, 1, 1], "from the first by name");
    assert_eq!(ask(&[9, 9, 9], 1), [0, 1, 0], "behind executor-0, served last");
    assert_eq!(ask(&[9, 9, 9], 1), [0, 0, 1]);
    assert_eq!(ask(&[9, 0, 9], 3), [2, 0, 1], "who is full loses the turn");
    assert_eq!(ask(&[1, 9, 9], 6), [1, 3, 2], "and who runs full leaves the game");
    assert_eq!(ask(&[0, 0, 0], 6), [0, 0, 0]);
    assert_eq!(ask(&[9, 9], 1), [1, 0], "executor-1 was served last; behind it the names start again");
}

#[test]
fn round_robin_hands_its_turn_over() {
    let (old, new) = (RoundRobin::default(), RoundRobin::default());
    let round = |pending| cluster(&[9, 9, 9]).job(job("j").stage(stage(pending))).build();
    assert_eq!(counts(&round(2), &old), [1, 1, 0]);
    new.import_state(&old.export_state().unwrap()).unwrap();
    assert_eq!(counts(&round(1), &new), [0, 0, 1]);
}

#[test]
fn round_robin_gives_large_tasks_to_whom_they_fit() {
    let round = cluster(&[1, 4, 1, 4]).job(job("j").stage(stage(9).vcores(2))).job(job("k").stage(stage(9))).build();
    assert_eq!(counts(&round, &RoundRobin::default()), [1, 2, 1, 2]);
}

fn binding(config: BindingConfig) -> Binding {
    Binding::from_config(config).unwrap()
}

#[test]
fn pinned_tasks_wait_for_their_executor() {
    let pinned = |executor: &str| stage(3).each(|_, task| task.pin(executor));
    let spec = cluster(&[2, 9, 0]).job(job("pinned").stage(pinned("executor-0")).stage(pinned("executor-2")));
    let round = spec.clone().job(job("free").stage(stage(4))).build();
    assert_eq!(counts(&round, &binding(BindingConfig::default())), [2, 4, 0]);

    let gone = spec.job(job("lost").stage(pinned("executor-gone"))).build();
    assert_eq!(counts(&gone, &binding(BindingConfig::default())), [2, 0, 0]);
    let fail_over = BindingConfig { when_gone: WhenGone::FailOver, ..BindingConfig::default() };
    assert_eq!(counts(&gone, &binding(fail_over)), [2, 3, 0]);
}

#[test]
fn rules_bind_by_job_tenant_key_name_and_label() {
    let some = |text: &str| Some(text.to_owned());
    let rules = vec![
        Rule { key: some("hot-*"), executors: vec!["executor-2".into()], ..Rule::default() },
        Rule { job: some("etl-*"), labels: [("gpu".into(), "yes".into())].into(), ..Rule::default() },
        Rule { tenant: some("b"), executors: vec!["executor-*".into()], ..Rule::default() },
        Rule { tenant: some("lost"), executors: vec!["nobody".into()], ..Rule::default() },
    ];
    let config = BindingConfig { rules, ..BindingConfig::default() };
    let policy = binding(config.clone());
    let cluster = || {
        let round = cluster(&[4, 4, 4]).executor(executor("special", 8).label("gpu", "yes"));
        round.executor(executor("usual", 1))
    };
    let ask = |job, policy: &Binding| counts(&cluster().job(job).build(), policy);
    assert_eq!(ask(job("other").stage(stage(9)), &policy), [1, 0, 0, 8, 0], "no rule: as under bias");
    assert_eq!(ask(job("etl-1").stage(stage(9)), &policy), [0, 0, 0, 8, 0], "one waits");
    assert_eq!(ask(job("j").tenant("b").stage(stage(9)), &policy), [4, 4, 1, 0, 0]);
    let hot = |i, task: policy_testkit::spec::TestTask| if i < 5 { task.key(format!("hot-{i}")) } else { task };
    assert_eq!(ask(job("etl-1").stage(stage(9).each(hot)), &policy), [0, 0, 4, 4, 0], "the first rule counts");
    assert_eq!(ask(job("j").tenant("lost").stage(stage(2)), &policy), [0, 0, 0, 0, 0]);
    let fail_over = binding(BindingConfig { when_gone: WhenGone::FailOver, ..config });
    assert_eq!(ask(job("j").tenant("lost").stage(stage(2)), &fail_over), [0, 0, 0, 2, 0]);
}

#[test]
fn rules_that_name_nobody_are_refused() {
    let config = BindingConfig { rules: vec![Rule::default()], ..BindingConfig::default() };
    assert!(matches!(Binding::from_config(config), Err(PolicyError::InvalidConfig(m)) if m.contains("rules[0]")));
}

#[test]
fn tasks_that_wait_do_not_hide_others_for_good() {
    // More tasks wait for a lost executor than are looked at in a round; the last task could go.
    let waiting = 40_000;
    let many = stage(waiting + 1).each(|i, t| t.pin(if i < waiting as u32 { "executor-gone" } else { "executor-0" }));
    let spec = cluster(&[1, 1]).job(job("j").stage(many));
    let policy = binding(BindingConfig::default());
    let rounds = (0..8).map(|number| counts(&spec.clone().number(number).build(), &policy)[0]);
    assert!(rounds.sum::<usize>() >= 1);
}

/// Bias the plain way: everything sorted, every task looked up from the front.
fn plain_bias(round: &policy_testkit::TestRound) -> Vec<BoundTask> {
    round.with(|slots, jobs| {
        slots.sort_by_key(|slot| (std::cmp::Reverse(slot.slots), slot.executor));
        let mut rows = Vec::new();
        for task in jobs.stages().flat_map(|stage| stage.pending()) {
            let fits = |s: &&mut AvailableTaskSlots| {
                s.slots >= task.vcores() && jobs.limits().allows(task.stage().id(), s.executor)
            };
            if let Some(slot) = slots.iter_mut().find(fits) {
                slot.slots -= task.vcores();
                rows.push(BoundTask::new(task.id(), slot.executor));
            }
        }
        rows
    })
}

#[test]
fn few_tasks_over_many_executors_go_where_a_full_sort_sends_them() {
    let free: Vec<u32> = (0..600).map(|i| (i * 7_919) % 13).collect();
    for (vcores, first_allowed) in [(1, 0), (2, 0), (1, 590), (13, 0), (5, 300)] {
        let mixed = tasks((0..20).map(|i| task().vcores(vcores + i % 2)).collect::<Vec<_>>());
        let spec = cluster(&free).job(job("j").stage(stage(10).vcores(vcores)).stage(mixed));
        let round = spec.build().limited(|jobs, limits| {
            let allowed = (first_allowed..600).map(ExecutorId);
            jobs.stages().for_each(|stage| limits.allow_only(stage.id(), allowed.clone()));
        });
        assert_eq!(round.ask(&Bias).unwrap(), plain_bias(&round), "{vcores} vcores, from {first_allowed}");
        let binding = binding(BindingConfig::default());
        assert_eq!(round.ask(&Bias).unwrap(), round.ask(&binding).unwrap());
    }
}
