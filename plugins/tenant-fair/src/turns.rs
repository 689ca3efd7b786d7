//! When each tenant was served last: settles ties, and is what the policy hands over.

use std::collections::BTreeMap;

use policy_plugin_api::prelude::*;

use crate::party::Between;

/// The version of the exported state. Little-endian: clock (`u64`); the name of the executor served last; then, by
/// name, each tenant's name and when it was served last (`u64`). A name is its length in bytes (`u32`) and its UTF-8.
pub const STATE_VERSION: u32 = 1;

/// Tenants that are remembered, those of the current round not counted. Above, those without pending tasks are
/// forgotten: they come back as new ones, behind those who wait.
pub const MAX_REMEMBERED_TENANTS: usize = 16_384;

/// The clock counts vcores granted since the policy started.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    clock: u64,
    last_executor: String,
    by_name: BTreeMap<String, u32>,
    rows: Vec<Row>,
    /// The row of each tenant of the last round, by its number there: embedders mostly list the same tenants again.
    recent: Vec<u32>,
}

#[derive(Debug)]
struct Row {
    name: String,
    last_served: u64,
}

impl Turns {
    pub(crate) fn clock(&self) -> u64 {
        self.clock
    }

    pub(crate) fn last_executor(&self) -> &str {
        &self.last_executor
    }

    pub(crate) fn set_last_executor(&mut self, name: &str) {
        self.last_executor.clear();
        self.last_executor.push_str(name);
    }

    /// Starts a round: afterwards [`Turns::last_served`] knows each of its tenants. Who is new counts as served now.
    pub(crate) fn begin(&mut self, jobs: &RunningJobs<'_>, between: Between) {
        let parties = between.count(jobs);
        if self.rows.len() > MAX_REMEMBERED_TENANTS + parties {
            self.forget_absent(jobs, between);
        }
        self.recent.resize(parties, u32::MAX);
        for (at, recent) in self.recent.iter_mut().enumerate() {
            let name = between.party(jobs, at).name;
            if self.rows.get(*recent as usize).is_some_and(|row| row.name == name) {
                continue;
            }
            *recent = match self.by_name.get(name) {
                Some(&row) => row,
                None => {
                    let row = self.rows.len() as u32;
                    self.by_name.insert(name.to_owned(), row);
                    self.rows.push(Row { name: name.to_owned(), last_served: self.clock });
                    row
                }
            };
        }
    }

    /// When tenant `index` of the round was served last.
    #[inline]
    pub(crate) fn last_served(&self, index: usize) -> u64 {
        self.recent.get(index).and_then(|&row| self.rows.get(row as usize)).map_or(self.clock, |row| row.last_served)
    }

    /// Ends a round.
    pub(crate) fn end(&mut self, clock: u64, last_served: impl Iterator<Item = u64>) {
        self.clock = clock;
        for (&row, last_served) in self.recent.iter().zip(last_served) {
            if let Some(row) = self.rows.get_mut(row as usize) {
                row.last_served = last_served;
            }
        }
    }

    fn forget_absent(&mut self, jobs: &RunningJobs<'_>, between: Between) {
        let present: Vec<Row> = (0..between.count(jobs))
            .filter_map(|at| {
                let name = between.party(jobs, at).name;
                let row = self.by_name.remove(name)?;
                Some(Row { name: name.to_owned(), last_served: self.rows[row as usize].last_served })
            })
            .collect();
        self.by_name = (0..).zip(&present).map(|(row, known)| (known.name.clone(), row)).collect();
        self.rows = present;
        self.recent.clear();
    }

    pub(crate) fn export(&self) -> Option<PolicyState> {
        if self.rows.is_empty() && self.last_executor.is_empty() {
            return None;
        }
        let mut bytes = self.clock.to_le_bytes().to_vec();
        put_name(&mut bytes, &self.last_executor);
        for (name, &row) in &self.by_name {
            put_name(&mut bytes, name);
            bytes.extend(self.rows[row as usize].last_served.to_le_bytes());
        }
        Some(PolicyState { version: STATE_VERSION, bytes })
    }

    pub(crate) fn import(state: &PolicyState) -> Result<Self> {
        if state.version != STATE_VERSION {
            let version = state.version;
            return Err(PolicyError::declined(format!("state version {version}, this policy reads {STATE_VERSION}")));
        }
        Self::read(&state.bytes).ok_or_else(|| PolicyError::declined("the state is not one of tenant-fair"))
    }

    fn read(mut bytes: &[u8]) -> Option<Self> {
        let mut turns = Self { clock: take_number(&mut bytes)?, ..Self::default() };
        turns.last_executor = take_name(&mut bytes)?;
        while !bytes.is_empty() {
            let name = take_name(&mut bytes)?;
            let last_served = take_number(&mut bytes)?;
            let row = u32::try_from(turns.rows.len()).ok()?;
            if last_served > turns.clock || turns.by_name.insert(name.clone(), row).is_some() {
                return None;
            }
            turns.rows.push(Row { name, last_served });
        }
        // Leaves room to count on for longer than any host runs.
        (turns.clock <= u64::MAX / 2).then_some(turns)
    }
}

fn put_name(bytes: &mut Vec<u8>, name: &str) {
    bytes.extend((name.len() as u32).to_le_bytes());
    bytes.extend(name.as_bytes());
}

fn take_number(bytes: &mut &[u8]) -> Option<u64> {
    let (head, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u64::from_le_bytes(*head))
}

fn take_name(bytes: &mut &[u8]) -> Option<String> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (name, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    *bytes = rest;
    String::from_utf8(name.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(version: u32, bytes: &[u8]) -> PolicyState {
        PolicyState { version, bytes: bytes.to_vec() }
    }

    #[test]
    fn state_comes_back_and_what_is_no_state_is_refused() {
        let mut bytes = 9u64.to_le_bytes().to_vec();
        put_name(&mut bytes, "executor-1");
        for (name, last_served) in [("a", 7u64), ("b", 9)] {
            put_name(&mut bytes, name);
            bytes.extend(last_served.to_le_bytes());
        }
        let good = state(STATE_VERSION, &bytes);
        assert_eq!(Turns::import(&good).unwrap().export(), Some(good));
        assert!(Turns::import(&state(2, &bytes)).is_err());
        for cut in (0..bytes.len()).filter(|cut| ![22, 35].contains(cut)) {
            assert!(Turns::import(&state(STATE_VERSION, &bytes[..cut])).is_err(), "cut at {cut}");
        }
        let mut future = bytes.clone();
        future[0] = 8;
        assert!(Turns::import(&state(STATE_VERSION, &future)).is_err(), "served after the clock");
        bytes.extend_from_slice(&bytes.clone()[22..35]);
        assert!(Turns::import(&state(STATE_VERSION, &bytes)).is_err(), "a tenant twice");
        assert_eq!(Turns::default().export(), None);
    }
}
