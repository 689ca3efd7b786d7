//! The policy: [`policy_kit::resource_aware`], whose properties `plugins/kit/tests/load.rs` tests.
#![forbid(unsafe_code)]

pub use policy_kit::ResourceAware;

#[cfg(test)]
mod tests {
    use super::*;

    policy_testkit::policy_conformance!(
        ResourceAware,
        defaults = "{}",
        knobs = r#"{"choices": 5, "report_ms": 10000, "forget_ms": 30000, "packing_percent": 200,
            "rules": [{"match": {"job": "job*"}, "prefer": {"disk": "ssd"}, "weight": 50}]}"#,
    );
}
