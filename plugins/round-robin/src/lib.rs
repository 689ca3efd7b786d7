//! Plugin with policy `round-robin`: one task to each executor in turn. See the crate's README.

pub mod policy;

policy_plugin_api::export_policy! { policies: [policy::RoundRobin] }
