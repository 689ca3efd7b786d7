//! Free vcores by executor while an offer is answered.

use ballista_core::serde::protobuf::AvailableVcores;
use policy_host::round::ExecutorUid;

use crate::identity::Cluster;

/// Free vcores by executor: Ballista's own counts, by the executor's place in a roster.
pub(crate) struct Budgets<'b> {
    cluster: Cluster,
    rows: Vec<Option<&'b mut AvailableVcores>>,
}

impl<'b> Budgets<'b> {
    /// Budgets in a cluster, and the rows of executors that are not in it.
    pub(crate) fn new(
        given: impl IntoIterator<Item = &'b mut AvailableVcores>,
        cluster: Cluster,
    ) -> (Self, Vec<&'b mut AvailableVcores>) {
        let mut rows: Vec<Option<&mut AvailableVcores>> = Vec::new();
        rows.resize_with(cluster.roster.len(), || None);
        let mut unknown = Vec::new();
        for row in given {
            match cluster.place(&row.executor_id) {
                Some(place) => rows[place] = Some(row),
                None => unknown.push(row),
            }
        }
        (Self { cluster, rows }, unknown)
    }

    /// The rows, for other budgets.
    pub(crate) fn into_rows(self) -> impl Iterator<Item = &'b mut AvailableVcores> {
        self.rows.into_iter().flatten()
    }

    /// The executors that the rows are of.
    pub(crate) fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    pub(crate) fn get(&mut self, executor: ExecutorUid) -> Option<&mut AvailableVcores> {
        self.rows.get_mut(self.cluster.position(executor)?)?.as_deref_mut()
    }

    /// The rows, ordered by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &AvailableVcores> {
        self.rows.iter().flatten().map(|row| &**row)
    }

    /// Free vcores, one row an executor of the cluster; none where none were given.
    pub(crate) fn free_rows(&self, rows: &mut Vec<u32>) {
        rows.clear();
        rows.extend(self.rows.iter().map(|row| row.as_ref().map_or(0, |row| row.vcores)));
    }

    pub(crate) fn free(&self) -> u64 {
        self.iter().map(|row| u64::from(row.vcores)).sum()
    }
}
