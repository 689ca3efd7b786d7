//! The policy: [`policy_kit::data_locality`].
#![forbid(unsafe_code)]

pub use policy_kit::DataLocality;

#[cfg(test)]
mod tests {
    use super::*;

    policy_testkit::policy_conformance!(
        DataLocality,
        defaults = "{}",
        at_once = r#"{"wait_ms": 0, "rack_wait_ms": 0}"#,
        racks = r#"{"wait_ms": 0, "rack_wait_ms": 20, "min_share_percent": 0, "holders": 1, "network_mib_per_s": 0}"#,
        impatient =
            r#"{"wait_ms": 10, "rack_wait_ms": 5, "min_share_percent": 100, "holders": 16, "network_mib_per_s": 0}"#,
    );
}
