//! A policy that a host has loaded, and one that is linked in, asked about the same rounds.

use policy_host::policy::*;
use policy_host::{HostOptions, LaneKind, TaskDistributionPolicy};
use policy_testkit::{TestRound, arbitrary};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::hosted::Hosted;
use crate::sandbox::{Sandbox, library};

/// Rounds that policies see one after the other.
const ROUNDS: usize = 96;

/// The same rounds every time, without limits: those come from filters, of which there are none here.
fn rounds() -> Vec<TestRound> {
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let strategy = arbitrary::rounds();
    let mut round = || strategy.new_tree(&mut runner).expect("a round").current();
    (0..ROUNDS).map(|_| TestRound::of(round().round().clone(), None)).collect()
}

pub(crate) async fn same<P: DistributionPolicy + FromConfig>(config: &str) {
    let linked = P::from_config(policy_plugin_api::config::parse(config).expect("a config")).expect("it is taken");
    // What the host starts with is another policy: were the library never asked, the answers would differ.
    let options =
        HostOptions { lane: LaneKind::Inline, ..HostOptions::with_policy(TaskDistributionPolicy::RoundRobin) };
    let mut hosted = Hosted::over(Sandbox::new(), options);
    let artifact = format!("policy_{}", P::NAME.replace('-', "_"));
    let active = format!(r#"{{ "policy": "{}", "config": {config} }}"#, P::NAME);
    hosted.bring_up(&artifact, &active, P::NAME).await;
    let mut bound = 0;
    for (number, round) in rounds().into_iter().enumerate() {
        let plan = hosted.host.bind(round.round().clone()).await;
        assert_eq!(plan.answered_by().library(), library(&artifact), "{}: round {number}", P::NAME);
        match round.ask(&linked) {
            Ok(answer) => {
                assert_eq!(plan.fallback(), None, "{}: round {number}", P::NAME);
                assert_eq!(plan.bindings(), answer, "{}: round {number}", P::NAME);
                bound += answer.len();
            }
            Err(PolicyError::Declined(_)) => assert_eq!(plan.fallback().map(|f| f.code), Some("declined")),
            Err(error) => panic!("{}: round {number}: {error}", P::NAME),
        }
    }
    assert!(bound > ROUNDS, "{}: {bound} tasks are too few to tell", P::NAME);
}
