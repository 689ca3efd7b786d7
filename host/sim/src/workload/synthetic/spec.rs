//! What a SPEC says, and its defaults.

use std::str::FromStr;

use super::dist::{Dist, Unit};
use crate::workload::WorkloadError;

/// When jobs come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Arrivals {
    /// Independent of each other.
    Poisson,
    /// Independent within bursts; lengths are exponential with these means, in microseconds.
    Bursty {
        /// Mean length of a burst.
        on_us: f64,
        /// Mean length of the silence between two bursts.
        off_us: f64,
    },
}

/// What to generate. `Default` is the demo's workload: ten seconds at two thirds of 32 vcores.
#[derive(Clone, Debug, PartialEq)]
pub struct SyntheticSpec {
    /// Number of jobs.
    pub jobs: u64,
    /// Jobs per second.
    pub rate: f64,
    /// When jobs come.
    pub arrivals: Arrivals,
    /// The seed.
    pub seed: u64,
    /// Number of tenants, at least one.
    pub tenants: u64,
    /// Zipf exponent of jobs over tenants.
    pub tenant_zipf: f64,
    /// Number of different priorities, at least one.
    pub priorities: u64,
    /// Stages of a job, in a chain.
    pub stages: u64,
    /// Tasks of a stage.
    pub tasks: Dist,
    /// Duration of a task, microseconds.
    pub duration: Dist,
    /// Vcores of a task.
    pub vcores: Dist,
    /// Memory of a task, MiB.
    pub memory_mib: Dist,
    /// Number of different keys.
    pub keys: u64,
    /// Zipf exponent of reads over keys.
    pub zipf: f64,
    /// Bytes that a task of the first stage reads.
    pub input: Dist,
    /// Share of pinned tasks.
    pub pin: f64,
}

impl Default for SyntheticSpec {
    fn default() -> Self {
        Self {
            jobs: 200,
            rate: 20.0,
            arrivals: Arrivals::Poisson,
            seed: 7,
            tenants: 3,
            tenant_zipf: 0.0,
            priorities: 1,
            stages: 2,
            tasks: Dist::Pareto(3.0, 1.6),
            duration: Dist::LogNormal(50_000.0, 0.8),
            vcores: Dist::Fixed(1.0),
            memory_mib: Dist::Fixed(0.0),
            keys: 64,
            zipf: 1.1,
            input: Dist::LogNormal(8.0 * 1_048_576.0, 1.0),
            pin: 0.0,
        }
    }
}

impl FromStr for SyntheticSpec {
    type Err = WorkloadError;

    fn from_str(text: &str) -> Result<Self, WorkloadError> {
        let mut spec = Self::default();
        for pair in text.split(',').filter(|p| !p.trim().is_empty()) {
            spec.set(pair.trim())
                .map_err(|reason| WorkloadError::BadSource { spec: format!("synthetic:{text}"), reason })?;
        }
        Ok(spec)
    }
}

impl SyntheticSpec {
    fn set(&mut self, pair: &str) -> Result<(), String> {
        let (key, value) = pair.split_once('=').ok_or_else(|| format!("`{pair}` is not KEY=VALUE"))?;
        let place = |reason: String| format!("{key}: {reason}");
        let dist = |unit| Dist::parse(value, unit).map_err(place);
        let whole = |least: u64, most: u64| match value.parse::<u64>() {
            Ok(n) if (least..=most).contains(&n) => Ok(n),
            _ => Err(format!("{key} is `{value}`, not a whole number from {least} to {most}")),
        };
        let real = |least: f64, most: f64| match value.parse::<f64>() {
            Ok(x) if (least..=most).contains(&x) => Ok(x),
            _ => Err(format!("{key} is `{value}`, not a number from {least} to {most}")),
        };
        match key {
            "jobs" => self.jobs = whole(0, 10_000_000)?,
            "rate" => self.rate = real(1e-6, 1e6)?,
            "arrivals" => self.arrivals = arrivals(value).map_err(place)?,
            "seed" => self.seed = whole(0, u64::MAX)?,
            "tenants" => self.tenants = whole(1, 100_000)?,
            "tenant_zipf" => self.tenant_zipf = real(0.0, 100.0)?,
            "priorities" => self.priorities = whole(1, 1000)?,
            "stages" => self.stages = whole(1, crate::limits::MAX_STAGES_PER_JOB as u64)?,
            "tasks" => self.tasks = dist(Unit::Count)?,
            "duration" => self.duration = dist(Unit::Time)?,
            "vcores" => self.vcores = dist(Unit::Count)?,
            "memory_mib" => self.memory_mib = dist(Unit::Count)?,
            "keys" => self.keys = whole(0, 100_000_000)?,
            "zipf" => self.zipf = real(0.0, 100.0)?,
            "input" => self.input = dist(Unit::Bytes)?,
            "pin" => self.pin = real(0.0, 1.0)?,
            _ => {
                return Err(format!(
                    "unknown key `{key}`; there are: jobs, rate, arrivals, seed, tenants, tenant_zipf, priorities, \
                     stages, tasks, duration, vcores, memory_mib, keys, zipf, input, pin"
                ));
            }
        }
        Ok(())
    }
}

fn arrivals(value: &str) -> Result<Arrivals, String> {
    match value.split(':').collect::<Vec<_>>().as_slice() {
        ["poisson"] => Ok(Arrivals::Poisson),
        ["bursty", on, off] => match (Unit::Time.parse(on)?, Unit::Time.parse(off)?) {
            (on_us, off_us) if on_us > 0.0 => Ok(Arrivals::Bursty { on_us, off_us }),
            _ => Err("a burst must be longer than 0".to_owned()),
        },
        _ => Err(format!("`{value}` is neither poisson nor bursty:ON:OFF")),
    }
}
