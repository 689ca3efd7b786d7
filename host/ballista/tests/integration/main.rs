//! One binary: graphs without a cluster (`parity`, `rounds`), a whole cluster in this process (`cluster`), the
//! binary (`command`).

mod cluster;
mod command;
mod graphs;
mod parity;
mod rounds;
