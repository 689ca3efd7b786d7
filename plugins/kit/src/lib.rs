//! What two or more crates use of policies: the policies that the host compiles in or `adaptive` chooses among, and the
//! parts that several rules share. Nothing here loads or exports; what one plugin alone uses is in that plugin.
//!
//!
//! | module | holds |
//! |---|---|
//! | [`demand`] | what a task takes of an executor |
//! | [`gate`] | the limits of filters, counted down while a policy binds |
//! | [`pending`] | a stage's pending tasks, drawn run by run or walked one by one |
//! | [`first_fit`] | fills executors in a given order: the whole of bias, the remainder of the others |
//! | [`ring`] | the consistent-hash ring, kept across rounds |
//! | [`pattern`] | names with `*` in configs |
//! | [`composite`] | filter, score, pick: the host's policy that asks scores in plugins |
//!
//! Rules that hold for every policy here:
//! - **Order**: stages are served in the contract's order, tasks by index.
//! - **Tasks that do not fit** are passed over. A stage whose tasks all take the same stops at the first task that fits
//!   on no executor; of stages with mixed tasks, at most [`pending::MAX_PASSED_OVER`] tasks a round are passed over,
//!   then such a stage stops at the first, too. A round never costs more because more tasks wait.
//! - **Work conservation**: while a stage of one-vcore tasks that take no memory and are under no limit has one
//!   pending, no executor has a free vcore ([`Binding`] and [`DataLocality`] excepted, which are asked to let tasks
//!   wait, and required labels of [`ResourceAware`]).
#![forbid(unsafe_code)]

pub mod bias;
pub mod binding;
pub mod composite;
pub mod consistent_hash;
pub mod data_locality;
pub mod demand;
pub mod first_fit;
pub mod gate;
pub mod pattern;
pub mod pending;
pub mod resource_aware;
pub mod ring;
pub mod round_robin;

pub use bias::Bias;
pub use binding::Binding;
pub use composite::Composite;
pub use consistent_hash::ConsistentHash;
pub use data_locality::DataLocality;
pub use resource_aware::ResourceAware;
pub use round_robin::RoundRobin;
