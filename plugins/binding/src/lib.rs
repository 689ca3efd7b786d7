//! Plugin with policy `binding`: tasks fixed to named executors, by pin or rule. See the crate's README.

pub mod policy;

policy_plugin_api::export_policy! { policies: [policy::Binding] }
