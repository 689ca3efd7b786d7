//! Threads of the control plane. What may come a hundred times a second (constructing, dropping what is retired) yields
//! to rounds; what comes with a new file runs like any other thread, or a busy machine would never get to it.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError, Weak, mpsc};
use std::thread::{Builder, JoinHandle};

use crate::core::limits::{IDLE_WORKERS, PLUGIN_STACK_BYTES};

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
    let thread = Builder::new().name(name.into()).stack_size(PLUGIN_STACK_BYTES);
    thread.spawn(under_this_subscriber(work))
}

fn under_this_subscriber(work: impl FnOnce() + Send + 'static) -> impl FnOnce() + Send + 'static {
    let dispatch = tracing::dispatcher::get_default(Clone::clone);
    move || tracing::dispatcher::with_default(&dispatch, work)
}

/// Lowers the priority of this thread, where the system has priorities of threads.
fn step_back() {
    // Refused, it is merely a thread like any other.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICENESS);
}

/// Threads that wait for their next work, because a new thread may have to wait for a time slice on a busy machine, and
/// a stack that comes and goes costs every core. One that is stuck in foreign code is simply never idle again.
pub(crate) struct Workers {
    name: &'static str,
    begin: fn(),
    idle: Arc<Idle>,
}

type Idle = Mutex<Vec<mpsc::Sender<Task>>>;

/// Work, with the way back to the worker that carries it out.
struct Task {
    work: Box<dyn FnOnce() + Send>,
    back: mpsc::Sender<Task>,
}

impl Workers {
    /// Workers of ordinary priority.
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, begin: || (), idle: Arc::default() }
    }

    /// Workers that yield to rounds.
    pub(crate) fn bulk(name: &'static str) -> Self {
        Self { begin: step_back, ..Self::new(name) }
    }

    /// Carries out `work` on an idle worker, or on a new one.
    pub(crate) fn run(&self, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let mut work: Box<dyn FnOnce() + Send> = Box::new(under_this_subscriber(work));
        while let Some(worker) = lock(&self.idle).pop() {
            match worker.send(Task { work, back: worker.clone() }) {
                Ok(()) => return Ok(()),
                Err(mpsc::SendError(task)) => work = task.work,
            }
        }
        let (back, tasks) = mpsc::channel();
        let (idle, begin) = (Arc::downgrade(&self.idle), self.begin);
        Builder::new().name(self.name.into()).stack_size(PLUGIN_STACK_BYTES).spawn(move || {
            begin();
            attend(&tasks, &idle);
        })?;
        let sent = back.send(Task { work, back: back.clone() });
        sent.map_err(|_| io::Error::other("the thread ended at once"))
    }
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workers").field("name", &self.name).field("idle", &lock(&self.idle).len()).finish()
    }
}

/// Ends when nobody can send any more: the host is gone, or enough others are idle.
fn attend(tasks: &mpsc::Receiver<Task>, idle: &Weak<Idle>) {
    while let Ok(Task { work, back }) = tasks.recv() {
        work();
        if let Some(idle) = idle.upgrade() {
            let mut idle = lock(&idle);
            if idle.len() < IDLE_WORKERS {
                idle.push(back);
            }
        }
    }
}

fn lock(idle: &Idle) -> std::sync::MutexGuard<'_, Vec<mpsc::Sender<Task>>> {
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}
