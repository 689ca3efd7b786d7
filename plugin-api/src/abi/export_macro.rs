//! [`export_policy!`](crate::export_policy): the one line that makes a plugin. What it calls stands in
//! [`export`](super::export).

/// Exports policies, filters and scores from a `cdylib` crate: the one line that makes a plugin. Once a crate.
///
/// Each type implements [`FromConfig`](crate::FromConfig), and [`DistributionPolicy`](crate::DistributionPolicy) to stand
/// among the policies, [`TaskFilter`](crate::TaskFilter) to stand among the filters or [`TaskScore`](crate::TaskScore) to
/// stand among the scores; `policies`, `filters` and `scores` come in this order, each where there are any. The names are
/// looked at by the host, not here: two exports of one name are refused with `bad-description`.
///
/// # Panics in a plugin
/// The code that this macro writes catches every panic of the exported types and hands its message to the host, with
/// file, line and column. That needs `panic = "unwind"`, cargo's default: with `panic = "abort"` in the profile of the
/// build, the crate does not compile. (Tests are not concerned: cargo builds them with unwinding whatever the profile
/// says.)
///
/// When a host has loaded the plugin, a panic prints nothing and makes no backtrace, whatever `RUST_BACKTRACE` says:
/// printing one takes longer than a round may. The host reports the panic. A panic on a thread that the plugin started
/// itself is logged as an error. For this, the library's default panic hook is replaced when the host loads it; a hook that the
/// author sets (in a constructor, say) stays in force, and then the host reports panics without their place unless the
/// author's hook calls the one that was there. Nothing of this touches `cargo test`.
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

            #[cfg(not(panic = "unwind"))]
            ::core::compile_error!(
                "a policy plugin must be built with `panic = \"unwind\"`: the host catches a panic of a plugin, and with \
                 `panic = \"abort\"` the first one would end the host. Remove `panic = \"abort\"` from the profiles in \
                 Cargo.toml, and `-C panic=abort` from RUSTFLAGS and .cargo/config.toml."
            );

            struct Plugin;
            impl __export::Plugin for Plugin {
                const EXPORTS: &'static __export::Exports = &__export::Exports {
                    version: ::core::env!("CARGO_PKG_VERSION"),
                    items: &[
                        $($(__export::Export::policy::<$policy>(),)*)?
                        $($(__export::Export::filter::<$filter>(),)*)?
                        $($(__export::Export::score::<$score>(),)*)?
                    ],
                };
            }

            #[unsafe(export_name = "POLICY_PLUGIN_ROOT")]
            static ROOT: __export::LibHeader = __export::header::<Plugin>();

            #[unsafe(export_name = "POLICY_PLUGIN_MANIFEST")]
            #[used]
            static MANIFEST: $crate::abi::manifest::Manifest = $crate::abi::manifest::Manifest::new(
                ::core::env!("CARGO_PKG_NAME"),
                ::core::env!("CARGO_PKG_VERSION"),
            );
        };
    };
}
