//! The policy: [`policy_kit::bias`], which hosts compile in as well.
#![forbid(unsafe_code)]

pub use policy_kit::Bias;

#[cfg(test)]
mod tests {
    use super::*;

    policy_testkit::policy_conformance!(Bias);
}
