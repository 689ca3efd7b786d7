//! Rules about labels: which jobs require or prefer executors with which labels.

use std::collections::BTreeMap;

use policy_plugin_api::prelude::*;
use schemars::JsonSchema;
use serde::Deserialize;

use super::seats::Group;
use crate::pattern;

/// Rules that a config may have.
pub const MAX_RULES: usize = 64;
/// The largest weight of a preference.
pub const MAX_WEIGHT_PERCENT: u32 = 10_000;

/// One rule: jobs that fit go to executors with the labels required, and rather to those with the labels preferred. In
/// patterns, `*` stands for any text.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LabelRule {
    /// Which jobs the rule is for; every job, where left out.
    #[serde(rename = "match")]
    pub matching: Matching,
    /// Labels that an executor must have, all of them, as patterns by key. Tasks wait while no executor has them.
    pub require: BTreeMap<String, String>,
    /// Labels that an executor should have, all of them, as patterns by key.
    pub prefer: BTreeMap<String, String>,
    /// What the preference weighs, in percent, 1 to 10000, default 50: an executor without the preferred labels counts
    /// as so much more stretched.
    pub weight: u32,
}

impl Default for LabelRule {
    fn default() -> Self {
        let (require, prefer) = (BTreeMap::new(), BTreeMap::new());
        Self { matching: Matching::default(), require, prefer, weight: 50 }
    }
}

/// Which jobs a rule is for: those that fit all patterns given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Matching {
    /// Pattern for the job's name; every job, where left out.
    pub job: Option<String>,
    /// Pattern for the tenant's name; every tenant, where left out.
    pub tenant: Option<String>,
}

impl LabelRule {
    fn fits(&self, job: &Job<'_>) -> bool {
        let fits = |pattern: &Option<String>, name: &str| pattern.as_ref().is_none_or(|p| pattern::matches(p, name));
        fits(&self.matching.job, job.name()) && fits(&self.matching.tenant, job.tenant().name())
    }
}

fn has_all(executor: &Executor<'_>, labels: &BTreeMap<String, String>) -> bool {
    labels.iter().all(|(key, value)| executor.label(key).is_some_and(|label| pattern::matches(value, label)))
}

/// Refuses rules that say nothing, or too much.
pub(super) fn check_rules(rules: &[LabelRule]) -> Result<()> {
    if rules.len() > MAX_RULES {
        return Err(PolicyError::invalid_config(format!("{} rules: at most {MAX_RULES}", rules.len())));
    }
    for (at, rule) in rules.iter().enumerate() {
        let weight = rule.weight;
        if rule.require.is_empty() && rule.prefer.is_empty() {
            return Err(PolicyError::invalid_config(format!("rules[{at}] neither requires nor prefers a label")));
        }
        if !(1..=MAX_WEIGHT_PERCENT).contains(&weight) {
            let range = format!("1 to {MAX_WEIGHT_PERCENT}");
            return Err(PolicyError::invalid_config(format!("rules[{at}].weight is {weight}: {range}")));
        }
    }
    Ok(())
}

/// The rules in one round, with the free executors that each is about; looked up when a rule is first needed.
pub(super) struct Groups<'c> {
    rules: &'c [LabelRule],
    groups: Vec<Option<Group>>,
    /// The job asked about last, and its rule: jobs have many stages.
    last: Option<(JobId, Option<usize>)>,
}

impl<'c> Groups<'c> {
    pub(super) fn new(rules: &'c [LabelRule]) -> Self {
        Self { rules, groups: rules.iter().map(|_| None).collect(), last: None }
    }

    /// The first rule that fits a job.
    pub(super) fn of_job(&mut self, job: &Job<'_>) -> Option<usize> {
        if self.rules.is_empty() {
            return None;
        }
        match self.last {
            Some((id, rule)) if id == job.id() => rule,
            _ => {
                let rule = self.rules.iter().position(|rule| rule.fits(job));
                self.last = Some((job.id(), rule));
                rule
            }
        }
    }

    /// The free executors of a rule.
    pub(super) fn group(
        &mut self,
        rule: usize,
        free: impl Iterator<Item = ExecutorId>,
        executors: &Executors<'_>,
    ) -> &Group {
        let LabelRule { require, prefer, weight, .. } = &self.rules[rule];
        self.groups[rule].get_or_insert_with(|| {
            let seats = (0u32..).zip(free).map(|(seat, id)| (seat, executors.get(id)));
            let required = |e: &Executor<'_>| has_all(e, require);
            let preferred = |e: &Executor<'_>| !prefer.is_empty() && has_all(e, prefer);
            Group::new(seats, (!require.is_empty()).then_some(&required), &preferred, *weight)
        })
    }
}
