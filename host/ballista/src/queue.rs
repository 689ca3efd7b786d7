//! The pending partitions of a stage as ranges: a mirror of Ballista's queue that costs nothing while the queue does not
//! change.
//!
//! `PendingPartitions` can be read in two ways: by taking partitions out, and by copying all of it. But only a policy
//! takes (`bind_one` of `cluster/mod.rs` is the only caller of `next_slice`), and all other code only puts back
//! (`reschedule`, when tasks failed or an executor was lost). So a queue that is as long as it was when the adapter last
//! changed it is that queue still, and is copied otherwise. If that failed, decisions would name partitions that are
//! not pending: applying them finds that out, binds the others, and the next round copies.

use ballista_scheduler::state::execution_stage::PendingPartitions;

/// First partition and length.
pub(crate) type Run = (u32, u32);

/// The partitions of a stage that are pending.
#[derive(Clone, Debug, Default)]
pub(crate) struct Queue {
    /// All of them, ascending and apart.
    runs: Vec<Run>,
    /// Those that must be repeated before others, ascending.
    repeats: Vec<u32>,
    /// How long Ballista's queue was when this was the same; `None` when it must be copied.
    length: Option<usize>,
}

impl Queue {
    /// Follows Ballista's queue. `started`: the partitions of all tasks of the stage so far; those of them that are
    /// pending must be repeated. Costs O(1) when nothing was put back since the last look, otherwise O(partitions).
    pub(crate) fn follow(&mut self, pending: &PendingPartitions, started: impl Iterator<Item = usize>) {
        let remaining = pending.remaining();
        if self.length == Some(remaining) {
            return;
        }
        self.repeats.clear();
        let mut started = started.peekable();
        if started.peek().is_none() && remaining == pending.total_partitions() {
            self.runs = vec![(0, remaining as u32)];
        } else {
            let mut queue = pending.clone().next_slice(usize::MAX);
            queue.sort_unstable();
            // Ballista does not make sure that a partition is put back once only.
            queue.dedup();
            let mut was_started = vec![false; pending.total_partitions()];
            for partition in started {
                if let Some(mark) = was_started.get_mut(partition) {
                    *mark = true;
                }
            }
            let repeated = queue.iter().filter(|&&p| was_started.get(p) == Some(&true));
            self.repeats.extend(repeated.map(|&p| p as u32));
            self.runs = runs(queue.into_iter().map(|p| p as u32));
        }
        self.length = Some(remaining);
    }

    /// A run from the front of Ballista's queue is no longer in it.
    pub(crate) fn took_run(&mut self, (first, length): Run) {
        match self.runs.first_mut() {
            Some(front) if front.0 == first && front.1 > length && self.repeats.is_empty() => {
                *front = (first + length, front.1 - length);
                self.length = self.length.and_then(|before| before.checked_sub(length as usize));
            }
            _ => self.took((first as usize..).take(length as usize).collect()),
        }
    }

    /// These partitions, in any order, are no longer in Ballista's queue; the rest of it is as it was.
    pub(crate) fn took(&mut self, mut partitions: Vec<usize>) {
        let Some(length) = self.length else { return };
        if !partitions.is_sorted() {
            partitions.sort_unstable();
        }
        self.length = length.checked_sub(partitions.len());
        self.leave_out(partitions.iter().map(|&p| p as u32));
    }

    /// Something else happened to Ballista's queue.
    pub(crate) fn forget(&mut self) {
        self.length = None;
    }

    /// Leaves out partitions, given ascending. Costs O(runs + partitions).
    pub(crate) fn leave_out(&mut self, partitions: impl Iterator<Item = u32> + Clone) {
        if !self.repeats.is_empty() {
            let mut out = partitions.clone().peekable();
            self.repeats.retain(|&p| {
                while out.next_if(|&o| o < p).is_some() {}
                out.peek() != Some(&p)
            });
        }
        let mut left = Vec::with_capacity(self.runs.len() + 1);
        let mut out = partitions.peekable();
        for &(first, length) in &self.runs {
            let (mut from, end) = (first, first + length);
            while let Some(p) = out.next_if(|&p| p < end) {
                if p < from {
                    continue;
                }
                if p > from {
                    left.push((from, p - from));
                }
                from = p + 1;
            }
            if from < end {
                left.push((from, end - from));
            }
        }
        self.runs = left;
    }

