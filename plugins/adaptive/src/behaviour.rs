//! The behaviours among which `adaptive` chooses: policies of the kit, made by name.

use policy_kit::{Bias, ConsistentHash, DataLocality, ResourceAware, RoundRobin};
use policy_plugin_api::prelude::*;
use schemars::JsonSchema;
use serde::Deserialize;

/// Names the behaviours: field of the config, name, policy. One line adds one.
macro_rules! behaviours {
    ($($field:ident: $name:ident is $policy:ty,)+) => {
        /// A behaviour, by the name of its policy.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, JsonSchema)]
        #[serde(rename_all = "kebab-case")]
        pub enum Behaviour {
            $(#[doc = concat!("[`", stringify!($policy), "`](policy_kit::", stringify!($policy), ")")] $name,)+
        }

        /// The config of each behaviour, as it would stand in `active.json`.
        #[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
        pub struct BehaviourConfigs {
            $(#[doc = concat!("Config of the policy of this name. Default: its own defaults.")]
            pub $field: <$policy as FromConfig>::Config,)+
        }

        impl Behaviour {
            /// Every behaviour.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The name of the policy.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => <$policy as FromConfig>::NAME,)+
                }
            }

            /// Makes the policy.
            ///
            /// # Errors
            /// As the policy's constructor.
            pub fn make(self, configs: &BehaviourConfigs) -> Result<Box<dyn DistributionPolicy>> {
                Ok(match self {
                    $(Self::$name => Box::new(<$policy>::from_config(configs.$field.clone())?),)+
                })
            }
        }
    };
}

behaviours! {
    bias: Bias is Bias,
    round_robin: RoundRobin is RoundRobin,
    consistent_hash: ConsistentHash is ConsistentHash,
    data_locality: DataLocality is DataLocality,
    resource_aware: ResourceAware is ResourceAware,
}

/// A behaviour and its policy.
pub(crate) type Made = (Behaviour, Box<dyn DistributionPolicy>);

impl Behaviour {
    /// The behaviour of this name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|behaviour| behaviour.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configs_and_policies_have_the_same_names() {
        for behaviour in Behaviour::ALL {
            let name = behaviour.name();
            let config = policy_plugin_api::config::parse::<BehaviourConfigs>(&format!(r#"{{"{name}": {{}}}}"#));
            let made = behaviour.make(&config.unwrap_or_else(|e| panic!("{name}: {e}")));
            assert!(made.is_ok(), "{name}: {made:?}");
            assert_eq!(Behaviour::by_name(name), Some(*behaviour));
        }
        assert_eq!(Behaviour::by_name("binding"), None);
    }
}
