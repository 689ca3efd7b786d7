//! UNSAFE ROOM 1: how policies cross the boundary of a shared library.
//!
//! The only place, besides the host's `load/dl.rs`, that names `abi_stable`. Lives here: the `repr(C)` mirrors of what
//! crosses ([`raw`]), the plugin's side with [`export_policy!`](crate::export_policy) ([`export`]), the host's side
//! ([`foreign`]), the forwarder of `tracing` events ([`log`]), text from outside as it may be shown ([`text`]), and the
//! manifest that is read before a library is mapped ([`manifest`]). Policy authors need none of it; everything public
//! here is for hosts.
//!
//! What holds for every call: nothing unwinds across the boundary (a panic is caught on the side that raised it), a
//! call borrows its round for as long as its future lives, and what was allocated on one side is freed on that side.
#![allow(unsafe_code, reason = "one of the two rooms where the boundary is made sound")]

pub mod export;
mod export_macro;
pub mod foreign;
mod guarded;
mod layout;
pub mod log;
pub mod manifest;
mod panics;
pub mod raw;
pub mod text;

pub use foreign::{ForeignFilter, ForeignModule, ForeignPolicy, ForeignScore, PolicyFault, Proposal};
pub use layout::layout;
pub use raw::{PluginModule, PluginModuleRef, RawBlock, RawRound, ScoreModule, ScoreModuleRef};

/// Major version of the plugin API: a host loads plugins of its own major version only.
pub const API_MAJOR: u32 = 1;
/// Minor version of the plugin API: grows when something is added. A host loads plugins of any minor version.
pub const API_MINOR: u32 = 1;
