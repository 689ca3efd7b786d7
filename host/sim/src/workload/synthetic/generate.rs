//! Draws a workload from a SPEC. Every purpose has a random stream of its own, so that one changed knob does not change
//! what the others draw. `ChaCha8` is a fixed generator: the output is the same on every platform with the same maths.

use std::sync::Arc;

use policy_host::round::key_hash;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Exp1, Zipf};

use super::spec::{Arrivals, SyntheticSpec};
use crate::limits::MAX_TASKS;
use crate::workload::{
    ClusterDefaults, ExecutorSpec, Input, Interner, Job, Place, Stage, Task, Workload, WorkloadError,
};

/// Most tasks of one stage: where the tail of a heavy-tailed size ends.
const MAX_TASKS_PER_STAGE: u64 = 10_000_000;
/// Longest task drawn, in microseconds: an hour.
const MAX_DURATION_US: u64 = 3_600_000_000;
/// Largest input of a task drawn, in bytes: a TiB.
const MAX_INPUT_BYTES: u64 = 1 << 40;

impl SyntheticSpec {
    /// Draws the workload for this cluster. Costs some 100 ns a task.
    ///
    /// # Errors
    /// When the cluster has no executors, or the SPEC goes beyond what a workload may hold.
    pub fn generate(&self, cluster: &ClusterDefaults) -> Result<Workload, WorkloadError> {
        let workload = workload(self, cluster)?;
        workload.validate("synthetic")?;
        Ok(workload)
    }
}

fn workload(spec: &SyntheticSpec, cluster: &ClusterDefaults) -> Result<Workload, WorkloadError> {
    let place = || Place { source: "synthetic".to_owned(), line: 0, column: 0 };
    if cluster.cluster.executors.is_empty() {
        return Err(WorkloadError::NoExecutors { place: place() });
    }
    let mut maker = Maker::new(spec, cluster);
    let mut jobs = Vec::new();
    let mut tasks = 0;
    for index in 0..spec.jobs {
        let submit_us = maker.clock.next(&mut maker.arrivals);
        let job = maker.job(index, submit_us);
        tasks += job.stages.iter().map(|s| s.tasks.len() as u64).sum::<u64>();
        // Checked as it grows: the tasks of a SPEC that asks for too many would not fit the memory.
        if tasks > MAX_TASKS {
            let (found, range) = (tasks.to_string(), format!("0 to {MAX_TASKS}"));
            return Err(WorkloadError::OutOfRange { place: place(), what: "the number of tasks", found, range });
        }
        jobs.push(job);
    }
    Ok(Workload { header: cluster.cluster.clone(), jobs })
}

/// The arrival process.
struct ArrivalClock {
    now_us: f64,
    gap_us: f64,
    /// What is left of the burst, and the means of bursts and silences; `None` for Poisson.
    burst: Option<(f64, f64, f64)>,
}

impl ArrivalClock {
    fn new(spec: &SyntheticSpec, rng: &mut impl Rng) -> Self {
        let mean = 1e6 / spec.rate;
        match spec.arrivals {
            Arrivals::Poisson => Self { now_us: 0.0, gap_us: mean, burst: None },
            Arrivals::Bursty { on_us, off_us } => {
                // Faster within bursts, so that the long-run rate is what was asked for.
                let gap_us = mean * on_us / (on_us + off_us);
                Self { now_us: 0.0, gap_us, burst: Some((exponential(rng, on_us), on_us, off_us)) }
            }
        }
    }

    fn next(&mut self, rng: &mut impl Rng) -> u64 {
        let mut gap = exponential(rng, self.gap_us);
        if let Some((left, on_us, off_us)) = &mut self.burst {
            while gap > *left {
                gap -= *left;
                self.now_us += *left + exponential(rng, *off_us);
                *left = exponential(rng, *on_us);
            }
            *left -= gap;
        }
        self.now_us += gap;
        self.now_us as u64
    }
}

fn exponential(rng: &mut impl Rng, mean: f64) -> f64 {
    let unit: f64 = Exp1.sample(rng);
    unit * mean
}

