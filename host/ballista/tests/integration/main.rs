//! One binary: graphs without a cluster (`parity`, `rounds`), a whole cluster in this
//! process (`cluster`), and what is recorded of it (`recording`).

mod cluster;
mod graphs;
mod parity;
mod recording;
mod rounds;
