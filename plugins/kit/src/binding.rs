//! `binding`: tasks fixed to named executors, by their own pin or by rules of the config.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use policy_plugin_api::prelude::*;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::demand::{Demand, Hints};
use crate::first_fit::FirstFit;
use crate::gate::{Gate, Pass};
use crate::pattern;

/// Rules that a config may have.
pub const MAX_RULES: usize = 256;

/// Tasks of one stage that are passed over in one round because their executors have no room. As many again are looked
/// at behind them, in a window that moves on with the round number, so that tasks that wait for a busy or lost executor
/// do not hide those behind them for good.
pub const LOOK_AHEAD: u32 = 8_192;

/// Stages that are remembered as reported under [`WhenGone::Report`]; a stage reported before so many others may be
/// reported again.
pub const MAX_REPORTED: usize = 1_024;

/// The knobs of [`Binding`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BindingConfig {
    /// Which tasks go to which executors; of several rules that fit a task, the first counts. A task's own pin goes
    /// before any rule.
    pub rules: Vec<Rule>,
    /// What becomes of a task when its executor, or every executor of its rule, is gone.
    pub when_gone: WhenGone,
}

/// What becomes of a task whose executors are gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WhenGone {
    /// It waits until one is back.
    #[default]
    Wait,
    /// It is bound as if the pin, or the rule, did not exist.
    FailOver,
    /// It waits, and a warning (`tracing`) names the stage, once a stage.
    Report,
}

/// One rule: tasks that fit all patterns given go to the executors that fit names and labels. In patterns, `*` stands
/// for any text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Rule {
    /// Pattern for the job's name; every job, where left out.
    pub job: Option<String>,
    /// Number of the stage within its job; every stage, where left out.
    pub stage: Option<u32>,
    /// Pattern for the tenant's name; every tenant, where left out.
    pub tenant: Option<String>,
    /// Pattern for the key of the task's data; every task, with or without key, where left out.
    pub key: Option<String>,
    /// Patterns for names of executors, one of which must fit; every name, where left out.
    pub executors: Vec<String>,
    /// Labels that an executor must have, all of them.
    pub labels: BTreeMap<String, String>,
}

impl Rule {
    fn fits_job(&self, job: &Job<'_>) -> bool {
        let fits = |pattern: &Option<String>, name: &str| pattern.as_ref().is_none_or(|p| pattern::matches(p, name));
        fits(&self.job, job.name()) && fits(&self.tenant, job.tenant().name())
    }

    fn fits_executor(&self, executor: &Executor<'_>) -> bool {
        let named = self.executors.is_empty() || self.executors.iter().any(|p| pattern::matches(p, executor.name()));
        named && self.labels.iter().all(|(key, value)| executor.label(key) == Some(value))
    }
}

/// Tasks fixed to named executors.
///
/// For executors that have what others lack (a licence, a device, a local file). A bound task waits while its executors
/// are busy, even if others idle; tasks without pin or rule go as under `bias`. Deterministic; keeps nothing but which
/// stages it has reported. Cost: O(executors) a rule in use, O(rules) a stage, O(bindings), and at most 2 x [`LOOK_AHEAD`] tasks passed over a stage.
#[derive(Debug)]
pub struct Binding {
    config: BindingConfig,
    /// Stages that were reported, by job key and number; oldest first.
    reported: Mutex<VecDeque<(u64, u32)>>,
}

impl FromConfig for Binding {
    const NAME: &'static str = "binding";
    const OBSERVES: bool = false;
    type Config = BindingConfig;

    fn from_config(config: BindingConfig) -> Result<Self> {
        if config.rules.len() > MAX_RULES {
            let rules = config.rules.len();
            return Err(PolicyError::invalid_config(format!("rules has {rules} entries: at most {MAX_RULES}")));
        }
        match config.rules.iter().position(|r| r.executors.is_empty() && r.labels.is_empty()) {
            Some(at) => Err(PolicyError::invalid_config(format!("rules[{at}] names neither executors nor labels"))),
            None => Ok(Self { config, reported: Mutex::default() }),
        }
    }
}

#[async_trait]
impl DistributionPolicy for Binding {
    async fn bind_tasks(
        &self,
        slots: &mut [AvailableTaskSlots],
        running_jobs: &RunningJobs<'_>,
    ) -> Result<Vec<BoundTask>> {
        let mut gate = Gate::new(running_jobs);
        let mut at_work = AtWork::new(&self.config, running_jobs, slots);
        for stage in running_jobs.stages() {
            if at_work.executors.is_exhausted() {
                break;
            }
            at_work.bind(&stage, &mut gate);
            if let Some(gone) = at_work.gone.take() {
                self.report(&stage, gone);
            }
        }
        Ok(at_work.answer)
    }
}

