//! The policy: [`policy_kit::tenant_fair`].
#![forbid(unsafe_code)]

pub use policy_kit::tenant_fair::{Placement, TenantFair, TenantFairConfig};

#[cfg(test)]
mod tests {
    use super::*;

    policy_testkit::policy_conformance!(
        TenantFair,
        defaults = "{}",
        packed = r#"{"placement": "pack"}"#,
        weighted = r#"{"weights": {"team-0": 3, "team-2": 0.5, "nobody": 7}, "default_weight": 0.25}"#,
    );
}
