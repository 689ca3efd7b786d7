//! Linked in and loaded, a policy is the same: the bundled libraries, opened by a host, answer arbitrary rounds as the
//! types do that are linked in. Of plugins that hold their policy themselves, a program links one: two would define the same
//! symbols. `adaptive` has a test binary of its own.

mod same;

use policy_kit::{Bias, Binding, ConsistentHash, DataLocality, ResourceAware, RoundRobin};
use policy_tenant_fair::policy::TenantFair;

use same::same;

#[tokio::test]
async fn each_bundled_policy_answers_loaded_as_it_does_linked_in() {
    same::<Bias>("{}").await;
    same::<RoundRobin>("{}").await;
    same::<Binding>(r#"{ "rules": [{ "job": "job-*1", "executors": ["executor-1*"] }] }"#).await;
    same::<ConsistentHash>("{}").await;
    same::<DataLocality>("{}").await;
    same::<DataLocality>(r#"{ "wait_ms": 0 }"#).await;
    same::<ResourceAware>("{}").await;
    same::<TenantFair>("{}").await;
}
