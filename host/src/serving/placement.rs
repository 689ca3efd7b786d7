//! What an answer shows from its round alone: whose input it put where its bytes lie. Pure.

use policy_wire::{BoundTask, RunningJobs};

/// Input bytes of the bound tasks, and those of them that lie on the task's executor. `rows` by ascending task; costs
/// O(stages + rows + holders of these tasks).
#[must_use]
pub fn input_bytes(jobs: &RunningJobs<'_>, rows: &[BoundTask]) -> (u64, u64) {
    let (uids, mut all, mut local) = (jobs.executors().uids(), 0u64, 0u64);
    let mut rows = rows.iter().peekable();
    for stage in jobs.stages() {
        let (first, end) = (stage.first_task().0, stage.first_task().0.saturating_add(stage.task_count()));
        let held = stage.has_holders();
        while let Some(row) = rows.next_if(|row| row.task.0 < end) {
            if !held || row.task.0 < first {
                continue;
            }
            for (uid, bytes) in stage.task(row.task.0 - first).holders() {
                all = all.saturating_add(bytes);
                if uids.get(row.executor.index()) == Some(&uid.0) {
                    local = local.saturating_add(bytes);
                }
            }
        }
    }
    (all, local)
}
