//! One binary: graphs without a cluster (`parity`, `rounds`, `pull`), a whole cluster in this process (`cluster`), what is
//! recorded of it (`recording`), the binary (`command`).

mod cluster;
mod command;
mod graphs;
mod loaded;
mod parity;
mod pull;
mod recording;
mod rounds;
