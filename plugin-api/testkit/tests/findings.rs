//! The suite finds what it promises to find, each under its code, and finds nothing in a policy that does right.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use policy_plugin_api::prelude::*;
use policy_testkit::Code;
use policy_testkit::conformance::{check_exported_policy, check_filter, check_policy};

/// What the policy under test does in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Well,
    IgnoringLimits,
    IgnoringMemory,
    Panicking,
    Failing,
    Declining,
    Waiting,
    AtRandom,
    PanickingAtObservations,
}

#[derive(Debug)]
struct Policy(How);

/// Differs from instance to instance, as a random number would.
static INSTANCES: AtomicU64 = AtomicU64::new(0);

#[async_trait]
impl DistributionPolicy for Policy {
    async fn bind_tasks(
        &self,
        slots: &mut [AvailableTaskSlots],
        running_jobs: &RunningJobs<'_>,
    ) -> Result<Vec<BoundTask>> {
        match self.0 {
            How::Panicking => panic!("on purpose"),
            How::Failing => return Err(PolicyError::failed("on purpose")),
            How::Declining => return Err(PolicyError::declined("on purpose")),
            How::Waiting => std::future::pending().await,
            How::AtRandom if INSTANCES.fetch_add(1, Ordering::Relaxed) % 2 == 1 => slots.reverse(),
            _ => {}
        }
        let limits = running_jobs.limits();
        let mut caps = limits.group_caps().to_vec();
        let mut bound = Vec::new();
        for task in running_jobs.stages().flat_map(|stage| stage.pending()) {
            let stage = task.stage().id();
            let (groups, vcores, memory) = (limits.groups(stage), task.vcores(), u64::from(task.memory_mib()));
            let within = |slot: &AvailableTaskSlots| {
                limits.allows(stage, slot.executor) && groups.iter().all(|&g| caps[g as usize] >= vcores)
            };
            let fits = |slot: &&mut AvailableTaskSlots| {
                slot.slots >= vcores
                    && (slot.memory_mib >= memory || self.0 == How::IgnoringMemory)
                    && (within(slot) || self.0 == How::IgnoringLimits)
            };
            if let Some(slot) = slots.iter_mut().find(fits) {
                slot.slots -= vcores;
                slot.memory_mib = slot.memory_mib.saturating_sub(memory);
                groups.iter().for_each(|&g| caps[g as usize] = caps[g as usize].saturating_sub(vcores));
                bound.push(BoundTask::new(task.id(), slot.executor));
            }
        }
        Ok(bound)
    }

    fn observe(&self, _: &Observations<'_>) {
        assert!(self.0 != How::PanickingAtObservations, "on purpose");
    }
}

#[test]
fn each_misbehaviour_has_its_code() {
    for (how, code) in [
        (How::Well, None),
        (How::Declining, None),
        (How::IgnoringLimits, Some(Code::IgnoresLimits)),
        (How::IgnoringMemory, Some(Code::IllegalAnswer)),
        (How::Panicking, Some(Code::Panics)),
        (How::Failing, Some(Code::Fails)),
        (How::Waiting, Some(Code::NeverReady)),
        (How::AtRandom, Some(Code::NotDeterministic)),
        (How::PanickingAtObservations, Some(Code::PanicsAtObservations)),
    ] {
        let report = check_policy(|| Policy(how));
        assert_eq!(
            report.findings.iter().map(|f| f.code).collect::<Vec<_>>(),
            Vec::from_iter(code),
            "{how:?}: {report}"
        );
    }
}

/// What the policy under test does with its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Kept,
    Refused,
    Lost,
    AnyVersion,
    Panicking,
}

#[derive(Debug)]
struct Stateful(State, Mutex<u64>);

#[async_trait]
impl DistributionPolicy for Stateful {
    async fn bind_tasks(&self, _: &mut [AvailableTaskSlots], _: &RunningJobs<'_>) -> Result<Vec<BoundTask>> {
        *self.1.lock().unwrap() += 1;
        Ok(Vec::new())
    }

