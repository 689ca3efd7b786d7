//! Where tasks go, counted at the cluster's side of the host.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use policy_host::round::{Observation, Round};
use policy_host::{Plan, PolicyHost};
use policy_sim::Binder;

/// A host, with the tasks that each executor got since the last look.
pub(crate) struct Counted<'a> {
    host: &'a PolicyHost,
    placed: Placement,
}

/// Tasks by executor.
#[derive(Clone, Default)]
pub(crate) struct Placement(Arc<Mutex<BTreeMap<String, u64>>>);

impl<'a> Counted<'a> {
    pub(crate) fn new(host: &'a PolicyHost, placed: Placement) -> Self {
        Self { host, placed }
    }
}

impl Placement {
    /// Tasks by executor since the last call.
    pub(crate) fn take(&self) -> BTreeMap<String, u64> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn add(&self, plan: &Plan) {
        if plan.bindings().is_empty() {
            return;
        }
        let mut placed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for bound in plan.bindings() {
            let name = plan.round().roster().name(bound.executor);
            match placed.get_mut(name) {
                Some(count) => *count += 1,
                None => drop(placed.insert(name.to_owned(), 1)),
            }
        }
    }
}

impl Binder for Counted<'_> {
    type Answer = Plan;

    async fn bind(&self, round: Arc<Round>) -> Plan {
        let plan = self.host.bind(round).await;
        self.placed.add(&plan);
        plan
    }

    fn wants_observations(&self) -> bool {
        self.host.wants_observations()
    }

    fn observe(&self, batch: Vec<Observation>) {
        self.host.observe(batch);
    }
}

/// A line with a bar for each executor, for people.
pub(crate) fn bars(placed: &BTreeMap<String, u64>) -> String {
    let most = placed.values().copied().max().unwrap_or(0).max(1);
    let bars = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let executors = placed.iter().take(16).map(|(name, &tasks)| {
        let bar = bars[(tasks * 7).div_ceil(most).min(7) as usize];
        format!("{name} {bar} {tasks}")
    });
    executors.collect::<Vec<_>>().join("   ")
}
