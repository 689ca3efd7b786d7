//! A stage's pending tasks: drawn run by run where all take the same, walked one by one where they differ.

use std::ops::{ControlFlow, Range};

use policy_plugin_api::round::Stage;
use policy_plugin_api::{BoundTask, ExecutorId, TaskId};

use crate::demand::Demand;
use crate::gate::{Gate, Pass};

/// Tasks that a policy passes over in one round, because they fit on no executor, before it stops looking further in
/// stages whose tasks differ. Bounds a round's cost; at a few nanoseconds each, far below what a round costs anyway.
pub const MAX_PASSED_OVER: u32 = 4_096;

/// Draws pending tasks from the front.
#[derive(Clone, Debug)]
pub struct Draw<I> {
    runs: I,
    first_task: u32,
    next: u32,
    left: u32,
}

/// Starts to draw a stage's pending tasks.
#[must_use]
pub fn draw<'a>(stage: &Stage<'a>) -> Draw<impl Iterator<Item = (u32, u32)> + use<'a>> {
    let mut draw = Draw { runs: stage.pending_runs(), first_task: stage.first_task().0, next: 0, left: 0 };
    draw.advance();
    draw
}

impl<I: Iterator<Item = (u32, u32)>> Draw<I> {
    /// Whether no task is left.
    #[inline]
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.left == 0
    }

    /// The next tasks as (first task of the round, length): at most `most`, and at most what is left of their run.
    #[inline]
    pub fn run(&mut self, most: u32) -> (u32, u32) {
        let (first, length) = (self.first_task + self.next, self.left.min(most));
        self.next += length;
        self.left -= length;
        if self.left == 0 {
            self.advance();
        }
        (first, length)
    }

    /// Binds the next `tasks` tasks to one executor; returns how many there were.
    #[inline]
    pub fn bind(&mut self, tasks: u32, executor: ExecutorId, answer: &mut Vec<BoundTask>) -> u32 {
        let mut wanted = tasks;
        while wanted > 0 && !self.is_done() {
            let (first, length) = self.run(wanted);
            answer.extend((first..first + length).map(|task| BoundTask::new(TaskId(task), executor)));
            wanted -= length;
        }
        tasks - wanted
    }

    fn advance(&mut self) {
        (self.next, self.left) = self.runs.find(|&(_, length)| length > 0).unwrap_or((0, 0));
    }
}

/// Calls `each` with the pending tasks of a stage one by one, by their number in the round, until it breaks. The columns
/// of what tasks take are looked at run by run: for loops in which a nanosecond a task counts.
#[inline]
pub fn each_pending<'s>(stage: &Stage<'s>, mut each: impl FnMut(TaskId, Demand) -> ControlFlow<()>) -> ControlFlow<()> {
    let own = |column: &'s [u32], rows: Range<usize>| if column.len() > 1 { column.get(rows) } else { None };
    for (first, length) in stage.pending_runs() {
        let rows = first as usize..first as usize + length as usize;
        // A value each, or one for all.
        let vcores = own(stage.vcores_column(), rows.clone()).unwrap_or(&[]);
        let memory_mib = own(stage.memory_mib_column(), rows).unwrap_or(&[]);
        let all = Demand::of_task(stage, first);
        let number = stage.first_task().0 + first;
        for i in 0..length {
            let demand = Demand {
                vcores: vcores.get(i as usize).map_or(all.vcores, |&own| own.max(1)),
                memory_mib: memory_mib.get(i as usize).map_or(all.memory_mib, |&own| own),
            };
            each(TaskId(number + i), demand)?;
        }
    }
    ControlFlow::Continue(())
}

/// Walks the pending tasks of a stage one by one: for stages whose tasks differ, and for rules that look at each task.
///
/// `place` finds an executor for task `index` and takes what it needs there; `None` means that it fits nowhere. The
/// walk ends where `place` cannot find anything for a stage of equal tasks, where the caps of the stage's groups are
/// used up, and where `passed_over` has reached [`MAX_PASSED_OVER`].
pub fn walk(
    stage: &Stage<'_>,
    gate: &mut Gate<'_>,
    pass: &Pass<'_>,
    passed_over: &mut u32,
    answer: &mut Vec<BoundTask>,
    mut place: impl FnMut(u32, Demand) -> Option<ExecutorId>,
) {
    let uniform = Demand::of_stage(stage);
    let mut room = gate.room(pass);
    for index in stage.pending_runs().flat_map(|(first, length)| first..first + length) {
        if room == 0 {
            return;
        }
        let demand = uniform.unwrap_or_else(|| Demand::of_task(stage, index));
        let placed = if demand.vcores <= room { place(index, demand) } else { None };
        let Some(executor) = placed else {
            *passed_over += 1;
            if uniform.is_some() || *passed_over >= MAX_PASSED_OVER {
                return;
            }
            continue;
        };
        gate.take(pass, demand.vcores);
        room = gate.room(pass);
        answer.push(BoundTask::new(TaskId(stage.first_task().0 + index), executor));
    }
}
