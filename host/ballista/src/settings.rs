//! Tenant and priority of a job: from its session's settings, or from its name.

use ballista_scheduler::state::execution_graph::ExecutionGraph;
use datafusion::common::config::ConfigExtension;
use datafusion::common::extensions_options;

use crate::limits::MAX_TENANT_CHARS;

extensions_options! {
    /// Settings of a session that policies see. The scheduler registers them; a Rust client that registers them too
    /// sets them as `SET policy.tenant = 'team-a'`. A client that cannot puts them into `ballista.job.name`.
    pub struct PolicyOptions {
        /// On whose behalf the session's jobs run; empty for the default tenant
        pub tenant: String, default = String::new()
        /// Jobs with a higher number go first
        pub priority: i32, default = 0
    }
}

impl ConfigExtension for PolicyOptions {
    const PREFIX: &'static str = "policy";
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
    use super::*;

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
