//! The policy: [`policy_kit::tenant_fair`].
#![forbid(unsafe_code)]

pub use policy_kit::tenant_fair::{Between, Placement, TenantFair, TenantFairConfig};

#[cfg(test)]
mod tests {
    use super::*;

    policy_testkit::policy_conformance!(
        TenantFair,
        defaults = "{}",
        between_jobs = r#"{"between": "jobs", "weights": {"team-0": 3}}"#,
        packed = r#"{"placement": "pack"}"#,
        weighted = r#"{"weights": {"team-0": 3, "team-2": 0.5, "nobody": 7}, "default_weight": 0.25}"#,
    );
}
