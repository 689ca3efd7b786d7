//! This policy's lines of the tables in `plugins/README.md`: `cargo bench -p policy-adaptive --bench policies`. Two plugins in one
//! program would define the same symbols, so each has a bench of its own; the harness is the kit's.
#![allow(missing_docs, reason = "a program")]

#[path = "../../kit/benches/policies/baseline.rs"]
mod baseline;
#[path = "../../kit/benches/policies/harness.rs"]
#[allow(dead_code, reason = "shared with the kit's bench, which uses all of it")]
mod harness;
#[path = "../../kit/benches/paired/mod.rs"]
mod paired;
#[path = "../../kit/benches/policies/sections.rs"]
#[allow(dead_code, reason = "shared with the kit's bench, which uses all of it")]
mod sections;
#[path = "../../kit/benches/policies/workload.rs"]
#[allow(dead_code, reason = "shared with the kit's bench, which uses all of it")]
mod workload;

use policy_adaptive::policy::Adaptive;
use workload::Workload;

fn main() {
    harness::run(vec![harness::subject::<Adaptive>(Workload::Plain)], &harness::SECTIONS);
}