impl Binding {
    fn report(&self, stage: &Stage<'_>, gone: Gone) {
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        let (job, number) = (stage.job(), stage.number());
        if reported.contains(&(job.key(), number)) {
            return;
        }
        if reported.len() == MAX_REPORTED {
            reported.pop_front();
        }
        reported.push_back((job.key(), number));
        let (job, task) = (job.name(), gone.task);
        match gone.rule {
            Some(rule) => {
                tracing::warn!(target: "binding", job, stage = number, task, rule, "no executor fits the rule: tasks wait");
            }
            None => {
                tracing::warn!(target: "binding", job, stage = number, task, "the executor of the pin is gone: tasks wait");
            }
        }
    }
}

/// A task that waits for executors that are gone.
#[derive(Clone, Copy)]
struct Gone {
    task: u32,
    /// The rule that names them; `None` for the task's own pin.
    rule: Option<usize>,
}

/// Where a task may go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Target {
    Anywhere,
    Nowhere,
    Seat(usize),
    Rule(usize),
    /// To executors of a rule that are gone.
    Lost(usize),
}

/// The executors of a rule in this round.
struct Members {
    mask: Vec<u64>,
    hints: Hints,
}

/// One round under way.
struct AtWork<'c, 'r, 's> {
    config: &'c BindingConfig,
    jobs: RunningJobs<'r>,
    executors: FirstFit<'s>,
    answer: Vec<BoundTask>,
    /// By rule, once it is in use: `None` inside for a rule without executors.
    members: Vec<Option<Option<Members>>>,
    /// Where each executor of the round stands among the free ones; made when the first pin is seen.
    seats: Vec<u32>,
    /// The job looked at last, the rules that fit it, and of those the rules that fit the stage under way.
    job: Option<JobId>,
    of_job: Vec<usize>,
    rules: Vec<usize>,
    /// What is to be reported of the stage under way.
    gone: Option<Gone>,
}

impl<'c, 'r, 's> AtWork<'c, 'r, 's> {
    fn new(config: &'c BindingConfig, jobs: &RunningJobs<'r>, slots: &'s mut [AvailableTaskSlots]) -> Self {
        Self {
            config,
            jobs: *jobs,
            executors: FirstFit::most_free_first(slots, jobs.bindable()),
            answer: Vec::with_capacity(jobs.bindable()),
            members: config.rules.iter().map(|_| None).collect(),
            seats: Vec::new(),
            job: None,
            of_job: Vec::new(),
            rules: Vec::new(),
            gone: None,
        }
    }

    fn bind(&mut self, stage: &Stage<'r>, gate: &mut Gate<'r>) {
        self.rules_of(stage);
        let pass = gate.pass(stage.id());
        let keyed = |rule: &usize| self.config.rules[*rule].key.is_some();
        if stage.has_pins() || (stage.has_keys() && self.rules.iter().any(keyed)) {
            return self.bind_each(stage, gate, &pass);
        }
        let answer = &mut self.answer;
        match target_by_rule(self.config, &self.rules, &mut self.members, &self.jobs, None) {
            Target::Rule(rule) => {
                let mask = self.members[rule].as_ref().and_then(|m| m.as_ref()).map(|m| m.mask.as_slice());
                self.executors.bind(stage, gate, &pass.among(mask), answer);
            }
            Target::Anywhere => self.executors.bind(stage, gate, &pass, answer),
            Target::Lost(rule) => {
                let first = stage.pending_runs().next().map_or(0, |(first, _)| first);
                self.wait(first, Some(rule));
            }
            Target::Nowhere | Target::Seat(_) => {}
        }
    }

    fn rules_of(&mut self, stage: &Stage<'_>) {
        let (job, rules) = (stage.job(), &self.config.rules);
        if self.job != Some(job.id()) {
            self.job = Some(job.id());
            self.of_job.clear();
            self.of_job.extend((0..rules.len()).filter(|&rule| rules[rule].fits_job(&job)));
        }
        let fits = |&rule: &usize| rules[rule].stage.is_none_or(|number| number == stage.number());
        self.rules.clear();
        self.rules.extend(self.of_job.iter().copied().filter(fits));
    }

    /// A task waits for executors that are gone: tasks of this stage are reported, if that is asked for.
    fn wait(&mut self, task: u32, rule: Option<usize>) -> Target {
        if self.config.when_gone == WhenGone::Report {
            self.gone.get_or_insert(Gone { task, rule });
        }
        Target::Nowhere
    }

    /// Binds task by task: first from the front, then in the window.
    fn bind_each(&mut self, stage: &Stage<'r>, gate: &mut Gate<'r>, pass: &Pass<'r>) {
        // Hints of a rule hold for stages that may use every executor; others start afresh.
        let restricted = !pass.allows_all();
        let mut own = restricted.then(Hints::default);
        self.forget_hints(restricted);
        let tasks = stage.task_count();
        let stopped = self.bind_range(stage, gate, pass, own.as_mut(), 0..tasks);
        if stopped < tasks {
            let step = self.jobs.number().wrapping_mul(u64::from(LOOK_AHEAD)) % u64::from(tasks - stopped);
            let start = stopped + step as u32;
            if self.bind_range(stage, gate, pass, own.as_mut(), start..tasks) == tasks {
                self.bind_range(stage, gate, pass, own.as_mut(), stopped..start);
            }
        }
        self.forget_hints(restricted);
    }

