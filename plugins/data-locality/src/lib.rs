//! Plugin with policy `data-locality`: tasks go where their data is, and wait a little for it. See the crate's README.

pub mod policy;

policy_plugin_api::export_policy! { policies: [policy::DataLocality] }
