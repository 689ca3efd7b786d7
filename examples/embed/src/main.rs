//! A policy host in thirty lines.
fn main() {}
