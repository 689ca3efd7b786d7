//! What a run looked like over time agrees with its figures, is bounded, and costs nothing where nobody asked.

use policy_sim::cluster::{ClusterOptions, Series, Span};
use policy_sim::limits::{MAX_SERIES_BUCKETS, MAX_SERIES_ROWS, MAX_SERIES_SPANS, MAX_SERIES_TENANTS};
use policy_sim::outcome::Outcome;
use policy_sim::workload::{ClusterDefaults, FaultPlan, Outage, parse_source};

use crate::binders::FirstFit;
use crate::{one_stage, simulate};

fn sampled(source: &str, executors: u32, vcores: u32, faults: Option<&FaultPlan>) -> (Outcome, Series) {
    let mut workload = parse_source(source, &ClusterDefaults::uniform(executors, vcores)).unwrap();
    if let Some(faults) = faults {
        faults.apply(&mut workload, 0).unwrap();
    }
    let options = ClusterOptions { record_series: true, ..ClusterOptions::default() };
    let (mut outcome, _) = simulate(workload, options, &FirstFit::default());
    let series = outcome.series.take().expect("asked for");
    (outcome, series)
}

/// The sum over time of what are means over buckets.
fn integral(series: &Series, bucket_us: u64, means: &[f64]) -> f64 {
    let from = |i: usize| series.start_us + i as u64 * bucket_us;
    means.iter().enumerate().map(|(i, v)| v * (series.end_us.min(from(i + 1)) - from(i)) as f64).sum()
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-6 * b.abs().max(1.0)
}

#[test]
fn two_tasks_on_one_executor_are_drawn_as_they_ran() {
    let options = ClusterOptions { record_series: true, ..ClusterOptions::default() };
    let (outcome, _) = simulate(one_stage(1, [100, 60]), options, &FirstFit::default());
    let series = outcome.series.unwrap();
    let span = |start_us, end_us| Span { executor: 0, tenant: Some(0), vcores: 1, start_us, end_us, broken: false };
    assert_eq!(series.spans.as_deref(), Some(&[span(0, 100), span(100, 160)][..]));
    assert_eq!((series.start_us, series.end_us, series.bucket_us), (0, 160, 1));
    assert!(series.busy_vcores.iter().all(|&v| v == 1.0) && series.busy_vcores.len() == 160);
    assert_eq!(series.pending_tasks, [vec![1.0; 100], vec![0.0; 60]].concat());
    assert!(series.jain.iter().all(|j| j.is_nan()), "one tenant competes with nobody");
    assert_eq!(series.tenants[0].dominant_share, vec![1.0; 160]);
}

#[test]
fn sums_over_time_are_the_figures() {
    let faults = FaultPlan::Listed(vec![
        Outage { executor: "e1".into(), lost_us: 2_000_000, back_us: Some(5_000_000) },
        Outage { executor: "e2".into(), lost_us: 9_000_000, back_us: None },
    ]);
    let source = "synthetic:jobs=200,vcores=uniform:1:3,tenants=3,seed=4";
    let (outcome, series) = sampled(source, 6, 4, Some(&faults));
    let metrics = &outcome.metrics;
    let held = (metrics.busy_vcore_us + metrics.wasted_vcore_us) as f64;
    assert!(metrics.wasted_vcore_us > 0, "the outages hit something");
    assert!(close(integral(&series, series.bucket_us, &series.busy_vcores), held));
    assert!(close(integral(&series, series.bucket_us, &series.alive_vcores), metrics.capacity_vcore_us as f64));
    let rows = series.rows.iter().map(|r| integral(&series, series.row_bucket_us, &r.busy_vcores)).sum();
    assert!(close(rows, held));
    let tenants = series.tenants.iter().map(|t| integral(&series, series.bucket_us, &t.dominant_share) * 24.0).sum();
    assert!(close(tenants, held), "no memory, so vcores dominate");
    assert!(series.jain.iter().any(|j| *j > 0.0) && series.jain.iter().all(|j| j.is_nan() || *j <= 1.0 + 1e-9));
    let gaps: Vec<_> = series.outages.iter().map(|g| (g.executor, g.from_us, g.to_us)).collect();
    assert_eq!(gaps, [(1, 2_000_000, 5_000_000), (2, 9_000_000, series.end_us)]);
    let spans = series.spans.unwrap();
    let drawn: u64 = spans.iter().map(|s| (s.end_us - s.start_us) * u64::from(s.vcores)).sum();
    assert!(close(drawn as f64, held));
    assert_eq!(spans.iter().filter(|s| s.broken).count() as u64, metrics.retries);
}

#[test]
fn a_large_run_keeps_no_more_than_the_limits() {
    let (outcome, series) = sampled("synthetic:jobs=2000,tenants=30,seed=1", 200, 2, None);
    assert!(outcome.counts.completed > MAX_SERIES_SPANS as u64);
    assert_eq!(series.spans, None);
    assert!(series.busy_vcores.len() <= MAX_SERIES_BUCKETS && series.busy_vcores.len() > MAX_SERIES_BUCKETS / 2);
    assert_eq!((series.tenants.len(), series.tenants_left_out), (MAX_SERIES_TENANTS, 30 - MAX_SERIES_TENANTS));
    assert!(series.rows.len() <= MAX_SERIES_ROWS);
    assert_eq!(series.rows.last().unwrap().executors.end, 200);
    assert_eq!(series.rows.iter().map(|r| r.vcores).sum::<u64>(), 400);
}

#[test]
fn sampling_changes_nothing_else() {
    let run = |record_series| {
        let workload = parse_source("synthetic:jobs=100,seed=9", &ClusterDefaults::uniform(4, 4)).unwrap();
        let options = ClusterOptions { record_series, ..ClusterOptions::default() };
        simulate(workload, options, &FirstFit::default())
    };
    let ((with, happenings), (without, others)) = (run(true), run(false));
    assert!(without.series.is_none() && with.series.is_some());
    assert_eq!(happenings, others);
    assert_eq!(with.metrics.jain_contested, without.metrics.jain_contested);
}
