//! The data plane: what a round touches, from the slot to a validated plan.

pub(crate) mod bind;
pub(crate) mod lane;
pub mod placement;
pub(crate) mod service;
pub(crate) mod shadow;
pub(crate) mod slot;
pub(crate) mod validate;
