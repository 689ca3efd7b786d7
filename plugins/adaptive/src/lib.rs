//! Plugin with policy `adaptive`: chooses among policies by the state of the system. See the crate's README.

pub mod bandit;
pub mod behaviour;
mod config;
mod control;
pub mod policy;
pub mod rules;
pub mod signals;
mod state;

policy_plugin_api::export_policy! { policies: [policy::Adaptive] }
