//! Tenant and priority of a job: from its session's settings, or from its name.

use std::any::Any;

use ballista_scheduler::state::execution_graph::ExecutionGraph;
use datafusion::common::DataFusionError;
use datafusion::common::config::{ConfigEntry, ConfigExtension, ExtensionOptions};

use crate::limits::MAX_TENANT_CHARS;

/// Settings of a session that policies see. The scheduler registers them; a Rust client that registers them too
/// (`SessionConfig::with_option_extension`) sets them as `SET policy.tenant = 'team-a'`. A client that cannot puts them
/// into `ballista.job.name`.
///
/// Not by DataFusion's `extensions_options!`: the names in its entries lack their prefix, and Ballista's clients send
/// settings to the scheduler by the names in the entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyOptions {
    /// The tenant of the session's jobs; empty for the default tenant.
    pub tenant: String,
    /// Jobs with a higher number go first.
    pub priority: i32,
}

impl ConfigExtension for PolicyOptions {
    const PREFIX: &'static str = "policy";
}

impl ExtensionOptions for PolicyOptions {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn cloned(&self) -> Box<dyn ExtensionOptions> {
        Box::new(self.clone())
    }

    fn set(&mut self, key: &str, value: &str) -> datafusion::common::Result<()> {
        let wrong = |why: String| Err(DataFusionError::Configuration(why));
        match key {
            "tenant" => value.clone_into(&mut self.tenant),
            "priority" => match value.parse() {
                Ok(priority) => self.priority = priority,
                Err(_) => return wrong(format!("policy.priority is {value:?}, and must be a whole number")),
            },
            _ => return wrong(format!("there is no policy.{key}, only policy.tenant and policy.priority")),
        }
        Ok(())
    }

    fn entries(&self) -> Vec<ConfigEntry> {
        let entry = |key: &str, value: String, description| ConfigEntry {
            key: format!("{}.{key}", Self::PREFIX),
            value: Some(value),
            description,
        };
        vec![
            entry(
                "tenant",
                self.tenant.clone(),
                "On whose behalf the session's jobs run; empty for the default tenant",
            ),
            entry("priority", self.priority.to_string(), "Jobs with a higher number go first"),
        ]
    }
}

/// The tenant of jobs that name none.
pub const DEFAULT_TENANT: &str = "default";

/// What a job says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JobSettings {
    pub(crate) tenant: String,
    pub(crate) priority: i32,
}

impl JobSettings {
    /// Reads the settings of a job: its name before its session.
    pub(crate) fn of(graph: &dyn ExecutionGraph) -> Self {
        let config = graph.session_config();
        let session = config.options().extensions.get::<PolicyOptions>().cloned().unwrap_or_default();
        Self::merge(&session, graph.job_name())
    }

    fn merge(session: &PolicyOptions, job_name: &str) -> Self {
        let mut settings = Self { tenant: session.tenant.clone(), priority: session.priority };
        for (key, value) in annotations(job_name) {
            match key {
                "tenant" => settings.tenant = value.to_owned(),
                "priority" => settings.priority = value.parse().unwrap_or(settings.priority),
                _ => {}
            }
        }
        if let Some((end, _)) = settings.tenant.char_indices().nth(MAX_TENANT_CHARS) {
            settings.tenant.truncate(end);
        }
        if settings.tenant.is_empty() {
            settings.tenant = DEFAULT_TENANT.to_owned();
        }
        settings
    }
}

/// `[tenant=team-a priority=5] nightly report` → the pairs in brackets.
fn annotations(job_name: &str) -> impl Iterator<Item = (&str, &str)> {
    let inside = job_name.trim_start().strip_prefix('[').and_then(|rest| rest.split_once(']')).map_or("", |(a, _)| a);
    inside.split_whitespace().filter_map(|pair| pair.split_once('='))
}

#[cfg(test)]
mod tests {
    use datafusion::common::config::ConfigOptions;

    use super::*;

    /// What an entry is called is what can be set elsewhere.
    #[test]
    fn settings_travel_by_the_names_of_their_entries() {
        let mut here = ConfigOptions::new();
        here.extensions.insert(PolicyOptions::default());
        here.set("policy.tenant", "team-a").unwrap();
        here.set("policy.priority", "-5").unwrap();
        let mut there = ConfigOptions::new();
        there.extensions.insert(PolicyOptions::default());
        for entry in here.entries().into_iter().filter(|e| e.key.starts_with("policy.")) {
            there.set(&entry.key, &entry.value.unwrap()).unwrap();
        }
        let arrived = there.extensions.get::<PolicyOptions>().unwrap();
        assert_eq!(arrived, &PolicyOptions { tenant: "team-a".into(), priority: -5 });
        let refusal = here.set("policy.priority", "high").unwrap_err().to_string();
        assert!(refusal.contains("\"high\", and must be a whole number"), "{refusal}");
        assert!(here.set("policy.colour", "red").unwrap_err().to_string().contains("no policy.colour"));
    }

    #[test]
    fn the_name_goes_before_the_session() {
        let session = PolicyOptions { tenant: "s".into(), priority: 3 };
        let read = |name: &str| {
            let settings = JobSettings::merge(&session, name);
            (settings.tenant, settings.priority)
        };
        assert_eq!(read("[tenant=team-a priority=-5] nightly"), ("team-a".into(), -5));
        assert_eq!(read("[priority=x] nightly"), ("s".into(), 3));
        assert_eq!(read("tenant=team-a"), ("s".into(), 3));
        assert_eq!(read(&format!("[tenant={}]", "é".repeat(100))).0.chars().count(), MAX_TENANT_CHARS);
        assert_eq!(JobSettings::merge(&PolicyOptions::default(), "").tenant, DEFAULT_TENANT);
    }
}
