//! Executors that go away and come back: what the header's `faults` and the option `--faults` say. The
//! cluster decides what becomes of their tasks.

use std::fmt;
use std::str::FromStr;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Exp1};

use super::synthetic::Unit;
use super::{Outage, Workload, WorkloadError};
use crate::limits::{MAX_PLANNED_OUTAGES, MAX_TIME_US};

/// What `--faults` asks for: outages one by one (`e3@10s..20s,e4@5s`), or drawn ones (`random:MTBF:MTTR`): every executor
/// by itself is up for an exponential time of mean MTBF, then down for one of mean MTTR.
///
/// Drawn outages begin no later than the last submission plus ten times the time that the cluster needs for the work.
#[derive(Clone, Debug, PartialEq)]
pub enum FaultPlan {
    /// These.
    Listed(Vec<Outage>),
    /// Drawn anew for each seed: mean time up and mean time down, microseconds.
    Random {
        /// Mean time up, microseconds.
        up_us: f64,
        /// Mean time down, microseconds.
        down_us: f64,
    },
}

/// As it is written, so that it is read as the same plan.
impl fmt::Display for FaultPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outages = match self {
            Self::Random { up_us, down_us } => return write!(f, "random:{up_us}us:{down_us}us"),
            Self::Listed(outages) => outages,
        };
        for (at, Outage { executor, lost_us, back_us }) in outages.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            write!(f, "{comma}{executor}@{lost_us}us")?;
            back_us.map_or(Ok(()), |back_us| write!(f, "..{back_us}us"))?;
        }
        Ok(())
    }
}

impl FromStr for FaultPlan {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(rest) = text.strip_prefix("random:") {
            let Some((up, down)) = rest.split_once(':') else {
                return Err(format!("`{text}` is not random:MTBF:MTTR"));
            };
            let (up_us, down_us) = (Unit::Time.parse(up)?, Unit::Time.parse(down)?);
            return match up_us >= 1.0 && down_us >= 1.0 {
                true => Ok(Self::Random { up_us, down_us }),
                false => Err("the mean times must be at least 1 us".to_owned()),
            };
        }
        text.split(',').map(outage).collect::<Result<_, _>>().map(Self::Listed)
    }
}

fn outage(text: &str) -> Result<Outage, String> {
    let wrong = || format!("`{text}` is not EXECUTOR@LOST or EXECUTOR@LOST..BACK, such as e3@10s..20s");
    let (executor, times) = text.trim().rsplit_once('@').ok_or_else(wrong)?;
    let time = |text: &str| Unit::Time.parse(text).map(|us| us as u64);
    let (lost_us, back_us) = match times.split_once("..") {
        None => (time(times)?, None),
        Some((lost, back)) => (time(lost)?, Some(time(back)?)),
    };
    if back_us.is_some_and(|back| back < lost_us) || lost_us.max(back_us.unwrap_or(0)) > MAX_TIME_US {
        return Err(wrong());
    }
    Ok(Outage { executor: executor.to_owned(), lost_us, back_us })
}

impl FaultPlan {
    /// Adds the outages to a workload's own.
    ///
    /// # Errors
    /// When an outage names an executor that is not of the workload's cluster.
    pub fn apply(&self, workload: &mut Workload, seed: u64) -> Result<(), WorkloadError> {
        let outages = match self {
            Self::Listed(outages) => outages.clone(),
            Self::Random { up_us, down_us } => drawn(workload, *up_us, *down_us, seed),
        };
        workload.header.faults.extend(outages);
        workload.validate("faults")
    }
}

fn drawn(workload: &Workload, up_us: f64, down_us: f64, seed: u64) -> Vec<Outage> {
    let needed_us = workload.work_vcore_us() as f64 / workload.vcores().max(1) as f64;
    let horizon_us = (workload.last_submit_us() as f64 + 10.0 * needed_us.max(1e6)).min(MAX_TIME_US as f64);
    let mut names: Vec<&str> = workload.header.executors.iter().map(|e| e.name.as_str()).collect();
    names.sort_unstable();
    let mut outages = Vec::new();
    for (stream, name) in (1u64 << 32..).zip(names) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(stream);
        let mut draw = |mean: f64| -> f64 { mean * Distribution::<f64>::sample(&Exp1, &mut rng) };
        let mut at_us = draw(up_us);
        while at_us < horizon_us && outages.len() < MAX_PLANNED_OUTAGES {
            let back_us = at_us + draw(down_us).max(1.0);
            let (lost_us, back) = (at_us as u64, (back_us as u64).min(MAX_TIME_US));
            outages.push(Outage { executor: name.to_owned(), lost_us, back_us: Some(back) });
            at_us = back_us + draw(up_us).max(1.0);
        }
    }
    outages
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::{ClusterDefaults, parse_source};

    #[test]
    fn outages_are_read_as_they_are_written() {
        let plan: FaultPlan = "e3@10s..20s, rack@2@5ms".parse().unwrap();
        let outage = |executor: &str, lost_us, back_us| Outage { executor: executor.to_owned(), lost_us, back_us };
        let listed = vec![outage("e3", 10_000_000, Some(20_000_000)), outage("rack@2", 5_000, None)];
        assert_eq!(plan, FaultPlan::Listed(listed));
        let random = FaultPlan::Random { up_us: 60e6, down_us: 5e6 };
        assert_eq!("random:1m:5s".parse().as_ref(), Ok(&random));
        for plan in [plan, random] {
            assert_eq!(plan.to_string().parse(), Ok(plan));
        }
        for wrong in ["e3", "e3@", "e3@5s..2s", "e3@soon", "random:5s", "random:0:5s", "random:1s:1s:1s", ""] {
            assert!(wrong.parse::<FaultPlan>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn drawn_outages_have_the_means_asked_for_and_depend_on_the_seed_alone() {
        let workload = || parse_source("synthetic:jobs=2000", &ClusterDefaults::uniform(40, 1)).unwrap();
        let draw = |seed| {
            let mut workload = workload();
            let plan: FaultPlan = "random:5s:1s".parse().unwrap();
            plan.apply(&mut workload, seed).unwrap();
            workload.header.faults
        };
        let outages = draw(1);
        assert!(outages.len() > 400, "{}", outages.len());
        let down: u64 = outages.iter().map(|o| o.back_us.unwrap() - o.lost_us).sum();
        let mean = down as f64 / outages.len() as f64;
        assert!((mean / 1e6 - 1.0).abs() < 0.15, "{mean}");
        assert_eq!(outages, draw(1));
        assert_ne!(outages, draw(2));
    }

    #[test]
    fn an_outage_of_nobody_is_refused() {
        let mut workload = parse_source("synthetic:jobs=1", &ClusterDefaults::default()).unwrap();
        let error = "e99@5s".parse::<FaultPlan>().unwrap().apply(&mut workload, 0).unwrap_err();
        assert_eq!(error.code(), "unknown-executor");
    }
}
