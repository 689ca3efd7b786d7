//! The control plane: what is asked for, what is found, what is made of it, and the one task that puts it in service.

pub mod activation;
pub(crate) mod admit;
pub(crate) mod child;
pub(crate) mod construction;
pub(crate) mod driver;
pub(crate) mod examine;
pub(crate) mod initial;
pub(crate) mod machine;
pub(crate) mod message;
pub(crate) mod options;
pub(crate) mod registry;
pub(crate) mod request;
pub(crate) mod tryout;
