//! Several runs of one policy as one row, two such rows as a difference, and either as JSON.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::figures::{Group, RunFigures, SizeBin, Spread};
use super::metric::{METRICS, Over};
use super::stats::{Interval, interval, mean};

/// Figures of one policy over several seeds.
#[derive(Clone, Debug)]
pub struct Row {
    /// The policy's name.
    pub policy: String,
    /// The name of the row, unique among the rows.
    pub label: String,
    /// One run a seed, in the order of the seeds.
    pub runs: Vec<RunFigures>,
}

/// A number as JSON has it: whole where it is whole, `null` where there is none.
#[must_use]
pub fn number(value: f64) -> Value {
    match value {
        v if !v.is_finite() => Value::Null,
        v if v.fract() == 0.0 && v.abs() < 9_007_199_254_740_992.0 => json!(v as i64),
        v => json!(v),
    }
}

fn ends(interval: Option<Interval>) -> Value {
    interval.map_or(Value::Null, |(low, high)| json!([number(low), number(high)]))
}

impl Row {
    /// One figure, over the seeds; NaN where a run has none.
    #[must_use]
    pub fn value(&self, metric: usize) -> f64 {
        let values = self.values(metric);
        match METRICS[metric].over {
            Over::Mean => mean(&values),
            Over::Sum => values.iter().sum(),
        }
    }

    /// The 95 % interval of its mean over the seeds.
    #[must_use]
    pub fn interval(&self, metric: usize) -> Option<Interval> {
        interval(&self.values(metric))
    }

    fn values(&self, metric: usize) -> Vec<f64> {
        self.runs.iter().map(|r| r.values[metric]).collect()
    }

    /// The row as JSON: `policy`, `label`, `seeds`, `metrics`, `ci95` (of each figure over the seeds), `by_tenant`,
    /// `by_size`.
    #[must_use]
    pub fn json(&self) -> Value {
        let mut metrics = Map::new();
        let mut intervals = Map::new();
        for (at, metric) in METRICS.iter().enumerate() {
            let value = number(self.value(at));
            let interval = ends(self.interval(at));
            match metric.name.split_once('.') {
                Some((group, part)) => {
                    let group = metrics.entry(group).or_insert_with(|| json!({}));
                    group[part] = value;
                    if part == "mean" {
                        group["ci95"] = interval.clone();
                    }
                }
                None if metric.name == "makespan_us" => {
                    metrics.insert(metric.name.into(), json!({ "mean": value, "ci95": interval.clone() }));
                }
                None => drop(metrics.insert(metric.name.into(), value)),
            }
            if metric.over == Over::Mean {
                intervals.insert(metric.name.into(), interval);
            }
        }
        json!({
            "policy": self.policy,
            "label": self.label,
            "seeds": self.runs.len(),
            "metrics": metrics,
            "ci95": intervals,
            "by_tenant": self.by_tenant(),
            "by_size": self.by_size(),
        })
    }

    fn by_tenant(&self) -> Value {
        let mut tenants: BTreeMap<&str, Vec<&Group>> = BTreeMap::new();
        for (name, group) in self.runs.iter().flat_map(|r| &r.tenants) {
            tenants.entry(name).or_default().push(group);
        }
        tenants.into_iter().map(|(name, groups)| (name.to_owned(), together(&groups))).collect::<Map<_, _>>().into()
    }

    fn by_size(&self) -> Value {
        let mut sizes: BTreeMap<SizeBin, Vec<&Group>> = BTreeMap::new();
        for (bin, group) in self.runs.iter().flat_map(|r| &r.sizes) {
            sizes.entry(*bin).or_default().push(group);
        }
        let bin = |(bin, groups): (SizeBin, Vec<&Group>)| {
            let (from, to) = bin.range_vcore_us();
            let mut value = together(&groups);
            value["from_vcore_us"] = number(from as f64);
            value["to_vcore_us"] = number(to as f64);
            value
        };
        sizes.into_iter().map(bin).collect()
    }
}

