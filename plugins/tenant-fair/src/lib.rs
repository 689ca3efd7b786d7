//! Plugin with policy `tenant-fair`: weighted dominant-resource fairness between tenants. See the crate's README.

mod account;
mod filling;
mod party;
mod placing;
pub mod policy;
mod turns;
mod weights;

policy_plugin_api::export_policy! { policies: [policy::TenantFair] }
