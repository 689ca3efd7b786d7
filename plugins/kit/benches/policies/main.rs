//! The policies of the kit under one harness: `cargo bench -p policy-kit --bench policies`. With names of sections or of
//! policies (`-- incremental bias`), only those. Prints the tables of `plugins/README.md`; the lines of a policy that its
//! plugin holds itself come from that plugin's bench of this name.
//!
//! Each figure that counts is a ratio of two sides measured in one run, in turn (A B B A …): the median of the paired
//! ratios. Absolute times are for sizing only. A policy keeps its object from round to round, as under a host.
#![allow(missing_docs, reason = "a program")]

mod baseline;
mod composite;
mod harness;
#[path = "../paired/mod.rs"]
mod paired;
mod plain;
mod sections;
mod workload;

use composite::Scored;
use harness::{SECTIONS, Section, Subject, configured, subject};
use policy_kit::{Bias, Binding, ConsistentHash, DataLocality, ResourceAware, RoundRobin};
use policy_plugin_api::FromConfig;
use workload::Workload;

/// One line a policy; more where a config or another kind of work costs notably more.
fn subjects() -> Vec<Subject> {
    let with_rule = || configured::<ResourceAware>(r#"{"rules": [{"prefer": {"disk": "ssd"}}]}"#);
    vec![
        subject::<Bias>(Workload::Plain),
        subject::<RoundRobin>(Workload::Plain),
        subject::<Binding>(Workload::Pinned),
        subject::<ConsistentHash>(Workload::Keyed),
        subject::<DataLocality>(Workload::Held),
        subject::<ResourceAware>(Workload::Loaded),
        Subject { name: ResourceAware::NAME, workload: Workload::Memory, make: with_rule },
        subject::<Scored>(Workload::Loaded),
        subject::<Scored>(Workload::Held),
    ]
}

fn main() {
    let own: [(&str, Section); 2] = [("drawn", |_| composite::quality()), ("plain", |_| plain::against_plain())];
    harness::run(subjects(), &[&SECTIONS[..], &own[..]].concat());
}
