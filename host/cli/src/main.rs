//! The policy-host command.
fn main() {}
