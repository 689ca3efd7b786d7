//! Adapters over policies that come from their plugin files.

use std::sync::Arc;

use policy_ballista::{Mode, PolicyAdapter};
use policy_host::{EventKind, HostOptions, PolicyHost};
use tempfile::TempDir;

use crate::cluster::{PATIENCE, drop_in, put};

/// A host that the plugin in this policy's file answers, on the caller's task.
#[derive(Debug)]
pub(crate) struct Loaded {
    host: Arc<PolicyHost>,
    policy: &'static str,
    _plugins: TempDir,
}

impl Loaded {
    pub(crate) async fn start(policy: &'static str) -> Self {
        let plugins = tempfile::tempdir().unwrap();
        drop_in(plugins.path(), &format!("policy_{}", policy.replace('-', "_")));
        put(plugins.path(), "active.json", active(policy).as_bytes());
        let host = PolicyHost::start(HostOptions::default().plugins(plugins.path())).unwrap();
        let mut events = host.events();
        let swapped = async {
            while host.active().policy() != policy || !is_from_file(&host) {
                let event = events.next().await.expect("the host is there");
                assert!(!matches!(event.kind, EventKind::Refused { .. }), "{event:?}");
            }
        };
        tokio::time::timeout(PATIENCE, swapped).await.unwrap_or_else(|_| panic!("{policy} was not activated"));
        Self { host: Arc::new(host), policy, _plugins: plugins }
    }

    /// An adapter over the policy.
    pub(crate) fn adapter(&self, mode: Mode) -> PolicyAdapter {
        assert!(is_from_file(&self.host), "{:?}", self.host.active());
        PolicyAdapter::new(Arc::clone(&self.host), mode)
    }

    /// The same over a new instance, which takes nothing over from the one before. Two idle switches: 0.4 s.
    pub(crate) async fn fresh_adapter(&self, mode: Mode) -> PolicyAdapter {
        self.host.switch(&active("binding")).await.unwrap();
        self.host.switch(&active(self.policy)).await.unwrap();
        self.adapter(mode)
    }
}

/// Whether the active policy is a plugin's, not a built-in of the same name.
fn is_from_file(host: &PolicyHost) -> bool {
    host.active().library().ends_with(std::env::consts::DLL_SUFFIX)
}

fn active(policy: &str) -> String {
    format!(r#"{{"policy":"{policy}","lane":"inline","deadline_ms":60000}}"#)
}
