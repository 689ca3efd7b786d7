//! Small virtual-time loops: tasks arrive, a policy binds them, servers serve them.

use std::collections::VecDeque;
use std::sync::Arc;

use policy_plugin_api::observe;
use policy_plugin_api::prelude::*;
use policy_testkit::TestRound;
use policy_wire::assemble::{Clock, ExecutorSpec, JobRow, Roster, RoundBuilder, StageRow, StageTasks, UidTable};
use policy_wire::block::BlockRef;

/// The mean service time, in microseconds.
const SERVICE_US: f64 = 1_000_000.0;
/// Time between two rounds, in mean service times.
const TICK: f64 = 0.05;

/// Single servers with queues of their own, as a policy sees them through reports that are refreshed now and then.
pub(crate) struct Queues {
    /// Of each server.
    pub(crate) speeds: Vec<f64>,
    /// Offered, by tasks of mean 1 over servers of speed 1.
    pub(crate) load: f64,
    /// Mean services from report to report.
    pub(crate) refresh: f64,
    /// Whether the policy is told what has finished.
    pub(crate) observed: bool,
    pub(crate) arrivals: u32,
}

/// What came of it, the first fifth of the tasks left out.
#[derive(Debug, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) mean: f64,
    pub(crate) p99: f64,
    /// Tasks by server.
    pub(crate) tasks: Vec<u32>,
}

pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn exponential(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let unit = ((self.0 >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
        -unit.ln()
    }
}

pub(crate) fn tell(policy: &impl DistributionPolicy, batch: &[Observation]) {
    if !batch.is_empty() {
        let block = observe::encode(batch);
        policy.observe(&Observations::from_block(BlockRef::new(&block)).expect("a batch"));
    }
}

impl Queues {
    pub(crate) fn new(servers: usize, load: f64, refresh: f64) -> Self {
        Self { speeds: vec![1.0; servers], load, refresh, observed: true, arrivals: 30_000 }
    }

    pub(crate) fn run(&self, policy: &impl DistributionPolicy, seed: u64) -> Outcome {
        let servers = self.speeds.len();
        let specs: Vec<_> = (0..servers).map(|i| ExecutorSpec::new(format!("e{i:03}"), 1)).collect();
        let roster = Roster::new(&specs, &mut UidTable::default());
        // A server takes whatever it is given and queues it: what is free tells nothing.
        let (free, stage) = (vec![1_000; servers], StageTasks::uniform(1 << 30, 1));
        let (mut gaps, mut services) = (Random(seed), Random(seed ^ 0x5555));
        let mut queues = vec![VecDeque::<(f64, f64)>::new(); servers];
        let (mut reported, mut reported_at) = (vec![0.0f32; servers], f64::NEG_INFINITY);
        let (mut builder, mut responses, mut counts) = (RoundBuilder::new(), Vec::new(), vec![0; servers]);
        let (mut first, mut next_arrival, mut number) = (0u32, gaps.exponential() / (self.load * servers as f64), 0u64);
        while first < self.arrivals {
            number += 1;
            let now = number as f64 * TICK;
            let mut batch = Vec::new();
            for (server, queue) in (0u32..).zip(&mut queues) {
                while let Some(&(end, duration)) = queue.front().filter(|task| task.0 <= now) {
                    let mut one =
                        Observation::new(ObservationKind::Finished, ExecutorUid(server), (end * SERVICE_US) as u64);
                    (one.job_key, one.duration_us) = (1, (duration * SERVICE_US) as u64);
                    batch.push(one);
                    queue.pop_front();
                }
            }
            if self.observed {
                tell(policy, &batch);
            }
            if now - reported_at >= self.refresh {
                reported = queues.iter().map(|queue| queue.len() as f32).collect();
                reported_at = now;
            }
            let mut arrived = Vec::new();
            while next_arrival <= now {
                arrived.push(next_arrival);
                next_arrival += gaps.exponential() / (self.load * servers as f64);
            }
            let pending = arrived.len() as u32;
            if pending == 0 {
                continue;
            }
            builder.free_vcores(&free).load(&reported);
            let tenant = builder.tenant("t", 0, 0);
            builder.job(JobRow { key: 1, id: "j", tenant, priority: 0, submit_us: 0, vcores_in_use: 0 });
            let tasks = Arc::clone(&stage);
            let row = StageRow { number: 0, tasks, pending, running: 0, runnable_since_us: 0 };
            builder.stage(row, [(first, pending)]);
            let clock = Clock { now_us: (now * SERVICE_US) as u64, seed: seed ^ (number << 20), number };
            let rows = TestRound::of(builder.finish(&roster, clock), None).ask(policy).expect("an answer");
            assert_eq!(rows.len(), pending as usize, "there is always room");
            for row in rows {
                let (server, at) = (row.executor.index(), arrived[(row.task.0 - first) as usize]);
                let duration = services.exponential() / self.speeds[server];
                let end = queues[server].back().map_or(now, |task| task.0.max(now)) + duration;
                queues[server].push_back((end, duration));
                if row.task.0 >= self.arrivals / 5 {
                    responses.push(end - at);
                    counts[server] += 1;
                }
            }
            first += pending;
        }
        responses.sort_by(f64::total_cmp);
        let mean = responses.iter().sum::<f64>() / responses.len() as f64;
        Outcome { mean, p99: responses[responses.len() * 99 / 100], tasks: counts }
    }
}

/// Exact least loaded, by the reports alone.
#[derive(Debug)]
pub(crate) struct LeastReported;

#[async_trait]
impl DistributionPolicy for LeastReported {
    async fn bind_tasks(&self, _: &mut [AvailableTaskSlots], jobs: &RunningJobs<'_>) -> Result<Vec<BoundTask>> {
        let load = jobs.executors().load();
        let least = load.iter().copied().fold(f32::INFINITY, f32::min);
        let equals: Vec<usize> = (0..load.len()).filter(|&at| load[at] == least).collect();
        let pending = jobs.stages().flat_map(|stage| stage.pending());
        let any =
            |task: &Task<'_>| equals[(Random(u64::from(task.index())).exponential() * 1e6) as usize % equals.len()];
        Ok(pending.map(|task| BoundTask::new(task.id(), ExecutorId::from_index(any(&task)))).collect())
    }
}

/// `count` tasks of one stage finished on an executor, `duration_us` each.
pub(crate) fn finished(uid: u32, stage_number: u32, count: u32, duration_us: u64, at_us: u64) -> Vec<Observation> {
    let mut one = Observation::new(ObservationKind::Finished, ExecutorUid(uid), at_us);
    (one.job_key, one.stage_number, one.duration_us) = (1, stage_number, duration_us);
    vec![one; count as usize]
}

/// Executors that take a task only into a free vcore, as most schedulers have it: tasks wait in one queue, and what is
/// free is known exactly. Returns the share of executor 7, which runs at `speed`, and the 99th percentile of durations.
pub(crate) fn late_binding(policy: &impl DistributionPolicy, speed: f64, seed: u64) -> (f64, f64) {
    const EXECUTORS: usize = 20;
    const VCORES: usize = 4;
    const TASKS: u32 = 20_000;
    let specs: Vec<_> = (0..EXECUTORS).map(|i| ExecutorSpec::new(format!("e{i:03}"), VCORES as u32)).collect();
    let (roster, stage) = (Roster::new(&specs, &mut UidTable::default()), StageTasks::uniform(1 << 30, 1));
    let (mut gaps, mut services, mut builder) = (Random(seed), Random(seed ^ 0x5555), RoundBuilder::new());
    let mut running: Vec<Vec<(f64, f64)>> = vec![Vec::new(); EXECUTORS];
    let (mut next_arrival, mut bound, mut arrived, mut number) = (0.0, 0u32, 0u32, 0u64);
    let (mut durations, mut on_slow) = (Vec::new(), 0u32);
    while bound < TASKS {
        number += 1;
        let now = number as f64 * TICK;
        let mut batch = Vec::new();
        for (uid, tasks) in (0u32..).zip(&mut running) {
            tasks.retain(|&(end, duration)| {
                if end <= now {
                    batch.extend(finished(uid, 0, 1, (duration * SERVICE_US) as u64, (end * SERVICE_US) as u64));
                }
                end > now
            });
        }
        tell(policy, &batch);
        while next_arrival <= now {
            arrived += 1;
            next_arrival += gaps.exponential() / (0.6 * (EXECUTORS * VCORES) as f64);
        }
        let pending = arrived - bound;
        if pending == 0 {
            continue;
        }
        builder.free_vcores(&running.iter().map(|tasks| (VCORES - tasks.len()) as u32).collect::<Vec<_>>());
        let tenant = builder.tenant("t", 0, 0);
        builder.job(JobRow { key: 1, id: "j", tenant, priority: 0, submit_us: 0, vcores_in_use: 0 });
        let tasks = Arc::clone(&stage);
        builder.stage(StageRow { number: 0, tasks, pending, running: 0, runnable_since_us: 0 }, [(bound, pending)]);
        let clock = Clock { now_us: (now * SERVICE_US) as u64, seed: seed ^ (number << 20), number };
        for row in TestRound::of(builder.finish(&roster, clock), None).ask(policy).expect("an answer") {
            let at = row.executor.index();
            let duration = services.exponential() / if at == 7 { speed } else { 1.0 };
            running[at].push((now + duration, duration));
            durations.push(duration);
            on_slow += u32::from(at == 7);
            bound += 1;
        }
    }
    durations.sort_by(f64::total_cmp);
    (f64::from(on_slow) / durations.len() as f64, durations[durations.len() * 99 / 100])
}
