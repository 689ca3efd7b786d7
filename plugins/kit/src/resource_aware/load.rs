//! Reported load, and what this policy has bound since the report.
//!
//! Reports are old when they are read. Whoever trusts them alone sends every task to the executor that was idle at the
//! last report, until the next one. So bindings are added to the report, and tasks that ended are taken off, until a
//! new report comes: until the number changes, or has stayed the same for so long that it must have been sent again.

use policy_plugin_api::prelude::*;

/// Tasks over which the vcores of a task are averaged.
const AVERAGED_TASKS: f32 = 1_000.0;

/// By uid, the reports and what was bound since.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    executors: Vec<Report>,
    /// Vcores that a task takes, by and large: observations do not say it.
    vcores_of_task: f32,
    is_reported: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Report {
    /// Busy vcores, as reported.
    load: f32,
    /// Vcores bound since, less those of tasks that ended since.
    since: f32,
    /// When the report was first seen.
    at_us: u64,
}

/// What is said about load need not be a number.
fn sane(load: f32) -> f32 {
    if load.is_finite() { load.clamp(0.0, 1e9) } else { 0.0 }
}

impl InFlight {
    /// Takes in the reports of a round.
    pub(super) fn update(&mut self, jobs: &RunningJobs<'_>, report_us: u64) {
        let (executors, now_us) = (jobs.executors(), jobs.now_us());
        self.is_reported = !executors.load().is_empty();
        if !self.is_reported {
            return;
        }
        let uids = executors.uids();
        let known = uids.iter().max().map_or(0, |&uid| uid as usize + 1);
        if known > self.executors.len() {
            self.executors.resize(known, Report::default());
        }
        for (&uid, &load) in uids.iter().zip(executors.load()) {
            let (report, load) = (&mut self.executors[uid as usize], sane(load));
            if report.load != load || now_us.saturating_sub(report.at_us) >= report_us {
                *report = Report { load, since: 0.0, at_us: now_us };
            }
        }
    }

    /// Busy vcores of an executor: reported, and bound since; `None` where load is not reported.
    #[inline]
    pub(super) fn busy_vcores(&self, uid: u32) -> Option<f32> {
        let report = self.executors.get(uid as usize).filter(|_| self.is_reported)?;
        Some((report.load + report.since).max(0.0))
    }

    /// Counts what a round has bound: `taken` vcores off each of its slots, by `tasks` tasks.
    pub(super) fn bound(
        &mut self,
        jobs: &RunningJobs<'_>,
        slots: &[AvailableTaskSlots],
        taken: impl Iterator<Item = u32>,
        tasks: usize,
    ) {
        if !self.is_reported || tasks == 0 {
            return;
        }
        let (uids, mut vcores) = (jobs.executors().uids(), 0.0);
        for (slot, taken) in slots.iter().zip(taken) {
            let uid = uids.get(slot.executor.index()).map_or(usize::MAX, |&uid| uid as usize);
            if let Some(report) = self.executors.get_mut(uid) {
                report.since += taken as f32;
            }
            vcores += f64::from(taken);
        }
        let of_round = (vcores / tasks as f64) as f32;
        let share = if self.vcores_of_task == 0.0 { 1.0 } else { (tasks as f32 / AVERAGED_TASKS).min(1.0) };
        self.vcores_of_task += (of_round - self.vcores_of_task) * share;
    }

    /// Takes off what has ended.
    pub(super) fn observe(&mut self, one: &Observation) {
        let Some(report) = self.executors.get_mut(one.executor.index()) else { return };
        match one.kind {
            ObservationKind::Finished | ObservationKind::Failed => {
                report.since = (report.since - self.vcores_of_task).max(-report.load);
            }
            ObservationKind::ExecutorLost | ObservationKind::ExecutorJoined => *report = Report::default(),
            _ => {}
        }
    }
}