struct Maker<'a> {
    spec: &'a SyntheticSpec,
    clock: ArrivalClock,
    arrivals: ChaCha8Rng,
    shapes: ChaCha8Rng,
    times: ChaCha8Rng,
    data: ChaCha8Rng,
    tenant: Option<Zipf<f64>>,
    key: Option<Zipf<f64>>,
    executors: Vec<Arc<str>>,
    largest: &'a ExecutorSpec,
    shared: Interner,
}

impl<'a> Maker<'a> {
    fn new(spec: &'a SyntheticSpec, cluster: &'a ClusterDefaults) -> Self {
        let stream = |number| {
            let mut rng = ChaCha8Rng::seed_from_u64(spec.seed);
            rng.set_stream(number);
            rng
        };
        let mut arrivals = stream(1);
        let largest = cluster.cluster.executors.iter().max_by_key(|e| (e.vcores, e.memory_mib));
        Self {
            spec,
            clock: ArrivalClock::new(spec, &mut arrivals),
            arrivals,
            shapes: stream(2),
            times: stream(3),
            data: stream(4),
            tenant: Zipf::new(spec.tenants as f64, spec.tenant_zipf).ok(),
            key: Zipf::new(spec.keys as f64, spec.zipf).ok().filter(|_| spec.keys > 0),
            executors: cluster.cluster.executors.iter().map(|e| Arc::from(e.name.as_str())).collect(),
            largest: largest.expect("checked: there is an executor"),
            shared: Interner::default(),
        }
    }

    fn job(&mut self, index: u64, submit_us: u64) -> Job {
        let tenant = self.tenant.map_or(0, |z| z.sample(&mut self.shapes) as u64 - 1);
        let priority = self.shapes.random_range(0..self.spec.priorities) as i32;
        let stages = (0..self.spec.stages as u32).map(|number| self.stage(number)).collect();
        let tenant = self.shared.share(&tenant_name(tenant));
        Job { id: format!("j{index}"), tenant, submit_us, priority, stages }
    }

    fn stage(&mut self, number: u32) -> Stage {
        let count = self.spec.tasks.draw(&mut self.shapes, 1, MAX_TASKS_PER_STAGE);
        let tasks = (0..count).map(|_| self.task(number == 0)).collect();
        Stage { id: number, depends_on: number.checked_sub(1).into_iter().collect(), tasks }
    }

    fn task(&mut self, reads: bool) -> Task {
        let spec = self.spec;
        let mut task = Task::new(spec.duration.draw(&mut self.times, 0, MAX_DURATION_US));
        task.vcores = spec.vcores.draw(&mut self.shapes, 1, u64::from(self.largest.vcores)) as u32;
        let most = if self.largest.memory_mib > 0 { self.largest.memory_mib } else { u64::MAX };
        task.memory_mib = spec.memory_mib.draw(&mut self.shapes, 0, most.min(u64::from(u32::MAX))) as u32;
        if let Some(zipf) = self.key.filter(|_| reads) {
            let key = format!("key-{:05}", zipf.sample(&mut self.data) as u64 - 1);
            let bytes = spec.input.draw(&mut self.data, 0, MAX_INPUT_BYTES);
            if bytes > 0 {
                let holder = (key_hash(&key) % self.executors.len() as u64) as usize;
                task.inputs = vec![Input { executor: Arc::clone(&self.executors[holder]), bytes }];
            }
            task.key = Some(self.shared.share(&key));
        }
        if spec.pin > 0.0 && self.data.random::<f64>() < spec.pin {
            let at = self.data.random_range(0..self.executors.len());
            task.pin = Some(Arc::clone(&self.executors[at]));
        }
        task
    }
}

/// `team-a` … `team-z`, then `team-26` and so on.
fn tenant_name(index: u64) -> String {
    match u8::try_from(index) {
        Ok(i) if i < 26 => format!("team-{}", char::from(b'a' + i)),
        _ => format!("team-{index}"),
    }
}
