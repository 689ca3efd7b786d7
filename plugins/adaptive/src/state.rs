//! What `adaptive` hands over: which behaviour is at work and why, and what each behaviour hands over itself.

use policy_plugin_api::prelude::*;

use crate::bandit::Arm;
use crate::behaviour::{Behaviour, Made};
use crate::control::{Chooser, Control};
use crate::signals::Signal;

/// The version of the exported state. Little-endian: name of the behaviour at work; its dwell in epochs (`u32`); for
/// each of [`Signal::ALL`] a flag (`u8`) and the smoothed value (`f64`); the number of rules (`u32`) and a flag for each;
/// the number of arms (`u32`), each with name, pulls and reward (`f64`); the number of behaviours with state (`u32`),
/// each with name, version (`u32`) and bytes. Names and bytes come after their length (`u32`).
pub const STATE_VERSION: u32 = 1;

/// What was read, before any of it is taken over.
#[derive(Default)]
struct Handed<'b> {
    current: &'b str,
    dwell_epochs: u32,
    signals: Vec<Option<f64>>,
    in_force: Vec<bool>,
    arms: Vec<(&'b str, Arm)>,
    inner: Vec<(&'b str, PolicyState)>,
}

pub(crate) fn export(behaviours: &[Made], control: &Control) -> PolicyState {
    let mut bytes = Vec::new();
    {
        put(&mut bytes, behaviours[control.current].0.name().as_bytes());
        bytes.extend(control.dwell_epochs.to_le_bytes());
        for signal in Signal::ALL {
            let value = control.signals.get(signal);
            bytes.push(u8::from(value.is_some()));
            bytes.extend(value.unwrap_or_default().to_le_bytes());
        }
        let (in_force, arms) = match &control.chooser {
            Chooser::Rules(rules) => (rules.in_force(), &[][..]),
            Chooser::Bandit(bandit) => (&[][..], bandit.arms()),
        };
        bytes.extend((in_force.len() as u32).to_le_bytes());
        bytes.extend(in_force.iter().map(|&in_force| u8::from(in_force)));
        bytes.extend((arms.len() as u32).to_le_bytes());
        for ((behaviour, _), arm) in behaviours.iter().zip(arms) {
            put(&mut bytes, behaviour.name().as_bytes());
            bytes.extend(arm.pulls.to_le_bytes());
            bytes.extend(arm.reward.to_le_bytes());
        }
    }
    let inner = behaviours.iter().filter_map(|(behaviour, policy)| Some((behaviour, policy.export_state()?)));
    let inner: Vec<_> = inner.collect();
    bytes.extend((inner.len() as u32).to_le_bytes());
    for (behaviour, state) in inner {
        put(&mut bytes, behaviour.name().as_bytes());
        bytes.extend(state.version.to_le_bytes());
        put(&mut bytes, &state.bytes);
    }
    PolicyState { version: STATE_VERSION, bytes }
}

pub(crate) fn import(behaviours: &[Made], control: &mut Control, state: &PolicyState) -> Result<()> {
    if state.version != STATE_VERSION {
        let version = state.version;
        return Err(PolicyError::declined(format!("state version {version}, this policy reads {STATE_VERSION}")));
    }
    let handed = read(&state.bytes).ok_or_else(|| PolicyError::declined("the state is not one of adaptive"))?;
    let index = |name: &str| {
        let behaviour = Behaviour::by_name(name)?;
        behaviours.iter().position(|known| known.0 == behaviour)
    };
    for (name, state) in &handed.inner {
        // A behaviour that refuses starts cold, and so does none that is no longer configured.
        if let Some(index) = index(name) {
            let _ = behaviours[index].1.import_state(state);
        }
    }
    let Control { current, dwell_epochs, signals, chooser, .. } = control;
    // With another config, the behaviour of then may not be there: this policy starts as it is, and dwells anew.
    if let Some(index) = index(handed.current) {
        (*current, *dwell_epochs) = (index, handed.dwell_epochs);
    }
    for (signal, value) in Signal::ALL.into_iter().zip(handed.signals) {
        signals.set(signal, value);
    }
    match chooser {
        Chooser::Rules(rules) => rules.restore(&handed.in_force),
        Chooser::Bandit(bandit) => {
            for (arm, known) in handed.arms.into_iter().filter_map(|(name, known)| Some((index(name)?, known))) {
                bandit.restore(arm, known);
            }
        }
    }
    Ok(())
}

fn read(bytes: &[u8]) -> Option<Handed<'_>> {
    let mut bytes = bytes;
    let bytes = &mut bytes;
    let mut handed = Handed { current: take_name(bytes)?, dwell_epochs: take_count(bytes)?, ..Handed::default() };
    for _ in Signal::ALL {
        let (known, value) = (take_flag(bytes)?, take_number(bytes)?);
        handed.signals.push(known.then_some(value));
    }
    for _ in 0..take_count(bytes)? {
        handed.in_force.push(take_flag(bytes)?);
    }
    for _ in 0..take_count(bytes)? {
        let name = take_name(bytes)?;
        let arm = Arm { pulls: take_number(bytes)?, reward: take_number(bytes)? };
        if arm.pulls < 0.0 || !(0.0..=arm.pulls + 1e-6).contains(&arm.reward) {
            return None;
        }
        handed.arms.push((name, arm));
    }
    for _ in 0..take_count(bytes)? {
        let (name, version) = (take_name(bytes)?, take_count(bytes)?);
        handed.inner.push((name, PolicyState { version, bytes: take(bytes)?.to_vec() }));
    }
    bytes.is_empty().then_some(handed)
}

fn put(bytes: &mut Vec<u8>, part: &[u8]) {
    bytes.extend((part.len() as u32).to_le_bytes());
    bytes.extend(part);
}

fn take<'b>(bytes: &mut &'b [u8]) -> Option<&'b [u8]> {
    let length = take_count(bytes)? as usize;
    let (part, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(part)
}

fn take_name<'b>(bytes: &mut &'b [u8]) -> Option<&'b str> {
    std::str::from_utf8(take(bytes)?).ok()
}

fn take_count(bytes: &mut &[u8]) -> Option<u32> {
    let (head, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u32::from_le_bytes(*head))
}

fn take_flag(bytes: &mut &[u8]) -> Option<bool> {
    let (&head, rest) = bytes.split_first()?;
    *bytes = rest;
    (head <= 1).then_some(head == 1)
}

fn take_number(bytes: &mut &[u8]) -> Option<f64> {
    let (head, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(f64::from_le_bytes(*head)).filter(|number| number.is_finite())
}
