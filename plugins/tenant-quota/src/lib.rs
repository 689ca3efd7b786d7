//! Plugin with filter `tenant-quota`: a hard cap on the vcores that a tenant holds at once. See the crate's README.

pub mod policy;

policy_plugin_api::export_policy! { filters: [policy::TenantQuota] }
