//! The artifact plane: a file becomes code. Watched, vetted, judged in a child process, loaded.

pub(crate) mod judge;
pub mod load;
pub mod vet;
pub(crate) mod watch;
