//! What answers before any file has been read: compiled in, or the embedder's own.

use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, OnceLock};
use std::time::{Instant, SystemTime};

use policy_plugin_api::DistributionPolicy;

use super::Control;
use crate::control::activation::LaneKind;
use crate::core::event::Cause;
use crate::core::guard::Guard;
use crate::facade::{HostOptions, StartError};
use crate::serving::built_in::{BuiltIn, TaskDistributionPolicy};
use crate::serving::lane::{Lane, Nudge, Pipeline, PolicyInstance};
use crate::serving::slot::{Active, ActiveInfo};

impl Control {
    /// The first generation.
    pub(crate) fn initial(options: &HostOptions, nudge: Nudge) -> Result<Active, StartError> {
        let (policy, name, library, observes) = match &options.policy {
            TaskDistributionPolicy::Custom(policy) => (Arc::clone(policy), "custom".to_owned(), "(embedder)", true),
            TaskDistributionPolicy::Bias => built_in(BuiltIn::Bias),
            TaskDistributionPolicy::Binding => built_in(BuiltIn::Binding),
            TaskDistributionPolicy::RoundRobin => built_in(BuiltIn::RoundRobin),
            TaskDistributionPolicy::ConsistentHashing => built_in(BuiltIn::ConsistentHash),
        };
        let pipeline = Pipeline::new(PolicyInstance::Linked(policy), Vec::new(), observes, Box::new(|_| {}));
        let fallback = options.fallback;
        let info = ActiveInfo {
            version: env!("CARGO_PKG_VERSION").into(),
            generation: 1,
            library: library.into(),
            sha256: String::new(),
            // Linked in by the embedder: it knows what it does.
            lane: LaneKind::Inline,
            deadline: options.deadline,
            guard: Guard::default(),
            filters: Vec::new(),
            scores: Vec::new(),
            shadows: Vec::new(),
            fallback,
            since: SystemTime::now(),
            cause: Cause::Api,
            active_file_sha256: String::new(),
            active_json: "".into(),
            activation: serde_json::json!({ "policy": name, "fallback": fallback }).to_string(),
            policy: name,
        };
        Ok(Active {
            lane: Lane::new(info.lane, pipeline, "policy-initial", info.deadline, info.guard, nudge)?,
            info: Arc::new(info),
            fallback: default_instance(fallback),
            caused_at: Instant::now(),
            rounds: AtomicU64::new(0),
            first_answer: OnceLock::new(),
            shadows: None,
            closed: AtomicBool::new(false),
            suspended: AtomicBool::new(false),
            ejected: AtomicBool::new(false),
            recipe: None,
        })
    }
}

fn built_in(which: BuiltIn) -> (Arc<dyn DistributionPolicy>, String, &'static str, bool) {
    (default_instance(which), which.name().to_owned(), "(built-in)", which.observes())
}

/// A built-in with its default config.
///
/// # Panics
/// Never: every built-in has a default config, which a test constructs.
pub(super) fn default_instance(which: BuiltIn) -> Arc<dyn DistributionPolicy> {
    which.make("").expect("a built-in takes its default config")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_takes_its_default_config() {
        for which in BuiltIn::ALL {
            let _ = default_instance(which);
        }
    }
}
