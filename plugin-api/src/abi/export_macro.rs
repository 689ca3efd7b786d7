//! [`export_policy!`](crate::export_policy): the one line that makes a plugin. What it calls stands in
//! [`export`](super::export).

/// Exports policies, filters and scores from a `cdylib` crate: the one line that makes a plugin. Once a crate.
///
/// Each type implements [`FromConfig`](crate::FromConfig), and [`DistributionPolicy`](crate::DistributionPolicy) to stand
/// among the policies, [`TaskFilter`](crate::TaskFilter) to stand among the filters or [`TaskScore`](crate::TaskScore) to
/// stand among the scores; `policies`, `filters` and `scores` come in this order, each where there are any. The names are
/// looked at by the host, not here: two exports of one name are refused with `bad-description`.
///
/// ```standalone_crate
/// use policy_plugin_api::prelude::*;
///
/// #[derive(Debug)]
/// struct Nothing;
/// impl FromConfig for Nothing {
///     const NAME: &'static str = "nothing";
///     type Config = NoConfig;
///     fn from_config(_: NoConfig) -> Result<Self> {
///         Ok(Self)
///     }
/// }
/// #[async_trait]
/// impl DistributionPolicy for Nothing {
///     async fn bind_tasks(&self, _: &mut [AvailableTaskSlots], _: &RunningJobs<'_>) -> Result<Vec<BoundTask>> {
///         Ok(Vec::new())
///     }
/// }
///
/// #[derive(Debug)]
/// struct Everything;
/// impl FromConfig for Everything {
///     const NAME: &'static str = "everything";
///     type Config = NoConfig;
///     fn from_config(_: NoConfig) -> Result<Self> {
///         Ok(Self)
///     }
/// }
/// impl TaskFilter for Everything {
///     fn filter(&self, _: &[AvailableTaskSlots], _: &RunningJobs<'_>, _: &mut Limits) -> Result<()> {
///         Ok(())
///     }
/// }
///
/// policy_plugin_api::export_policy! { policies: [Nothing], filters: [Everything] }
/// # fn main() {}
/// ```
///
/// # What does not compile
/// Each of these is the example above with one thing wrong.
///
/// A policy without [`FromConfig`](crate::FromConfig): nobody could make one.
/// ```compile_fail,E0277
/// # use policy_plugin_api::prelude::*;
/// # #[async_trait]
/// # impl DistributionPolicy for Nothing {
/// #     async fn bind_tasks(&self, _: &mut [AvailableTaskSlots], _: &RunningJobs<'_>) -> Result<Vec<BoundTask>> {
/// #         Ok(Vec::new())
/// #     }
/// # }
/// #[derive(Debug)]
/// struct Nothing;
/// policy_plugin_api::export_policy! { policies: [Nothing] }
/// # fn main() {}
/// ```
/// A policy that cannot go to another thread, here because of an `Rc`: the host chooses the thread.
/// ```compile_fail,E0277
/// # use policy_plugin_api::prelude::*;
/// # #[async_trait]
/// # impl DistributionPolicy for Nothing {
/// #     async fn bind_tasks(&self, _: &mut [AvailableTaskSlots], _: &RunningJobs<'_>) -> Result<Vec<BoundTask>> {
/// #         Ok(Vec::new())
/// #     }
/// # }
/// #[derive(Debug)]
/// struct Nothing(std::rc::Rc<u32>);
/// # impl FromConfig for Nothing {
/// #     const NAME: &'static str = "nothing";
/// #     type Config = NoConfig;
/// #     fn from_config(_: NoConfig) -> Result<Self> {
/// #         Ok(Self(std::rc::Rc::new(0)))
/// #     }
/// # }
/// policy_plugin_api::export_policy! { policies: [Nothing] }
/// # fn main() {}
/// ```
/// A filter among the policies.
/// ```compile_fail,E0277
/// # use policy_plugin_api::prelude::*;
/// # #[derive(Debug)]
/// # struct Everything;
/// # impl FromConfig for Everything {
/// #     const NAME: &'static str = "everything";
/// #     type Config = NoConfig;
/// #     fn from_config(_: NoConfig) -> Result<Self> {
/// #         Ok(Self)
/// #     }
/// # }
/// # impl TaskFilter for Everything {
/// #     fn filter(&self, _: &[AvailableTaskSlots], _: &RunningJobs<'_>, _: &mut Limits) -> Result<()> {
/// #         Ok(())
/// #     }
/// # }
/// policy_plugin_api::export_policy! { policies: [Everything] }
/// # fn main() {}
/// ```
/// A config without a schema: `policy-host list` could not show what it takes.
/// ```compile_fail,E0277
/// # use policy_plugin_api::prelude::*;
/// # #[async_trait]
/// # impl DistributionPolicy for Nothing {
/// #     async fn bind_tasks(&self, _: &mut [AvailableTaskSlots], _: &RunningJobs<'_>) -> Result<Vec<BoundTask>> {
/// #         Ok(Vec::new())
/// #     }
/// # }
/// # #[derive(Debug)]
/// # struct Nothing;
/// #[derive(serde::Deserialize)]
/// struct Knobs {}
/// impl FromConfig for Nothing {
///     const NAME: &'static str = "nothing";
///     type Config = Knobs;
/// #   fn from_config(_: Knobs) -> Result<Self> {
/// #       Ok(Self)
/// #   }
/// }
/// # policy_plugin_api::export_policy! { policies: [Nothing] }
/// # fn main() {}
/// ```
/// Two exports in one crate.
/// ```compile_fail
/// # use policy_plugin_api::prelude::*;
/// # #[async_trait]
/// # impl DistributionPolicy for Nothing {
/// #     async fn bind_tasks(&self, _: &mut [AvailableTaskSlots], _: &RunningJobs<'_>) -> Result<Vec<BoundTask>> {
/// #         Ok(Vec::new())
/// #     }
/// # }
/// # #[derive(Debug)]
/// # struct Nothing;
/// # impl FromConfig for Nothing {
/// #     const NAME: &'static str = "nothing";
/// #     type Config = NoConfig;
/// #     fn from_config(_: NoConfig) -> Result<Self> {
/// #         Ok(Self)
/// #     }
/// # }
/// policy_plugin_api::export_policy! { policies: [Nothing] }
/// policy_plugin_api::export_policy! { policies: [Nothing] }
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! export_policy {
    (
        $(policies: [$($policy:ty),* $(,)?])? $(,)?
        $(filters: [$($filter:ty),* $(,)?])? $(,)?
        $(scores: [$($score:ty),* $(,)?])? $(,)?
    ) => {
        const _: () = {
            use $crate::abi::export as __export;

            static EXPORTS: __export::Exports = __export::Exports {
                version: ::core::env!("CARGO_PKG_VERSION"),
                items: &[
                    $($(&__export::PolicyFactory::<$policy>(::core::marker::PhantomData),)*)?
                    $($(&__export::FilterFactory::<$filter>(::core::marker::PhantomData),)*)?
                    $($(&__export::ScoreFactory::<$score>(::core::marker::PhantomData),)*)?
                ],
            };

            extern "C" fn describe() -> __export::Described {
                EXPORTS.describe()
            }
            extern "C" fn create_policy(
                name: __export::Text<'_>,
                config: __export::Text<'_>,
                generation: u64,
            ) -> __export::CreatedPolicy {
                EXPORTS.create_policy(name, config, generation)
            }
            extern "C" fn create_filter(
                name: __export::Text<'_>,
                config: __export::Text<'_>,
                generation: u64,
            ) -> __export::CreatedFilter {
                EXPORTS.create_filter(name, config, generation)
            }
            extern "C" fn create_score(
                name: __export::Text<'_>,
                config: __export::Text<'_>,
                generation: u64,
            ) -> __export::CreatedScore {
                EXPORTS.create_score(name, config, generation)
            }
            fn root() -> $crate::abi::PluginModuleRef {
                __export::module(describe, create_policy, create_filter)
            }
            extern "C" fn load() -> __export::Loaded {
                __export::load_root(root)
            }

            fn scores() -> $crate::abi::ScoreModuleRef {
                __export::score_module(create_score)
            }
            extern "C" fn load_scores() -> __export::Loaded {
                __export::load_scores(scores)
            }

            #[unsafe(export_name = "POLICY_PLUGIN_SCORES")]
            static SCORES: __export::LibHeader = __export::score_header(load_scores);

            #[unsafe(export_name = "POLICY_PLUGIN_ROOT")]
            static ROOT: __export::LibHeader = __export::header(load);

            #[unsafe(export_name = "POLICY_PLUGIN_MANIFEST")]
            #[used]
            static MANIFEST: $crate::abi::manifest::Manifest = $crate::abi::manifest::Manifest::new(
                ::core::env!("CARGO_PKG_NAME"),
                ::core::env!("CARGO_PKG_VERSION"),
            );
        };
    };
}
