//! What the durations of tasks tell about the executors they ran on.
//!
//! A duration is compared with those of the same stage only: stages differ by orders of magnitude, tasks of one stage
//! do much the same. The comparison is one of logarithms, so that a few very long tasks do not move the stage's middle,
//! and of work, i.e. of duration times declared speed. An executor counts as slow (or fast) only as far as the evidence
//! goes: the standard error is taken off. Evidence fades with time, so that an executor can recover.

use std::collections::BTreeMap;

use policy_plugin_api::prelude::*;

/// The version of the exported state: for each executor, by name, the length of the name (4 bytes), the name, weight,
/// mean and variance (4 bytes each), and the time of the last evidence (8 bytes), little endian.
pub const STATE_VERSION: u32 = 1;

/// Durations of a stage that must be known before they say something about an executor.
const MIN_STAGE_DURATIONS: f32 = 8.0;
/// Durations of a stage that its middle remembers.
const STAGE_MEMORY: f32 = 256.0;
/// Durations that an executor's mean remembers.
const EXECUTOR_MEMORY: f32 = 32.0;
/// Standard errors taken off.
const STANDARD_ERRORS: f32 = 1.0;
/// Evidence of less weight is not handed over.
const MIN_EXPORTED_WEIGHT: f32 = 0.1;
/// Stages remembered at once; each has two places, and the older of two that clash is forgotten.
const STAGES: usize = 4_096;
/// Speeds and slownesses beyond this factor are not believed.
const MOST: f32 = 16.0;

/// What is known about executors, by uid, and about stages.
#[derive(Debug, Default)]
pub(super) struct Slowness {
    executors: Vec<Known>,
    stages: Vec<StageDurations>,
    /// The roster that `executors` was brought up to date with.
    uids: Vec<u32>,
    /// What a predecessor knew about executors not seen yet.
    imported: BTreeMap<String, Evidence>,
    now_us: u64,
}

#[derive(Debug, Default)]
struct Known {
    name: Option<Box<str>>,
    speed: f32,
    evidence: Evidence,
}

/// A mean of log ratios, with its weight in observations.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Evidence {
    weight: f32,
    mean: f32,
    /// Of a single observation.
    variance: f32,
    at_us: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct StageDurations {
    job_key: u64,
    number: u32,
    count: f32,
    mean: f32,
    variance: f32,
    at_us: u64,
}

/// A relative speed that can be counted with.
fn sane_speed(speed: f32) -> f32 {
    if speed.is_finite() && speed > 0.0 { speed.clamp(1.0 / MOST, MOST) } else { 1.0 }
}

impl Evidence {
    fn faded(&self, now_us: u64, forget_us: u64) -> f32 {
        match now_us.saturating_sub(self.at_us) {
            0 => self.weight,
            age => self.weight * (-(age as f32) / forget_us as f32).exp2(),
        }
    }

    fn add(&mut self, ratio: f32, variance: f32, now_us: u64, forget_us: u64) {
        let weight = self.faded(now_us, forget_us) * (1.0 - 1.0 / EXECUTOR_MEMORY) + 1.0;
        self.mean += (ratio - self.mean) / weight;
        self.variance += (variance - self.variance) / weight;
        (self.weight, self.at_us) = (weight, self.at_us.max(now_us));
    }

    /// By what factor tasks take longer, as far as that is certain. One observation with mean nothing is added, so that
    /// faded evidence counts for nothing even where durations do not vary.
    fn factor(&self, now_us: u64, forget_us: u64) -> f32 {
        let weight = self.faded(now_us, forget_us);
        if weight < 0.01 {
            return 1.0;
        }
        let mean = self.mean * weight / (weight + 1.0);
        let certain = (mean.abs() - STANDARD_ERRORS * (self.variance / weight).sqrt()).max(0.0);
        certain.copysign(mean).exp().clamp(1.0 / MOST, MOST)
    }
}

impl Slowness {
    /// Takes note of the executors of a round.
    pub(super) fn meet(&mut self, jobs: &RunningJobs<'_>) {
        let executors = jobs.executors();
        self.now_us = jobs.now_us();
        if self.uids == executors.uids() {
            return;
        }
        self.uids.clear();
        self.uids.extend_from_slice(executors.uids());
        let known = self.uids.iter().max().map_or(0, |&uid| uid as usize + 1);
        if known > self.executors.len() {
            self.executors.resize_with(known, Known::default);
        }
        for executor in executors.iter() {
            let known = &mut self.executors[executor.uid().index()];
            known.speed = sane_speed(executor.speed());
            if known.name.is_none() {
                known.name = Some(executor.name().into());
                if let Some(mut evidence) = self.imported.remove(executor.name()) {
                    // The predecessor's clock may have been another one.
                    evidence.at_us = evidence.at_us.min(self.now_us);
                    known.evidence = evidence;
                }
            }
        }
    }

