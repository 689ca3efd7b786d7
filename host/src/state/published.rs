//! Receipt and registry as the control task published them last, for callers in this process.

use std::sync::{Mutex, PoisonError};

use crate::state::receipt::{Listed, Receipt};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Published {
    receipt: Mutex<Receipt>,
    listed: Mutex<Vec<Listed>>,
}

impl Published {
    pub(crate) fn receipt(&self) -> Receipt {
        self.receipt.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_receipt(&self, receipt: Receipt) {
        *self.receipt.lock().unwrap_or_else(PoisonError::into_inner) = receipt;
    }

    pub(crate) fn listed(&self) -> Vec<Listed> {
        self.listed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_listed(&self, listed: Vec<Listed>) {
        *self.listed.lock().unwrap_or_else(PoisonError::into_inner) = listed;
    }
}
