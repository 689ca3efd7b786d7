//! Plugin with policy `adaptive`: chooses among policies by the state of the system. See the crate's README.

pub mod policy;

policy_plugin_api::export_policy! { policies: [policy::Adaptive] }
