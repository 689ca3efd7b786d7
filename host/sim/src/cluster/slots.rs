//! The running tasks, in reusable places. Knows no time and no queue.

/// A task on an executor.
#[derive(Clone, Copy, Debug)]
pub(super) struct RunningTask {
    pub(super) seq: u64,
    pub(super) job: u32,
    pub(super) stage: u32,
    pub(super) task: u32,
    pub(super) executor: u32,
    pub(super) vcores: u32,
    pub(super) memory_mib: u32,
    pub(super) started_us: u64,
    pub(super) queue_wait_us: u64,
    pub(super) local_bytes: u64,
    pub(super) remote_bytes: u64,
    /// Whether this attempt ends in failure.
    pub(super) fails: bool,
}

/// Running tasks in reusable places; the agenda refers to them by place and sequence number.
#[derive(Debug, Default)]
pub(super) struct Slots {
    places: Vec<Option<RunningTask>>,
    free: Vec<u32>,
    started: u64,
}

impl Slots {
    pub(super) fn insert(&mut self, mut task: RunningTask) -> (u64, u32) {
        self.started += 1;
        task.seq = self.started;
        let slot = self.free.pop().unwrap_or(self.places.len() as u32);
        if slot as usize == self.places.len() {
            self.places.push(None);
        }
        self.places[slot as usize] = Some(task);
        (task.seq, slot)
    }

    /// Takes the task out, unless the place has another one by now.
    pub(super) fn remove(&mut self, slot: u32, seq: u64) -> Option<RunningTask> {
        let task = self.places.get_mut(slot as usize)?.take_if(|t| t.seq == seq)?;
        self.free.push(slot);
        Some(task)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &RunningTask)> {
        self.places.iter().enumerate().filter_map(|(i, t)| t.as_ref().map(|t| (i as u32, t)))
    }

    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }
}
