//! The executors of the cluster by name, with the numbers that last for the life of the host.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use foldhash::fast::RandomState;
use policy_host::round::{ExecutorId, ExecutorSpec, ExecutorUid, ObservationKind, Roster, UidTable};

use crate::limits::{FORGOTTEN_AFTER, RESERVED_FOR, SILENT_AFTER};

/// The executors of the cluster. Written by the cluster state ([`crate::ObservedCluster`]) and by what rounds show; a
/// round takes the executors of one moment from it and keeps those.
#[derive(Debug, Default)]
pub struct ClusterView {
    inner: Mutex<View>,
}

#[derive(Debug, Default)]
struct View {
    executors: BTreeMap<String, Executor>,
    uids: UidTable,
    cluster: Option<Cluster>,
    changes: Vec<(ObservationKind, ExecutorUid)>,
}

#[derive(Debug)]
struct Executor {
    vcores: u32,
    host: Option<String>,
    /// Whether Ballista registered it; otherwise it was seen in a round.
    registered: bool,
    /// Free vcores as it said when it last asked for work; pull mode only.
    free: u32,
    seen: Instant,
}

/// The executors of one round.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    pub(crate) roster: Arc<Roster>,
    position_of_uid: Arc<[u32]>,
    position_of_name: Arc<HashMap<String, usize, RandomState>>,
}

impl Cluster {
    /// Where the executor with this lasting number stands in the roster.
    pub(crate) fn position(&self, uid: ExecutorUid) -> Option<usize> {
        self.position_of_uid.get(uid.index()).filter(|&&p| p != u32::MAX).map(|&p| p as usize)
    }

    /// Where the executor of this name stands in the roster.
    pub(crate) fn place(&self, name: &str) -> Option<usize> {
        self.position_of_name.get(name).copied()
    }
}

impl ClusterView {
    fn lock(&self) -> MutexGuard<'_, View> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ballista registered an executor, or repeated its description.
    pub fn register(&self, name: &str, host: &str, vcores: u32) {
        let mut view = self.lock();
        let now = Instant::now();
        match view.executors.get_mut(name) {
            Some(known) if known.registered && known.vcores == vcores && known.host.as_deref() == Some(host) => {
                known.seen = now;
                return;
            }
            Some(known) => {
                (known.vcores, known.host, known.registered, known.seen) = (vcores, Some(host.into()), true, now);
            }
            None => {
                let executor = Executor { vcores, host: Some(host.into()), registered: true, free: 0, seen: now };
                view.executors.insert(name.to_owned(), executor);
                view.note(ObservationKind::ExecutorJoined, name);
            }
        }
        view.cluster = None;
    }

    /// Ballista removed an executor.
    pub fn remove(&self, name: &str) {
        let mut view = self.lock();
        if view.executors.remove(name).is_some() {
            view.cluster = None;
            view.note(ObservationKind::ExecutorLost, name);
        }
    }

    /// An executor has this much free: it is there, whether or not Ballista registered it.
    pub(crate) fn learn(&self, name: &str, free: u32) {
        let now = Instant::now();
        let mut view = self.lock();
        match view.executors.get_mut(name) {
            Some(known) => {
                (known.free, known.seen) = (free, now);
                if free <= known.vcores {
                    return;
                }
                known.vcores = free;
            }
            None => {
                let executor = Executor { vcores: free, host: None, registered: false, free, seen: now };
                view.executors.insert(name.to_owned(), executor);
                view.note(ObservationKind::ExecutorJoined, name);
            }
        }
        view.cluster = None;
    }

    /// Pull mode: so much went to an executor since it asked.
    pub(crate) fn spend(&self, name: &str, vcores: u32) {
        if let Some(known) = self.lock().executors.get_mut(name) {
            known.free = known.free.saturating_sub(vcores);
        }
    }

    /// Pull mode: an executor did not fetch what was reserved for it: it counts as full until it asks again.
    pub(crate) fn mark_full(&self, uid: ExecutorUid) {
        let mut view = self.lock();
        let View { executors, cluster, .. } = &mut *view;
        let Some(cluster) = cluster else { return };
        let Some(position) = cluster.position(uid) else { return };
        let name = cluster.roster.name(ExecutorId::from_index(position));
        if let Some(known) = executors.get_mut(name).filter(|e| e.seen.elapsed() >= RESERVED_FOR) {
            known.free = 0;
        }
    }

