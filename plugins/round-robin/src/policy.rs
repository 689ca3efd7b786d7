//! The policy: [`policy_kit::round_robin`], which hosts compile in as well.
#![forbid(unsafe_code)]

pub use policy_kit::RoundRobin;

#[cfg(test)]
mod tests {
    use super::*;

    policy_testkit::policy_conformance!(RoundRobin);
}
