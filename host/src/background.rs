//! Threads of the control plane. Bulk work (reading, hashing and mapping files, dropping what is retired) must not get in
//! the way of rounds; what a swap waits for runs like any other thread.

use std::io;
use std::thread::{Builder, JoinHandle};

use crate::limits::PLUGIN_STACK_BYTES;

/// How much less than rounds such a thread may claim, in units of `nice`: it runs where a core is idle, and takes a
/// small share where none is.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 5;

/// Starts a thread that yields to rounds.
pub(crate) fn spawn_bulk(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    spawn(name, move || {
        step_back();
        work();
    })
}

/// Starts a thread under the subscriber of the starter: the embedder's may be the caller's alone, and events of plugins
/// belong there too.
pub(crate) fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    let dispatch = tracing::dispatcher::get_default(Clone::clone);
    let thread = Builder::new().name(name.into()).stack_size(PLUGIN_STACK_BYTES);
    thread.spawn(move || tracing::dispatcher::with_default(&dispatch, work))
}

/// Lowers the priority of this thread, where the system has priorities of threads.
fn step_back() {
    // Refused, it is merely a thread like any other.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICENESS);
}
