//! What each tenant is entitled to, as the config says.

use std::collections::BTreeMap;

/// Weights in thousandths, so that shares of equal size compare equal.
#[derive(Debug)]
pub(crate) struct Weights {
    pub(crate) named: BTreeMap<String, u64>,
    pub(crate) default: u64,
}

impl Weights {
    pub(crate) fn of(&self, tenant: &str) -> u64 {
        if self.named.is_empty() { self.default } else { self.named.get(tenant).copied().unwrap_or(self.default) }
    }
}
