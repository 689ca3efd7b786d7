//! Plugin with filter `tenant-quota`: caps on the vcores that a tenant holds at once, with bursts. See the README.

pub mod policy;

policy_plugin_api::export_policy! { filters: [policy::TenantQuota] }