    /// All that is pending, ascending.
    pub(crate) fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// What must be repeated, ascending.
    pub(crate) fn repeats(&self) -> Vec<Run> {
        runs(self.repeats.iter().copied())
    }

    /// Whether something must be repeated.
    pub(crate) fn has_repeats(&self) -> bool {
        !self.repeats.is_empty()
    }

    /// How many are pending.
    pub(crate) fn len(&self) -> u32 {
        self.runs.iter().map(|run| run.1).sum()
    }
}

fn runs(ascending: impl Iterator<Item = u32>) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for partition in ascending {
        match runs.last_mut() {
            Some((first, length)) if *first + *length == partition => *length += 1,
            _ => runs.push((partition, 1)),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(order: &[usize]) -> PendingPartitions {
        let mut pending = PendingPartitions::empty(12);
        pending.reschedule(order.iter().copied());
        pending
    }

    fn seen(pending: &PendingPartitions, started: &[usize]) -> (Vec<Run>, Vec<u32>) {
        let mut mirror = Queue::default();
        mirror.follow(pending, started.iter().copied());
        (mirror.runs, mirror.repeats)
    }

    #[test]
    fn queues_become_runs_and_repeats_are_found() {
        assert_eq!(seen(&queue(&[0, 1, 2, 5, 7, 8]), &[3, 4, 6]), (vec![(0, 3), (5, 1), (7, 2)], vec![]));
        assert_eq!(seen(&queue(&[7, 2, 3, 4, 8]), &[0, 1, 7]), (vec![(2, 3), (7, 2)], vec![7]));
        // In ascending order, too, as when the first tasks of a stage failed.
        assert_eq!(seen(&queue(&[0, 1, 2, 3]), &[1, 0]).1, [0, 1]);
        assert_eq!(seen(&queue(&[5, 5, 6]), &[5]), (vec![(5, 2)], vec![5]), "put back twice is pending once");
        assert_eq!((seen(&queue(&[]), &[]), seen(&queue(&[3]), &[])), ((vec![], vec![]), (vec![(3, 1)], vec![])));
    }

    #[test]
    fn an_untouched_stage_is_one_run_and_only_then() {
        let (mut fresh, mut again) = (Queue::default(), Queue::default());
        fresh.follow(&PendingPartitions::new(9), std::iter::empty());
        assert_eq!((fresh.runs(), fresh.len()), (&[(0, 9)][..], 9));
        // Everything was taken and came back.
        let mut pending = PendingPartitions::new(3);
        let all = pending.next_slice(3);
        pending.reschedule(all.into_iter().rev());
        again.follow(&pending, 0..3);
        assert_eq!((again.runs(), again.repeats()), (&[(0, 3)][..], vec![(0, 3)]));
    }

    /// Takes and puts back at random; the mirror must be what a copy shows.
    #[test]
    fn a_followed_queue_is_the_queue() {
        let mut state = 7u64;
        let mut random = move |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below.max(1)
        };
        let mut pending = PendingPartitions::new(200);
        let (mut mirror, mut taken, mut started) = (Queue::default(), Vec::new(), Vec::new());
        for step in 0..2_000 {
            mirror.follow(&pending, started.iter().copied());
            let (runs, repeats) = seen(&pending, &started);
            assert_eq!((&mirror.runs, mirror.len() as usize), (&runs, pending.remaining()), "step {step}");
            assert_eq!(mirror.repeats, repeats, "step {step}");
            if random(4) == 0 {
                let from = random(taken.len() + 1);
                pending.reschedule(taken.split_off(from));
            } else {
                // From anywhere; what is left keeps its order, as when a plan is applied.
                let all = pending.next_slice(usize::MAX);
                let (out, rest): (Vec<usize>, Vec<usize>) = all.into_iter().partition(|_| random(8) == 0);
                pending.reschedule(rest);
                taken.extend(&out);
                started.extend(&out);
                mirror.took(out);
            }
            // A run from the front, where there is one.
            if random(4) == 0
                && let Some(&(first, length)) = mirror.runs.first()
            {
                let length = 1 + random(length as usize) as u32;
                let front = pending.next_slice(length as usize);
                if front.iter().zip(first as usize..).all(|(&p, named)| p == named) {
                    mirror.took_run((first, length));
                } else {
                    mirror.took(front.clone());
                }
                started.extend(&front);
                taken.extend(front);
            }
        }
    }
}
