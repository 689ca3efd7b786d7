//! Plugin with policy `tenant-fair`: weighted dominant-resource fairness between tenants. See the crate's README.

pub mod policy;

policy_plugin_api::export_policy! { policies: [policy::TenantFair] }
