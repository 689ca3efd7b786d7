//! Plugin with policy `consistent-hash`: tasks that read the same data go to the same executor, with bounded loads. See
//! the crate's README.

pub mod policy;

policy_plugin_api::export_policy! { policies: [policy::ConsistentHash] }