    /// By what factor tasks take longer on an executor than on one of speed 1: declared and observed.
    #[inline]
    pub(super) fn of(&self, executor: &Executor<'_>, forget_us: u64) -> f32 {
        let declared = 1.0 / sane_speed(executor.speed());
        let known = self.executors.get(executor.uid().index()).map(|known| &known.evidence);
        match known.filter(|evidence| forget_us > 0 && evidence.weight > 0.0) {
            Some(evidence) => declared * evidence.factor(self.now_us, forget_us),
            None => declared,
        }
    }

    /// Learns from a task that finished.
    pub(super) fn finished(&mut self, one: &Observation, forget_us: u64) {
        let Some(known) = self.executors.get_mut(one.executor.index()).filter(|known| known.name.is_some()) else {
            return;
        };
        if self.stages.is_empty() {
            self.stages = vec![StageDurations::default(); STAGES];
        }
        let at = place(&self.stages, one);
        let stage = &mut self.stages[at];
        if (stage.job_key, stage.number) != (one.job_key, one.stage_number) {
            *stage = StageDurations { job_key: one.job_key, number: one.stage_number, ..StageDurations::default() };
        }
        let work = (one.duration_us.max(1) as f32 * known.speed).ln();
        if stage.count >= MIN_STAGE_DURATIONS {
            // No later than the last round: a time from nowhere must not keep evidence from fading.
            known.evidence.add(work - stage.mean, stage.variance, one.at_us.min(self.now_us), forget_us);
        }
        stage.add(work);
        stage.at_us = one.at_us;
    }

    pub(super) fn export(&self) -> Option<PolicyState> {
        let worth = |evidence: &Evidence| evidence.weight >= MIN_EXPORTED_WEIGHT;
        let own = self.executors.iter().filter_map(|known| Some((known.name.as_deref()?, &known.evidence)));
        let imported = self.imported.iter().map(|(name, evidence)| (&**name, evidence));
        let all: BTreeMap<&str, &Evidence> = imported.chain(own).filter(|(_, evidence)| worth(evidence)).collect();
        let mut bytes = Vec::new();
        for (name, evidence) in &all {
            bytes.extend_from_slice(&u32::try_from(name.len()).unwrap_or(u32::MAX).to_le_bytes());
            bytes.extend_from_slice(name.as_bytes());
            for number in [evidence.weight, evidence.mean, evidence.variance] {
                bytes.extend_from_slice(&number.to_le_bytes());
            }
            bytes.extend_from_slice(&evidence.at_us.to_le_bytes());
        }
        (!all.is_empty()).then_some(PolicyState { version: STATE_VERSION, bytes })
    }

    pub(super) fn import(&mut self, state: &PolicyState) -> Result<()> {
        if state.version != STATE_VERSION {
            let version = state.version;
            return Err(PolicyError::declined(format!("state version {version}, this policy reads {STATE_VERSION}")));
        }
        let broken = || PolicyError::declined("the state is not a list of executors and what is known about them");
        let (mut rest, mut imported) = (state.bytes.as_slice(), BTreeMap::new());
        while !rest.is_empty() {
            let (name, evidence) = read(&mut rest).ok_or_else(broken)?;
            imported.insert(name, evidence);
        }
        self.imported = imported;
        // Executors that were met before are looked up again.
        self.uids.clear();
        self.executors.iter_mut().for_each(|known| known.name = None);
        Ok(())
    }
}

/// Where a stage stands, or which of its two places it takes.
fn place(stages: &[StageDurations], one: &Observation) -> usize {
    let mut hash = (one.job_key ^ u64::from(one.stage_number).rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash ^= hash >> 32;
    let (a, b) = (hash as usize % stages.len(), (hash >> 20) as usize % stages.len());
    let is = |at: usize| {
        stages[at].count > 0.0 && (stages[at].job_key, stages[at].number) == (one.job_key, one.stage_number)
    };
    match (is(a), is(b)) {
        (true, _) => a,
        (_, true) => b,
        _ if stages[b].at_us < stages[a].at_us => b,
        _ => a,
    }
}

impl StageDurations {
    fn add(&mut self, work: f32) {
        self.count = (self.count + 1.0).min(STAGE_MEMORY);
        let off = work - self.mean;
        self.mean += off / self.count;
        let spread = off * (work - self.mean) - self.variance;
        self.variance += spread / self.count;
    }
}

fn read(rest: &mut &[u8]) -> Option<(String, Evidence)> {
    let length = u32::from_le_bytes(*rest.split_first_chunk::<4>()?.0) as usize;
    *rest = &rest[4..];
    let name = String::from_utf8(rest.get(..length)?.to_vec()).ok()?;
    *rest = &rest[length..];
    let mut number = || {
        let (bytes, behind) = rest.split_first_chunk::<4>()?;
        *rest = behind;
        Some(f32::from_le_bytes(*bytes)).filter(|number| number.is_finite() && number.abs() <= 1e6)
    };
    let (weight, mean, variance) = (number()?, number()?, number()?);
    let (bytes, behind) = rest.split_first_chunk::<8>()?;
    *rest = behind;
    let evidence = Evidence { weight, mean, variance, at_us: u64::from_le_bytes(*bytes) };
    (weight >= MIN_EXPORTED_WEIGHT && variance >= 0.0).then_some((name, evidence))
}
