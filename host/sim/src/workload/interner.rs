//! Equal strings once: tenants, keys and executor names recur by the thousand.

use std::collections::HashSet;
use std::sync::Arc;

/// Shares equal strings.
#[derive(Debug, Default)]
pub(super) struct Interner {
    known: HashSet<Arc<str>>,
}

impl Interner {
    pub(super) fn share(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.known.get(text) {
            return Arc::clone(known);
        }
        let shared: Arc<str> = text.into();
        self.known.insert(Arc::clone(&shared));
        shared
    }
}
