//! The rounds that placed a job's tasks.

use std::collections::HashMap;

use super::rows::RoundRow;

/// The rounds that placed tasks of a job.
#[derive(Default)]
pub(super) struct Placed {
    pub(super) rounds: Vec<RoundRow>,
    /// Stage, attempt and task: the round that placed it.
    pub(super) by_task: HashMap<(usize, usize, usize), u64>,
}
