//! Every policy passes the conformance suite and wastes no vcore, whatever the round.

use policy_kit::{Bias, Binding, Composite, ConsistentHash, ResourceAware, RoundRobin};
use policy_plugin_api::prelude::*;
use policy_testkit::TestRound;
use policy_testkit::arbitrary;
use proptest::prelude::*;

mod bias {
    policy_testkit::policy_conformance!(policy_kit::Bias);
}

mod round_robin {
    policy_testkit::policy_conformance!(policy_kit::RoundRobin);
}

mod binding {
    policy_testkit::policy_conformance!(
        policy_kit::Binding,
        defaults = "{}",
        rules = r#"{"rules": [
            {"job": "job-*1", "executors": ["executor-1*"]},
            {"tenant": "team-0", "key": "part-*", "labels": {"disk": "ssd"}},
            {"executors": ["executor-2", "executor-3"], "labels": {"disk": "hdd"}}
        ]}"#,
        fail_over = r#"{"when_gone": "fail-over", "rules": [{"executors": ["executor-9"]}]}"#,
    );
}

mod consistent_hash {
    policy_testkit::policy_conformance!(
        policy_kit::ConsistentHash,
        defaults = "{}",
        tight = r#"{"balance_factor_percent": 100, "points": 1}"#,
        unbounded = r#"{"balance_factor_percent": 0}"#,
    );
}

/// `composite` with two scores, as a policy of its own.
#[derive(Debug)]
struct Scored(Composite);

impl FromConfig for Scored {
    const NAME: &'static str = Composite::NAME;
    type Config = <Composite as FromConfig>::Config;

    fn from_config(config: Self::Config) -> Result<Self> {
        Composite::from_config(config).map(Self)
    }
}

#[async_trait]
impl DistributionPolicy for Scored {
    async fn bind_tasks(&self, slots: &mut [AvailableTaskSlots], jobs: &RunningJobs<'_>) -> Result<Vec<BoundTask>> {
        let bound = self.0.bind(slots, jobs, &[2, 1], |place, candidates, scores| -> Result<()> {
            candidates.rate(scores, |task, row| match place {
                0 => row.slots.min(100) as f32,
                _ => ((task * 7 + row.executor.0) % 101) as f32,
            });
            Ok(())
        });
        bound.map_err(|fault| PolicyError::failed(format!("{fault:?}")))
    }
}

mod composite {
    policy_testkit::policy_conformance!(
        super::Scored,
        defaults = "{}",
        two_drawn = r#"{"candidates": 2}"#,
        all_asked = r#"{"candidates": 0}"#,
    );
}

fn made<P: FromConfig>() -> P
where
    P::Config: Default,
{
    P::from_config(P::Config::default()).expect("the default config")
}

fn bound(round: &TestRound, policy: &impl DistributionPolicy) -> usize {
    round.ask(policy).expect("an answer").len()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_vcore_stays_free_while_a_unit_task_waits(round in arbitrary::unit_rounds()) {
        let bindable = round.with(|_, jobs| jobs.bindable());
        prop_assert_eq!(bound(&round, &Bias), bindable);
        prop_assert_eq!(bound(&round, &RoundRobin::default()), bindable);
        prop_assert_eq!(bound(&round, &made::<Binding>()), bindable);
        prop_assert_eq!(bound(&round, &made::<ConsistentHash>()), bindable);
        prop_assert_eq!(bound(&round, &made::<ResourceAware>()), bindable);
        prop_assert_eq!(bound(&round, &made::<Scored>()), bindable);
    }

    #[test]
    fn what_is_left_fits_nowhere(round in arbitrary::unlimited_rounds()) {
        // Of each stage of equal tasks: none is left that fits into what is left.
        let rows = round.ask(&Bias).unwrap();
        round.with(|slots, jobs| {
            let mut left: Vec<(u32, u64)> = vec![(0, 0); jobs.executors().len()];
            slots.iter().for_each(|s| left[s.executor.index()] = (s.slots, s.memory_mib));
            let mut bound = vec![0; jobs.stage_count()];
            for row in &rows {
                let (stage, index) = jobs.locate(row.task).unwrap();
                bound[stage.index()] += 1;
                let left = &mut left[row.executor.index()];
                left.0 -= jobs.stage(stage).vcores_of(index);
                left.1 -= u64::from(jobs.stage(stage).memory_mib_of(index));
            }
            for stage in jobs.stages().filter(|s| bound[s.id().index()] < s.pending_count()) {
                if let (Some(vcores), Some(memory)) = (stage.uniform_vcores(), stage.uniform_memory_mib()) {
                    assert!(left.iter().all(|l| l.0 < vcores || l.1 < u64::from(memory)), "{left:?} for {stage:?}");
                }
            }
        });
    }

    #[test]
    fn careful_and_dealt_turns_agree(round in arbitrary::unit_rounds(), last in 0..20u32) {
        // A cap that cannot bind makes round robin look at each task; the answer must be that of whole sweeps.
        let state = PolicyState { version: 1, bytes: format!("executor-{last}").into_bytes() };
        let (dealt, careful) = (RoundRobin::default(), RoundRobin::default());
        dealt.import_state(&state).unwrap();
        careful.import_state(&state).unwrap();
        let capped = round.clone().limited(|jobs, limits| limits.cap_vcores(jobs.stages().map(|s| s.id()), u32::MAX));
        prop_assert_eq!(round.answer(&dealt), capped.answer(&careful));
        prop_assert_eq!(dealt.export_state(), careful.export_state());
    }
}
