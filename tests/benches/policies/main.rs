//! Every bundled policy under one harness: `cargo bench -p integration-tests --bench policies`. With names of sections or
//! of policies (`-- incremental bias`), only those. Prints the tables of `plugins/README.md`.
//!
//! Each figure that counts is a ratio of two sides measured in one run, in turn (A B B A …): the median of the paired
//! ratios. Absolute times are for sizing only. A policy keeps its object from round to round, as under a host.
#![allow(missing_docs, reason = "a program")]

mod baseline;
mod composite;
#[path = "../../../plugins/kit/benches/paired/mod.rs"]
mod paired;
mod plain;
mod sections;
mod workload;

use composite::Scored;
use policy_adaptive::policy::Adaptive;
use policy_kit::{Bias, Binding, ConsistentHash, DataLocality, ResourceAware, RoundRobin};
use policy_plugin_api::{DistributionPolicy, FromConfig};
use policy_tenant_fair::policy::TenantFair;
use workload::Workload;

/// A policy with the work that it is made for.
struct Subject {
    name: &'static str,
    workload: Workload,
    make: fn() -> Box<dyn DistributionPolicy>,
}

/// A policy with its default config.
fn subject<P: DistributionPolicy + FromConfig + 'static>(workload: Workload) -> Subject {
    Subject { name: P::NAME, workload, make: made::<P> }
}

fn made<P: DistributionPolicy + FromConfig + 'static>() -> Box<dyn DistributionPolicy> {
    configured::<P>("{}")
}

fn configured<P: DistributionPolicy + FromConfig + 'static>(config: &str) -> Box<dyn DistributionPolicy> {
    let config = policy_plugin_api::config::parse(config).expect("a config of the policy");
    Box::new(P::from_config(config).expect("a config in its ranges"))
}

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
        subject::<TenantFair>(Workload::Tenants),
        subject::<Adaptive>(Workload::Plain),
        subject::<Scored>(Workload::Loaded),
        subject::<Scored>(Workload::Held),
    ]
}

/// Measures some policies and prints a table.
type Section = fn(&[Subject]);

fn main() {
    // `cargo bench` passes `--bench`; `cargo test --benches` does not, and must be quick.
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if !arguments.iter().any(|a| a == "--bench") {
        println!("nothing is measured without --bench");
        return;
    }
    let sections: [(&str, Section); 6] = [
        ("full-round", sections::full_round),
        ("incremental", sections::incremental),
        ("per-task", sections::per_task),
        ("one-changed", sections::one_changed),
        ("drawn", |_| composite::quality()),
        ("plain", |_| plain::against_plain()),
    ];
    let named = |name: &&String| !name.starts_with('-');
    let (wanted, policies): (Vec<&String>, Vec<&String>) =
        arguments.iter().filter(named).partition(|a| sections.iter().any(|s| s.0 == a.as_str()));
    let mut subjects = subjects();
    if let Some(unknown) = policies.iter().find(|p| subjects.iter().all(|s| s.name != p.as_str())) {
        eprintln!("no section or policy {unknown}");
        std::process::exit(2);
    }
    subjects.retain(|s| policies.is_empty() || policies.iter().any(|p| p.as_str() == s.name));
    for (name, section) in sections {
        if wanted.is_empty() || wanted.iter().any(|w| w.as_str() == name) {
            println!("\n### {name}");
            section(&subjects);
        }
    }
}
