//! UNSAFE ROOM 1: how policies cross the boundary of a shared library.
//!
//! `abi_stable` is named here and in the host's loading room, nowhere else. Here are the `repr(C)` mirrors of what crosses
//! ([`raw`]), what [`export_policy!`](crate::export_policy) expands to ([`export`]), the forwarder of `tracing` events and
//! the panic hook of a loaded library, and the manifest that a host reads before it maps the library ([`manifest`]), and tables, by which
//! later versions add functions ([`table`]). What
//! calls into a plugin is in the host. Authors of policies need none of this module.
//!
//! What holds for every call: nothing unwinds across the boundary (a panic is caught on the side that raised it), a
//! call borrows its round for as long as its future lives, and what was allocated on one side is freed on that side.
#![allow(unsafe_code, reason = "one of the two rooms where the boundary is made sound")]

pub mod export;
mod export_macro;
mod guarded;
mod log;
pub mod manifest;
mod panics;
pub mod raw;
pub mod table;

pub use raw::{PluginModule, PluginModuleRef, RawBlock, RawRound};

/// Major version of the plugin API: a host loads plugins of its own major version only.
pub const API_MAJOR: u32 = 2;
/// Minor version of the plugin API: grows when something is added. A host loads plugins of any minor version.
pub const API_MINOR: u32 = 0;
