//! Which policies are measured, and which tables are printed.

use policy_plugin_api::{DistributionPolicy, FromConfig};

use crate::sections;
pub(crate) use crate::workload::Subject;
use crate::workload::Workload;

/// The tables of every policy.
pub(crate) const SECTIONS: [(&str, Section); 4] = [
    ("full-round", sections::full_round),
    ("incremental", sections::incremental),
    ("per-task", sections::per_task),
    ("one-changed", sections::one_changed),
];

/// A policy with its default config.
pub(crate) fn subject<P: DistributionPolicy + FromConfig + 'static>(workload: Workload) -> Subject {
    Subject { name: P::NAME, workload, make: made::<P> }
}

fn made<P: DistributionPolicy + FromConfig + 'static>() -> Box<dyn DistributionPolicy> {
    configured::<P>("{}")
}

pub(crate) fn configured<P: DistributionPolicy + FromConfig + 'static>(config: &str) -> Box<dyn DistributionPolicy> {
    let config = policy_plugin_api::config::parse(config).expect("a config of the policy");
    Box::new(P::from_config(config).expect("a config in its ranges"))
}

/// Measures some policies and prints a table.
pub(crate) type Section = fn(&[Subject]);

pub(crate) fn run(mut subjects: Vec<Subject>, sections: &[(&str, Section)]) {
    // `cargo bench` passes `--bench`; `cargo test --benches` does not, and must be quick.
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if !arguments.iter().any(|a| a == "--bench") {
        println!("nothing is measured without --bench");
        return;
    }
    let named = |name: &&String| !name.starts_with('-');
    let (wanted, policies): (Vec<&String>, Vec<&String>) =
        arguments.iter().filter(named).partition(|a| sections.iter().any(|s| s.0 == a.as_str()));
    if let Some(unknown) = policies.iter().find(|p| subjects.iter().all(|s| s.name != p.as_str())) {
        eprintln!("no section or policy {unknown}");
        std::process::exit(2);
    }
    subjects.retain(|s| policies.is_empty() || policies.iter().any(|p| p.as_str() == s.name));
    for (name, section) in sections {
        if wanted.is_empty() || wanted.iter().any(|w| w.as_str() == *name) {
            println!("\n### {name}");
            section(&subjects);
        }
    }
}
