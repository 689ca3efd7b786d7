//! Plugin with policy `resource-aware`: the least stretched of a few executors, by load, speed, labels and free memory.
//! See the crate's README.

pub mod policy;

policy_plugin_api::export_policy! { policies: [policy::ResourceAware] }