    /// Pull mode: free vcores, one row an executor; of those that are silent, none.
    pub(crate) fn free(&self, cluster: &Cluster, rows: &mut Vec<u32>) {
        let view = self.lock();
        rows.clear();
        rows.resize(cluster.roster.len(), 0);
        for (name, executor) in &view.executors {
            if executor.seen.elapsed() < SILENT_AFTER
                && let Some(position) = cluster.roster.position(name)
            {
                rows[position.index()] = executor.free;
            }
        }
    }

    /// The lasting number of a name, given now if it has none.
    pub(crate) fn uid(&self, name: &str) -> ExecutorUid {
        self.lock().uids.uid(name)
    }

    /// The lasting numbers of many names, under one lock.
    pub(crate) fn with_uids<R>(&self, run: impl FnOnce(&mut UidTable) -> R) -> R {
        run(&mut self.lock().uids)
    }

    /// The executors as of now; the same roster until one comes or goes.
    pub(crate) fn cluster(&self) -> Cluster {
        let mut view = self.lock();
        if let Some(cluster) = &view.cluster {
            return cluster.clone();
        }
        view.executors.retain(|_, e| e.registered || e.seen.elapsed() < FORGOTTEN_AFTER);
        let spec = |(name, e): (&String, &Executor)| {
            let mut spec = ExecutorSpec::new(name.clone(), e.vcores);
            spec.labels.extend(e.host.iter().map(|host| ("host".to_owned(), host.clone())));
            spec
        };
        let specs: Vec<ExecutorSpec> = view.executors.iter().map(spec).collect();
        let roster = Roster::new(&specs, &mut view.uids);
        let mut position_of_uid = vec![u32::MAX; view.uids.len()];
        for position in 0..roster.len() {
            if let Some(uid) = roster.uid(ExecutorId::from_index(position)) {
                position_of_uid[uid.index()] = position as u32;
            }
        }
        // The roster's order is that of the names.
        let position_of_name = view.executors.keys().cloned().zip(0..).collect();
        let position_of_name = Arc::new(position_of_name);
        let cluster = Cluster { roster, position_of_uid: position_of_uid.into(), position_of_name };
        view.cluster = Some(cluster.clone());
        cluster
    }

    /// The name of one executor that Ballista registered.
    pub(crate) fn any_registered(&self) -> Option<String> {
        let view = self.lock();
        let mut registered = view.executors.iter().filter(|(_, executor)| executor.registered);
        registered.next().map(|(name, _)| name.clone())
    }

    /// The executors that came and went since the last call.
    pub(crate) fn take_changes(&self) -> Vec<(ObservationKind, ExecutorUid)> {
        std::mem::take(&mut self.lock().changes)
    }
}

impl View {
    fn note(&mut self, kind: ObservationKind, name: &str) {
        let uid = self.uids.uid(name);
        self.changes.push((kind, uid));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_outlive_executors_and_the_roster_follows_the_cluster() {
        let view = ClusterView::default();
        view.register("b", "host-b", 4);
        view.register("a", "host-a", 2);
        let first = view.cluster();
        let b = view.uid("b");
        assert_eq!(first.position(b), Some(1));
        view.register("b", "host-b", 4);
        assert!(Arc::ptr_eq(&first.roster, &view.cluster().roster), "nothing changed, nothing is built");
        view.remove("b");
        assert_eq!(view.cluster().position(b), None);
        view.learn("b", 3);
        assert_eq!((view.uid("b"), view.cluster().position(b)), (b, Some(1)));
        let kinds: Vec<_> = view.take_changes().into_iter().filter(|c| c.1 == b).map(|c| c.0).collect();
        use ObservationKind::{ExecutorJoined, ExecutorLost};
        assert_eq!(kinds, [ExecutorJoined, ExecutorLost, ExecutorJoined]);
    }
}
