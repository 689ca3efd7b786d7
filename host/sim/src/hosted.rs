//! The policy host as a binder of the embedded cluster.

use std::sync::Arc;

use policy_host::round::{BoundTask, Observation, Round};
use policy_host::{Plan, PolicyHost};

use crate::bind::{Answer, Binder};

impl Answer for Plan {
    fn rows(&self) -> &[BoundTask] {
        self.bindings()
    }

    fn policy(&self) -> &str {
        Plan::policy(self)
    }

    fn generation(&self) -> u64 {
        if Plan::fallback(self).is_some() { 0 } else { self.answered_by().generation }
    }

    fn fallback(&self) -> bool {
        Plan::fallback(self).is_some()
    }
}

impl Binder for PolicyHost {
    type Answer = Plan;

    async fn bind(&self, round: Arc<Round>) -> Plan {
        PolicyHost::bind(self, round).await
    }

    fn wants_observations(&self) -> bool {
        PolicyHost::wants_observations(self)
    }

    fn observe(&self, batch: Vec<Observation>) {
        PolicyHost::observe(self, batch);
    }
}