/// One group of several runs: the mean of each figure over the runs that have it.
fn together(groups: &[&Group]) -> Value {
    let spread = |of: fn(&Group) -> Spread| {
        let of_each = |part: fn(&Spread) -> f64| {
            groups.iter().map(|g| part(&of(g))).filter(|v| v.is_finite()).collect::<Vec<f64>>()
        };
        let means = of_each(|s| s.mean);
        json!({
            "mean": number(mean(&means)), "ci95": ends(interval(&means)),
            "p50": number(mean(&of_each(|s| s.p50))), "p95": number(mean(&of_each(|s| s.p95))),
            "p99": number(mean(&of_each(|s| s.p99))), "max": number(mean(&of_each(|s| s.max))),
        })
    };
    let over = |of: fn(&Group) -> f64| number(mean(&groups.iter().map(|g| of(g)).collect::<Vec<_>>()));
    json!({
        "jobs": over(|g| g.jobs as f64),
        "vcore_us": over(|g| g.vcore_us),
        "jct_us": spread(|g| g.jct_us),
        "queue_wait_us": spread(|g| g.queue_wait_us),
        "bounded_slowdown": spread(|g| g.bounded_slowdown),
    })
}

/// One row minus another, seed by seed: same workload, same seeds.
#[derive(Clone, Debug)]
pub struct Difference<'a> {
    /// The row.
    pub row: &'a Row,
    /// What is taken off.
    pub baseline: &'a Row,
}

impl Difference<'_> {
    /// The mean difference of one figure, and its 95 % interval: where it spans 0, these seeds show no clear difference.
    #[must_use]
    pub fn value(&self, metric: usize) -> (f64, Option<Interval>) {
        let pairs = self.row.values(metric).into_iter().zip(self.baseline.values(metric));
        let differences: Vec<f64> = pairs.map(|(a, b)| a - b).collect();
        (mean(&differences), interval(&differences))
    }

    /// The difference as JSON: `policy`, `baseline` (labels), and by figure `mean`, `ci95` and `relative` (to the
    /// baseline's mean).
    #[must_use]
    pub fn json(&self) -> Value {
        let mut metrics = Map::new();
        for (at, metric) in METRICS.iter().enumerate() {
            let (difference, interval) = self.value(at);
            if difference.is_finite() {
                let relative = number(difference / mean(&self.baseline.values(at)));
                let value = json!({ "mean": number(difference), "ci95": ends(interval), "relative": relative });
                metrics.insert(metric.name.into(), value);
            }
        }
        json!({ "policy": self.row.label, "baseline": self.baseline.label, "metrics": metrics })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(label: &str, makespans: &[f64]) -> Row {
        let runs = makespans.iter().map(|&m| RunFigures::known(&[("makespan_us", m), ("retries", 2.0)]));
        Row { policy: "p".into(), label: label.into(), runs: runs.collect() }
    }

    #[test]
    fn a_row_has_the_names_of_the_contract() {
        let json = row("p", &[10.0, 14.0]).json();
        let metrics = &json["metrics"];
        assert_eq!(metrics["makespan_us"]["mean"], 12);
        assert!(metrics["makespan_us"]["ci95"][0].as_f64().unwrap() < 0.0);
        assert_eq!(metrics["retries"], 4);
        for name in ["jct_us", "queue_wait_us", "bounded_slowdown"] {
            for part in ["mean", "p50", "p95", "p99"] {
                assert!(metrics[name].get(part).is_some(), "{name}.{part}");
            }
        }
        let plain = ["utilisation", "locality_bytes_share", "jain_tenants", "oldest_wait_us", "invalid_bindings"];
        assert!(plain.iter().all(|n| metrics.get(*n).is_some()));
        assert!(["p50", "p99", "max"].iter().all(|n| metrics["decision_us"].get(*n).is_some()));
    }

    #[test]
    fn differences_are_paired() {
        let (a, b) = (row("a", &[10.0, 20.0, 30.0]), row("b", &[11.0, 21.0, 31.0]));
        let at = super::super::metric("makespan_us").unwrap();
        let (difference, interval) = Difference { row: &b, baseline: &a }.value(at);
        assert_eq!((difference, interval), (1.0, Some((1.0, 1.0))), "though either varies by ten");
        assert!(b.interval(at).unwrap().0 < 0.0);
        let json = Difference { row: &b, baseline: &a }.json();
        assert_eq!(json["metrics"]["makespan_us"]["relative"], 0.05);
    }
}
