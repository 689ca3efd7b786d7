//! One binary: graphs without a cluster (`parity`, `rounds`), and a whole cluster in this process (`cluster`).

mod cluster;
mod graphs;
mod parity;
mod rounds;
