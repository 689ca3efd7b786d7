//! What the generator promises: the same output for the same SPEC, the rates and skews asked for, limits kept.

use std::collections::BTreeMap;

use super::*;
use crate::workload::file;
use crate::workload::{ClusterDefaults, Workload};

fn generate(spec: &str) -> Workload {
    spec.parse::<SyntheticSpec>().unwrap().generate(&ClusterDefaults::default()).unwrap()
}

fn bytes(workload: &Workload) -> Vec<u8> {
    let mut bytes = Vec::new();
    file::to_writer(&mut bytes, workload).unwrap();
    bytes
}

#[test]
fn the_same_spec_gives_the_same_bytes_and_another_seed_others() {
    assert_eq!(bytes(&generate("seed=3")), bytes(&generate("seed=3")));
    assert_ne!(bytes(&generate("seed=3")), bytes(&generate("seed=4")));
}

#[test]
fn one_knob_does_not_change_what_the_others_draw() {
    let submits = |w: &Workload| w.jobs.iter().map(|j| j.submit_us).collect::<Vec<_>>();
    let sizes = |w: &Workload| w.jobs.iter().flat_map(|j| &j.stages).map(|s| s.tasks.len()).collect::<Vec<_>>();
    let (a, b) = (generate("duration=10ms"), generate("duration=exp:3s,zipf=0.5"));
    assert_eq!((submits(&a), sizes(&a)), (submits(&b), sizes(&b)));
}

#[test]
fn arrivals_keep_the_rate_poisson_or_bursty() {
    for spec in ["jobs=20000,rate=50", "jobs=20000,rate=50,arrivals=bursty:200ms:800ms"] {
        let workload = generate(&format!("{spec},tasks=1,stages=1,keys=0"));
        let rate = 20_000.0 / (workload.last_submit_us() as f64 / 1e6);
        assert!((rate / 50.0 - 1.0).abs() < 0.1, "{spec}: {rate} jobs/s");
    }
}

#[test]
fn bursts_are_burstier() {
    // Squared coefficient of variation of the gaps: 1 for Poisson, more for bursts.
    let spread = |spec: &str| {
        let w = generate(&format!("jobs=20000,rate=50,tasks=1,stages=1,keys=0,{spec}"));
        let gaps: Vec<f64> = w.jobs.windows(2).map(|p| (p[1].submit_us - p[0].submit_us) as f64).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        gaps.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / gaps.len() as f64 / mean.powi(2)
    };
    assert!((spread("arrivals=poisson") - 1.0).abs() < 0.1);
    assert!(spread("arrivals=bursty:200ms:800ms") > 3.0);
}

#[test]
fn keys_are_read_by_zipf() {
    let workload = generate("jobs=2000,tasks=5,stages=1,keys=100,zipf=1");
    let mut reads = BTreeMap::new();
    for task in workload.jobs.iter().flat_map(|j| &j.stages).flat_map(|s| &s.tasks) {
        *reads.entry(task.key.clone().unwrap()).or_insert(0u32) += 1;
    }
    // With exponent 1 the hottest of 100 keys has 1 / H(100) = 19.3% of the reads.
    let hottest = f64::from(*reads.values().max().unwrap()) / 10_000.0;
    assert!((hottest - 0.193).abs() < 0.02, "{hottest}");
}

#[test]
fn tasks_fit_the_cluster() {
    let workload = generate("vcores=uniform:1:99,memory_mib=exp:500,pin=0.5");
    assert!(workload.jobs.iter().flat_map(|j| &j.stages).flat_map(|s| &s.tasks).all(|t| t.vcores <= 4));
}

#[test]
fn nonsense_is_refused_with_its_key() {
    for (spec, word) in [
        ("jbos=3", "jbos"),
        ("jobs", "KEY=VALUE"),
        ("rate=0", "rate"),
        ("duration=5parsec", "duration"),
        ("pin=2", "pin"),
    ] {
        let error = spec.parse::<SyntheticSpec>().unwrap_err();
        assert_eq!(error.code(), "bad-workload-source");
        assert!(error.to_string().contains(word), "{error}");
    }
}