    fn export_state(&self) -> Option<PolicyState> {
        assert!(self.0 != State::Panicking, "on purpose");
        Some(PolicyState { version: 1, bytes: self.1.lock().unwrap().to_le_bytes().to_vec() })
    }

    fn import_state(&self, state: &PolicyState) -> Result<()> {
        if state.version != 1 && self.0 != State::AnyVersion || self.0 == State::Refused {
            return Err(PolicyError::declined("unknown version"));
        }
        let bytes = state.bytes.as_slice().try_into().unwrap_or_default();
        if self.0 != State::Lost {
            *self.1.lock().unwrap() = u64::from_le_bytes(bytes);
        }
        Ok(())
    }
}

#[test]
fn state_must_survive_the_hand_over() {
    for (how, code) in [
        (State::Kept, None),
        (State::Refused, Some("refuses-own-state")),
        (State::Lost, Some("loses-state")),
        (State::AnyVersion, Some("accepts-unknown-state")),
        (State::Panicking, Some("panics-at-state")),
    ] {
        let report = check_policy(|| Stateful(how, Mutex::new(0)));
        assert_eq!(report.codes(), Vec::from_iter(code), "{how:?}: {report}");
    }
}

impl FromConfig for Policy {
    const NAME: &'static str = "Not A Name";
    type Config = NoConfig;

    fn from_config(_: NoConfig) -> Result<Self> {
        Ok(Self(How::Well))
    }
}

/// A policy whose constructor needs more than its default config.
#[derive(Debug)]
struct Demanding;

#[async_trait]
impl DistributionPolicy for Demanding {
    async fn bind_tasks(&self, _: &mut [AvailableTaskSlots], _: &RunningJobs<'_>) -> Result<Vec<BoundTask>> {
        Ok(Vec::new())
    }
}

impl FromConfig for Demanding {
    const NAME: &'static str = "demanding";
    type Config = NoConfig;

    fn from_config(_: NoConfig) -> Result<Self> {
        Err(PolicyError::invalid_config("on purpose"))
    }
}

#[test]
fn an_export_must_have_a_name_and_take_its_config() {
    assert_eq!(check_exported_policy::<Policy>("{}").codes(), ["bad-name"]);
    assert_eq!(check_exported_policy::<Demanding>("{}").codes(), ["config-refused"]);
    assert_eq!(check_exported_policy::<Demanding>(r#"{"unknown": 1}"#).codes(), ["config-refused"]);
}

#[derive(Debug)]
struct Filter(How);

impl TaskFilter for Filter {
    fn filter(&self, _: &[AvailableTaskSlots], jobs: &RunningJobs<'_>, limits: &mut Limits) -> Result<()> {
        match self.0 {
            How::Panicking => panic!("on purpose"),
            How::Failing => return Err(PolicyError::failed("on purpose")),
            How::IgnoringLimits => *limits = Limits::unrestricted(jobs.stage_count() + 1, jobs.executors().len()),
            How::AtRandom => limits.cap_vcores([], INSTANCES.fetch_add(1, Ordering::Relaxed) as u32),
            _ => limits.cap_vcores(jobs.stages().map(|s| s.id()), 3),
        }
        Ok(())
    }

    fn observe(&self, _: &Observations<'_>) {
        assert!(self.0 != How::PanickingAtObservations, "on purpose");
    }
}

#[test]
fn filters_are_tested_too() {
    for (how, code) in [
        (How::Well, None),
        (How::Panicking, Some("panics")),
        (How::Failing, Some("fails")),
        (How::IgnoringLimits, Some("limits-of-another-round")),
        (How::AtRandom, Some("not-deterministic")),
        (How::PanickingAtObservations, Some("panics-at-observations")),
    ] {
        let report = check_filter(|| Filter(how));
        assert_eq!(report.codes(), Vec::from_iter(code), "{how:?}: {report}");
    }
}
