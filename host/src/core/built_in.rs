//! What is compiled in: the built-in policies, which share their code with the bundled plugins, and the fallback.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use policy_kit::bias::Bias;
use policy_kit::binding::Binding;
use policy_kit::consistent_hash::ConsistentHash;
use policy_kit::round_robin::RoundRobin;
use policy_plugin_api::{DistributionPolicy, FromConfig, PolicyError, config};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::core::foreign::PolicyFault;
use crate::core::text::chain;

/// What an embedder starts the host with; `active.json` may replace it at any time.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum TaskDistributionPolicy {
    /// The executor with most free slots is packed first.
    Bias,
    /// Tasks go to the executors that they are pinned to; the rest is packed.
    Binding,
    /// One task to each executor in turn.
    #[default]
    RoundRobin,
    /// Tasks with the same key go to the same executor, within a bound on its load.
    ConsistentHashing,
    /// A policy of the embedder's own, linked in.
    Custom(Arc<dyn DistributionPolicy>),
}

/// A policy that is compiled into the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BuiltIn {
    /// Packs the executor with most free slots.
    Bias,
    /// Tasks fixed to named executors.
    Binding,
    /// One task to each executor in turn.
    #[default]
    RoundRobin,
    /// Consistent hashing with bounded loads.
    ConsistentHash,
}

impl BuiltIn {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Bias, Self::Binding, Self::RoundRobin, Self::ConsistentHash];

    /// The name in `active.json`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Bias => Bias::NAME,
            Self::Binding => Binding::NAME,
            Self::RoundRobin => RoundRobin::NAME,
            Self::ConsistentHash => ConsistentHash::NAME,
        }
    }

    /// The JSON Schema of its config.
    #[must_use]
    pub fn config_schema(self) -> String {
        match self {
            Self::Bias => config::schema::<<Bias as FromConfig>::Config>(),
            Self::Binding => config::schema::<<Binding as FromConfig>::Config>(),
            Self::RoundRobin => config::schema::<<RoundRobin as FromConfig>::Config>(),
            Self::ConsistentHash => config::schema::<<ConsistentHash as FromConfig>::Config>(),
        }
    }

    /// Whether it learns from observations.
    pub(crate) fn observes(self) -> bool {
        match self {
            Self::Bias => Bias::OBSERVES,
            Self::Binding => Binding::OBSERVES,
            Self::RoundRobin => RoundRobin::OBSERVES,
            Self::ConsistentHash => ConsistentHash::OBSERVES,
        }
    }

    /// An instance with its default config.
    ///
    /// # Panics
    /// Never: every built-in has a default config, which a test constructs.
    pub(crate) fn default_instance(self) -> Arc<dyn DistributionPolicy> {
        self.make("").expect("a built-in takes its default config")
    }

    /// Makes an instance.
    pub(crate) fn make(self, config: &str) -> Result<Arc<dyn DistributionPolicy>, PolicyFault> {
        fn from<P: FromConfig + DistributionPolicy + 'static>(
            text: &str,
        ) -> Result<Arc<dyn DistributionPolicy>, PolicyFault> {
            Ok(Arc::new(make_linked::<P>(text)?))
        }
        match self {
            Self::Bias => from::<Bias>(config),
            Self::Binding => from::<Binding>(config),
            Self::RoundRobin => from::<RoundRobin>(config),
            Self::ConsistentHash => from::<ConsistentHash>(config),
        }
    }
}

/// Makes something that is compiled in, as a plugin would make it.
pub(crate) fn make_linked<T: FromConfig>(text: &str) -> Result<T, PolicyFault> {
    let invalid = |message, line, column| PolicyFault::InvalidConfig { message, line, column };
    let config = config::parse::<T::Config>(text).map_err(|e| invalid(e.message, e.line, e.column))?;
    T::from_config(config).map_err(|e| match e {
        PolicyError::InvalidConfig(message) => invalid(message, 0, 0),
        other => PolicyFault::Failed(chain(&other)),
    })
}

impl fmt::Display for BuiltIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for BuiltIn {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|b| b.name() == name).ok_or_else(|| format!("{name} is not a built-in policy"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_takes_its_default_config() {
        for which in BuiltIn::ALL {
            let _ = which.default_instance();
        }
    }
}
