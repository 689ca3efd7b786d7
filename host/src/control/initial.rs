//! What answers before any file has been read: compiled in, or the embedder's own.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use policy_plugin_api::DistributionPolicy;

use crate::control::options::{HostOptions, StartError};
use crate::core::built_in::{BuiltIn, TaskDistributionPolicy};
use crate::core::composition::Composition;
use crate::core::event::Cause;
use crate::core::guard::Guard;
use crate::core::info::{ActiveInfo, LaneKind, PartInfo};
use crate::core::wake::Wake;
use crate::serving::lane::{Lane, Pipeline, PolicyInstance};
use crate::serving::slot::Active;

/// The first generation.
pub(crate) fn initial(options: &HostOptions, control: Wake) -> Result<Active, StartError> {
    let (policy, name, library, observes) = match &options.policy {
        TaskDistributionPolicy::Custom(policy) => (Arc::clone(policy), "custom", "(embedder)", true),
        TaskDistributionPolicy::Bias => built_in(BuiltIn::Bias),
        TaskDistributionPolicy::Binding => built_in(BuiltIn::Binding),
        TaskDistributionPolicy::RoundRobin => built_in(BuiltIn::RoundRobin),
        TaskDistributionPolicy::ConsistentHashing => built_in(BuiltIn::ConsistentHash),
    };
    let part = PartInfo {
        name: name.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        library: library.to_owned(),
        ..PartInfo::default()
    };
    let info = ActiveInfo {
        composition: Composition::of(part),
        generation: 1,
        // Linked in by the embedder: it knows what it does.
        lane: LaneKind::Inline,
        deadline: options.deadline,
        guard: Guard::default(),
        fallback: options.fallback,
        since: SystemTime::now(),
        cause: Cause::Api,
        active_file_sha256: String::new(),
        active_json: "".into(),
    };
    let pipeline = Pipeline::new(PolicyInstance::Linked(policy), Vec::new(), observes, Box::new(|_| {}));
    let lane = Lane::new(info.lane, pipeline, "policy-initial", info.deadline, info.guard, control)?;
    Ok(Active::new(info, lane, options.fallback.default_instance(), Instant::now()))
}

fn built_in(which: BuiltIn) -> (Arc<dyn DistributionPolicy>, &'static str, &'static str, bool) {
    (which.default_instance(), which.name(), "(built-in)", which.observes())
}
