//! Ballista's in-memory cluster state, with a view of it for policies: the registered executors, also when nothing is free
//! there. Calls go through unchanged; only vcores that Ballista forgets to give back are given back (see `ledger`).

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use async_trait::async_trait;
use ballista_core::JobId;
use ballista_core::error::Result;
use ballista_core::serde::protobuf::ExecutorHeartbeat;
use ballista_core::serde::scheduler::{ExecutorData, ExecutorMetadata};
use ballista_scheduler::cluster::memory::InMemoryClusterState;
use ballista_scheduler::cluster::{BoundTask, ClusterState, ClusterStateEventStream, ExecutorSlot};
use ballista_scheduler::config::TaskDistributionPolicy;
use ballista_scheduler::state::task_manager::JobInfoCache;

use crate::adapter::PolicyAdapter;
use crate::identity::ClusterView;
use crate::ledger::{self, Ledger};
use crate::limits::LOOK_FOR_MISSING_EVERY;
use crate::reoffer::Reoffers;

/// [`InMemoryClusterState`] that keeps a [`ClusterView`] up to date.
pub struct ObservedCluster {
    inner: InMemoryClusterState,
    view: Arc<ClusterView>,
    reoffers: Arc<Reoffers>,
    ledger: Arc<Mutex<Ledger>>,
    last_look: Mutex<Option<Instant>>,
}

impl ObservedCluster {
    /// An empty cluster that this adapter sees.
    #[must_use]
    pub fn new(adapter: &PolicyAdapter) -> Self {
        Self {
            inner: InMemoryClusterState::default(),
            view: adapter.view(),
            reoffers: adapter.reoffers(),
            ledger: adapter.ledger(),
            last_look: Mutex::default(),
        }
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Compares the ledger with the graphs, now and then; what has been missing for long is given back.
    async fn audit(&self, jobs: &HashMap<JobId, JobInfoCache>) -> Result<()> {
        let now = Instant::now();
        {
            let mut last = self.last_look.lock().unwrap_or_else(PoisonError::into_inner);
            if last.is_some_and(|last| now.duration_since(last) < LOOK_FOR_MISSING_EVERY) {
                return Ok(());
            }
            *last = Some(now);
        }
        let running = ledger::running(jobs).await;
        let missing = self.ledger().compare(&running, now);
        for (executor, vcores) in missing {
            tracing::warn!(executor, vcores, "vcores of tasks that Ballista no longer knows are given back");
            self.inner.unbind_tasks(vec![(executor, vcores)]).await?;
        }
        Ok(())
    }
}

impl std::fmt::Debug for ObservedCluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ObservedCluster").field("view", &self.view).finish_non_exhaustive()
    }
}

#[async_trait]
impl ClusterState for ObservedCluster {
    async fn init(&self) -> Result<()> {
        self.inner.init().await
    }

    async fn bind_schedulable_tasks(
        &self,
        distribution: TaskDistributionPolicy,
        active_jobs: Arc<HashMap<JobId, JobInfoCache>>,
        executors: Option<HashSet<String>>,
    ) -> Result<Vec<BoundTask>> {
        self.audit(&active_jobs).await?;
        let bound = self.inner.bind_schedulable_tasks(distribution, active_jobs, executors).await?;
        let mut ledger = self.ledger();
        for tasks in bound.chunk_by(|a, b| a.0 == b.0) {
            ledger.take(&tasks[0].0, tasks.iter().map(|t| t.1.vcores_consumed).sum());
        }
        // Nothing else may happen in a cluster that has nothing left.
        if let Some(executor) = ledger.suspect() {
            self.reoffers.ask(executor, false);
        }
        Ok(bound)
    }

    async fn unbind_tasks(&self, mut executor_slots: Vec<ExecutorSlot>) -> Result<()> {
        {
            let mut ledger = self.ledger();
            executor_slots.iter_mut().for_each(|(executor, vcores)| *vcores = ledger.give_back(executor, *vcores));
        }
        self.inner.unbind_tasks(executor_slots).await
    }

    async fn register_executor(&self, metadata: ExecutorMetadata, spec: ExecutorData) -> Result<()> {
        let (id, host, vcores) = (metadata.id.clone(), metadata.host.clone(), metadata.specification.vcores);
        // Before Ballista may bind to it: what is taken of it is taken from the ledger, too.
        let is_new = self.ledger().register(&id, spec.available_vcores);
        if let Err(error) = self.inner.register_executor(metadata, spec).await {
            if is_new {
                self.ledger().remove(&id);
            }
            return Err(error);
        }
        self.view.register(&id, &host, vcores);
        Ok(())
    }

    async fn save_executor_metadata(&self, metadata: ExecutorMetadata) -> Result<()> {
        let (id, host, vcores) = (metadata.id.clone(), metadata.host.clone(), metadata.specification.vcores);
        self.inner.save_executor_metadata(metadata).await?;
        self.view.register(&id, &host, vcores);
        Ok(())
    }

    async fn get_executor_metadata(&self, executor_id: &str) -> Result<ExecutorMetadata> {
        self.inner.get_executor_metadata(executor_id).await
    }

    async fn registered_executor_metadata(&self) -> Vec<ExecutorMetadata> {
        self.inner.registered_executor_metadata().await
    }

    async fn save_executor_heartbeat(&self, heartbeat: ExecutorHeartbeat) -> Result<()> {
        self.inner.save_executor_heartbeat(heartbeat).await
    }

    async fn remove_executor(&self, executor_id: &str) -> Result<()> {
        self.ledger().remove(executor_id);
        self.inner.remove_executor(executor_id).await?;
        self.view.remove(executor_id);
        Ok(())
    }

    fn executor_heartbeats(&self) -> HashMap<String, ExecutorHeartbeat> {
        self.inner.executor_heartbeats()
    }

    fn get_executor_heartbeat(&self, executor_id: &str) -> Option<ExecutorHeartbeat> {
        self.inner.get_executor_heartbeat(executor_id)
    }

    async fn cluster_state_events(&self) -> Result<ClusterStateEventStream> {
        self.inner.cluster_state_events().await
    }
}
