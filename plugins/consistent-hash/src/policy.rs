//! The policy: [`policy_kit::consistent_hash`].
#![forbid(unsafe_code)]

pub use policy_kit::ConsistentHash;

#[cfg(test)]
mod tests {
    use super::*;

    policy_testkit::policy_conformance!(
        ConsistentHash,
        defaults = "{}",
        tight = r#"{"balance_factor_percent": 100, "points": 1}"#,
        unbounded = r#"{"balance_factor_percent": 0}"#,
    );
}
