//! Plugin with policy `bias`: packs the executor with most free vcores first. See the crate's README.

pub mod policy;

policy_plugin_api::export_policy! { policies: [policy::Bias] }
