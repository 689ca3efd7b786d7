//! One binary: graphs without a cluster (`parity`, `rounds`), a whole cluster in this process (`cluster`), what is
//! recorded of it (`recording`), the binary (`command`).

mod cluster;
mod command;
mod graphs;
mod parity;
mod recording;
mod rounds;
