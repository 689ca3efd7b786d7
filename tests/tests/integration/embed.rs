//! What an embedder starts the host with, without any plugin directory.

use std::sync::Arc;

use policy_host::policy::*;
use policy_host::{BuiltIn, HostOptions, PolicyHost, TaskDistributionPolicy};

use crate::rounds::round;

#[tokio::test]
async fn the_built_ins_need_no_plugin_directory() {
    for (policy, name) in [
        (TaskDistributionPolicy::Bias, "bias"),
        (TaskDistributionPolicy::Binding, "binding"),
        (TaskDistributionPolicy::RoundRobin, "round-robin"),
        (TaskDistributionPolicy::ConsistentHashing, "consistent-hash"),
    ] {
        let host = PolicyHost::start(HostOptions::with_policy(policy)).unwrap();
        let plan = host.bind(round(4, 2, 20)).await;
        assert_eq!((plan.policy(), plan.fallback()), (name, None));
        assert_eq!(plan.bindings().len(), 8, "{name} fills what is free");
        host.shutdown().await;
    }
}

/// Binds nothing but the first task, or panics.
#[derive(Debug)]
struct FirstOnly {
    panics: bool,
}

#[async_trait]
impl DistributionPolicy for FirstOnly {
    async fn bind_tasks(
        &self,
        slots: &mut [AvailableTaskSlots],
        running_jobs: &RunningJobs<'_>,
    ) -> Result<Vec<BoundTask>> {
        assert!(!self.panics, "on request");
        let first = running_jobs.stages().flat_map(|s| s.pending()).next();
        Ok(first.into_iter().zip(slots).map(|(t, s)| BoundTask::new(t.id(), s.executor)).collect())
    }
}

#[tokio::test]
async fn a_custom_policy_is_asked_and_validated_like_any_other() {
    let custom = TaskDistributionPolicy::Custom(Arc::new(FirstOnly { panics: false }));
    let host = PolicyHost::start(HostOptions::with_policy(custom)).unwrap();
    let plan = host.bind(round(4, 2, 20)).await;
    assert_eq!((plan.policy(), plan.bindings().len()), ("custom", 1));

    let custom = TaskDistributionPolicy::Custom(Arc::new(FirstOnly { panics: true }));
    let host = PolicyHost::start(HostOptions::with_policy(custom)).unwrap();
    let plan = host.bind(round(4, 2, 20)).await;
    assert_eq!(plan.fallback().map(|f| f.code), Some("policy-panicked"));
    assert_eq!(plan.bindings().len(), 8, "the fallback binds the round");
}

#[tokio::test]
async fn an_embedder_chooses_the_fallback_and_an_active_file_may_choose_another() {
    let custom = TaskDistributionPolicy::Custom(Arc::new(FirstOnly { panics: true }));
    let options = HostOptions { fallback: BuiltIn::Bias, ..HostOptions::with_policy(custom) };
    let host = PolicyHost::start(options).unwrap();
    let plan = host.bind(round(4, 2, 20)).await;
    assert_eq!((plan.fallback().map(|f| f.code), plan.policy()), (Some("policy-panicked"), "bias"));

    let answering = host.switch(r#"{"policy":"round-robin"}"#).await.unwrap();
    assert_eq!(answering.fallback, BuiltIn::Bias);
    let answering = host.switch(r#"{"policy":"round-robin","fallback":"binding"}"#).await.unwrap();
    assert_eq!(answering.fallback, BuiltIn::Binding);
}

#[tokio::test]
async fn an_empty_round_is_answered_with_an_empty_plan() {
    let host = PolicyHost::start(HostOptions::default()).unwrap();
    assert!(host.bind(round(0, 0, 0)).await.bindings().is_empty());
    assert!(host.bind(round(3, 2, 0)).await.bindings().is_empty());
    assert!(host.bind(round(0, 0, 3)).await.bindings().is_empty());
}
