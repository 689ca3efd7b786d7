//! What the cluster keeps of the round that was begun last, so that the answer can be read.

use policy_host::round::{RoundBuilder, TenantId};

/// The round that was begun last.
#[derive(Debug)]
pub(super) struct RoundState {
    pub(super) builder: RoundBuilder,
    pub(super) seed: u64,
    pub(super) number: u64,
    /// First task number, job and stage position of each listed stage.
    pub(super) listed: Vec<(u32, u32, u32)>,
    pub(super) tasks: u32,
    /// The round's number of each tenant, valid where the mark is this round's number.
    pub(super) tenants: Vec<(u64, TenantId)>,
}

impl RoundState {
    pub(super) fn new(seed: u64) -> Self {
        let (listed, tenants) = (Vec::new(), Vec::new());
        Self { builder: RoundBuilder::new(), seed, number: 0, listed, tasks: 0, tenants }
    }
}