    fn forget_hints(&mut self, restricted: bool) {
        if restricted {
            self.members.iter_mut().flatten().flatten().for_each(|m| m.hints = Hints::default());
        }
    }

    /// Returns where it stopped: the end of the range, unless too many tasks were passed over.
    fn bind_range(
        &mut self,
        stage: &Stage<'r>,
        gate: &mut Gate<'r>,
        pass: &Pass<'r>,
        mut own: Option<&mut Hints>,
        range: std::ops::Range<u32>,
    ) -> u32 {
        let mut passed_over = 0;
        for (first, length) in stage.pending_runs() {
            for index in first.max(range.start)..(first + length).min(range.end) {
                let room = gate.room(pass);
                if room == 0 || self.executors.is_exhausted() {
                    return range.end;
                }
                let demand = Demand::of_task(stage, index);
                let target = if demand.vcores <= room { self.target(stage, index) } else { Target::Nowhere };
                match self.place(target, demand, pass, own.as_deref_mut()) {
                    Some(executor) => {
                        gate.take(pass, demand.vcores);
                        self.answer.push(BoundTask::new(stage.task(index).id(), executor));
                    }
                    None => passed_over += 1,
                }
                if passed_over == LOOK_AHEAD {
                    return index + 1;
                }
            }
        }
        range.end
    }

    fn target(&mut self, stage: &Stage<'r>, index: u32) -> Target {
        let task = stage.task(index);
        if let Some(pin) = task.pin() {
            match self.jobs.executors().by_uid(pin) {
                Some(executor) => return self.seat(executor),
                None if self.config.when_gone == WhenGone::FailOver => {}
                None => return self.wait(index, None),
            }
        }
        let key = if stage.has_keys() { Some(task.key()).filter(|k| !k.is_empty()) } else { None };
        match target_by_rule(self.config, &self.rules, &mut self.members, &self.jobs, key) {
            Target::Lost(rule) => self.wait(index, Some(rule)),
            target => target,
        }
    }

    fn seat(&mut self, executor: ExecutorId) -> Target {
        if self.seats.is_empty() {
            self.executors.order_all();
            self.seats = vec![u32::MAX; self.jobs.executors().len()];
            for (seat, slot) in self.executors.slots().iter().enumerate() {
                self.seats[slot.executor.index()] = seat as u32;
            }
        }
        match self.seats[executor.index()] {
            u32::MAX => Target::Nowhere,
            seat => Target::Seat(seat as usize),
        }
    }

    fn place(
        &mut self,
        target: Target,
        demand: Demand,
        pass: &Pass<'r>,
        own: Option<&mut Hints>,
    ) -> Option<ExecutorId> {
        match target {
            Target::Nowhere | Target::Lost(_) => None,
            Target::Anywhere => self.executors.place(demand, pass, own),
            Target::Seat(seat) => {
                let slot = self.executors.slots()[seat];
                let fits = demand.fits(&slot) && pass.allows(slot.executor);
                fits.then(|| self.executors.take(seat, demand))
            }
            Target::Rule(rule) => {
                let members = self.members[rule].as_mut()?.as_mut()?;
                self.executors.place(demand, &pass.among(Some(&members.mask)), Some(&mut members.hints))
            }
        }
    }
}

/// Where the first rule that fits sends a task with this key.
fn target_by_rule(
    config: &BindingConfig,
    rules: &[usize],
    members: &mut [Option<Option<Members>>],
    jobs: &RunningJobs<'_>,
    key: Option<&str>,
) -> Target {
    let fits = |pattern: &String| key.is_some_and(|key| pattern::matches(pattern, key));
    for &rule in rules.iter().filter(|&&rule| config.rules[rule].key.as_ref().is_none_or(fits)) {
        let members = members[rule].get_or_insert_with(|| Members::of(&config.rules[rule], jobs));
        match (members, config.when_gone) {
            (Some(_), _) => return Target::Rule(rule),
            (None, WhenGone::FailOver) => {}
            (None, WhenGone::Wait | WhenGone::Report) => return Target::Lost(rule),
        }
    }
    Target::Anywhere
}

impl Members {
    /// `None` when no executor of the roster fits.
    fn of(rule: &Rule, jobs: &RunningJobs<'_>) -> Option<Self> {
        let executors = jobs.executors();
        let mut mask = vec![0u64; executors.len().div_ceil(64)];
        for executor in executors.iter().filter(|executor| rule.fits_executor(executor)) {
            mask[executor.id().index() / 64] |= 1 << (executor.id().index() % 64);
        }
        mask.iter().any(|&word| word != 0).then(|| Self { mask, hints: Hints::default() })
    }
}
